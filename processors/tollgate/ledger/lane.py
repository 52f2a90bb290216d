"""A lane: a group of source partitions that share transactions and move between workers together.

A lane owns a transactional producer whose id names the lane, so that a new owner fences the old one and aborts its open
transaction. A transaction holds all outputs and state rows of the batches it covers, and for each partition a row with
the next offset. After a restart, reading continues at that row's offset; the consumer group's offset is not used.
"""

import asyncio
import time
from collections.abc import Sequence

import structlog

from tollgate.ledger.claims import take_over
from tollgate.ledger.counters import Counters
from tollgate.ledger.link import Link
from tollgate.ledger.log import Writer
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.source import Source

log = structlog.get_logger("tollgate.ledger")


class Lane:
    """All methods belong to one event loop. `id` is the transactional id."""

    def __init__(self, id: str, sources: Sequence[Source], link: Link, counters: Counters) -> None:  # noqa: A002 # Kafka's word
        self.id = id
        self.sources = tuple(sources)
        self._link = link
        self._counters = counters
        self._writer: Writer | None = None
        self._commit: asyncio.Task[None] | None = None
        self.recovered = False
        self._parked = False

    async def acquire(self) -> None:
        """Fence any former owner, then restore the state from the log. Raises Kafka's errors."""
        link = self._link
        started = time.monotonic()
        link.reached("acquire.start")
        self._writer = await link.log.writer(self.id)
        link.reached("acquire.fenced")
        async with link.log.reader() as reader:
            # With another number of lanes the last writer had another id, which this one does not fence.
            await take_over(self.id, self.sources, self._writer, reader, link)
            for source in self.sources:
                await source.restore(reader)
        self.recovered = True
        link.reached("acquire.recovered")
        log.info(
            "acquired",
            lane=self.id,
            partitions=[source.partition for source in self.sources],
            next_offsets=[source.next_offset for source in self.sources],
            seconds=round(time.monotonic() - started, 3),
        )

    def checkpoint(self) -> None:
        """Start a transaction with everything pending, unless one is under way. Does not wait for it."""
        if self.recovered and not self._parked:
            self._begin()

    def _begin(self) -> None:
        if self._commit is not None:
            if not self._commit.done():
                return
            self._commit = None
        outbox = Outbox()
        moved = {source: source.next_offset for source in self.sources if source.write(outbox, self.id)}
        if not moved:
            return
        self._commit = asyncio.get_running_loop().create_task(self._transaction(outbox, moved))
        self._commit.add_done_callback(self._go_on)

    def _go_on(self, ended: "asyncio.Task[None]") -> None:
        """What was applied meanwhile follows at once."""
        if not ended.cancelled() and ended.exception() is None:
            self.checkpoint()

    async def _transaction(self, outbox: Outbox, moved: dict[Source, int]) -> None:
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
            link.fatal(f"a transaction of {self.id} failed", error)

    def backlog(self) -> int:
        """Records that were applied and wait for a transaction, while one is under way; 0 when none is."""
        if self._commit is None or self._commit.done():
            return 0
        return sum(source.stage.pending() for source in self.sources)

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
