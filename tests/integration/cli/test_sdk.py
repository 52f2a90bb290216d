"""The SDK against a real broker: events arrive once, flags are followed."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from tests.integration.cli.test_reading import flag_value
from tests.waiting import eventually

from tollgate.runtime.kafka import client_options, read_to_end
from tollgate.runtime.settings import Settings
from tollgate.schemas.outputs import Flag, FlagState
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import USAGE_PARTITIONS, Topic
from tollgate.sdk import AsyncTollgate, FlagReader, UnavailableError, UsagePublisher

pytestmark = pytest.mark.integration


def publisher(settings: Settings, **more: Any) -> UsagePublisher:
    return UsagePublisher(
        settings.kafka_bootstrap_servers, source="chat-api", topic_prefix=settings.topic_prefix, **more
    )


def reader(settings: Settings, **more: Any) -> FlagReader:
    return FlagReader(settings.kafka_bootstrap_servers, topic_prefix=settings.topic_prefix, **more)


async def test_recorded_calls_are_in_the_topic_when_record_returns(settings: Settings) -> None:
    async with publisher(settings) as usage:
        ids = await asyncio.gather(
            *(
                usage.record(
                    user=f"u{n % 3}", provider="openai", model="gpt-4o", usage={"input_tokens": n}, agent="SEO"
                )
                for n in range(50)
            )
        )
        own = await usage.record(user="u9", agent="SEO", usage={"input_tokens": 1}, id="call-7")
    assert own == "call-7"
    records = [record async for record in read_to_end(settings, settings.topic(Topic.USAGE))]
    events = [json.loads(record.value) for record in records]
    assert sorted(event["id"] for event in events) == sorted([*ids, "call-7"])
    assert {event["source"] for event in events} == {"chat-api"}
    assert all(record.key.decode() == event["subject"] for record, event in zip(records, events, strict=True))
    assert all(record.partition == partition_of(record.key, USAGE_PARTITIONS) for record in records)


async def test_a_reader_is_ready_on_entry_and_follows(settings: Settings) -> None:
    topic = settings.topic(Topic.FLAGS)
    async with AIOKafkaProducer(**client_options(settings)) as producer:
        await producer.send_and_wait(topic, flag_value("user/u1"), key=b"user/u1", partition=3)
        await producer.send_and_wait(topic, flag_value("user/gone"), key=b"user/gone", partition=4)
        await producer.send_and_wait(topic, None, key=b"user/gone", partition=4)
        async with reader(settings) as flags:
            assert flags.check(user="u1", agent="SEO").http_status == 429
            assert flags.check(user="gone").allowed
            changes = flags.changes()
            change = asyncio.ensure_future(anext(changes))

            async def freed() -> bool:
                return flags.check(user="u1").allowed

            await producer.send_and_wait(topic, flag_value("user/u1", "ok", revision=8), key=b"user/u1", partition=3)
            await eventually(freed)
            changed: Flag = await asyncio.wait_for(change, 10)
            assert (changed.scope, changed.state) == ("user/u1", FlagState.OK)
            await changes.aclose()  # type: ignore[attr-defined]
        assert flags.check(user="u1").allowed


async def test_a_client_follows_flags_and_budgets(settings: Settings, tmp_path: Path) -> None:
    flags, control = settings.topic(Topic.FLAGS), settings.topic(Topic.CONTROL)
    options: dict[str, Any] = {"topic_prefix": settings.topic_prefix, "spool_dir": tmp_path, "source": "chat-api"}
    async with AIOKafkaProducer(**client_options(settings)) as producer:
        await producer.send_and_wait(flags, flag_value("user/u1"), key=b"user/u1", partition=3)
        closed = b'{"scope": "user/*+feature/video", "limit": "1", "fail": "closed"}'
        await producer.send_and_wait(control, closed, key=b"budget/b1", partition=0)
        async with AsyncTollgate(settings.kafka_bootstrap_servers, knowledge_seconds_max=0.0, **options) as toll:
            assert toll.check(user="u1").allowed

            async def known() -> bool:
                return not toll.check(user="u1").allowed and not toll.check(user="u2", feature="video").allowed

            await eventually(known)
            decision = toll.check(user="u1", model="gpt-4o")
            assert (decision.http_status, decision.error, decision.scope) == (429, "usage_limit_exceeded", "user/u1")
            assert decision.knowledge_age_ms is not None
            assert toll.check(user="u2", feature="video").error == "limits_unknown"
            await producer.send_and_wait(flags, flag_value("user/u1", "ok", revision=8), key=b"user/u1", partition=3)

            async def freed() -> bool:
                return toll.check(user="u1").allowed

            await eventually(freed)
    with pytest.raises(TypeError, match="the client is closed"):
        toll.check(user="u1")


async def test_what_a_worker_took_back_blocks_nobody(settings: Settings) -> None:
    topic = settings.topic(Topic.FLAGS)
    options = client_options(settings) | {"transactional_id": f"{settings.application}-test"}
    async with AIOKafkaProducer(**options) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, flag_value("user/u1"), key=b"user/u1", partition=0)
        await producer.abort_transaction()
    async with reader(settings) as flags:
        assert flags.check(user="u1").allowed
        assert flags.flag("user/u1") is None


async def test_an_absent_broker_or_topic_is_said_within_the_time() -> None:
    nowhere = "127.0.0.1:9"
    with pytest.raises(UnavailableError):
        await UsagePublisher(nowhere, source="s", timeout_seconds=2).start()
    with pytest.raises(UnavailableError):
        await FlagReader(nowhere).start(timeout_seconds=2)


async def test_a_reader_does_not_create_the_topic(settings: Settings) -> None:
    for _ in range(2):
        with pytest.raises(UnavailableError, match=r"there is no topic absent\.flags: run `tollgate topics apply`"):
            await FlagReader(settings.kafka_bootstrap_servers, topic_prefix="absent.").start()
