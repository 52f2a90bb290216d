"""What a real worker makes of combinations, calendars, plans, credits and reservations is found equal."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from tests.support.usage import event
from tests.support.verifying import check, named, write, wrong
from tests.support.worker import send, working

from tollgate.runtime.kafka import client_options
from tollgate.runtime.settings import Settings
from tollgate.schemas.control import AssignmentRecord, BudgetRecord
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import USAGE_PARTITIONS, Topic

pytestmark = pytest.mark.integration

BUDGETS: list[dict[str, Any]] = [
    {"scope": "user/*", "limit": "0.015"},
    {"scope": "user/*+model/gpt-4o", "limit": "0.01", "timezone": "America/New_York"},
    {"scope": "provider/openai+model/*", "limit": "1", "window": "week"},
    {"scope": "user/u1", "limit": "100", "window": "week", "week_starts_on": "sunday"},
    {"scope": "user/u2", "limit": "3", "unit": "credits", "window": "day"},
]


def entry(type_: str, id_: str, user: str = "u1", **data: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0", "type": f"tollgate.{type_}.v1", "source": "tests", "id": id_, "subject": user,
        "time": datetime.now(UTC).isoformat(), "data": data,
    }  # fmt: skip


async def enter(settings: Settings, *entries: dict[str, Any]) -> None:
    async with AIOKafkaProducer(**client_options(settings)) as producer:
        for one in entries:
            key = str(one["subject"]).encode()
            home = partition_of(key, USAGE_PARTITIONS)
            await producer.send_and_wait(
                settings.topic(Topic.ENTRIES), msgspec.json.encode(one), key=key, partition=home
            )


async def test_all_that_a_worker_counts_decides_and_grants_is_found_equal(settings: Settings, tmp_path: Path) -> None:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    for given in BUDGETS:
        budget = BudgetRecord.model_validate({**given, "updated_at": "2026-01-01T00:00:00Z"})
        await write(settings, Topic.CONTROL, f"budget/{budget.id}".encode(), budget.model_dump_json().encode())
    free = AssignmentRecord(plan="free").model_dump_json().encode()
    await write(settings, Topic.CONTROL, b"assignment/default", free)

    def used(number: int, user: str, **data: Any) -> dict[str, Any]:
        return event(f"e{number}", user, time=now, data={"feature": "video"} | data)

    with working(settings, tmp_path / "worker.log"):
        await enter(settings, *[entry("credit", "c1", credits="100", kind="bonus")] * 2)
        await enter(settings, entry("credit", "c2", credits="-30", kind="correction"))
        await enter(settings, entry("credit", "c3", credits="x", kind="bonus"))
        # An account burns what is counted after it began, and there is no order between the two topics.
        granted = await check(settings, wait_seconds=60)
        assert not wrong(granted), wrong(granted)
        asked = entry("reservation", "r1", amount_usd="0.001", credits="2", feature="chat", ttl_seconds=600)
        await send(settings, [asked, asked], key=b"u1")
        await send(settings, [used(number, "u1", retail_tokens=3) for number in range(4)], key=b"u1")
        await send(settings, [used(number, "u2", retail_tokens=1) for number in range(10, 14)], key=b"u2")
        second = entry("reservation", "r2", amount_usd="0.001", ttl_seconds=600)
        await send(settings, [second], key=b"u3")
        await send(settings, [used(20, "u3", reservation_id="r2")], key=b"u3")
        report = await check(settings, wait_seconds=60)
        log = (tmp_path / "worker.log").read_text()
    assert not wrong(report), (wrong(report), log[-3000:])
    assert named(report, "dead letters of entries").found == "1"
    assert named(report, "decisions").found == "2 answered"
    # u1 was given 70, and burned 10 free ones of the day and 2 of these; u2 burned 4 free ones.
    assert named(report, "credits").note == "granted 84, burned 16, expired 0, left 68"
    # Six patterns in eight partitions, four of them the plan's, and one user's week in theirs.
    assert named(report, "meters").found == "49 counted"
    assert named(report, "reservations").found == "1 open"
