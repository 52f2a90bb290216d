"""One source partition on its way through Kafka: acquired, counted, committed, released.

A lane owns a transactional producer whose id names the source partition, so that a new owner fences the old one and
aborts what it left open. Each transaction holds everything a batch caused and the offset that follows the batch; the
offset row in the state topic, not the consumer group's offset, says where to go on.
"""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from tollgate.ledger.counters import Counters
from tollgate.ledger.outbox import NO_HEADERS, Outbox, OutRecord
from tollgate.ledger.policy import Policy
from tollgate.ledger.stage import Stage
from tollgate.schemas.topics import RECORD_BYTES_MAX, Topic

log = structlog.get_logger("tollgate.ledger")

OFFSET_ROW: Final = "o"
FATAL_EXIT: Final = 70

# A batch of records becomes one Kafka record batch of at most this size: one future to wait for, not thousands.
_BATCH_BYTES: Final = 1 << 20

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Link:
    """How a lane reaches Kafka: client options, topic names, the application's name, and the time."""

    client_options: dict[str, Any]
    topic_name: Callable[[Topic], str]
    application: str
    now_ms: Callable[[], int]


def fatal(why: str, error: BaseException | None = None) -> NoReturn:
    """End the process at once: memory may be ahead of the log, and only a restart can bring them together.

    No clean-up may run, because Faust's orderly stop would commit what must not be committed.
    """
    log.critical("the worker stops and will recover from the log", why=why, error=repr(error) if error else None)
    os._exit(FATAL_EXIT)


