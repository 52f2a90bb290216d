"""Recorded events to Kafka, in batches that are built here: event by event aiokafka takes several times as long."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import Topic, topic_name
from tollgate.sdk.segment import Events
from tollgate.sdk.sending import RefusedEvent, TroubleError

log = logging.getLogger("tollgate.sdk")

_START_SECONDS_MAX: Final = 10.0
# An answer that does not come in this time is trouble worth telling of; the producer goes on trying.
_STORE_SECONDS_MAX: Final = 30.0
_STOP_SECONDS_MAX: Final = 0.3
# Half of what brokers accept unless they are told otherwise.
_BATCH_BYTES_MAX: Final = 512 * 1024
_BATCH_BYTES_MIN: Final = 72 * 1024
# murmur2 in Python takes as long as the rest of an event; most events are of users that were seen.
_USERS_MAX: Final = 100_000
_METADATA_SECONDS: Final = 60.0


class KafkaSender:
    """See `Sender`. An idempotent producer that waits for all replicas; a user's events go to one partition.

    One request of batches is on its way at a time, so that a user's events are stored in their order.
    """

    events_max = 4000
    bytes_max = 2 * 1024 * 1024

    def __init__(self, bootstrap_servers: str, topic_prefix: str, options: Mapping[str, Any]) -> None:
        self._topic = topic_name(Topic.USAGE, topic_prefix)
        self._options = {
            "request_timeout_ms": 10_000,
            **options,
            "bootstrap_servers": bootstrap_servers,
            "acks": "all",
            "enable_idempotence": True,
            # Batches come here whole.
            "linger_ms": 0,
        }
        self._batch_bytes_max = _BATCH_BYTES_MAX
        self._producer: AIOKafkaProducer | None = None
        self._partitions: list[int] = []
        self._partitions_due = 0.0
        self._partition_of_user: dict[str, int] = {}

    async def send(self, events: Events) -> Sequence[RefusedEvent]:
        producer = await self._connected()
        try:
            async with asyncio.timeout(_STORE_SECONDS_MAX):
                await self._see_partitions(producer)
                return await self._store(producer, events)
        except (MessageSizeTooLargeError, RecordListTooLargeError):
            return await self._with_smaller_batches(events)
        except (KafkaError, OSError, TimeoutError) as error:
            await self.close()
            raise TroubleError(f"Kafka did not confirm usage events: {type(error).__name__}") from error

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)

    async def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(**self._options, max_batch_size=self._batch_bytes_max)
            try:
                await _start(producer)
            except (KafkaError, OSError, TimeoutError) as error:
                await _stop(producer)
                raise TroubleError(f"Kafka cannot be reached: {type(error).__name__}") from error
            except BaseException:
                await _stop(producer)
                raise
            self._producer = producer
            self._partitions_due = 0.0
        return self._producer

    async def _see_partitions(self, producer: AIOKafkaProducer) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._partitions_due:
            return
        # Asking for one topic by name may create it; the list of all does not.
        cluster = await producer.client.fetch_all_metadata()
        partitions = sorted(cluster.partitions_for_topic(self._topic) or ())
        if not partitions:
            raise TroubleError(f"there is no topic {self._topic}: run `tollgate topics apply`")
        if partitions != self._partitions:
            self._partitions = partitions
            self._partition_of_user.clear()
        self._partitions_due = now + _METADATA_SECONDS

    async def _store(self, producer: AIOKafkaProducer, events: Events) -> Sequence[RefusedEvent]:
        confirmed: list[asyncio.Future[Any]] = []
        try:
            await self._hand_over(producer, events, confirmed)
            await asyncio.gather(*confirmed)
        except BaseException:
            for waiting in confirmed:
                waiting.cancel()
            raise
        return ()

    async def _hand_over(
        self, producer: AIOKafkaProducer, events: Events, confirmed: list["asyncio.Future[Any]"]
    ) -> None:
        builders: dict[int, Any] = {}
        known = self._partition_of_user
        for user, value in events:
            partition = known.get(user)
            if partition is None:
                partition = self._learn(user)
            builder = builders.get(partition)
            if builder is None:
                builder = builders[partition] = producer.create_batch()
            key = user.encode()
            if builder.append(key=key, value=value, timestamp=None) is None:
                confirmed.append(await producer.send_batch(builder, self._topic, partition=partition))
                builder = builders[partition] = producer.create_batch()
                if builder.append(key=key, value=value, timestamp=None) is None:
                    raise MessageSizeTooLargeError
        for partition, builder in builders.items():
            confirmed.append(await producer.send_batch(builder, self._topic, partition=partition))

    def _learn(self, user: str) -> int:
        if len(self._partition_of_user) >= _USERS_MAX:
            self._partition_of_user.clear()
        found = self._partitions[partition_of(user.encode(), len(self._partitions))]
        self._partition_of_user[user] = found
        return found

    async def _with_smaller_batches(self, events: Events) -> Sequence[RefusedEvent]:
        """For a broker that takes less than usual. What it does not take alone is refused."""
        await self.close()
        if self._batch_bytes_max > _BATCH_BYTES_MIN:
            self._batch_bytes_max = max(_BATCH_BYTES_MIN, self._batch_bytes_max // 2)
            log.warning("Kafka takes smaller batches than usual; they are at most %d bytes now", self._batch_bytes_max)
            return await self.send(events)
        if len(events) == 1:
            return [RefusedEvent(0, "Kafka takes no record of this size: raise message.max.bytes of the topic")]
        half = len(events) // 2
        first = await self.send(events[:half])
        second = await self.send(events[half:])
        return [*first, *(RefusedEvent(refused.place + half, refused.error) for refused in second)]


async def _start(producer: AIOKafkaProducer) -> None:
    """Connect a producer. When it is cancelled it lets aiokafka come to an end, which leaves connections open else."""
    starting = asyncio.ensure_future(producer.start())
    try:
        await asyncio.wait([starting], timeout=_START_SECONDS_MAX)
    except asyncio.CancelledError:
        await _ends(starting)
        raise
    if not starting.done():
        raise TimeoutError
    starting.result()


async def _stop(producer: AIOKafkaProducer) -> None:
    """End a producer in bounded time, also when Kafka is away and it would wait for it."""
    stopping = asyncio.ensure_future(producer.stop())
    if not await _ends(stopping):
        # Its requests end with their connections.
        with suppress(KafkaError, OSError):
            await producer.client.close()
        stopping.cancel()
        await _ends(stopping)


async def _ends(work: "asyncio.Future[None]") -> bool:
    """Whether it ends in time, also while its caller is cancelled, again and again. Its error is nobody's concern."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _STOP_SECONDS_MAX
    while not work.done() and loop.time() < deadline:
        with suppress(asyncio.CancelledError):
            await asyncio.wait([work], timeout=deadline - loop.time())
    if work.done() and not work.cancelled():
        work.exception()
    return work.done()
