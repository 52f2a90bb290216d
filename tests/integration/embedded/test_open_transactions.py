"""A service that opens a transaction and hangs: who waits, since when, for whom, and what ends it."""

import asyncio
import time

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidTransactionTimeout
from tests.waiting import eventually

from tollgate.runtime.kafka import client_options
from tollgate.runtime.lag import consumer_lag
from tollgate.runtime.open_transactions import open_transactions
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic

pytestmark = pytest.mark.integration


async def hanging(settings: Settings, name: str, timeout_ms: int) -> AIOKafkaProducer:
    """A service's producer that has sent one event in a transaction, and never ends it."""
    producer = AIOKafkaProducer(**client_options(settings), transactional_id=name, transaction_timeout_ms=timeout_ms)
    try:
        await producer.start()
    except BaseException:
        await producer.stop()
        raise
    await producer.begin_transaction()
    await producer.send_and_wait(settings.topic(Topic.USAGE), b"{}", b"u1", partition=3)
    return producer


async def publish(settings: Settings, count: int) -> None:
    producer = AIOKafkaProducer(**client_options(settings))
    await producer.start()
    for _ in range(count):
        await producer.send_and_wait(settings.topic(Topic.USAGE), b"{}", b"u1", partition=3)
    await producer.stop()


async def test_what_waits_behind_an_open_transaction_is_told_until_kafka_ends_it(settings: Settings) -> None:
    assert await open_transactions(settings) == []
    await publish(settings, 2)
    name = f"{settings.application}-orders\x1b[31m"
    began = time.monotonic()
    producer = await hanging(settings, name, 5_000)
    await publish(settings, 4)
    (found,) = await open_transactions(settings)
    took = time.monotonic() - began
    usage = settings.topic(Topic.USAGE)
    # Two records before it; its own record and four behind it wait.
    assert (found.topic, found.partition, found.offset, found.records) == (usage, 3, 2, 5)
    assert (found.transactional_id, found.timeout_seconds, found.ours) == (name, 5, False)
    assert found.seconds is not None
    assert 0 <= found.seconds <= took + 2
    assert found.producer_id is not None
    assert "\x1b" not in found.sentence
    assert f"{usage} partition 3: 5 offsets from 2 on wait for {found.seconds} s" in found.sentence
    assert f"--topic {usage} --partition 3 --start-offset 2" in found.fix("127.0.0.1:9092")
    # To a reader of committed records, nothing behind offset 2 is there.
    assert (await consumer_lag(settings))[settings.application][usage] == 2

    async def ended() -> bool:
        return await open_transactions(settings) == []

    await eventually(ended, 30, "the end of the transaction after its time-out of 5 s")
    # Its record is aborted; two markers or none, four records are there.
    assert (await consumer_lag(settings))[settings.application][usage] >= 6
    await asyncio.wait_for(producer.stop(), 10)


async def test_the_embedded_broker_refuses_a_transaction_of_more_than_a_minute(settings: Settings) -> None:
    with pytest.raises(InvalidTransactionTimeout):
        await hanging(settings, f"{settings.application}-long", 60_001)
    producer = await hanging(settings, f"{settings.application}-minute", 60_000)
    await producer.abort_transaction()
    await producer.stop()


async def test_a_transaction_that_goes_on_is_nobodys_trouble(settings: Settings) -> None:
    producer = await hanging(settings, f"{settings.application}-busy", 60_000)
    looking = asyncio.create_task(open_transactions(settings))
    while not looking.done():
        await producer.commit_transaction()
        await producer.begin_transaction()
        await producer.send_and_wait(settings.topic(Topic.USAGE), b"{}", b"u1", partition=3)
    assert await looking == []
    await producer.abort_transaction()
    await producer.stop()