class Lane:
    """The way of one source partition. All methods belong to one event loop; `apply` never waits."""

    def __init__(self, stage: Stage, partition: int, link: Link, counters: Counters) -> None:
        self.stage = stage
        self.partition = partition
        self.next_offset = 0
        # Set when records were fetched but not applied: without a seek, what comes next would leave a gap.
        self.must_seek = False
        self._link = link
        self._counters = counters
        self._producer: AIOKafkaProducer | None = None
        self._commit: asyncio.Task[None] | None = None
        self._committed_offset = -1
        self._releasing = False

    @property
    def source(self) -> TopicPartition:
        """The topic and partition this lane reads."""
        return TopicPartition(self._link.topic_name(self.stage.source), self.partition)

    async def acquire(self) -> None:
        """Fence any former owner, then take its state back from the log. Raises what Kafka raises."""
        link = self._link
        self._producer = AIOKafkaProducer(
            **link.client_options,
            transactional_id=f"{link.application}.{self.stage.source.value}.{self.partition}",
            acks="all",
            # The default of 100 ms is waited for at each commit that meets its predecessor's markers.
            retry_backoff_ms=20,
            transaction_timeout_ms=30_000,
            max_batch_size=_BATCH_BYTES,
            max_request_size=RECORD_BYTES_MAX + _BATCH_BYTES,
            linger_ms=0,
        )
        started = time.monotonic()
        await self._producer.start()
        await self._recover()
        log.info(
            "acquired",
            topic=self.source.topic,
            partition=self.partition,
            next_offset=self.next_offset,
            seconds=round(time.monotonic() - started, 3),
        )

    async def _recover(self) -> None:
        consumer = AIOKafkaConsumer(
            **self._link.client_options,
            isolation_level="read_committed",
            enable_auto_commit=False,
            max_partition_fetch_bytes=8 * _BATCH_BYTES,
            max_poll_records=20_000,
            # At the end of a partition the broker would hold the fetch for half a second, and recovery with it.
            fetch_max_wait_ms=20,
        )
        await consumer.start()
        try:
            rows: dict[str, bytes] = {}
            async for record in self._committed(consumer, self.stage.state):
                key = record.key.decode()
                if record.value is None:
                    rows.pop(key, None)
                else:
                    rows[key] = record.value
            offset_row = rows.pop(OFFSET_ROW, None)
            numbers = msgspec.json.decode(offset_row) if offset_row is not None else None
            if numbers is not None:
                self.next_offset = self._committed_offset = numbers["next"]
            self.stage.restore(rows, numbers)
            for topic in self.stage.remembered:
                async for record in self._committed(consumer, topic):
                    self.stage.remember(record.value)
        finally:
            await consumer.stop()

    async def _committed(self, consumer: AIOKafkaConsumer, topic: Topic) -> "Any":
        """Records of this lane's partition of the topic, up to its last stable offset as of now.

        Ends by position: the last record may be a transaction's marker, or may have been compacted away.
        """
        tp = TopicPartition(self._link.topic_name(topic), self.partition)
        consumer.assign([tp])
        await consumer.seek_to_beginning(tp)
        end = (await consumer.end_offsets([tp]))[tp]
        while await consumer.position(tp) < end:
            for records in (await consumer.getmany(tp, timeout_ms=200)).values():
                for record in records:
                    yield record

    def apply(self, records: Sequence[ConsumerRecord]) -> None:
        """Count what was fetched, in memory. Records before the offset row were counted already and are skipped."""
        if self.must_seek:
            fatal(f"records of {self.source} were fetched and dropped, and no seek followed")
        if records[0].offset < self.next_offset:
            records = [record for record in records if record.offset >= self.next_offset]
            if not records:
                return
        self.stage.apply(records)
        self.next_offset = records[-1].offset + 1

    def checkpoint(self) -> None:
        """Start a transaction with everything pending, unless one is under way. Does not wait for it."""
        if self._commit is not None:
            if not self._commit.done():
                return
            self._commit = None
        if not self.stage.pending():
            return
        outbox = Outbox()
        numbers = self.stage.write(outbox, self._link.now_ms())
        if not outbox.records and self.next_offset == self._committed_offset:
            return
        row = _encode({"next": self.next_offset, **numbers})
        outbox.to(self.stage.state, self.partition).append((OFFSET_ROW.encode(), row, NO_HEADERS))
        self._commit = asyncio.get_running_loop().create_task(self._transaction(outbox, self.next_offset))
        # What was applied meanwhile follows at once.
        self._commit.add_done_callback(lambda _: None if self._releasing else self.checkpoint())

    async def _transaction(self, outbox: Outbox, next_offset: int) -> None:
        try:
            started = time.perf_counter()
            producer = self._producer
            assert producer is not None
            await producer.begin_transaction()
            sent = []
            for (topic, partition), records in outbox.records.items():
                sent += await self._send(producer, self._link.topic_name(topic), partition, records)
            # A failed send does not abort the transaction: aiokafka would commit the rest. So every one is awaited.
            await asyncio.gather(*sent)
            await producer.commit_transaction()
            self._committed_offset = next_offset
            self._counters.transactions += 1
            self._counters.transaction_seconds += time.perf_counter() - started
            self._counters.records_written += sum(map(len, outbox.records.values()))
        except asyncio.CancelledError:
            fatal(f"a transaction of {self.source} was cancelled")
        except BaseException as error:  # noqa: BLE001 # whatever failed, memory is ahead of the log now
            fatal(f"a transaction of {self.source} failed", error)

    @staticmethod
    async def _send(
        producer: AIOKafkaProducer, topic: str, partition: int, records: list[OutRecord]
    ) -> "list[asyncio.Future[Any]]":
        sent = []
        batch = producer.create_batch()
        for key, value, headers in records:
            if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                sent.append(await producer.send_batch(batch, topic, partition=partition))
                batch = producer.create_batch()
                if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                    raise ValueError(f"a record of {len(value or b'')} bytes does not fit a batch")
        sent.append(await producer.send_batch(batch, topic, partition=partition))
        return sent

    @property
    def committed_offset(self) -> int:
        """Where a successor would go on, or -1 when nothing was ever committed. Never ahead of the log."""
        return self._committed_offset

    def backlog(self) -> int:
        """Records that were applied and wait for a transaction, while one is under way; 0 when none is."""
        return self.stage.pending() if self._commit is not None and not self._commit.done() else 0

    async def settle(self) -> None:
        """Wait until the transaction under way has ended; a failed one has ended the process."""
        if self._commit is not None:
            await asyncio.shield(self._commit)

    async def release(self) -> None:
        """Commit what was applied and close the producer. What stays pending is found again by the next owner."""
        self._releasing = True
        await self.settle()
        if self.next_offset != self._committed_offset:
            self.checkpoint()
            await self.settle()
        if self._producer is not None:
            await self._producer.stop()

    def set_policy(self, policy: Policy) -> None:
        """Use other budgets and prices from the next record on."""
        self.stage.set_policy(policy)
