"""Write to Kafka: acknowledged by all replicas, once each, within a bounded wait."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from tollgate.runtime.errors import KafkaUnreachableError
from tollgate.runtime.kafka import client_options
from tollgate.runtime.reaching import REACH_SECONDS_MAX, reaching_kafka
from tollgate.runtime.settings import Settings
from tollgate.runtime.topic_reading import partitions_of
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import Topic

# One request carries this much per partition; larger ones gain nothing against a broker on the same machine.
_BATCH_BYTES_MAX: Final = 256 * 1024
# Batches that wait for their acknowledgement; with the size it bounds memory at 16 MiB.
_BATCHES_IN_FLIGHT_MAX: Final = 64
_REMEMBERED_KEYS_MAX: Final = 100_000

Headers = list[tuple[str, bytes]]
_NO_HEADERS: Final[Headers] = []


class TopicWriter:
    """Appends records to batches of their key's partition (murmur2) and sends full ones; `flush` sends the rest.

    Records of one key stay in order. `acknowledged` counts what Kafka has confirmed.
    """

    def __init__(self, settings: Settings, producer: AIOKafkaProducer, topic: str, partitions: int) -> None:
        self._settings = settings
        self._producer = producer
        self._topic = topic
        self._partitions = partitions
        self._partition_by_key: dict[bytes, int] = {}
        self._batches: dict[int, Any] = {}
        self._in_flight: deque[tuple[asyncio.Future[Any], int]] = deque()
        self.acknowledged = 0

    async def write(self, key: bytes | None, value: bytes | None, headers: Headers = _NO_HEADERS) -> None:
        """Add one record; waits only when too much is on its way. A record without key goes to partition 0."""
        partition = self._partition_by_key.get(key, -1) if key is not None else 0
        if partition < 0:
            assert key is not None
            if len(self._partition_by_key) >= _REMEMBERED_KEYS_MAX:
                self._partition_by_key.clear()
            partition = self._partition_by_key[key] = partition_of(key, self._partitions)
        batch = self._batches.get(partition)
        if batch is None:
            batch = self._batches[partition] = self._producer.create_batch()
        if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
            await self._send(partition)
            batch = self._batches[partition] = self._producer.create_batch()
            if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                raise AssertionError("an empty batch takes any record that a topic of ours accepts")

    async def flush(self) -> None:
        """Send what is left and wait until everything is acknowledged."""
        for partition in list(self._batches):
            await self._send(partition)
        while self._in_flight:
            await self._take_oldest()

    async def _send(self, partition: int) -> None:
        batch = self._batches.pop(partition)
        while self._in_flight and (len(self._in_flight) >= _BATCHES_IN_FLIGHT_MAX or self._in_flight[0][0].done()):
            await self._take_oldest()
        sending = self._producer.send_batch(batch, self._topic, partition=partition)
        self._in_flight.append((await self._in_time(sending), batch.record_count()))
        # The caller may never await anything else, and the producer needs the event loop to send.
        await asyncio.sleep(0)

    async def _take_oldest(self) -> None:
        future, records = self._in_flight.popleft()
        await self._in_time(future)
        self.acknowledged += records

    async def _in_time(self, awaited: Any) -> Any:
        try:
            return await asyncio.wait_for(awaited, REACH_SECONDS_MAX)
        except TimeoutError:
            address = self._settings.kafka_bootstrap_servers
            raise KafkaUnreachableError(
                f"Kafka at {address} stopped answering after {self.acknowledged} records: run the same command again "
                "once it is back; what has arrived is not counted twice."
            ) from None


@asynccontextmanager
async def open_writer(settings: Settings, topic: Topic) -> AsyncIterator[TopicWriter]:
    """A writer to the topic, flushed at the end. KafkaUnreachableError when Kafka is away or lacks the topic."""
    partitions = len(await partitions_of(settings, topic))
    async with reaching_kafka(settings):
        producer = AIOKafkaProducer(
            **client_options(settings),
            enable_idempotence=True,
            acks="all",
            compression_type="lz4",
            max_batch_size=_BATCH_BYTES_MAX,
            request_timeout_ms=int(REACH_SECONDS_MAX * 1000),
            retry_backoff_ms=50,
        )
        async with asyncio.timeout(REACH_SECONDS_MAX):
            await producer.start()
        try:
            writer = TopicWriter(settings, producer, settings.topic(topic), partitions)
            yield writer
            await writer.flush()
        finally:
            # A normal stop would wait for a broker that is gone. Records without acknowledgement were already reported.
            with suppress(TimeoutError):
                await asyncio.wait_for(producer.stop(), 2)
