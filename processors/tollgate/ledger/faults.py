"""Fault points: named places where a test can kill or stop the process, to show that it may end at any step.

Off unless `TOLLGATE_FAULT_POINTS` names some: `transaction.sent=3:kill,acquire.fenced=1:stop` kills the process when it
reaches `transaction.sent` for the third time, and stops it (as SIGSTOP does) after it has fenced its first predecessor.
A line on stderr says so just before, so that a test can tell this end from any other: see `told`.
"""

import os
import signal
from collections import Counter
from collections.abc import Callable
from typing import Final

# Every point, in the order in which a process passes them.
POINTS: Final = (
    # Acquiring a lane: nothing done; former owners are fenced; a partition's state is read; everything is recovered.
    "acquire.start",
    "acquire.fenced",
    "acquire.state_read",
    "acquire.recovered",
    # A transaction: open; everything handed over; everything acknowledged by the brokers; committed.
    "transaction.begun",
    "transaction.sent",
    "transaction.acknowledged",
    "transaction.committed",
    # Giving partitions up in a rebalance: asked to; everything applied is committed.
    "park.start",
    "park.settled",
)

_SIGNALS: Final = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}

Reached = Callable[[str], None]


def nothing_happens(point: str) -> None:
    """What production does at a fault point."""


def told(point: str, number: int, deed: str, pid: int) -> str:
    """The line that the process writes on stderr just before the deed."""
    return f"fault point {point} reached, time {number}: {deed} of process {pid}"


def fault_points(spec: str) -> Reached:
    """The function to call at each point. ValueError when the text is not a list of `point=number:kill|stop`."""
    if not spec:
        return nothing_happens
    deeds: dict[tuple[str, int], str] = {}
    for part in spec.split(","):
        point, _, deed = part.strip().partition("=")
        number, _, name = deed.partition(":")
        if point not in POINTS or not number.isdigit() or name not in _SIGNALS:
            raise ValueError(f"{part!r} is no fault point; write for example transaction.sent=3:kill")
        deeds[point, int(number)] = name
    times: Counter[str] = Counter()

    def reached(point: str) -> None:
        times[point] += 1
        deed = deeds.get((point, times[point]))
        if deed is not None:
            # Past Python's own buffers, which a kill would lose.
            os.write(2, f"{told(point, times[point], deed, os.getpid())}\n".encode())
            os.kill(os.getpid(), _SIGNALS[deed])

    return reached
