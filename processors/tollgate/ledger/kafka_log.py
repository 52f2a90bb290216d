"""The ledger's log on a real Kafka, through aiokafka."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from tollgate.ledger.core import Core
from tollgate.ledger.log import Reader
from tollgate.ledger.outbox import OutRecord
from tollgate.runtime.broker_limits import TRANSACTION_TIMEOUT_MS
from tollgate.schemas.topics import BATCH_BYTES_MAX, LETTER_BYTES_MAX

log = structlog.get_logger("tollgate.ledger")

# Makes what `send_batch` takes out of records and the most bytes of one batch.
Pack = Callable[[Sequence[OutRecord], int], list[Any]]

# How often a reader asks whether the transactions that it waits for have ended. They seldom are open at all.
_STABLE_SECONDS: Final = 20 / 1000

# No transaction of a ledger is open for so long, unless Kafka has lost track of it. How often a reader says so.
_HANGING_SECONDS: Final = TRANSACTION_TIMEOUT_MS * 3 // 2000


class KafkaLog:
    """`client_options` are aiokafka's for addresses and security. Everything raises aiokafka's errors.

    `core` makes the record batches: the compiled one all at once, else aiokafka record by record.
    """

    def __init__(self, client_options: dict[str, Any], core: Core = "python") -> None:
        self._options = client_options
        self._pack: Pack | None = None
        if core == "compiled":
            from tollgate.ledger.packed import pack

            self._pack = pack

    async def writer(self, transactional_id: str) -> "KafkaWriter":
        producer = AIOKafkaProducer(
            **self._options,
            transactional_id=transactional_id,
            acks="all",
            # The default of 100 ms is waited for at each commit that meets its predecessor's markers.
            retry_backoff_ms=20,
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            max_batch_size=BATCH_BYTES_MAX,
            max_request_size=LETTER_BYTES_MAX + BATCH_BYTES_MAX,
            linger_ms=0,
        )
        await producer.start()
        return KafkaWriter(producer, self._pack)

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[Reader]:
        consumer = AIOKafkaConsumer(
            **self._options,
            isolation_level="read_committed",
            enable_auto_commit=False,
            max_partition_fetch_bytes=2 * BATCH_BYTES_MAX,
            max_poll_records=4_000,
            # At the end of a partition the broker would hold the fetch for half a second, and recovery with it.
            fetch_max_wait_ms=20,
        )
        # Answers where a partition ends, whatever of it is undecided; it reads nothing.
        latest = AIOKafkaConsumer(**self._options, isolation_level="read_uncommitted", enable_auto_commit=False)
        async with AsyncExitStack() as stack:
            for client in (consumer, latest):
                stack.push_async_callback(client.stop)
                await client.start()
            yield KafkaReader(consumer, latest)


class KafkaWriter:
    """See `Writer`."""

    def __init__(self, producer: AIOKafkaProducer, pack: "Pack | None") -> None:
        self._producer = producer
        self._pack = pack

    async def begin(self) -> None:
        await self._producer.begin_transaction()

    async def send(self, topic: str, partition: int, records: Sequence[OutRecord]) -> "list[asyncio.Future[Any]]":
        producer = self._producer
        if self._pack is not None:
            packed = self._pack(records, BATCH_BYTES_MAX)
            return [await producer.send_batch(batch, topic, partition=partition) for batch in packed]
        sent = []
        batch = producer.create_batch()
        for key, value, headers in records:
            if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                sent.append(await producer.send_batch(batch, topic, partition=partition))
                batch = producer.create_batch()
                # An empty batch takes one record of any size.
                batch.append(key=key, value=value, timestamp=None, headers=headers)
        sent.append(await producer.send_batch(batch, topic, partition=partition))
        return sent

    async def commit(self) -> None:
        await self._producer.commit_transaction()

    async def close(self) -> None:
        await self._producer.stop()


class KafkaReader:
    """See `Reader`."""

    def __init__(self, consumer: AIOKafkaConsumer, latest: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._latest = latest

    async def end(self, topic: str, partition: int) -> int:
        tp = TopicPartition(topic, partition)
        high: int = (await self._latest.end_offsets([tp]))[tp]
        told = time.monotonic()
        while True:
            stable: int = (await self._consumer.end_offsets([tp]))[tp]
            if stable >= high:
                return stable
            if time.monotonic() - told > _HANGING_SECONDS:
                told = time.monotonic()
                log.warning(
                    "a transaction is open for longer than its time-out allows; nothing behind it can be read or "
                    "counted. Which versions of Kafka forget transactions, and how to end one: docs/exactness.md",
                    topic=topic,
                    partition=partition,
                    open_at_offset=stable,
                )
            await asyncio.sleep(_STABLE_SECONDS)

    async def read(self, topic: str, partition: int, end: int) -> AsyncIterator[Sequence[ConsumerRecord]]:
        consumer, tp = self._consumer, TopicPartition(topic, partition)
        consumer.assign([tp])
        await consumer.seek_to_beginning(tp)
        while await consumer.position(tp) < end:
            for records in (await consumer.getmany(tp, timeout_ms=200)).values():
                if records[-1].offset < end:
                    yield records
                else:
                    yield [record for record in records if record.offset < end]
