"""The embedded broker killed: what transactions had open must end, or readers of committed records stand still.

Kafka 4.3.1 fails here (KAFKA-20734). While the broker registers again its partitions have no leader, and the
coordinator of transactions takes that for deleted partitions: it writes no marker and forgets the transaction.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from tests.chaos.roles import RoleProcess
from tests.chaos.services import Broker, cluster
from tests.chaos.victim import becomes, is_ready
from tests.waiting import eventually

from tollgate.runtime.settings import Settings
from tollgate.runtime.topics_admin import apply_topics
from tollgate.sdk import FlagReader

PARTITIONS = [TopicPartition("open", number) for number in range(8)]
# Over when the broker is back, so that it aborts the transactions while it starts.
TIMEOUT_MS = 1_000
KILLS = 2


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    (broker,) = cluster(1, tmp_path, own_disks=False)
    broker.start()
    try:
        assert await is_ready(broker, 60), broker.last_words()
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.address)
        await admin.start()
        await admin.create_topics([NewTopic("open", len(PARTITIONS), 1)])
        await admin.close()
        yield broker
    finally:
        broker.stop()


async def test_a_broker_that_was_killed_ends_every_transaction_that_was_open(broker: Broker) -> None:
    for kill in range(KILLS):
        async with AsyncExitStack() as stack:
            for partition in PARTITIONS:
                producer = AIOKafkaProducer(
                    bootstrap_servers=broker.address,
                    transactional_id=f"{kill}.{partition.partition}",
                    transaction_timeout_ms=TIMEOUT_MS,
                )
                await producer.start()
                stack.push_async_callback(producer.stop)
                await producer.begin_transaction()
                await producer.send_and_wait("open", b"never", partition=partition.partition)
            broker.kill()
            broker.start()
            assert await is_ready(broker, 60), broker.last_words()
        await eventually(lambda: nothing_is_open(broker), 20, f"the end of every transaction, after kill {kill + 1}")


async def nothing_is_open(broker: Broker) -> bool:
    """Whether everything written can be read by readers of committed records, or was aborted."""
    ends: list[dict[TopicPartition, int]] = []
    for level in ("read_uncommitted", "read_committed"):
        consumer = AIOKafkaConsumer(bootstrap_servers=broker.address, isolation_level=level)
        await consumer.start()
        ends.append(await consumer.end_offsets(PARTITIONS))
        await consumer.stop()
    return ends[0] == ends[1]


async def test_a_reader_of_flags_is_closed_while_kafka_is_away(broker: Broker) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.address)
    await admin.start()
    await admin.create_topics([NewTopic("tollgate.flags", len(PARTITIONS), 1)])

    async def there_is() -> bool:
        return "tollgate.flags" in await admin.list_topics()

    await eventually(there_is, what="the topic")
    await admin.close()
    before = asyncio.all_tasks()
    async with FlagReader(broker.address) as flags:
        broker.kill()
        assert flags.check(user="u1").allowed
    await eventually(lambda: asyncio.sleep(0, asyncio.all_tasks() <= before), what="the end of the reader's tasks")


async def test_a_worker_and_a_sink_end_in_order_while_kafka_is_away(broker: Broker, tmp_path: Path) -> None:
    settings = Settings(kafka_bootstrap_servers=broker.address, data_dir=tmp_path)
    await apply_topics(settings)
    worker = RoleProcess("worker", settings, tmp_path, "worker-0")
    sink = RoleProcess("sinks.alerts", settings, tmp_path)
    for role in (worker, sink):
        role.start()
    assert await is_ready(worker, 30), worker.last_words()
    assert await becomes(lambda: b"alerts restored" in sink.log.read_bytes(), 30), sink.last_words()
    broker.kill()
    for role in (worker, sink):
        assert role.stop() == 0, role.last_words()
