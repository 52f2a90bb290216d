"""Reading Kafka for a verification: where topics end, how far groups are, whole partitions, latest values by key."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
    UnknownTopicOrPartitionError,
)

from tollgate.runtime.kafka import client_options
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic

Offsets = dict[int, int]
Value = TypeVar("Value")

_FETCH_MS: Final = 100
_RECORDS_MAX: Final = 5_000


class Log:
    """A connection for looking only: committed records, no group. Raises what aiokafka raises."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._open = AsyncExitStack()
        self._consumer: AIOKafkaConsumer
        self._admin: AIOKafkaAdminClient
        self._idle: list[AIOKafkaConsumer] = []
        self._partitions: dict[Topic, list[int]] = {}

    async def __aenter__(self) -> Self:
        await self._open.__aenter__()
        try:
            self._consumer = await self._open.enter_async_context(self._new_consumer())
            self._admin = AIOKafkaAdminClient(**client_options(self.settings))
            self._open.push_async_callback(self._admin.close)
            await self._admin.start()
        except BaseException:
            await self._open.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    async def partitions(self, topic: Topic) -> list[int]:
        """The topic's partitions. UnknownTopicOrPartitionError when there is no such topic."""
        if topic not in self._partitions:
            name = self.settings.topic(topic)
            (found,) = await self._admin.describe_topics([name])
            if found["error_code"]:
                raise UnknownTopicOrPartitionError(f"the topic {name} is missing: run `tollgate topics apply`")
            self._partitions[topic] = sorted(partition["partition"] for partition in found["partitions"])
        return self._partitions[topic]

    async def begins(self, topic: Topic) -> Offsets:
        """The first offset that each partition still has."""
        tps = await self._topic_partitions(topic)
        return {tp.partition: offset for tp, offset in (await self._consumer.beginning_offsets(tps)).items()}

    async def ends(self, topic: Topic) -> Offsets:
        """Where the committed records of each partition end now."""
        tps = await self._topic_partitions(topic)
        return {tp.partition: offset for tp, offset in (await self._consumer.end_offsets(tps)).items()}

    async def lag(self, group: str, topic: Topic, ends: Mapping[int, int]) -> Offsets:
        """How many offsets the group has still to read before `ends`, for the partitions where there is a record left.

        A transaction's markers have offsets too, and nobody commits past them, so the last record is looked for.
        """
        tps = await self._topic_partitions(topic)
        try:
            committed = await self._admin.list_consumer_group_offsets(group, partitions=tps)
        except (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError):
            # A young or just restarted broker does not know yet what groups have read.
            committed = {}
        at = {tp: max(committed[tp].offset if tp in committed else 0, 0) for tp in tps}
        unread = {tp for tp in tps if at[tp] < ends[tp.partition]}
        self._consumer.assign(list(unread))
        for tp in unread:
            self._consumer.seek(tp, at[tp])
        behind: Offsets = {}
        while unread:
            fetched = await self._consumer.getmany(*unread, timeout_ms=_FETCH_MS)
            for tp in list(unread):
                end = ends[tp.partition]
                if any(record.offset < end for record in fetched.get(tp, ())):
                    behind[tp.partition] = end - at[tp]
                    unread.discard(tp)
                elif await self._consumer.position(tp) >= end:
                    unread.discard(tp)
        return behind

    async def read(self, topic: Topic, partition: int, start: int, end: int) -> AsyncIterator[list[ConsumerRecord]]:
        """The committed records of `[start, end)` of one partition, in batches, in offset order."""
        tp = TopicPartition(self.settings.topic(topic), partition)
        if start >= end:
            return
        # A new connection costs a tenth of a second, and there are many partitions.
        consumer = self._idle.pop() if self._idle else await self._open.enter_async_context(self._new_consumer())
        try:
            consumer.assign([tp])
            consumer.seek(tp, start)
            while await consumer.position(tp) < end:
                fetched = await consumer.getmany(tp, timeout_ms=_FETCH_MS, max_records=_RECORDS_MAX)
                batch = [record for record in fetched.get(tp, ()) if record.offset < end]
                if batch:
                    yield batch
        finally:
            self._idle.append(consumer)

    async def _topic_partitions(self, topic: Topic) -> list[TopicPartition]:
        return [TopicPartition(self.settings.topic(topic), partition) for partition in await self.partitions(topic)]

    @asynccontextmanager
    async def _new_consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            **client_options(self.settings),
            isolation_level="read_committed",
            enable_auto_commit=False,
            max_partition_fetch_bytes=8 << 20,
            fetch_max_wait_ms=20,
        )
        try:
            await consumer.start()
            yield consumer
        finally:
            await consumer.stop()


class Latest(Generic[Value]):
    """The latest value of each key of a compacted topic, decoded, with the partition and offset it was read from."""

    def __init__(self, log: Log, topic: Topic, decode: Callable[[bytes], Value]) -> None:
        self._log = log
        self._topic = topic
        self._decode = decode
        self._next: Offsets = {}
        self.ends: Offsets = {}
        self.values: dict[str, Value] = {}
        self.places: dict[str, tuple[int, int]] = {}
        self.unreadable: list[str] = []

    async def advance(self) -> None:
        """Read on to where the topic ends now."""
        self.ends = await self._log.ends(self._topic)
        if not self._next:
            self._next = await self._log.begins(self._topic)
        await asyncio.gather(*(self._advance(partition, end) for partition, end in self.ends.items()))

    async def _advance(self, partition: int, end: int) -> None:
        async for batch in self._log.read(self._topic, partition, self._next[partition], end):
            for record in batch:
                self._take(record)
        self._next[partition] = max(end, self._next[partition])

    def _take(self, record: ConsumerRecord) -> None:
        key = bytes(record.key or b"").decode("utf-8", "replace")
        if record.value is None:
            self.values.pop(key, None)
            self.places.pop(key, None)
            return
        try:
            self.values[key] = self._decode(record.value)
            self.places[key] = (record.partition, record.offset)
        except (ValueError, KeyError, TypeError) as error:
            self.unreadable.append(f"{key[:80]}: {type(error).__name__}")
