"""Combinations, calendars, credits and reservations, written by hand as a worker writes them, and then falsified."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from tests.support.usage import event
from tests.support.verifying import check, named, replaced, write, wrong
from tests.support.worker import send, working

from tollgate.runtime.kafka import client_options, read_compacted
from tollgate.runtime.settings import Settings
from tollgate.runtime.topics_admin import apply_topics, delete_topics
from tollgate.schemas.control import BudgetRecord
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import USAGE_PARTITIONS, Topic

pytestmark = pytest.mark.integration

HOME = partition_of(b"u1", USAGE_PARTITIONS)
NOW = datetime.now(UTC)
# The latest November that has begun, in New York: its clocks are set back on its first Sunday.
YEAR = NOW.year if (NOW.month, NOW.day) >= (11, 9) else NOW.year - 1
SCOPE, CALENDAR = "user/u1+model/gpt-4o", "month@America/New_York"
START, LATER, END = f"{YEAR}-11-01T04:00:00Z", f"{YEAR}-11-01T05:00:00Z", f"{YEAR}-12-01T05:00:00Z"
MONTH = f"{SCOPE}|{CALENDAR}|{START}"
SUM = [10_500_000_000, 0, 3, {"input_tokens": 3_000 * 10**9, "output_tokens": 300 * 10**9}]
METER = f"{HOME}|{SCOPE}|{CALENDAR}"


def ms(instant: str) -> int:
    return int(datetime.fromisoformat(instant).timestamp() * 1000)


def state_row(start: str) -> dict[str, Any]:
    """The row of the combination, with its only window."""
    return {"row": [7, {CALENDAR: [ms(start), SUM]}]}


async def write_json(settings: Settings, topic: Topic, key: str, value: object, partition: int = HOME) -> None:
    text = None if value is None else json.dumps(value).encode()
    await write(settings, topic, key.encode(), text, partition)


async def end_of(settings: Settings, topic: Topic) -> int:
    tp = TopicPartition(settings.topic(topic), HOME)
    async with AIOKafkaConsumer(**client_options(settings)) as consumer:
        return int((await consumer.end_offsets([tp]))[tp])


def entry(type_: str, id_: str, **data: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0", "type": f"tollgate.{type_}.v1", "source": "tests", "id": id_, "subject": "u1",
        "time": NOW.isoformat(), "data": data,
    }  # fmt: skip


DECISION = {
    "reservation_id": "r1", "source": "tests", "user": "u1", "granted": True, "amount_usd": "0.1", "credits": "5",
    "expires_at": f"{YEAR + 5}-01-01T00:00:00Z", "decided_at": NOW.isoformat(),
}  # fmt: skip
ACCOUNT = [100 * 10**9, 0, 0, 0, 0, 0, 0, 1, [["bonus", 100 * 10**9, None]]]
BALANCE = {
    "user": "u1", "available": "95", "reserved": "5", "granted": "100", "burned": "0", "expired": "0",
    "free_today": "0", "free_per_day": "0", "free_until": None,
    "buckets": [{"kind": "bonus", "left": "100", "expires_at": None}], "revision": 1, "updated_at": NOW.isoformat(),
}  # fmt: skip


async def write_the_rest(settings: Settings) -> None:
    """What a worker writes of the combination, of 100 credits that were sent twice, and of a reservation."""
    # One user's events are in their partition alone.
    meter = {"meter": f"{SCOPE}|{CALENDAR}", "scope": SCOPE, "calendar": CALENDAR, "partition": HOME,
             "from_offset": 1, "window_start": START, "whole_from": END, "filled": False}  # fmt: skip
    await write_json(settings, Topic.METERS, METER, meter, 0)
    await write_json(settings, Topic.USER_STATE, f"s|{SCOPE}", state_row(START)["row"])
    window = {"kind": "month", "start": START, "end": END, "timezone": "America/New_York"}
    spend = {"scope": SCOPE, "window": window, "spent_usd": "0.0105", "retail_usd": "0", "events": 3,
             "usage": {"input_tokens": "3000", "output_tokens": "300"}, "updated_at": NOW.isoformat()}  # fmt: skip
    await write_json(settings, Topic.SPEND, MONTH, spend)
    for _ in range(2):
        await write_json(settings, Topic.ENTRIES, "u1", entry("credit", "c1", credits="100", kind="bonus"))
    await write_json(settings, Topic.USAGE, "u1", entry("reservation", "r1", amount_usd="0.1", credits="5"))
    await write_json(settings, Topic.DECISIONS, "tests", DECISION, 0)
    await write_json(settings, Topic.USER_STATE, "c|u1", ACCOUNT)
    held = ["o", 10**11, 5 * 10**9, ms(DECISION["expires_at"]), {"model": "gpt-4o"}, "tests", 0, DECISION]  # type: ignore[arg-type]
    await write_json(settings, Topic.USER_STATE, "h|u1|tests|r1", held)
    await write_json(settings, Topic.BALANCES, "u1", BALANCE)
    await write_json(settings, Topic.USER_STATE, "o", await counted(settings))


async def counted(settings: Settings) -> dict[str, Any]:
    """The offset row of the user's partition, with all that was written by hand."""
    async with AIOKafkaConsumer(**client_options(settings), isolation_level="read_committed") as consumer:
        tp = TopicPartition(settings.topic(Topic.USER_STATE), HOME)
        end = (await consumer.end_offsets([tp]))[tp]
        consumer.assign([tp])
        consumer.seek(tp, 0)
        row: dict[str, Any] = {}
        while await consumer.position(tp) < end:
            for record in (await consumer.getmany(tp, timeout_ms=500)).get(tp, ()):
                row = json.loads(record.value) if record.key == b"o" else row
    ends = {"next": await end_of(settings, Topic.USAGE), "next_entries": await end_of(settings, Topic.ENTRIES)}
    return row | ends


