"""Shares of the recount in processes of their own: how partitions are dealt, what joins, and what fails."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.support.usage import TIME_MS, event

from tollgate.runtime.settings import load_settings
from tollgate.schemas.usage_codec import EventRecord, decode_usage_event
from tollgate.verification.prices import Prices
from tollgate.verification.processes import Job, Step, dealt, processes_for, shared_out
from tollgate.verification.share import Share
from tollgate.verification.snapshot import Cut
from tollgate.verification.spill import SpaceError
from tollgate.verification.sums import Sum

CUT = Cut(2, begins={0: 0, 1: 0}, usage={0: 2, 1: 1}, shared={0: {0: 2, 1: 1}})


def counted(user: str) -> EventRecord:
    found = decode_usage_event(msgspec.json.encode(event("e1", user)))
    assert isinstance(found, EventRecord)
    return found


@dataclass(frozen=True, slots=True)
class Made(Job):
    """Counts an event of 5 · 10⁻¹² USD in each of its partitions, and finds its partition wrong."""

    async def do(self, step: Step) -> Share:
        share = Share.new(self.directory, self.buckets, self.settings, self.cut, self.prices)
        for partition in self.partitions:
            share.totals.add(counted(f"u{partition}"), TIME_MS, 4, 5, 0, True, frozenset({0}))
            share.priced.differs(f"event in {partition}", "one", "none")
            share.priced.unknown_prices["p"] = 2
            share.outcomes.counted += 1
            share.first_ms[partition] = partition
            share.marks.add(partition, np.array([7, 100 + partition], "u8"), np.array([2, 3], "u8"))
            step(10)
        share.flush()
        return share


@dataclass(frozen=True, slots=True)
class Killed(Job):
    """Ends as a process does that the system has no memory for."""

    async def do(self, step: Step) -> Share:
        if 1 in self.partitions:
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(60)
        raise AssertionError(step)


@dataclass(frozen=True, slots=True)
class Full(Job):
    """Has no room on its disk."""

    async def do(self, step: Step) -> Share:
        if 1 in self.partitions:
            raise SpaceError("the temporary directory is full")
        await asyncio.sleep(60)
        raise AssertionError(step)


def jobs(kind: Callable[..., Job], directory: Path) -> list[Job]:
    prices = Prices("default", [], [])
    return [kind(load_settings(), CUT, prices, directory / f"{n}", 3, (n,), {0: (0, 0), 1: (0, 0)}, {}) for n in (0, 1)]


def test_what_two_processes_counted_and_found_joins(tmp_path: Path) -> None:
    steps: list[int] = []
    share = asyncio.run(shared_out(jobs(Made, tmp_path), steps.append))
    assert steps == [10, 10]
    windows: dict[str, Sum] = {}
    for bucket in range(3):
        windows |= share.totals.bucket(bucket).windows
    usage = {"input_tokens": 1_000_000_000_000, "output_tokens": 100_000_000_000}
    assert windows["user/u0|lifetime|1970-01-01T00:00:00Z"] == Sum(5, 0, 1, usage)
    assert windows["user/u1|lifetime|1970-01-01T00:00:00Z"] == Sum(5, 0, 1, usage)
    both = {name: 2 * amount for name, amount in usage.items()}
    assert windows["global|lifetime|1970-01-01T00:00:00Z"] == Sum(10, 0, 2, both)
    assert (share.totals.events, share.totals.cost_picousd, share.outcomes.counted) == (2, 10, 2)
    assert (share.priced.differences, share.priced.difference) == (2, "event in 0: expected one, found none")
    assert list(share.marks.repeated()) == [[(0, 2), (1, 2)]]
    assert (share.priced.unknown_prices, share.first_ms) == ({"p": 4}, {0: 0, 1: 1})


def test_a_process_that_is_killed_is_told_and_the_others_end_with_it(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a process of the recount ended with -9"):
        asyncio.run(shared_out(jobs(Killed, tmp_path), print))
    assert multiprocessing.active_children() == []


def test_what_a_process_fails_with_is_raised_here_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="the temporary directory is full") as failed:
        asyncio.run(shared_out(jobs(Full, tmp_path), print))
    assert "in do" in failed.value.__notes__[0]
    assert multiprocessing.active_children() == []


def test_partitions_are_dealt_in_shares_of_about_the_same_size() -> None:
    assert dealt({0: 9, 1: 5, 2: 4}, 2) == [(0,), (1, 2)]
    assert dealt({0: 1, 1: 1, 2: 1, 3: 1}, 2) == [(0, 2), (1, 3)]
    assert dealt({0: 7, 1: 0}, 3) == [(0,), (1,)]
    assert dealt({0: 7, 1: 1}, 1) == [(0, 1)]


def test_a_few_records_are_not_worth_another_process() -> None:
    assert processes_for(59_999, 8) == 1
    assert processes_for(10**9, 1) == 1
    assert processes_for(10**9, 8) == min(4, len(os.sched_getaffinity(0)))
