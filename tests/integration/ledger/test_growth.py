"""The usage topic is given more partitions while a worker counts: every acknowledged event is counted, once."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from tests.integration.ledger.test_worker import counted, events
from tests.support.worker import send, values, working
from tests.waiting import eventually

from tollgate.runtime.kafka import client_options, read_to_end
from tollgate.runtime.lag import consumer_lag
from tollgate.runtime.settings import Settings
from tollgate.runtime.topics_admin import apply_topics
from tollgate.schemas.topics import Topic
from tollgate.verification import verify

pytestmark = pytest.mark.integration


async def grow(settings: Settings, topic: Topic, partitions: int) -> None:
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    name = settings.topic(topic)
    await admin.create_partitions({name: NewPartitions(partitions)})

    async def led() -> bool:
        (found,) = await admin.describe_topics([name])
        return sum(int(partition["leader"]) >= 0 for partition in found["partitions"]) == partitions

    await eventually(led, 30, f"{partitions} partitions of {name}")
    await admin.close()


async def publish_as_services_do(settings: Settings, sent: Iterable[dict[str, Any]]) -> set[int]:
    """Kafka's own partitioner chooses among all partitions that there are; returns those that were chosen."""
    producer = AIOKafkaProducer(**client_options(settings), acks="all")
    await producer.start()
    try:
        topic = settings.topic(Topic.USAGE)
        acknowledged = [
            await producer.send(topic, json.dumps(event).encode(), key=str(event["subject"]).encode()) for event in sent
        ]
        return {(await found).partition for found in acknowledged}
    finally:
        await producer.stop()


async def caught_up(settings: Settings) -> bool:
    return not any((await consumer_lag(settings))[settings.application].values())


@pytest.mark.long
async def test_eight_partitions_become_twelve_while_two_workers_count(settings: Settings, tmp_path: Path) -> None:
    with working(settings, tmp_path / "one.log", "one"), working(settings, tmp_path / "two.log", "two"):
        first = events(1_000, "a")
        await send(settings, first)
        await counted(settings, ("3.5", 1_000))
        await grow(settings, Topic.USAGE, 12)
        # Harmless: nobody but the worker writes there, and it names the partition.
        await grow(settings, Topic.DELTAS, 3)
        chosen = await publish_as_services_do(settings, events(1_000, "b"))
        assert chosen & {8, 9, 10, 11}
        # A retry of what was counted before the topic grew may now arrive in another partition.
        await publish_as_services_do(settings, first)
        await send(settings, [b"{"], partition=11, key=b"u1")
        await counted(settings, ("7", 2_000))
        await eventually(lambda: caught_up(settings), 60, "all partitions read")
    # A restart begins where each partition was left.
    with working(settings, tmp_path / "again.log", "one"):
        await publish_as_services_do(settings, events(1_000, "c"))
        await counted(settings, ("10.5", 3_000))
        await eventually(lambda: caught_up(settings), 60, "all partitions read")
        report = await verify(settings, 60, clickhouse=False, progress=lambda *_: None)
    assert report.ok, report.lines()
    assert report.events == 3_000
    priced = await values(settings, Topic.PRICED)
    assert len(priced) == len({p["event_id"] for p in priced}) == 3_000
    assert {p["source_partition"] for p in priced} <= set(range(8))
    assert [letter.value async for letter in read_to_end(settings, settings.topic(Topic.DEAD_LETTERS))] == [b"{"]
    again = (tmp_path / "again.log").read_text()
    assert "has 12 partitions, of which the first 8 are counted" in again
    grown = (await apply_topics(settings, dry_run=True)).named("grown")
    assert [outcome.topic for outcome in grown] == [settings.topic(Topic.USAGE), settings.topic(Topic.DELTAS)]


async def test_what_arrives_in_a_new_partition_is_forwarded_by_one_lane_for_state_of_another(
    settings: Settings, tmp_path: Path
) -> None:
    # With three lanes, partition 9 is in lane 0 and its offset in state partition 1, whose lane is 1.
    three = settings.model_copy(update={"lanes": 3})
    await grow(settings, Topic.USAGE, 12)
    with working(three, tmp_path / "worker.log"):
        await send(settings, events(500, "a"), partition=9)
        await counted(settings, ("1.75", 500))
    with working(three, tmp_path / "worker.log"):
        await send(settings, events(500, "b"), partition=9)
        await counted(settings, ("3.5", 1_000))
    assert len(await values(settings, Topic.PRICED)) == 1_000
