"""Read topics to their end as of now, whole or the last records, within a bounded wait."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata

from tollgate.runtime.errors import KafkaUnreachableError
from tollgate.runtime.kafka import client_options
from tollgate.runtime.reaching import REACH_SECONDS_MAX, reaching_kafka, unreachable_kafka
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic

_POLL_MS = 500
# Compacted topics of millions of keys are read in large strides.
_FETCH_BYTES_MAX = 4 * 1024 * 1024


async def ask_kafka(settings: Settings) -> ClusterMetadata:
    """The brokers and topics of the cluster. KafkaUnreachableError when Kafka does not answer within 10 s.

    Clients wait far longer by themselves, so a command asks this first.
    """
    async with reaching_kafka(settings):
        client = AIOKafkaClient(**client_options(settings))
        try:
            async with asyncio.timeout(REACH_SECONDS_MAX):
                await client.bootstrap()
                return await client.fetch_all_metadata()
        finally:
            await client.close()


async def partitions_of(settings: Settings, topic: Topic) -> list[int]:
    """The topic's partitions. KafkaUnreachableError when Kafka does not answer within 10 s or has no such topic.

    Never creates the topic, as asking for it by name would on a broker that creates topics by itself.
    """
    found: set[int] | None = (await ask_kafka(settings)).partitions_for_topic(settings.topic(topic))
    if not found:
        raise KafkaUnreachableError(
            f"Kafka at {settings.kafka_bootstrap_servers} has no topic {settings.topic(topic)}: create the topics with "
            "`tollgate topics apply`."
        )
    return sorted(found)


async def offset_ranges(settings: Settings, topic: Topic) -> dict[int, tuple[int, int]]:
    """By partition the offset of the first record and that after the last committed one. KafkaUnreachableError."""
    tps = [TopicPartition(settings.topic(topic), partition) for partition in await partitions_of(settings, topic)]
    consumer = AIOKafkaConsumer(**client_options(settings), isolation_level="read_committed", enable_auto_commit=False)
    async with reaching_kafka(settings):
        try:
            async with asyncio.timeout(REACH_SECONDS_MAX):
                await consumer.start()
                begins, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        finally:
            await consumer.stop()
    return {tp.partition: (begins[tp], ends[tp]) for tp in tps}


async def read_batches(
    settings: Settings,
    topic: Topic,
    *,
    partitions: list[int] | None = None,
    last: int | None = None,
    between: tuple[int, int] | None = None,
    since_ms: int | None = None,
) -> AsyncIterator[list[ConsumerRecord]]:
    """Every committed record from the beginning (or about the `last` of each partition) to the end as of the call.

    `between` cuts that down to a half-open range of offsets, `since_ms` to what the log has from that time on.

    Within a partition in offset order. KafkaUnreachableError when Kafka is away or falls silent for 10 s.
    """
    existing = await partitions_of(settings, topic)
    wanted = existing if partitions is None else [partition for partition in partitions if partition in existing]
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        isolation_level="read_committed",
        enable_auto_commit=False,
        max_partition_fetch_bytes=_FETCH_BYTES_MAX,
    )
    async with reaching_kafka(settings):
        try:
            async with asyncio.timeout(REACH_SECONDS_MAX):
                await consumer.start()
                tps = [TopicPartition(settings.topic(topic), partition) for partition in wanted]
                consumer.assign(tps)
                begins = await consumer.beginning_offsets(tps)
                ends = await consumer.end_offsets(tps)
                if since_ms is not None:
                    later = await consumer.offsets_for_times(dict.fromkeys(tps, since_ms))
                    begins = {tp: found.offset if (found := later[tp]) else ends[tp] for tp in tps}
            for tp in tps if between is not None else ():
                assert between is not None
                begins[tp] = max(begins[tp], between[0])
                ends[tp] = min(ends[tp], between[1])
            for tp in tps:
                consumer.seek(tp, begins[tp] if last is None else max(begins[tp], ends[tp] - last))
            async for batch in _to_ends(settings, consumer, ends):
                yield batch
        finally:
            await consumer.stop()


async def _to_ends(
    settings: Settings, consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]
) -> AsyncIterator[list[ConsumerRecord]]:
    """By position, not by the last record seen: compaction and transaction markers leave holes in the offsets."""
    open_partitions = dict(ends)
    moved_at, positions = time.monotonic(), -1
    while True:
        for tp, end in list(open_partitions.items()):
            if await consumer.position(tp) >= end:
                del open_partitions[tp]
                consumer.pause(tp)
        if not open_partitions:
            return
        found = await consumer.getmany(*open_partitions, timeout_ms=_POLL_MS, max_records=10_000)
        for tp, records in found.items():
            # Records that arrived after the call are left out.
            yield [record for record in records if record.offset < ends[tp]]
        now = sum([await consumer.position(tp) for tp in open_partitions])
        if now != positions:
            moved_at, positions = time.monotonic(), now
        elif time.monotonic() - moved_at > REACH_SECONDS_MAX:
            raise unreachable_kafka(settings)


async def read_latest(
    settings: Settings,
    topic: Topic,
    wanted: Callable[[bytes], bool] = lambda _key: True,
    *,
    partitions: list[int] | None = None,
) -> dict[str, bytes]:
    """The latest value of each wanted key of a compacted topic; removed keys are absent."""
    latest: dict[bytes, bytes] = {}
    async for batch in read_batches(settings, topic, partitions=partitions):
        for record in batch:
            key = record.key or b""
            if not wanted(key):
                continue
            if record.value is None:
                latest.pop(key, None)
            else:
                latest[key] = record.value
    return {key.decode("utf-8", "replace"): value for key, value in latest.items()}


async def read_one(settings: Settings, topic: Topic, partition: int, offset: int) -> ConsumerRecord | None:
    """The committed record at this offset; None when there is none (any more)."""
    if partition not in await partitions_of(settings, topic):
        return None
    found = None
    async for batch in read_batches(settings, topic, partitions=[partition], between=(offset, offset + 1)):
        found = next(iter(batch), found)
    return found
