"""Running a verification in a test, and falsifying what it reads."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer

from tollgate.runtime.kafka import client_options, read_compacted, read_to_end
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic
from tollgate.verification import Check, Report, verify


async def write(
    settings: Settings, topic: Topic, key: bytes, value: bytes | None, partition: int | None = None
) -> None:
    async with AIOKafkaProducer(**client_options(settings)) as producer:
        await producer.send_and_wait(settings.topic(topic), value, key=key, partition=partition)


async def check(
    settings: Settings, *, clickhouse: bool = False, wait_seconds: float = 1, processes: int | None = None
) -> Report:
    return await verify(
        settings,
        wait_seconds,
        clickhouse=clickhouse,
        progress=lambda _what, _done, _total: None,
        processes=processes,
    )


def wrong(report: Report) -> dict[str, str]:
    """What differs, by check."""
    return {found.name: found.difference for found in report.checks if not found.ok}


def named(report: Report, name: str) -> Check:
    return next(found for found in report.checks if found.name == name)


async def places(settings: Settings, topic: Topic) -> dict[str, int]:
    """The partition of each key."""
    return {(r.key or b"").decode(): r.partition async for r in read_to_end(settings, settings.topic(topic))}


@asynccontextmanager
async def replaced(settings: Settings, topic: Topic, key: str, **changes: Any) -> AsyncIterator[None]:
    """The latest value of the key says something else while the block runs."""
    found = await read_compacted(settings, settings.topic(topic))
    partition = (await places(settings, topic))[key]
    await write(settings, topic, key.encode(), json.dumps(json.loads(found[key]) | changes).encode(), partition)
    try:
        yield
    finally:
        await write(settings, topic, key.encode(), found[key], partition)
