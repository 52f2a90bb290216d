"""`GET /status` and what is told of Kafka's parts, with a real broker."""

import time

import pytest
from aiokafka import AIOKafkaProducer
from tests.integration.console.conftest import write
from tests.support.usage import event
from tests.waiting import eventually

from tollgate.console.health import Health
from tollgate.console.numbers import Numbers
from tollgate.runtime.kafka import client_options
from tollgate.runtime.lag import consumer_lag
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic

pytestmark = pytest.mark.integration


async def test_lag_is_told_by_partition_and_what_is_held_up_by_whom(settings: Settings) -> None:
    away = settings.model_copy(update={"clickhouse_url": "http://127.0.0.1:9"})
    await write(settings, Topic.USAGE, [(b"u1", b"{}"), (b"u1", b"{}")], 3)
    options = client_options(settings)
    async with AIOKafkaProducer(**options, transactional_id=f"{settings.application}.held") as producer:
        await producer.begin_transaction()
        value = str(event()).encode()
        await producer.send_and_wait(settings.topic(Topic.USAGE), value, key=b"u2", partition=4)
        began = time.monotonic()
        found = await Health(away, Numbers(away)).look()
        assert time.monotonic() - began < 10
        await producer.abort_transaction()
    assert found.kafka_problem == ""
    assert found.clickhouse_problem != ""
    assert found.lag is not None
    usage = found.lag[settings.application][settings.topic(Topic.USAGE)]
    assert (usage[3], usage[4], len(usage)) == (2, 0, 8)
    assert found.open_transactions is not None
    (held_up,) = found.open_transactions
    assert held_up.startswith(f"{settings.topic(Topic.USAGE)} partition 4: 1 offsets from 0 on wait")
    assert (await consumer_lag(settings))[settings.application][settings.topic(Topic.USAGE)] >= 2


async def test_all_who_ask_at_once_share_one_look(settings: Settings) -> None:
    away = settings.model_copy(update={"clickhouse_url": "http://127.0.0.1:9"})
    health = Health(away, Numbers(away))
    first = await health.look()

    async def is_looked_at_anew() -> bool:
        return (await health.look()).at_ms != first.at_ms

    assert not await is_looked_at_anew()
    await eventually(is_looked_at_anew)
