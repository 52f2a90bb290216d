"""What a stream is sent, without Kafka: records are handed over as they arrive."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.live_records import alert_record, flag_record, spend_record

from tollgate.console.access.callers import Caller, Role
from tollgate.console.live import Frame, changes, stream
from tollgate.console.live.changes import Change, Changes
from tollgate.console.live.held_alerts import HeldAlerts
from tollgate.console.live.held_flags import HeldFlags
from tollgate.console.live.held_spend import HeldSpend
from tollgate.console.live.ignored import Ignored
from tollgate.console.live.items import Items
from tollgate.console.live.sight import Sight
from tollgate.console.live.stream import Stream
from tollgate.control import ControlStore
from tollgate.runtime.settings import Settings
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.vocabulary import WindowKind

NOON_MS = parse_instant("2026-11-21T12:00:00Z")
HOSTILE = [
    "<img src=x onerror=alert(1)>", 'a"b\'c', "a\u2028b", "\u202eevil", "x\\ndata: {}", "=cmd|'/c calc'!A1", "../..",
    "|day|", "x" * 256, "\ud7ff\U0001f600",
]  # fmt: skip


class Board:
    """The memory and its stream; the topics are what the test says."""

    def __init__(self) -> None:
        ignored = Ignored()
        self.flags, self.alerts = HeldFlags(ignored), HeldAlerts(ignored)
        self.spend = HeldSpend(ignored, NOON_MS)
        self.changes = Changes()
        control = ControlStore(Settings(kafka_bootstrap_servers="nowhere:1"))
        items = Items(self.flags, self.spend, self.alerts, control, lambda: NOON_MS)
        self.stream = Stream(self.changes, items, dict, lambda: NOON_MS)

    def flag(self, scope: str, *args: Any, **changes: Any) -> None:
        if self.flags.take(scope.encode(), flag_record(scope, *args, **changes)):
            self.changes.note(Change("flag", scope, scope))

    def spent(self, scope: str, spent: str = "1") -> None:
        window = self.spend.take(*spend_record(scope, spent, WindowKind.DAY, NOON_MS))
        assert window is not None
        self.changes.note(Change("spend", "|".join(window), scope))

    def alert(self, scope: str, level: str = "critical", revision: int = 1) -> None:
        taken = self.alerts.take(*alert_record(scope, level, revision, key=f"budget/b|{scope}|month|x"))
        assert taken is not None
        self.changes.note(Change("alert", *taken))

    def frames(self, role: Role = Role.VIEWER, user: str = "", org: str = "") -> AsyncIterator[Frame]:
        return self.stream.frames(Sight.of(Caller("ann", role, user, org)))


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Board:
    monkeypatch.setattr(changes, "TICK_SECONDS", 0.02)
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 60.0)
    return Board()


async def scopes(frames: AsyncIterator[Frame], count: int) -> list[tuple[str, str]]:
    """Of the next frames the event and the scope of each item."""
    found: list[tuple[str, str]] = []
    for _ in range(count):
        frame = await asyncio.wait_for(anext(frames), 5)
        items = json.loads(frame.data).get("items", [])
        found += [(frame.event, item.get("scope", item.get("key", ""))) for item in items]
    return found


async def test_a_user_is_sent_their_own_flag_and_that_the_company_is_stopped(board: Board) -> None:
    board.flag("user/u1")
    board.flag("user/u2")
    board.flag("global", "stopped", reason="spending_stopped")
    board.spent("global")
    board.alert("user/u1")
    board.alert("user/u2")
    frames = board.frames(Role.USER, user="u1")
    found = [await asyncio.wait_for(anext(frames), 5) for _ in range(5)]
    flags = json.loads(next(frame.data for frame in found if frame.event == "flag"))["items"]
    assert [flag["scope"] for flag in flags] == ["global", "user/u1"]
    assert flags[0].keys().isdisjoint({"spent", "limit", "percent", "budget"})
    assert flags[1]["spent"] == "104.2"
    assert json.loads(found[0].data)["items"] == []
    assert [alert["scope"] for alert in json.loads(found[2].data)["items"]] == ["user/u1"]
    board.spent("org/acme")
    board.flag("user/u2", "warning", 2)
    board.flag("global", "warning", 2)
    assert await scopes(frames, 1) == [("flag", "global")]


async def test_a_caller_of_an_org_is_sent_what_is_the_orgs(board: Board) -> None:
    for scope in ("org/acme", "org/globex", "user/u1", "global"):
        board.flag(scope, "warning")
        board.alert(scope)
    for scope in ("org/acme", "org/globex", "global"):
        board.spent(scope)
    frames = board.frames(Role.ADMIN, org="acme")
    assert {scope for _, scope in await scopes(frames, 5)} <= {"org/acme", "global"}
    board.alert("org/globex", "resolved", 2)
    board.alert("org/acme", "resolved", 2)
    assert await scopes(frames, 1) == [("alert", "budget/b|org/acme|month|x")]


@pytest.mark.parametrize("role", [Role.USER])
async def test_a_user_without_a_name_is_sent_nothing(board: Board, role: Role) -> None:
    board.flag("user/u1")
    board.spent("global")
    board.alert("user/u1")
    frames = board.frames(role, org="acme")
    assert await scopes(frames, 5) == []
    board.flag("user/u2")
    board.changes.note(Change("budget", "of-somebody"))
    board.flag("global", "stopped")
    assert await scopes(frames, 1) == [("flag", "global")]


@pytest.mark.parametrize("name", HOSTILE)
async def test_no_name_can_begin_an_event(board: Board, name: str) -> None:
    board.flag(f"user/{name}")
    board.spent(f"model/{name}")
    board.alert(f"agent/{name}")
    frames = board.frames()
    for expected in ("spend", "flag", "alert"):
        sent = (await anext(frames)).encode()
        lines = sent.decode().split("\n")
        assert [line.partition(":")[0] for line in lines] == ["event", "id", "data", "", ""]
        assert lines[0] == f"event: {expected}"
        assert "\r" not in sent.decode()
        assert json.loads(lines[2].removeprefix("data: "))["items"][0]["scope"].endswith(name)


async def test_a_slow_reader_gets_the_last_value_and_nothing_is_kept_for_it(board: Board) -> None:
    frames = board.frames()
    await scopes(frames, 5)
    for n in range(1000):
        board.spent("global", str(n))
    frame = await asyncio.wait_for(anext(frames), 5)
    assert [item["spent_usd"] for item in json.loads(frame.data)["items"]] == ["999"]


async def test_a_reader_who_missed_too_much_is_given_everything_anew(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "KEYS_MAX", 5)
    frames = board.frames()
    await scopes(frames, 5)
    for n in range(5):
        board.spent(f"model/m{n}")
    frame = await asyncio.wait_for(anext(frames), 5)
    assert not json.loads(frame.data)["snapshot"]
    for n in range(6):
        board.spent(f"model/n{n}")
    frame = await asyncio.wait_for(anext(frames), 5)
    value = json.loads(frame.data)
    assert value["snapshot"]
    assert len(value["items"]) == 11


async def test_a_frame_holds_at_most_so_many_items_and_says_how_many_more_there_are(board: Board) -> None:
    for n in range(600):
        board.flag(f"user/u{n:03}")
    board.flag("model/gpt-4o", "warning")
    frames = board.frames()
    await anext(frames)
    value = json.loads((await anext(frames)).data)
    assert (len(value["items"]), value["more"]) == (500, 101)
    assert value["items"][0]["scope"] == "model/gpt-4o"


async def test_frames_that_are_the_same_are_made_once(board: Board) -> None:
    first, second = board.frames(), board.frames()
    await scopes(first, 5)
    await scopes(second, 5)
    board.spent("global")
    sent = await asyncio.gather(anext(first), anext(second))
    assert sent[0].data is sent[1].data


async def test_a_heartbeat_comes_while_nothing_changes(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.05)
    frames = board.frames()
    await scopes(frames, 4)
    for _ in range(3):
        assert (await asyncio.wait_for(anext(frames), 5)).event == "heartbeat"
