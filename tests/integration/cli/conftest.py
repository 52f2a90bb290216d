"""The command line against a real broker, without a worker: what it would have written is written here."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord

from tollgate.cli.main import main
from tollgate.runtime.kafka import client_options, read_to_end
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic

Record = tuple[int, bytes | None, bytes | None, Sequence[tuple[str, bytes]]]


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def variables(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a command that uses the test's own topics. ClickHouse is nowhere."""
    monkeypatch.setenv("TOLLGATE_KAFKA_BOOTSTRAP_SERVERS", settings.kafka_bootstrap_servers)
    monkeypatch.setenv("TOLLGATE_TOPIC_PREFIX", settings.topic_prefix)
    monkeypatch.setenv("TOLLGATE_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("TOLLGATE_CLICKHOUSE_URL", "http://127.0.0.1:9")


@pytest.fixture
def tollgate(variables: None, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs a command in this process."""

    def run(*words: str) -> Ran:
        capsys.readouterr()
        status = main(words)
        shown = capsys.readouterr()
        return Ran(status, shown.out, shown.err)

    return run


def records_of(settings: Settings, topic: Topic) -> list[ConsumerRecord]:
    """Everything in a topic."""

    async def read() -> list[ConsumerRecord]:
        return [record async for record in read_to_end(settings, settings.topic(topic))]

    return asyncio.run(read())


def write(settings: Settings, topic: Topic, *records: Record) -> None:
    """Write records to partitions of a topic."""

    async def send() -> None:
        async with AIOKafkaProducer(**client_options(settings)) as producer:
            for partition, key, value, headers in records:
                await producer.send_and_wait(
                    settings.topic(topic), value, key=key, partition=partition, headers=list(headers)
                )

    asyncio.run(send())
