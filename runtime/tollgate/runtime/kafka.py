"""How every process reaches Kafka: client options from the settings, and readers of whole topics."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from tollgate.runtime.consumer_stop import stop_without_kafka
from tollgate.runtime.header_names import read_any_header_name
from tollgate.runtime.kafka_security import security_options
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic

log = structlog.get_logger("tollgate.kafka")

_Answer = TypeVar("_Answer")

# A reader asks for the end of a partition on the connection that already carries its fetch, and the broker answers in
# order. With the default wait, each empty or finished partition would cost half a second.
END_WAIT_MS = 20

# A consumer may join its group before a restarted broker knows the topics, and then gets no partition. It asks again
# only when its metadata is this old; aiokafka's default is five minutes.
METADATA_MAX_AGE_MS = 10_000

# The one transactional id of all writers of the control topic is the application's name and this.
CONTROL_WRITER = "-control"

# Waiting for a broker starts at half a second and never exceeds this between two attempts.
_BACKOFF_SECONDS_MAX = 10.0


def client_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments that aiokafka's consumer, producer and admin client share: addresses and security.

    Every consumer is made with these options, so the two fixes for aiokafka's consumers are applied here:
    `header_names` and `consumer_stop`.
    """
    read_any_header_name()
    stop_without_kafka()
    return {"bootstrap_servers": settings.kafka_bootstrap_servers, **security_options(settings)}


async def read_to_end(
    settings: Settings, topic: str, partitions: list[int] | None = None
) -> AsyncIterator[ConsumerRecord]:
    """Every committed record of the topic up to its end as of the call, partition by partition in offset order.

    Ends by position, not by the last record seen: compaction and transaction markers leave holes in the offsets.
    """
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        isolation_level="read_committed",
        enable_auto_commit=False,
        max_poll_records=5000,
        fetch_max_wait_ms=END_WAIT_MS,
    )
    await consumer.start()
    try:
        if partitions is None:
            partitions = sorted(await _partitions(consumer, topic))
        for partition in partitions:
            tp = TopicPartition(topic, partition)
            consumer.assign([tp])
            await consumer.seek_to_beginning(tp)
            end = (await consumer.end_offsets([tp]))[tp]
            while await consumer.position(tp) < end:
                for records in (await consumer.getmany(tp, timeout_ms=200)).values():
                    for record in records:
                        yield record
    finally:
        await consumer.stop()


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    await consumer._client.force_metadata_update()  # noqa: SLF001 # aiokafka has no public call that refreshes metadata
    await consumer.topics()
    return consumer.partitions_for_topic(topic) or set()


async def read_compacted(settings: Settings, topic: str) -> dict[str, bytes]:
    """The latest value of each key of a compacted topic; keys whose last record is a tombstone are absent."""
    latest: dict[str, bytes] = {}
    async for record in read_to_end(settings, topic):
        key = (record.key or b"").decode("utf-8", "replace")
        if record.value is None:
            latest.pop(key, None)
        else:
            latest[key] = record.value
    return latest


class _MissingError(Exception):
    """Topics are not there yet."""


async def wait_for_topics(settings: Settings, topics: Iterable[Topic]) -> None:
    """Return once Kafka answers and has these topics; until then try again with growing pauses and say why."""
    wanted = {settings.topic(topic) for topic in topics}

    async def look() -> None:
        missing = wanted - await _existing_topics(settings)
        if missing:
            raise _MissingError(f"topics are missing: {', '.join(sorted(missing))}; run `tollgate topics apply`")

    await once_kafka_answers(settings, look)


async def once_kafka_answers(settings: Settings, ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """What `ask` returns once it does not raise KafkaError or OSError; until then try again with growing pauses and
    say why.
    """
    pause = 0.5
    while True:
        try:
            return await ask()
        except _MissingError as missing:
            problem = str(missing)
        except (KafkaError, OSError) as error:
            problem = f"Kafka cannot be reached at {settings.kafka_bootstrap_servers}: {error!r}"
        log.warning("waiting for Kafka", problem=problem, retry_in_seconds=round(pause, 1))
        # Jitter, so that many processes do not retry at the same moment.
        await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 # not for secrets
        pause = min(pause * 2, _BACKOFF_SECONDS_MAX)


async def _existing_topics(settings: Settings) -> set[str]:
    admin = AIOKafkaAdminClient(**client_options(settings), request_timeout_ms=10_000)
    await admin.start()
    try:
        return set(await admin.list_topics())
    finally:
        await admin.close()
