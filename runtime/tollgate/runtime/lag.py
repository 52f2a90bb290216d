"""How far behind every consumer group of an installation is."""

import asyncio
import time
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from tollgate.runtime.kafka import client_options
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic

# Topics of each consumer group, by the group's suffix after the application's name. The worker recovers from its own
# state topics; it commits offsets to its group only so that lag can be measured.
GROUP_TOPICS: Mapping[str, tuple[Topic, ...]] = {
    "": (Topic.USAGE, Topic.ENTRIES, Topic.DELTAS),
    "-sink-clickhouse": (
        Topic.PRICED,
        Topic.ENTRIES,
        Topic.SPEND,
        Topic.FLAGS,
        Topic.ALERTS,
        Topic.DECISIONS,
        Topic.BALANCES,
        Topic.CONTROL,
        Topic.AUDIT,
        Topic.DEAD_LETTERS,
    ),
    "-sink-alerts": (Topic.ALERTS,),
}

_COORDINATOR_SECONDS_MAX = 10

Offsets = dict[TopicPartition, int]


async def consumer_lag(settings: Settings) -> dict[str, dict[str, int]]:
    """Records behind, by group and topic: `partition_lag` summed up. Raises KafkaError."""
    by_group = await partition_lag(settings)
    return {
        group: {topic: sum(behind.values()) for topic, behind in topics.items()} for group, topics in by_group.items()
    }


async def partition_lag(settings: Settings) -> dict[str, dict[str, dict[int, int]]]:
    """Records behind, by group, topic and partition: 0 only when every committed record has been consumed.

    Above 0 it is the distance in offsets, in which transaction markers count too, so it may be a little high. A group
    that never committed is behind by all that is kept; a topic that does not exist is absent. Raises KafkaError.
    """
    consumer = AIOKafkaConsumer(
        **client_options(settings), isolation_level="read_committed", enable_auto_commit=False, group_id=None
    )
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        await consumer.start()
        await admin.start()
        existing = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
        found: dict[str, dict[str, dict[int, int]]] = {}
        for suffix, topics in GROUP_TOPICS.items():
            group = settings.application + suffix
            names = [name for name in map(settings.topic, topics) if name in existing]
            partitions = [TopicPartition(name, number) for name in names for number in range(existing[name])]
            behind = await _behind(consumer, partitions, await _committed(admin, group))
            found[group] = {name: {tp.partition: n for tp, n in behind.items() if tp.topic == name} for name in names}
        return found
    finally:
        await admin.close()
        await consumer.stop()


async def _committed(admin: AIOKafkaAdminClient, group: str) -> Offsets:
    # The first question about a group makes Kafka's own topic of offsets, which takes a moment.
    deadline = time.monotonic() + _COORDINATOR_SECONDS_MAX
    while True:
        try:
            committed = await admin.list_consumer_group_offsets(group)
            break
        except GroupCoordinatorNotAvailableError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
    return {tp: entry.offset for tp, entry in committed.items() if entry.offset >= 0}


async def _behind(consumer: AIOKafkaConsumer, partitions: list[TopicPartition], committed: Offsets) -> Offsets:
    begins = await consumer.beginning_offsets(partitions)
    ends = await consumer.end_offsets(partitions)
    starts = {tp: max(committed.get(tp, 0), begins[tp]) for tp in partitions}
    gaps = {tp: ends[tp] - starts[tp] for tp in partitions if ends[tp] > starts[tp]}
    # A transaction ends with a marker, so a group that has read everything is one offset short of the end. Reading the
    # gap shows whether it has a record.
    empty = await _without_records(consumer, {tp: starts[tp] for tp in gaps}, ends)
    return {tp: 0 if tp in empty else gaps.get(tp, 0) for tp in partitions}


async def _without_records(consumer: AIOKafkaConsumer, starts: Offsets, ends: Offsets) -> set[TopicPartition]:
    empty: set[TopicPartition] = set()
    waiting = set(starts)
    if not waiting:
        return empty
    consumer.assign(list(waiting))
    for tp, start in starts.items():
        consumer.seek(tp, start)
    while waiting:
        waiting -= set(await consumer.getmany(*waiting, timeout_ms=100, max_records=1))
        for tp in list(waiting):
            if await consumer.position(tp) >= ends[tp]:
                empty.add(tp)
                waiting.remove(tp)
    return empty
