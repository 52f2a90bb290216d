"""What `record` costs its caller, and how much one process sends: `python -m tests.bench.recording KAFKA PREFIX`.

It prints a line of JSON for each rate: the percentiles of `record` in microseconds, the events that were stored per
second, and the processor time of an event in all threads.
"""

import json
import sys
import tempfile
import time
from typing import Any

from tollgate.sdk import Tollgate

USERS = 5_000
STEP = 50
# Events a second (as many as there can be: a rate that nothing reaches), and for how many seconds.
RATES = ((1_000, 4.0), (50_000, 6.0), (10_000_000, 0.03))
CALL: dict[str, Any] = {
    "provider": "openai",
    "model": "gpt-4o",
    "usage": {"input_tokens": 1200, "cached_input_tokens": 1000, "output_tokens": 300},
    "service": "chat",
    "agent": "SEO",
    "feature": "chat",
    "latency_ms": 812,
}


def measured(toll: Tollgate, rate: int, seconds: float) -> dict[str, float]:
    """Record at this rate from one thread, until all of it is stored."""
    count = int(rate * seconds)
    took: list[int] = []
    clock = time.perf_counter_ns
    cpu = time.process_time()
    begun = time.perf_counter()
    for start in range(0, count, STEP):
        wait = begun + start / rate - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        for number in range(start, min(start + STEP, count)):
            before = clock()
            toll.record(user=f"u{number % USERS}", **CALL)
            took.append(clock() - before)
    recorded = time.perf_counter() - begun
    assert toll.flush(120)
    stored = time.perf_counter() - begun
    took.sort()
    return {
        "rate": rate,
        "p50_us": took[count // 2] / 1000,
        "p99_us": took[count * 99 // 100] / 1000,
        "p999_us": took[count * 999 // 1000] / 1000,
        "recorded_per_second": count / recorded,
        "stored_per_second": count / stored,
        "cpu_us": (time.process_time() - cpu) / count * 1e6,
    }


def main(kafka: str, prefix: str) -> None:
    """Measure at each rate, with one client."""
    with tempfile.TemporaryDirectory() as spool:
        toll = Tollgate(kafka=kafka, source="bench", topic_prefix=prefix, spool_dir=spool)
        # The connection is there, and every user's partition is known.
        measured(toll, 10_000, 1.0)
        for rate, seconds in RATES:
            print(json.dumps(measured(toll, rate, seconds)), flush=True)
        stats = toll.stats
        assert stats.sent == stats.recorded, stats
        toll.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