@pytest.fixture(scope="module")
def billed(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A worker has counted three events of the month; the rest is written by hand.

    It is shared, so every test puts right what it falsified; what cannot be put right comes last.
    """
    directory = tmp_path_factory.mktemp("billed")
    unique = f"t{uuid.uuid4().hex[:10]}"
    settings = Settings.model_validate(
        {
            "kafka_bootstrap_servers": kafka,
            "topic_prefix": f"{unique}.",
            "application": unique,
            "data_dir": directory / "data",
        }
    )
    budget = BudgetRecord.model_validate(
        {"scope": SCOPE, "limit": "100", "timezone": "America/New_York", "updated_at": "2026-01-01T00:00:00Z"}
    )
    # The last instant of October there, the first of November, and two after the clocks were set back.
    times = [f"{YEAR}-11-01T03:59:59.999Z", START, f"{YEAR}-11-08T04:30:00Z", f"{YEAR}-11-09T04:30:00Z"]

    async def feed() -> None:
        await send(settings, [event(f"e{n}", "u1", time=time) for n, time in enumerate(times)], key=b"u1")
        counted_all = await check(settings, wait_seconds=60)
        assert not wrong(counted_all), wrong(counted_all)

    asyncio.run(apply_topics(settings))
    with working(settings, directory / "worker.log"):
        asyncio.run(feed())
    # The worker has left; from here on there is a budget that the combination is counted for.
    key = f"budget/{budget.id}".encode()
    asyncio.run(write(settings, Topic.CONTROL, key, budget.model_dump_json().encode()))
    asyncio.run(write_the_rest(settings))
    report = asyncio.run(check(settings, wait_seconds=10))
    assert not wrong(report), wrong(report)
    assert named(report, "meters").found == "1 counted"
    assert named(report, "credits").note == "granted 100, burned 0, expired 0, left 100"
    assert (named(report, "reservations").found, named(report, "decisions").found) == ("1 open", "1 answered")
    yield settings
    asyncio.run(delete_topics(settings))


@asynccontextmanager
async def instead(
    settings: Settings, topic: Topic, key: str, value: object, partition: int = HOME
) -> AsyncIterator[None]:
    """The key has another value, or none, while the block runs."""
    found = (await read_compacted(settings, settings.topic(topic)))[key]
    await write_json(settings, topic, key, value, partition)
    try:
        yield
    finally:
        await write(settings, topic, key.encode(), found, partition)


async def test_a_combination_that_is_off_by_the_smallest_amount_is_found(billed: Settings) -> None:
    async with replaced(billed, Topic.SPEND, MONTH, spent_usd="0.010500000001"):
        found = wrong(await check(billed))
    assert set(found) == {"spend windows"}
    assert found["spend windows"].startswith(f"spend {MONTH}: expected 0.0105 USD, 3 events")


async def test_a_window_that_is_shifted_by_an_hour_over_a_change_of_clocks_is_found(billed: Settings) -> None:
    window = {"kind": "month", "start": START, "end": f"{YEAR}-12-01T04:00:00Z", "timezone": "America/New_York"}
    async with replaced(billed, Topic.SPEND, MONTH, window=window):
        found = wrong(await check(billed))
        assert f"spend record {MONTH}: expected its own scope and window" in found["spend windows"]
    async with instead(billed, Topic.USER_STATE, f"s|{SCOPE}", state_row(LATER)["row"]):
        found = wrong(await check(billed))
        assert found["state"].startswith(f"state {MONTH}: expected 0.0105 USD, 3 events")
        assert found["state"].endswith("found nothing")


async def test_a_combination_that_is_missing_is_found(billed: Settings) -> None:
    async with instead(billed, Topic.USER_STATE, f"s|{SCOPE}", None):
        assert wrong(await check(billed))["state"].endswith("found nothing")
    async with instead(billed, Topic.METERS, METER, None, 0):
        found = wrong(await check(billed))
        assert found["meters"] == f"meter {SCOPE}|{CALENDAR} of partition {HOME}: expected counted, found not counted"
    async with replaced(billed, Topic.METERS, METER, from_offset=2):
        # An event of the month is before the meter, and nothing was added for it.
        assert "expected 0.007 USD, 2 events" in wrong(await check(billed))["state"]
    async with replaced(billed, Topic.METERS, METER, from_offset=2, filled=True):
        assert (await check(billed)).ok


async def test_a_credit_that_was_granted_twice_is_found(billed: Settings) -> None:
    twice = [200 * 10**9, *ACCOUNT[1:8], [["bonus", 200 * 10**9, None]]]
    async with instead(billed, Topic.USER_STATE, "c|u1", twice):
        found = wrong(await check(billed))
        assert found["credits"] == "credits granted to u1: expected 100, found 200"
    async with replaced(billed, Topic.BALANCES, "u1", granted="200"):
        found = wrong(await check(billed))
        assert found == {
            "balances": "balance of u1: expected 200 available or reserved, found 95 available and 5 reserved"
        }


async def test_a_reservation_that_was_forgotten_is_found(billed: Settings) -> None:
    async with instead(billed, Topic.USER_STATE, "h|u1|tests|r1", None):
        found = wrong(await check(billed))
        assert found["reservations"].startswith("reservation r1 of tests for u1: expected open with 0.1 USD")


@pytest.mark.long
async def test_several_processes_find_what_one_finds(billed: Settings) -> None:
    # All that the tests before falsified was put right.
    assert (await check(billed)).ok
    assert (await check(billed, processes=3)).as_json() == (await check(billed, processes=1)).as_json()


async def test_a_decision_that_was_changed_is_found(billed: Settings) -> None:
    denied = DECISION | {"granted": False, "error": "usage_limit_exceeded", "http_status": 429}
    await write_json(billed, Topic.DECISIONS, "tests", denied, 0)
    found = wrong(await check(billed))
    assert found["decisions"].startswith("decision of reservation r1 of tests for u1: expected one, found granted")
