"""The verification finds each kind of falsehood in what a real worker wrote, and says what it is."""

import asyncio
import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from tests.chaos.roles import RoleProcess
from tests.support.usage import event
from tests.support.verifying import check, named, places, replaced, write, wrong
from tests.support.worker import send, working

from tollgate.control import ControlStore
from tollgate.runtime.kafka import client_options, read_compacted, read_to_end
from tollgate.runtime.settings import Settings
from tollgate.runtime.topics_admin import apply_topics, delete_topics
from tollgate.schemas.control import BudgetRecord
from tollgate.schemas.topics import Topic
from tollgate.sinks.clickhouse import connect, migrate

pytestmark = pytest.mark.integration

SPEND = "user/u1|lifetime|1970-01-01T00:00:00Z"


def events(count: int, start: int = 0, user: str = "u1") -> list[dict[str, Any]]:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return [event(f"e{start + n}", user, time=now, data={"agent": "SEO"}) for n in range(count)]


@pytest.fixture(scope="module")
def worked(kafka: str, clickhouse: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A worker has counted 12 events of 0.0035 USD of a user with a budget of 0.05, refused one, forwarded seven.

    It is shared, so every test puts right what it falsified; what cannot be put right comes last.
    """
    directory = tmp_path_factory.mktemp("worked")
    unique = f"t{uuid.uuid4().hex[:10]}"
    settings = Settings.model_validate(
        {
            "kafka_bootstrap_servers": kafka,
            "clickhouse_url": clickhouse,
            "clickhouse_database": unique,
            "topic_prefix": f"{unique}.",
            "application": unique,
            "data_dir": directory / "data",
        }
    )
    budget = BudgetRecord.model_validate({"scope": "user/u1", "limit": "0.05", "updated_at": "2026-01-01T00:00:00Z"})

    async def feed() -> None:
        await write(settings, Topic.CONTROL, f"budget/{budget.id}".encode(), budget.model_dump_json().encode())
        repeated = events(11)
        await send(settings, [*repeated, *repeated[:3], b"rubbish"], key=b"u1")
        (last,) = events(1, 11)
        for partition in range(8):
            # One is at home, the others are forwarded and found to be repeats of it.
            await send(settings, [last], partition=partition)

    asyncio.run(apply_topics(settings))
    with working(settings, directory / "worker.log"):
        asyncio.run(feed())
        report = asyncio.run(check(settings, wait_seconds=60))
        assert not wrong(report), (wrong(report), (directory / "worker.log").read_text()[-2000:])
        assert (report.events, report.cost_usd) == (12, "0.042")
        assert named(report, "forwarded records").expected == "7"
        assert named(report, "dead letters").expected == "1"
        yield settings
    asyncio.run(delete_topics(settings))


async def test_a_spend_that_is_off_by_the_smallest_amount_is_found(worked: Settings) -> None:
    async with replaced(worked, Topic.SPEND, SPEND, spent_usd="0.042000000001"):
        assert wrong(await check(worked)) == {
            "spend windows": f"spend {SPEND}: expected 0.042 USD, 12 events, input_tokens 12000, output_tokens 1200, "
            "found 0.042000000001 USD, 12 events, input_tokens 12000, output_tokens 1200"
        }
    assert (await check(worked)).ok


async def test_a_row_too_many_and_a_row_too_few_in_clickhouse_are_found(worked: Settings, tmp_path: Path) -> None:
    await asyncio.to_thread(migrate, worked)
    sink = RoleProcess("sinks.clickhouse", worked, tmp_path)
    sink.start()
    try:
        assert not wrong(await check(worked, clickhouse=True, wait_seconds=60))
        client = await asyncio.to_thread(connect, worked)
        more = "INSERT INTO usage_events SELECT * REPLACE ('another' AS event_id) FROM usage_events LIMIT 1"
        await asyncio.to_thread(client.command, more)
        found = wrong(await check(worked, clickhouse=True))
        assert found["ClickHouse usage"] == (
            "ClickHouse usage: expected 12 events, 0.042 USD, found 13 events, 0.0455 USD"
        )
        assert found["ClickHouse user months"].startswith("ClickHouse usage user/u1|month|")
        report = await check(worked, clickhouse=True)
        assert report.first is not None
        assert (report.first.scope, report.first.window) == ("user/u1", "month")
        (extra,) = report.first.events
        assert (extra["id"], extra["cost_usd"], extra["expected"]) == ("another", "0.0035", "no row in ClickHouse")
        await asyncio.to_thread(client.command, "TRUNCATE TABLE spend_records")
        assert "found no row" in wrong(await check(worked, clickhouse=True))["ClickHouse spend"]
    finally:
        sink.stop()


@pytest.mark.long
async def test_a_change_that_the_audit_does_not_tell_is_found(worked: Settings, tmp_path: Path) -> None:
    key = "budget/user/u9:month:usd"
    store = ControlStore(worked)
    await store.start()
    changed = await store.change(key, {"scope": "user/u9", "limit": "5"}, actor="a", reason="r")
    await store.change("budget/user/u8:month:usd", {"scope": "user/u8", "limit": "5"}, actor="a")
    await store.change("budget/user/u8:month:usd", None, actor="a")
    await store.stop()
    report = await check(worked)
    assert report.ok
    assert (named(report, "audit").expected, named(report, "audit").note[:2]) == ("2 changes", "1 ")
    topic, text = worked.topic(Topic.CONTROL), json.dumps(changed.after)
    async with AIOKafkaProducer(**client_options(worked)) as producer:
        for identity, value in ((changed.audit_id, text.replace('"5"', '"6"')), ("made-up", text)):
            headers = [("audit", identity.encode())]
            await producer.send_and_wait(topic, value.encode(), key=key.encode(), headers=headers)
            assert wrong(await check(worked)) == {
                "audit": f"{key}, change {identity}: expected as in the control topic, found another record"
                if identity == changed.audit_id
                else f"{key}: expected change {identity}, found none"
            }
        headers = [("audit", changed.audit_id.encode())]
        await producer.send_and_wait(topic, text.encode(), key=key.encode(), headers=headers)
    assert (await check(worked)).ok
    await asyncio.to_thread(migrate, worked)
    sink = RoleProcess("sinks.clickhouse", worked, tmp_path)
    sink.start()
    try:
        assert named(await check(worked, clickhouse=True, wait_seconds=60), "ClickHouse audit").found == "3 changes"
        client = await asyncio.to_thread(connect, worked)
        await asyncio.to_thread(client.command, "TRUNCATE TABLE audit_records")
        assert wrong(await check(worked, clickhouse=True))["ClickHouse audit"].endswith("found 0 changes")
    finally:
        sink.stop()


@pytest.mark.long
async def test_a_window_nobody_spent_in_and_a_window_that_is_gone_are_found(worked: Settings) -> None:
    value = (await read_compacted(worked, worked.topic(Topic.SPEND)))[SPEND]
    await write(
        worked, Topic.SPEND, b"user/nobody|lifetime|1970-01-01T00:00:00Z", value.replace(b"user/u1", b"user/nobody")
    )
    assert "expected no record" in wrong(await check(worked))["spend windows"]
    await write(worked, Topic.SPEND, b"user/nobody|lifetime|1970-01-01T00:00:00Z", None)
    assert (await check(worked)).ok
    async with replaced(worked, Topic.SPEND, SPEND):
        partition = (await places(worked, Topic.SPEND))[SPEND]
        await write(worked, Topic.SPEND, SPEND.encode(), None, partition)
        assert wrong(await check(worked))["spend windows"].endswith("found no record")
    assert (await check(worked)).ok


async def test_a_flag_that_the_budgets_do_not_demand_is_found(worked: Settings) -> None:
    # 0.042 of 0.05 USD is 84 %.
    async with replaced(worked, Topic.FLAGS, "user/u1", state="ok", blocked=False):
        assert (
            "expected warning by user/u1:month:usd: 0.042 of 0.05 usd (84.00 %)" in wrong(await check(worked))["flags"]
        )
    async with replaced(worked, Topic.FLAGS, "user/u1", spent="0.041"):
        assert not (await check(worked)).ok
    assert (await check(worked)).ok


@pytest.mark.long
async def test_a_stop_by_hand_that_flag_or_alert_does_not_tell_is_found(worked: Settings) -> None:
    stop = {"name": "stop", "value": {"stopped": True}, "actor": "ada", "reason": "why"}
    await write(worked, Topic.CONTROL, b"setting/stop", json.dumps(stop).encode())
    assert (await check(worked, wait_seconds=10)).ok
    async with replaced(worked, Topic.FLAGS, "global", note="eve stopped all spending"):
        found = wrong(await check(worked))
    assert found == {
        "flags": "flag of global: expected stopped by hand: ada stopped all spending: why, "
        "found stopped by hand: eve stopped all spending"
    }
    async with replaced(worked, Topic.ALERTS, "stop/global", level="resolved"):
        assert set(wrong(await check(worked))) == {"stop by hand"}
    assert (await check(worked)).ok
    await write(worked, Topic.CONTROL, b"setting/stop", json.dumps(stop | {"value": {"stopped": False}}).encode())
    assert (await check(worked, wait_seconds=10)).ok


async def test_a_state_that_the_events_do_not_add_up_to_is_found(worked: Settings) -> None:
    rows = await read_compacted(worked, worked.topic(Topic.USER_STATE))
    key = "s|user/u1"
    partition = (await places(worked, Topic.USER_STATE))[key]
    row = json.loads(rows[key])
    row[1][0] += 1
    await write(worked, Topic.USER_STATE, key.encode(), json.dumps(row).encode(), partition)
    report = await check(worked)
    await write(worked, Topic.USER_STATE, key.encode(), rows[key], partition)
    assert wrong(report)["state"] == (
        f"state {SPEND}: expected 0.042 USD, 12 events, input_tokens 12000, output_tokens 1200, "
        "found 0.042000000001 USD, 12 events, input_tokens 12000, output_tokens 1200"
    )
    assert report.first is not None
    assert (report.first.scope, report.first.window, report.first.said_by) == ("user/u1", "lifetime", "state")
    assert "the sum itself is wrong" in report.first.why
    assert [event["cost_usd"] for event in report.first.events] == ["0.0035"] * 5
    assert (await check(worked)).ok


async def test_a_worker_that_does_not_keep_up_is_told_with_how_far_it_is_behind(
    settings: Settings, tmp_path: Path
) -> None:
    with working(settings, tmp_path / "worker.log"):
        await send(settings, events(3))
        assert (await check(settings, wait_seconds=60)).ok
    await send(settings, events(5, 3))
    report = await check(settings)
    assert [found.name for found in report.checks] == ["the worker has caught up"]
    assert "found 5 offsets behind (partition" in report.checks[0].difference


@pytest.mark.long
async def test_several_processes_find_what_one_finds(worked: Settings) -> None:
    assert (await check(worked, processes=3)).as_json() == (await check(worked, processes=1)).as_json()
    async with replaced(worked, Topic.SPEND, SPEND, events=13):
        several, one = await check(worked, processes=3), await check(worked, processes=1)
    assert "found 0.042 USD, 13 events" in wrong(several)["spend windows"]
    assert several.as_json() == one.as_json()


async def test_a_priced_record_too_many_is_found(worked: Settings) -> None:
    record = [r async for r in read_to_end(worked, worked.topic(Topic.PRICED))][-1]
    await write(worked, Topic.PRICED, record.key, record.value, record.partition)
    report = await check(worked)
    assert "expected one priced record, found another" in wrong(report)["priced events"]
    assert (await check(worked, processes=3)).as_json() == report.as_json()
    (extra,) = report.as_json()["events_that_differ"]
    assert (extra["id"], extra["cost_usd"]) == (json.loads(record.value)["event_id"], "0.0035")


async def test_a_dead_letter_of_a_counted_event_is_found(worked: Settings) -> None:
    (letter,) = [r async for r in read_to_end(worked, worked.topic(Topic.DEAD_LETTERS))]
    headers = [(n, b"0" if n == "source_offset" else v) for n, v in letter.headers]
    async with AIOKafkaProducer(**client_options(worked)) as producer:
        await producer.send_and_wait(worked.topic(Topic.DEAD_LETTERS), letter.value, key=letter.key, headers=headers)
    assert "expected no (further) dead letter" in wrong(await check(worked))["dead letters"]
    assert "expected no (further) dead letter" in wrong(await check(worked, processes=3))["dead letters"]
