"""The live memory against a real broker."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from tests.integration.console.conftest import write
from tests.support.live_records import alert_record, flag_record, spend_record
from tests.waiting import eventually

from tollgate.console.access.callers import Caller, Role
from tollgate.console.live import Frame, Live
from tollgate.console.live import freshness as freshness_rules
from tollgate.control import ControlStore
from tollgate.domain.windows import window_start
from tollgate.runtime.kafka import client_options
from tollgate.runtime.settings import Settings
from tollgate.schemas.control import BudgetRecord
from tollgate.schemas.outputs import AlertLevel, FlagState
from tollgate.schemas.topics import Topic
from tollgate.schemas.vocabulary import BASE_WINDOWS, WindowKind

pytestmark = pytest.mark.integration

VIEWER = Caller("ann", Role.VIEWER)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def is_fresh(live: Live, name: str) -> bool:
    return not live.freshness(name).stale


async def has(condition: bool) -> bool:
    return condition


async def test_what_was_written_before_is_known_on_start(settings: Settings, control: ControlStore) -> None:
    await write(settings, Topic.FLAGS, [(b"user/u1", flag_record("user/u1"))], 3)
    await write(settings, Topic.FLAGS, [(b"user/u2", flag_record("user/u2"))], 4)
    await write(settings, Topic.FLAGS, [(b"user/u2", flag_record("user/u2", "ok", 2))], 4)
    windows = (WindowKind.LIFETIME, *BASE_WINDOWS)
    sums = [spend_record(scope, "7.5", kind, now_ms()) for scope in ("global", "agent/SEO") for kind in windows]
    await write(settings, Topic.SPEND, [*sums, spend_record("user/u1", "3", WindowKind.DAY, now_ms())], 1)
    await write(settings, Topic.ALERTS, [alert_record(), alert_record("org/b", "warning")])
    live = Live(settings, control)
    await live.start()
    try:
        assert live.is_complete
        assert [flag.scope for flag in live.flags_in_force(now_ms())] == ["user/u1"]
        assert live.decide({"user": "u1"}, now_ms()).http_status == 429
        assert live.decide({"user": "u2", "model": "gpt-4o"}, now_ms()).allowed
        today = window_start(WindowKind.DAY, now_ms())
        record = live.spend("agent/SEO", WindowKind.DAY, today)
        assert record is not None
        assert (record.spent_usd, record.events) == ("7.5", 31)
        assert live.spend("user/u1", WindowKind.DAY, today) is None
        assert not live.knows("user/u1", WindowKind.DAY, today)
        assert live.knows("agent/never-used", WindowKind.DAY, today)
        assert live.scopes("agent") == ["agent/SEO"]
        assert [alert.level for alert in live.alerts()] == [AlertLevel.CRITICAL, AlertLevel.WARNING]
        for name in ("spend", "flags", "alerts", "control"):
            await eventually(partial(is_fresh, live, name))
            assert abs(live.freshness(name).as_of_ms - now_ms()) < 10_000
    finally:
        await live.stop()


async def test_what_an_aborted_transaction_wrote_is_never_seen(settings: Settings, live: Live) -> None:
    options = client_options(settings)
    async with AIOKafkaProducer(**options, transactional_id=f"{settings.application}.aborted") as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(settings.topic(Topic.FLAGS), flag_record("user/u1"), key=b"user/u1", partition=0)
        await producer.abort_transaction()
    await write(settings, Topic.FLAGS, [(b"user/u2", flag_record("user/u2"))], 0)
    await eventually(lambda: has(live.flag("user/u2") is not None))
    assert live.flag("user/u1") is None


async def test_a_transaction_left_open_makes_the_flags_old(
    settings: Settings, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freshness_rules, "STALE_AFTER_MS", 1_500)
    assert not live.freshness("flags").stale
    options = client_options(settings)
    async with AIOKafkaProducer(**options, transactional_id=f"{settings.application}.open") as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(settings.topic(Topic.FLAGS), flag_record("user/u1"), key=b"user/u1", partition=0)
        await eventually(lambda: has(live.freshness("flags").stale), what="the flags being told as old")
        assert not live.freshness("spend").stale
        await producer.commit_transaction()
    await eventually(lambda: has(not live.freshness("flags").stale))
    assert live.flag("user/u1") is not None


async def test_malformed_records_are_skipped_and_what_follows_is_read(settings: Settings, live: Live) -> None:
    hostile = [(b"user/u1", b"{"), (b"\xff\xfe", b"[" * 50_000), (b"", b""), (b"global|day|x", b'{"scope": 1}')]
    for topic in (Topic.FLAGS, Topic.SPEND, Topic.ALERTS):
        await write(settings, topic, hostile, 0)
    await write(settings, Topic.FLAGS, [(b"user/u1", flag_record("user/u1"))], 0)
    await write(settings, Topic.SPEND, [spend_record("global", "1", WindowKind.DAY, now_ms())], 0)
    await write(settings, Topic.ALERTS, [alert_record()], 0)
    await eventually(
        lambda: has(
            live.flag("user/u1") is not None
            and live.spend("global", WindowKind.DAY, window_start(WindowKind.DAY, now_ms())) is not None
            and live.alert_count == 1
        )
    )
    assert live.ignored.by_topic[Topic.FLAGS] == 4


class Reader:
    """Reads a caller's stream, and when each frame came."""

    def __init__(self, live: Live, caller: Caller = VIEWER) -> None:
        self._frames: AsyncIterator[Frame] = live.frames(caller)
        self.at: list[tuple[float, Frame]] = []

    async def snapshot(self) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for _ in range(4):
            frame = await self.next()
            value = json.loads(frame.data)
            assert value["snapshot"]
            found[frame.event] = value["items"]
        assert (await self.next()).event == "heartbeat"
        return found

    async def next(self, seconds: float = 5) -> Frame:
        frame = await asyncio.wait_for(anext(self._frames), seconds)
        self.at.append((asyncio.get_running_loop().time(), frame))
        return frame


