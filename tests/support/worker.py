"""Running workers as processes on a real broker, feeding them, and reading what they wrote."""

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

from aiokafka import AIOKafkaProducer
from pydantic import SecretStr

from tollgate.embedded.children import start_child, stop_child
from tollgate.runtime.kafka import client_options, read_compacted, read_to_end
from tollgate.runtime.settings import Settings
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import Topic

RUN = """
from tollgate.runtime.settings import load_settings
from tollgate.worker import run
raise SystemExit(run(load_settings()))
"""


def environment(settings: Settings, **changes: str) -> dict[str, str]:
    """The process environment that gives a child these settings."""
    given = {
        f"TOLLGATE_{name.upper()}": value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in settings.model_dump(exclude_unset=True).items()
    }
    return {**os.environ, **given, **changes}


def start_worker(settings: Settings, log: Path, worker_id: str = "worker-0") -> "Popen[bytes]":
    """A worker process that logs to the file; the caller stops it."""
    with log.open("ab") as output:
        return start_child([sys.executable, "-c", RUN], output, environment(settings, TOLLGATE_WORKER_ID=worker_id))


@contextmanager
def working(settings: Settings, log: Path, worker_id: str = "worker-0") -> Iterator["Popen[bytes]"]:
    """A worker that runs while the block does."""
    process = start_worker(settings, log, worker_id)
    try:
        yield process
    finally:
        stop_child(process)


async def send(
    settings: Settings,
    events: Iterable[dict[str, Any] | bytes | None],
    *,
    partition: int | None = None,
    key: bytes = b"",
) -> None:
    """Publish usage events: dicts under their user's key to its partition, unless another partition is given."""
    producer = AIOKafkaProducer(**client_options(settings), acks="all", max_request_size=5 << 20)
    await producer.start()
    try:
        topic = settings.topic(Topic.USAGE)
        sent = []
        for event in events:
            user = str(event["subject"]).encode() if isinstance(event, dict) else key
            value = json.dumps(event).encode() if isinstance(event, dict) else event
            home = partition_of(user, settings.usage_partitions) if partition is None else partition
            sent.append(await producer.send(topic, value, key=user, partition=home))
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def values(settings: Settings, topic: Topic) -> list[Any]:
    """The committed values of a topic as JSON, in order within each partition."""
    return [json.loads(r.value) async for r in read_to_end(settings, settings.topic(topic)) if r.value is not None]


async def latest(settings: Settings, topic: Topic) -> dict[str, Any]:
    """The last value of each key of a compacted topic, as JSON."""
    return {key: json.loads(value) for key, value in (await read_compacted(settings, settings.topic(topic))).items()}


async def spent(settings: Settings, scope: str, window: str = "lifetime") -> tuple[str, int]:
    """What the newest window of that kind says: (spent_usd, events); ("0", 0) without a record."""
    found = [
        v
        for v in (await latest(settings, Topic.SPEND)).values()
        if (v["scope"], v["window"]["kind"]) == (scope, window)
    ]
    newest: dict[str, Any] = max(found, key=lambda v: str(v["window"]["start"]), default={})
    return newest.get("spent_usd", "0"), newest.get("events", 0)
