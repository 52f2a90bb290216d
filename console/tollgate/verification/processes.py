"""The recount in several processes: each counts a share of the partitions and sends the results back."""

import asyncio
import gc
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

from tollgate.runtime.logs import configure_logs
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic
from tollgate.verification.entry_reading import read_entries
from tollgate.verification.letters import told_by_letters
from tollgate.verification.log import Log
from tollgate.verification.prices import Prices
from tollgate.verification.reading import Recount
from tollgate.verification.share import Share
from tollgate.verification.snapshot import Cut

# A process takes a second to start, in which it could have read this many.
_RECORDS_MIN: Final = 30_000
# Each takes 150 MB, and the broker and the system need processors as well.
PROCESSES_MAX: Final = 4

_OBJECTS_UNTIL_COLLECTED: Final = 100_000

# Called with the number of records just read.
Step = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that a share of the recount needs. `priced` has the offsets of each partition's priced records, and
    `letters` those of each partition of the dead letters.
    """

    settings: Settings
    cut: Cut
    prices: Prices
    directory: Path
    buckets: int
    partitions: tuple[int, ...]
    priced: Mapping[int, tuple[int, int]]
    letters: Mapping[int, tuple[int, int]]

    async def do(self, step: Step) -> Share:
        """Recount the partitions. Raises what aiokafka raises, and SpaceError."""
        share = Share.new(self.directory, self.buckets, self.settings, self.cut, self.prices)
        async with Log(self.settings) as log:
            told = await told_by_letters(log, frozenset(self.partitions), self.letters)
            recount = Recount(log, self.cut, self.directory, share, self.prices, step, told)
            for partition in self.partitions:
                await recount.partition(partition, self.priced[partition])
            own = frozenset(self.partitions) & self.cut.entries.keys()
            told = await told_by_letters(log, own, self.letters, Topic.ENTRIES) if own else {}
            for partition in sorted(own):
                await read_entries(log, self.cut, self.directory, share, partition, told.get(partition))
        share.flush()
        return share


def processes_for(records: int, partitions: int) -> int:
    """How many processes to use for a recount of this many records."""
    processors = len(os.sched_getaffinity(0))
    return max(1, min(processors, PROCESSES_MAX, partitions, records // _RECORDS_MIN))


def dealt(records: Mapping[int, int], shares: int) -> list[tuple[int, ...]]:
    """Partitions in shares of about the same number of records: `dealt({0: 9, 1: 5, 2: 4}, 2)` → `[(0,), (1, 2)]`."""
    hands: list[list[int]] = [[] for _ in range(shares)]
    sizes = [0] * shares
    for partition in sorted(records, key=lambda partition: (-records[partition], partition)):
        smallest = sizes.index(min(sizes))
        hands[smallest].append(partition)
        sizes[smallest] += records[partition]
    return sorted(tuple(sorted(hand)) for hand in hands if hand)


async def shared_out(jobs: list[Job], step: Step) -> Share:
    """Do the jobs at the same time and join what they came to. One job alone is done in this process.

    Raises what a job raises, and ends the others then.
    """
    if len(jobs) == 1:
        return await jobs[0].do(step)
    spawn = multiprocessing.get_context("spawn")
    ends = [spawn.Pipe(duplex=False) for _ in jobs]
    children: list[BaseProcess] = []
    try:
        for job, (_, sending) in zip(jobs, ends, strict=True):
            child: BaseProcess = spawn.Process(target=_do_for_parent, args=(job, sending), daemon=True)
            child.start()
            children.append(child)
            # The child's copy is the only one, so that its end is seen here.
            sending.close()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_followed(child, receiving, step))
                for child, (receiving, _) in zip(children, ends, strict=True)
            ]
    except BaseExceptionGroup as errors:
        # The first one that failed is the reason why the others were ended.
        raise errors.exceptions[0] from None
    finally:
        for child in children:
            child.kill()
            child.join()
    first, *others = [task.result() for task in tasks]
    for share in others:
        first.join(share)
    return first


async def _followed(child: BaseProcess, receiving: Connection, step: Step) -> Share:
    try:
        while True:
            said = await asyncio.to_thread(_next, receiving)
            if isinstance(said, Share):
                return said
            if isinstance(said, Exception):
                raise said
            if said is None:
                await asyncio.to_thread(child.join)
                raise RuntimeError(f"a process of the recount ended with {child.exitcode}, perhaps for want of memory")
            step(said)
    except BaseException:
        # The thread that waits for it would wait on.
        child.kill()
        raise


def _next(receiving: Connection) -> int | Share | Exception | None:
    """What it says next; None when it has ended. Blocks."""
    try:
        said: int | Share | Exception = receiving.recv()
    except EOFError:
        return None
    return said


def _do_for_parent(job: Job, sending: Connection) -> None:
    # Ctrl-C reaches both, and the parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logs("error")
    # A batch of records makes no cycles; to look for some at every 700 objects costs a twentieth of the time.
    gc.set_threshold(_OBJECTS_UNTIL_COLLECTED)
    try:
        try:
            sending.send(asyncio.run(job.do(sending.send)))
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001 # the parent raises it
            error.add_note(traceback.format_exc())
            sending.send(error)
    except BrokenPipeError:
        # The parent has gone.
        return
