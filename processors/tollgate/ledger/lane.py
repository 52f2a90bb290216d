"""A lane: a group of partitions that share transactions and move between workers together.

A lane owns a transactional producer whose id names the lane, so that a new owner fences the old one and aborts its open
transaction. A transaction holds all outputs and state rows of the batches it covers, and for each partition a row with
the next offset of each source. After a restart, reading continues there; the consumer group's offset is not used.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final, NoReturn

import structlog
from aiokafka import ConsumerRecord

from tollgate.ledger.claims import take_over
from tollgate.ledger.counters import Counters
from tollgate.ledger.endings import can_be_caused_by_records
from tollgate.ledger.link import Link
from tollgate.ledger.log import Writer
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.partition import Partition
from tollgate.ledger.source import Source
from tollgate.schemas.refusals import RefusalReason

log = structlog.get_logger("tollgate.ledger")

# A transaction costs the worker, the broker and every reader the same whatever is in it. Begun back to back they were
# 600 a second for 2,000 events. ADR 29 has what they cost, and that flags come no later. After a pause the first one
# begins at once.
APART_NS: Final = 50_000_000

# By source the offsets `[first, end)` of the records that a transaction counts.
Held = dict[Source, tuple[int, int]]


class Lane:
    """All methods belong to one event loop. `id` is the transactional id."""

    def __init__(self, id: str, partitions: Sequence[Partition], link: Link, counters: Counters) -> None:  # noqa: A002 # Kafka's word
        self.id = id
        self.partitions = tuple(partitions)
        self.sources = tuple(source for partition in partitions for source in partition.sources)
        self._link = link
        self._counters = counters
        self._writer: Writer | None = None
        self._commit: asyncio.Task[None] | None = None
        self._began_ns = 0
        self.recovered = False
        self._parked = False
        self._resting = False

    async def acquire(self) -> None:
        """Fence any former owner, then restore the state from the log. Raises Kafka's errors."""
        link = self._link
        started = time.monotonic()
        link.reached("acquire.start")
        self._writer = await link.log.writer(self.id)
        link.reached("acquire.fenced")
        async with link.log.reader() as reader:
            # With another number of lanes the last writer had another id, which this one does not fence.
            await take_over(self.id, self.partitions, self._writer, reader, link)
            for partition in self.partitions:
                await partition.restore(reader)
        self.recovered = True
        link.reached("acquire.recovered")
        log.info(
            "acquired",
            lane=self.id,
            partitions=[partition.number for partition in self.partitions],
            next_offsets={f"{s.tp.topic}/{s.tp.partition}": s.next_offset for s in self.sources},
            seconds=round(time.monotonic() - started, 3),
        )

    def count(self, source: Source, records: Sequence[ConsumerRecord]) -> None:
        """Count what was fetched of one of the lane's sources, in memory. An error ends the process."""
        self._link.awake()
        try:
            source.apply(records)
        except BaseException as error:
            if can_be_caused_by_records(error):
                self._link.endings.note(source.tp, records[0].offset, records[-1].offset + 1, error)
            raise

    async def count_carefully(self, source: Source, records: Sequence[ConsumerRecord]) -> None:
        """Count what was fetched, and the source's suspect records one at a time, each in its own transaction.

        Returns early when the lane is parked; what was not counted then is fetched again.
        """
        suspect = source.suspect
        assert suspect is not None
        listed = list(records)
        before = [record for record in listed if record.offset < suspect.first]
        after = [record for record in listed if record.offset >= suspect.end]
        if before:
            self.count(source, before)
        await self._write_all()
        for record in listed[len(before) : len(listed) - len(after)]:
            if self._parked:
                source.must_seek = True
                return
            if record.offset < source.next_offset:
                continue
            if suspect.is_poison:
                self._counters.refuse(RefusalReason.POISON)
                source.put_aside(record, suspect)
            else:
                self.count(source, [record])
            await self._write_all()
        if after:
            if self._parked:
                source.must_seek = True
                return
            source.suspect = None
            self._link.endings.forget(source.tp)
            self.count(source, after)
        else:
            source.clear_suspect()

    async def _write_all(self) -> None:
        """Wait until what was applied of every source is committed, or the lane is parked.

        A record is alone in its transaction only if nothing else waits: else others would be blamed with it.
        """
        while not self._parked and any(max(s.committed_offset, 0) < s.next_offset for s in self.sources):
            self._begin()
            if self._commit is None:
                # A defect of ours. Waiting for it would keep the whole process busy for ever.
                raise RuntimeError(f"{self.id} has counted what it neither has committed nor is going to write")
            await self.settle()

    def checkpoint(self) -> None:
        """Start a transaction with everything pending, unless one is under way or the last one began just now: what is
        pending then follows by itself. Does not wait for it.
        """
        if self.recovered and not self._parked and not self._resting:
            self._begin()

    def _begin(self) -> None:
        if self._commit is not None:
            if not self._commit.done():
                return
            self._commit = None
        self._link.awake()
        outbox = Outbox()
        held = {s: (s.pending_from, s.next_offset) for s in self.sources if s.pending_from is not None}
        try:
            written = [partition for partition in self.partitions if partition.write(outbox, self.id)]
            moved = {source: source.next_offset for partition in written for source in partition.sources}
        except BaseException as error:  # noqa: BLE001 # half of it may be in the outbox, and gone from memory
            self._fail(f"what {self.id} has counted could not be written", error, held)
        self._began_ns = time.perf_counter_ns()
        if not moved:
            if any(partition.stage.pending() for partition in self.partitions):
                # A walk over many scopes has not found one to write about yet: it goes on without waiting for a tick.
                self._pause()
            return
        self._commit = asyncio.get_running_loop().create_task(self._transaction(outbox, moved, held))
        self._commit.add_done_callback(self._go_on)

    def _go_on(self, ended: "asyncio.Task[None]") -> None:
        """What was applied meanwhile follows as soon as it may."""
        if not ended.cancelled() and ended.exception() is None:
            self._pause()

    def _pause(self) -> None:
        """Let some time pass since the last transaction began, then write what is pending."""
        self._resting = True
        self._link.later(self._began_ns + APART_NS - time.perf_counter_ns(), self._rested)

    def _rested(self) -> None:
        self._resting = False
        self.checkpoint()

    async def _transaction(self, outbox: Outbox, moved: dict[Source, int], held: Held) -> None:
        """Write the outbox and move the sources to these offsets. `held`: the records that it counts."""
        link, writer = self._link, self._writer
        try:
            started = time.perf_counter()
            assert writer is not None
            await writer.begin()
            link.reached("transaction.begun")
            sent = []
            for (topic, partition), records in outbox.records.items():
                sent += await writer.send(link.topic_name(topic), partition, records)
            link.reached("transaction.sent")
            # A failed send does not abort the transaction: aiokafka would commit the rest. So every one is awaited.
            await asyncio.gather(*sent)
            link.reached("transaction.acknowledged")
            await writer.commit()
            link.reached("transaction.committed")
            for source, offset in moved.items():
                source.committed_offset = offset
            self._counters.transactions += 1
            self._counters.transaction_seconds += time.perf_counter() - started
            self._counters.records_written += outbox.count()
        except asyncio.CancelledError:
            link.fatal(f"a transaction of {self.id} was cancelled", None)
        except BaseException as error:  # noqa: BLE001 # whatever failed, memory is ahead of the log now
            why = f"a transaction of {self.id} failed"
            if can_be_caused_by_records(error):
                why += f"; its largest record: {outbox.largest()}"
            self._fail(why, error, held)

    def _fail(self, why: str, error: BaseException, held: Held) -> NoReturn:
        """End the process. `held`: the records that may be why; what was applied after them is not."""
        if can_be_caused_by_records(error):
            for source, (first, end) in held.items():
                self._link.endings.note(source.tp, first, end, error)
        self._link.fatal(why, error)

    def backlog(self) -> int:
        """Records that were applied and wait for a transaction, while one is under way; 0 when none is."""
        if self._commit is None or self._commit.done():
            return 0
        return sum(partition.stage.pending() for partition in self.partitions)

    async def settle(self) -> None:
        """Wait until the transaction under way has ended; a failed one has ended the process."""
        if self._commit is not None:
            await asyncio.shield(self._commit)

    async def park(self) -> None:
        """Commit what was applied, then write nothing until `unpark`: the partitions may belong to somebody else.

        If they came back after another worker had them, the first transaction fails, for that worker has fenced us.
        """
        self._link.reached("park.start")
        self._parked = True
        await self.settle()
        if self.recovered and any(source.next_offset != source.committed_offset for source in self.sources):
            self._begin()
            await self.settle()
        self._link.reached("park.settled")

    def unpark(self) -> None:
        """The partitions were assigned to this process again, with no other owner in between."""
        self._parked = False

    async def close(self) -> None:
        """Close the producer of a parked lane. The next owner reads and counts again what was not committed."""
        if self._writer is not None:
            await self._writer.close()
