"""What a service holds and decides by itself: a million flags in memory, and calls that draw on a slice."""

import argparse
import json
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.scene import Result
from tests.bench.throughput import say

FLAGS = 1_000_000
CALLS = 200_000


def _percentiles(work: Callable[[int], None], count: int) -> tuple[float, float]:
    """p50 and p99 of `work(n)`, in microseconds."""
    took = []
    for number in range(count):
        begun = time.perf_counter_ns()
        work(number)
        took.append(time.perf_counter_ns() - begun)
    took.sort()
    return took[count // 2] / 1000, took[count * 99 // 100] / 1000


def flag_values(seed: int, count: int) -> list[tuple[str, bytes]]:
    """Flags of so many users, as the worker writes them: warned and blocked, each with its own numbers."""
    dice = random.Random(seed)
    made = []
    for number in range(count):
        scope = f"user/u-{number:08d}"
        spent = dice.randrange(80_000_000, 130_000_000)
        is_blocked = spent >= 100_000_000
        value = {
            "scope": scope, "state": "blocked" if is_blocked else "warning", "blocked": is_blocked,
            "action": "block" if is_blocked else "alert",
            "reason": "usage_limit_exceeded" if is_blocked else "threshold_reached", "budget": "user/*:month:usd",
            "window": {
                "kind": "month", "start": "2026-11-01T00:00:00Z", "end": "2026-12-01T00:00:00Z", "timezone": "UTC",
            },
            "limit": "100", "unit": "usd", "spent": f"{spent / 1_000_000:.6f}".rstrip("0").rstrip("."),
            "percent": f"{spent // 10_000 / 100:.2f}",
            "since": f"2026-11-21T10:{number % 60:02d}:07.{number % 999 + 1:03d}Z",
            "until": "2999-12-01T00:00:00Z", "revision": number % 1000 + 1,
        }  # fmt: skip
        made.append((scope, json.dumps(value, separators=(",", ":")).encode()))
    return made


def _memory_bytes() -> int:
    with Path("/proc/self/statm").open() as statm:
        return int(statm.read().split()[1]) * 4096


def _check(seed: int, flags: int, calls: int) -> dict[str, float]:
    from tollgate.sdk.knowledge import Knowledge

    knowledge = Knowledge()
    took = 0.0
    # In parts, so that what is read is not in memory beside what is held.
    for part in range(0, flags, 50_000):
        values = [
            (scope.replace("u-", f"u-{part // 50_000:03d}"), value.replace(b"/u-", b"/u-%03d" % (part // 50_000)))
            for scope, value in flag_values(seed + part, min(50_000, flags - part))
        ]
        begun = time.perf_counter()
        for scope, value in values:
            knowledge.take_flag(scope, value)
        took += time.perf_counter() - begun
    del values
    assert len(knowledge) == flags
    knowledge.seen()
    memory = _memory_bytes()
    dice = random.Random(seed)
    # Half of the users have a flag.
    asked = [
        {
            "user": f"u-{dice.randrange(2 * max(1, flags // 50_000)):03d}{dice.randrange(min(50_000, flags)):08d}",
            "provider": "openai", "model": "gpt-4o", "org": "acme", "service": "chat", "feature": "chat",
        }
        for _ in range(calls)
    ]  # fmt: skip
    told = {"memory_mb": memory / 1e6, "take_us": took / flags * 1e6}

    def check(number: int) -> None:
        knowledge.check(asked[number])

    def check_estimate(number: int) -> None:
        knowledge.check(asked[number], "0.02")

    for name, work in (("check", check), ("estimate", check_estimate)):
        told[f"{name}_p50"], told[f"{name}_p99"] = _percentiles(work, calls)
    return told


def _slices(calls: int) -> dict[str, float]:
    from tests.support.limits_owner import Owner, limits_of

    from tollgate.sdk.holding import Holding

    owner = Owner("1000000")
    with limits_of(owner) as (limits, process):
        names = {"model": "gpt-4o", "provider": "openai"}

        def decide(_number: int) -> None:
            held.append(limits.reserve(limits.wanted("u-42", "0.001", None, 60, None, 5.0, True, names)).__enter__())

        held: list[Holding] = []
        for _ in range(2_000):
            decide(0)
        asked = len(owner.asked)
        p50, p99 = _percentiles(decide, calls)
        told = {"slice_p50": p50, "slice_p99": p99, "asked": len(owner.asked) - asked}
        for one in held:
            one.__exit__(None, None, None)
        process.settled()
    return told


def measure(seed: int, flags: int = FLAGS, calls: int = CALLS) -> list[Result]:
    """The figures, in this process, which should hold nothing else."""
    told = _check(seed, flags, calls)
    # As in a service, whose calls do not come from its main thread.
    thread = threading.Thread(target=lambda: told.update(_slices(min(calls, 50_000))))
    thread.start()
    thread.join()
    say(f"  check: {told}")
    return [
        Result("check with a million flags, p50", told["check_p50"], "µs"),
        Result("check with a million flags, p99", told["check_p99"], "µs"),
        Result("the same with an estimate, p99", told["estimate_p99"], "µs"),
        Result("memory of a process with a million flags", told["memory_mb"], "MB"),
        Result("a flag read and kept", told["take_us"], "µs"),
        Result("decision from a slice, p50", told["slice_p50"], "µs", detail={"asked": told["asked"]}),
        Result("decision from a slice, p99", told["slice_p99"], "µs"),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    for result in measure(parser.parse_args().seed):
        print(result.line())
