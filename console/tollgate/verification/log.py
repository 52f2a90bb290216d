"""Reading Kafka for a verification: where topics end, how far groups are, whole partitions."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Final, Self

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

_FETCH_MS: Final = 100
_RECORDS_MAX: Final = 5_000


class Log:
    """A connection for looking only: committed records, no group. Raises what aiokafka raises."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._open = AsyncExitStack()
        self._consumer: AIOKafkaConsumer
        self._uncommitted: AIOKafkaConsumer
        self._admin: AIOKafkaAdminClient
        self._idle: list[AIOKafkaConsumer] = []
        self._partitions: dict[Topic, list[int]] = {}

    async def __aenter__(self) -> Self:
        await self._open.__aenter__()
        try:
            self._consumer = await self._open.enter_async_context(self._new_consumer())
            self._uncommitted = await self._open.enter_async_context(self._new_consumer("read_uncommitted"))
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

    async def exists(self, topic: Topic) -> bool:
        """Whether there is such a topic: an installation of a release before may lack it."""
        try:
            return bool(await self.partitions(topic))
        except UnknownTopicOrPartitionError:
            return False

    async def begins(self, topic: Topic) -> Offsets:
        """The first offset that each partition still has."""
        tps = await self._topic_partitions(topic)
        return {tp.partition: offset for tp, offset in (await self._consumer.beginning_offsets(tps)).items()}

    async def ends(self, topic: Topic) -> Offsets:
        """Where the committed records of each partition end now."""
        tps = await self._topic_partitions(topic)
        return {tp.partition: offset for tp, offset in (await self._consumer.end_offsets(tps)).items()}

    async def tips(self, topic: Topic) -> Offsets:
        """Where all records of each partition end now, those of transactions under way included.

        A transaction's marker may reach one partition later than another. But once the transaction is seen as committed
        in one partition, all its records lie before the tips of the others.
        """
        tps = await self._topic_partitions(topic)
        return {tp.partition: offset for tp, offset in (await self._uncommitted.end_offsets(tps)).items()}

    async def committed(self, group: str, topic: Topic) -> Offsets:
        """The offset at which the group continues to read, 0 where it has not begun."""
        tps = await self._topic_partitions(topic)
        try:
            found = await self._admin.list_consumer_group_offsets(group, partitions=tps)
        except (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError):
            # A broker that has just started does not know yet what groups have read.
            found = {}
        return {tp.partition: max(found[tp].offset if tp in found else 0, 0) for tp in tps}

    async def behind(self, topic: Topic, at: Mapping[int, int], ends: Mapping[int, int]) -> Offsets:
        """How many offsets lie between `at` and `ends`, for the partitions where there is a record among them.

        A transaction's markers have offsets too, and a group stops short of them, so the gap is searched for a record.
        """
        tps = await self._topic_partitions(topic)
        unread = {tp for tp in tps if at.get(tp.partition, 0) < ends[tp.partition]}
        self._consumer.assign(list(unread))
        for tp in unread:
            self._consumer.seek(tp, at.get(tp.partition, 0))
        found: Offsets = {}
        while unread:
            fetched = await self._consumer.getmany(*unread, timeout_ms=_FETCH_MS)
            for tp in list(unread):
                end = ends[tp.partition]
                if any(record.offset < end for record in fetched.get(tp, ())):
                    found[tp.partition] = end - at.get(tp.partition, 0)
                    unread.discard(tp)
                elif await self._consumer.position(tp) >= end:
                    unread.discard(tp)
        return found

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
    async def _new_consumer(self, isolation: str = "read_committed") -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            **client_options(self.settings),
            isolation_level=isolation,
            enable_auto_commit=False,
            max_partition_fetch_bytes=8 << 20,
            fetch_max_wait_ms=20,
        )
        try:
            await consumer.start()
            yield consumer
        finally:
            await consumer.stop()
