"""Lag is what a group has not read, and nothing else."""

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tollgate.runtime.lag import consumer_lag
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic

pytestmark = pytest.mark.integration


async def publish(settings: Settings, topic: Topic, count: int, *, commit: bool = True) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers, transactional_id=f"{settings.application}-test"
    )
    await producer.start()
    await producer.begin_transaction()
    for _ in range(count):
        await producer.send_and_wait(settings.topic(topic), b"{}", b"key", partition=0)
    await (producer.commit_transaction() if commit else producer.abort_transaction())
    await producer.stop()


async def commit(settings: Settings, group: str, topic: Topic, offset: int) -> None:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers, group_id=group, enable_auto_commit=False
    )
    await consumer.start()
    tp = TopicPartition(settings.topic(topic), 0)
    consumer.assign([tp])
    await consumer.commit({tp: offset})
    await consumer.stop()


async def test_a_fresh_installation_is_not_behind(settings: Settings) -> None:
    lag = await consumer_lag(settings)
    app = settings.application
    assert sorted(lag) == [app, f"{app}-sink-alerts", f"{app}-sink-clickhouse"]
    assert lag[app] == {settings.topic(topic): 0 for topic in (Topic.USAGE, Topic.ENTRIES, Topic.DELTAS)}
    assert lag[f"{app}-sink-alerts"] == {settings.topic(Topic.ALERTS): 0}
    assert len(lag[f"{app}-sink-clickhouse"]) == 10


async def test_a_marker_behind_the_last_record_is_no_lag(settings: Settings) -> None:
    group, topic = f"{settings.application}-sink-alerts", settings.topic(Topic.ALERTS)
    # Offsets 0, 1, 2 are records and 3 is the transaction's marker.
    await publish(settings, Topic.ALERTS, 3)
    assert (await consumer_lag(settings))[group][topic] == 4, "a group that never committed is behind by everything"
    await commit(settings, group, Topic.ALERTS, 2)
    assert (await consumer_lag(settings))[group][topic] == 2
    await commit(settings, group, Topic.ALERTS, 3)
    assert (await consumer_lag(settings))[group][topic] == 0


async def test_an_aborted_transaction_is_no_lag(settings: Settings) -> None:
    group, topic = f"{settings.application}-sink-alerts", settings.topic(Topic.ALERTS)
    await publish(settings, Topic.ALERTS, 2, commit=False)
    assert (await consumer_lag(settings))[group][topic] == 0
