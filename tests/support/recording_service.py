"""`python -m tests.support.recording_service KAFKA SPOOL FIRST COUNT RATE`: records events `e<FIRST>` and on, in order.

It prints a line `spooled N` now and then: so many of its events are in the spool, whatever happens to the process. At
the end it waits until all are stored, and prints `done`.
"""

import sys
import threading
import time

from tollgate.sdk import Tollgate

STEP = 100


def main(kafka: str, spool: str, first: int, count: int, rate: int) -> None:
    with Tollgate(kafka=kafka, source="chat", spool_dir=spool) as toll:
        begun = time.monotonic()
        pace = threading.Event()
        for start in range(0, count, STEP):
            for number in range(first + start, first + min(start + STEP, count)):
                toll.record(
                    user=f"u{number % 997}",
                    provider="openai",
                    model="gpt-4o",
                    usage={"input_tokens": 1},
                    id=f"e{number}",
                )
            print(f"spooled {toll.stats.spooled}", flush=True)
            pace.wait(max(0.0, begun + start / rate - time.monotonic()))
        while not toll.flush(1):
            print(f"spooled {toll.stats.spooled}", flush=True)
        assert toll.stats.dropped == toll.stats.refused == 0, toll.stats
    print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
