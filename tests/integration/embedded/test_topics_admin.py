"""`tollgate topics apply` against a real broker."""

import logging

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from tests.waiting import eventually

from tollgate.runtime.settings import Settings
from tollgate.runtime.topics_admin import apply_topics, delete_topics
from tollgate.schemas.topics import TOPIC_SPECS, Topic, TopicSpec, topic_specs

pytestmark = pytest.mark.integration


async def set_on_topic(settings: Settings, topic: str, configs: dict[str, str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)
    await admin.start()
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs)])
    await admin.close()


async def config(settings: Settings, topic: str, name: str) -> str:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)
    await admin.start()
    (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {name: ""})])
    await admin.close()
    value: str = answer.resources[0][4][0][1]
    return value


async def test_a_second_run_changes_nothing(settings: Settings) -> None:
    report = await apply_topics(settings)
    assert report.ok
    assert [outcome.action for outcome in report.topics] == ["unchanged"] * len(TOPIC_SPECS)


async def test_created_topics_can_be_read_at_once_without_an_error_in_the_log(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    other = settings.model_copy(update={"topic_prefix": settings.topic_prefix + "other."})
    assert (await apply_topics(other)).ok
    specs = topic_specs(other.usage_partitions)
    tps = [TopicPartition(other.topic(spec.topic), number) for spec in specs for number in range(spec.partitions)]
    consumer = AIOKafkaConsumer(bootstrap_servers=other.kafka_bootstrap_servers, auto_offset_reset="earliest")
    try:
        await consumer.start()
        consumer.assign(tps)
        assert [await consumer.position(tp) for tp in tps] == [0] * len(tps)
    finally:
        await consumer.stop()
        await delete_topics(other)
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_dry_run_says_what_is_missing_and_creates_nothing(settings: Settings) -> None:
    other = settings.model_copy(update={"topic_prefix": settings.topic_prefix + "other."})
    for _ in range(2):
        report = await apply_topics(other, dry_run=True)
        assert not report.ok
        assert {outcome.action for outcome in report.topics} == {"created"}


async def test_a_config_that_drifted_is_set_back_and_one_of_the_operator_is_kept(settings: Settings) -> None:
    usage = settings.topic(Topic.USAGE)
    await set_on_topic(settings, usage, {"retention.ms": "1000", "flush.ms": "77"})

    async def drifted() -> bool:
        return await config(settings, usage, "retention.ms") == "1000"

    await eventually(drifted)
    report = await apply_topics(settings)
    outcome = next(outcome for outcome in report.topics if outcome.topic == usage)
    assert outcome.action == "altered"
    assert "retention.ms 1000 → 5356800000" in outcome.detail

    async def mended() -> bool:
        return await config(settings, usage, "retention.ms") == "5356800000"

    await eventually(mended)
    assert await config(settings, usage, "flush.ms") == "77"


async def test_another_number_of_partitions_is_reported_and_left_alone(settings: Settings) -> None:
    report = await apply_topics(settings, specs=[TopicSpec(Topic.ALERTS, 3)])
    assert not report.ok
    assert report.topics[0].action == "mismatch"
    assert "has 1 partitions instead of 3" in report.topics[0].detail


async def test_deleting_topics_twice_is_no_error(settings: Settings) -> None:
    await delete_topics(settings)
    await delete_topics(settings)


async def test_what_a_foreign_cluster_does_to_records_is_told_and_set_right(settings: Settings) -> None:
    usage, priced = settings.topic(Topic.USAGE), settings.topic(Topic.PRICED)
    await set_on_topic(settings, usage, {"compression.type": "gzip", "max.message.bytes": "1000"})
    await set_on_topic(settings, priced, {"retention.bytes": "1000000", "unclean.leader.election.enable": "true"})

    async def told() -> bool:
        return len((await apply_topics(settings, dry_run=True)).named("altered")) == 2

    await eventually(told)
    assert (await apply_topics(settings)).ok

    async def mended() -> bool:
        return (await apply_topics(settings, dry_run=True)).ok

    await eventually(mended)
    assert await config(settings, usage, "compression.type") == "producer"
    assert await config(settings, priced, "retention.bytes") == "-1"


async def test_the_embedded_broker_has_nothing_that_stops(settings: Settings) -> None:
    assert (await apply_topics(settings)).brokers == ()
    three = settings.model_copy(update={"kafka_replication_factor": 3})
    (few,) = (await apply_topics(three)).brokers
    assert "fewer copies than TOLLGATE_KAFKA_REPLICATION_FACTOR=3" in few.detail
    assert not few.stops