async def test_a_flag_reaches_the_stream_within_a_second(settings: Settings, live: Live) -> None:
    reader = Reader(live)
    assert await reader.snapshot() == {"spend": [], "flag": [], "alert": [], "budget": []}
    async with AIOKafkaProducer(**client_options(settings)) as producer:
        await producer.send_and_wait(settings.topic(Topic.FLAGS), flag_record("user/u1"), key=b"user/u1")
        written_at = asyncio.get_running_loop().time()
        frame = await reader.next()
    assert frame.event == "flag"
    (item,) = json.loads(frame.data)["items"]
    assert (item["scope"], item["state"], item["spent"]) == ("user/u1", FlagState.BLOCKED, "104.2")
    assert reader.at[-1][0] - written_at < 1


async def test_many_changes_are_two_frames_a_second_with_the_last_value(settings: Settings, live: Live) -> None:
    reader = Reader(live)
    await reader.snapshot()
    sums = (spend_record("global", str(n), WindowKind.DAY, now_ms()) for n in range(1, 10_001))
    writing = asyncio.create_task(write(settings, Topic.SPEND, sums, 0))
    began = asyncio.get_running_loop().time()
    spent = ""
    while spent != "10000":
        frame = await reader.next()
        assert frame.event == "spend"
        value = json.loads(frame.data)
        assert len(value["items"]) == 1
        spent = value["items"][0]["spent_usd"]
    await writing
    times = [at for at, frame in reader.at if frame.event == "spend"][1:]
    assert all(later - earlier > 0.45 for earlier, later in pairwise(times)), times
    assert len(times) <= 2 * (times[-1] - began) + 2


async def test_a_changed_budget_reaches_the_stream_and_the_book(live: Live, control: ControlStore) -> None:
    reader = Reader(live)
    await reader.snapshot()
    given = BudgetRecord(scope="user/*", limit="100", updated_at="2026-11-21T10:00:00Z")
    value = given.model_dump(mode="json", exclude_none=True)
    await control.change("budget/user/*:month:usd", value, actor="ann")
    frame = await reader.next()
    assert frame.event == "budget"
    (item,) = json.loads(frame.data)["items"]
    assert (item["id"], item["limit"], item["version"]) == ("user/*:month:usd", "100", 1)
    assert [budget.id for budget in live.book().for_scope("user/u1")] == ["user/*:month:usd"]
    await control.change("budget/user/*:month:usd", None, actor="ann")
    frame = await reader.next()
    assert json.loads(frame.data)["items"] == [{"id": "user/*:month:usd", "gone": True}]
    assert live.book().is_empty


async def test_a_stop_says_bye_and_ends_the_stream(live: Live) -> None:
    reader = Reader(live)
    await reader.snapshot()
    assert live.streams == 1
    waiting = asyncio.create_task(reader.next())
    live.end_streams()
    assert (await waiting).event == "bye"
    with pytest.raises(StopAsyncIteration):
        await reader.next()
    assert live.streams == 0
    late = Reader(live)
    assert "bye" in [(await late.next()).event for _ in range(5)]
