"""A live memory on a real broker, and what the worker would write."""

from collections.abc import AsyncIterator, Iterable

import pytest
from aiokafka import AIOKafkaProducer

from tollgate.console.live import Live
from tollgate.control import ControlStore
from tollgate.runtime.kafka import client_options
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic

Record = tuple[bytes, bytes | None]


async def write(settings: Settings, topic: Topic, records: Iterable[Record], partition: int | None = None) -> None:
    """Write records and wait until Kafka has them."""
    async with AIOKafkaProducer(**client_options(settings), linger_ms=20, max_batch_size=1 << 20) as producer:
        for key, value in records:
            await producer.send(settings.topic(topic), value, key=key, partition=partition)
        await producer.flush()


@pytest.fixture
async def control(settings: Settings) -> AsyncIterator[ControlStore]:
    store = ControlStore(settings)
    await store.start()
    yield store
    await store.stop()


@pytest.fixture
async def live(settings: Settings, control: ControlStore) -> AsyncIterator[Live]:
    """Started on empty topics."""
    memory = Live(settings, control)
    await memory.start()
    assert memory.is_complete
    yield memory
    await memory.stop()
