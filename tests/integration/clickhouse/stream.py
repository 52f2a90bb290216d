"""Records as the worker writes them, and a sink that runs inside the test."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from tests.waiting import eventually

from tollgate.runtime.kafka import client_options
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import TOPIC_SPECS, Topic
from tollgate.sinks.clickhouse import ClickHouseSink, connect
from tollgate.sinks.clickhouse.batch import BatchPolicy
from tollgate.sinks.clickhouse.rows import TOPICS
from tollgate.sinks.clickhouse.writer import RetryPolicy

# Tests do not wait for ClickHouse as patiently as production does.
IMPATIENT = RetryPolicy(first_seconds=0.05, seconds_max=0.3)


@dataclass(frozen=True)
class Outgoing:
    """One record to publish."""

    topic: Topic
    key: bytes
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


def priced(number: int, users: int = 5, **changes: Any) -> Outgoing:
    """A priced event of the user `u-<number mod users>` that cost 0.25 USD, ids `e-000000` upwards."""
    user = f"u-{number % users}"
    value = {
        "event_id": f"e-{number:06d}",
        "source": "chat-api",
        "time": f"2026-11-21T10:{number // 60 % 60:02d}:{number % 60:02d}.123Z",
        "kind": "usage",
        "user": user,
        "provider": "openai",
        "model": "gpt-4o",
        "status": "success",
        "usage": {"input_tokens": 100},
        "cost_usd": "0.25",
        "retail_usd": "0.5",
        "price_id": "openai/gpt-4o@2024-10-01#0a1b2c3d",
        "price_status": "priced",
        "source_partition": 0,
        "source_offset": number,
        "version": 1,
        "metadata": {},
    } | changes
    return Outgoing(Topic.PRICED, user.encode(), json.dumps(value).encode())


def record(topic: Topic, key: str, value: dict[str, Any] | None) -> Outgoing:
    """A record with a JSON value, or a tombstone."""
    return Outgoing(topic, key.encode(), None if value is None else json.dumps(value).encode())


async def publish(settings: Settings, *records: Outgoing, abort: bool = False) -> None:
    """Write the records in one transaction, then commit or abort it."""
    producer = AIOKafkaProducer(
        **client_options(settings),
        transactional_id=f"{settings.application}-test",
        max_request_size=8 << 20,
    )
    await producer.start()
    try:
        await producer.begin_transaction()
        sent = [await producer.send(settings.topic(r.topic), r.value, r.key, headers=list(r.headers)) for r in records]
        await asyncio.gather(*sent)
        if abort:
            await producer.abort_transaction()
        else:
            await producer.commit_transaction()
    finally:
        await producer.stop()


@asynccontextmanager
async def sink(
    settings: Settings, policy: BatchPolicy | None = None, retry: RetryPolicy = IMPATIENT
) -> AsyncIterator[asyncio.Task[None]]:
    """A sink that runs until the end of the block and then stops as on SIGTERM."""
    stop = asyncio.Event()
    task = asyncio.create_task(ClickHouseSink(settings, stop=stop, policy=policy, retry=retry).serve())
    try:
        yield task
    finally:
        stop.set()
        await task


def query(settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    """Rows of a query in the test's database."""
    client = connect(settings)
    try:
        return [tuple(row) for row in client.query(sql).result_rows]
    finally:
        client.close()


async def shows(settings: Settings, sql: str, expected: list[tuple[Any, ...]], seconds: float = 30) -> None:
    """Wait until the query answers with the expected rows."""
    last: list[tuple[Any, ...]] = []

    async def answers() -> bool:
        last[:] = await asyncio.to_thread(query, settings, sql)
        return last == expected

    try:
        await eventually(answers, seconds, sql)
    except AssertionError:
        pytest.fail(f"{sql}\nanswers {last}\nnot     {expected}")


async def committed_and_end(settings: Settings) -> tuple[dict[str, int], dict[str, int]]:
    """The group's offsets and the last stable ones, of partitions that are not empty, by `topic/partition`."""
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        group_id=f"{settings.application}-sink-clickhouse",
        isolation_level="read_committed",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        partitions = [
            TopicPartition(settings.topic(spec.topic), number)
            for spec in TOPIC_SPECS
            if spec.topic in TOPICS
            for number in range(spec.partitions)
        ]
        consumer.assign(partitions)
        ends = {tp: end for tp, end in (await consumer.end_offsets(partitions)).items() if end}
        offsets = {tp: await consumer.committed(tp) or 0 for tp in ends}
    finally:
        await consumer.stop()
    prefix = len(settings.topic_prefix)
    return (
        {f"{tp.topic[prefix:]}/{tp.partition}": offset for tp, offset in offsets.items()},
        {f"{tp.topic[prefix:]}/{tp.partition}": end for tp, end in ends.items()},
    )


async def everything_committed(settings: Settings, seconds: float = 30) -> None:
    """Wait until the group has nothing left to read, transaction markers included."""

    async def caught_up() -> bool:
        offsets, ends = await committed_and_end(settings)
        return bool(ends) and offsets == ends

    await eventually(caught_up, seconds, "a lag of zero")
