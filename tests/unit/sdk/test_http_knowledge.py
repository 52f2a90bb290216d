"""What a service learns of limits from the console's stream, frame by frame."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from tollgate.schemas.instants import parse_instant
from tollgate.sdk.errors import UnavailableError
from tollgate.sdk.http_knowledge import HttpKnowledge
from tollgate.sdk.knowledge import Knowledge

NOW_MS = parse_instant("2026-11-21T10:00:00Z")
NOW = "2026-11-21T10:00:00Z"
BUDGET = {"id": "b1", "scope": "service/video", "limit": "100", "fail": "closed"}


def flag(scope: str, state: str = "blocked", revision: int = 1) -> dict[str, Any]:
    return {
        "scope": scope,
        "state": state,
        "blocked": state == "blocked",
        "reason": "usage_limit_exceeded",
        "since": "2026-11-21T09:00:00Z",
        "until": "2026-12-01T00:00:00Z",
        "revision": revision,
    }


def frame(*items: dict[str, Any], snapshot: bool = False, more: int = 0) -> dict[str, Any]:
    return {"snapshot": snapshot, "items": items, "more": more}


def beat(flags: str | None, control: str | None) -> dict[str, Any]:
    return {"now": NOW, "as_of": {"flags": flags, "control": control}}


COMPLETE = ("heartbeat", beat(NOW, NOW))
READS = ("heartbeat", beat(None, None))


class Console:
    """The console's API as far as the stream needs it: streams are given, one after another, and so are lists."""

    def __init__(self) -> None:
        self.streams: list[list[tuple[str, dict[str, Any]]]] = []
        self.lists: dict[str, list[dict[str, Any]] | None] = {}
        self.ended = asyncio.Event()

    async def frames(self, _path: str, _silent_seconds_max: float) -> AsyncIterator[tuple[str, bytes]]:
        """The next stream, to its end."""
        for event, data in self.streams.pop(0):
            yield event, json.dumps(data).encode()
        if not self.streams:
            self.ended.set()
            await asyncio.Event().wait()

    async def items(self, path: str) -> AsyncIterator[bytes]:
        """A list. UnavailableError when there is none."""
        found = self.lists[path]
        if found is None:
            raise UnavailableError("the console answers 503")
        for item in found:
            yield json.dumps(item).encode()

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> Console:
    monkeypatch.setattr("tollgate.sdk.http_knowledge._RETRY_SECONDS", 0)
    return Console()


async def told(console: Console, knowledge: Knowledge, *streams: list[tuple[str, dict[str, Any]]]) -> None:
    """Follow these streams to the end of the last one."""
    console.streams, console.ended = list(streams), asyncio.Event()
    following = asyncio.create_task(HttpKnowledge(cast("Any", console), knowledge).run())
    async with asyncio.timeout(5):
        await console.ended.wait()
    following.cancel()
    await asyncio.wait([following])


def knowledge_of(age_ms: list[int]) -> Knowledge:
    """What is old after `age_ms[0]`."""
    return Knowledge(now_ms=lambda: NOW_MS, clock_ms=lambda: age_ms[0])


async def test_a_console_that_has_not_read_its_topics_ends_no_known_block(console: Console) -> None:
    knowledge = knowledge_of([0])
    begun = [("flag", frame(flag("user/u1"), snapshot=True)), ("budget", frame(BUDGET, snapshot=True)), COMPLETE]
    anew = [("flag", frame(snapshot=True)), ("budget", frame(snapshot=True)), READS]
    await told(console, knowledge, begun, anew)
    assert not knowledge.check({"user": "u1"}).allowed
    assert knowledge.fails_closed({"service": "service/video"})
    # It reads on, from the beginning of its topics: an old end, and a new block.
    more = [("flag", frame(flag("user/u1", "ok"), flag("user/u2")))]
    await told(console, knowledge, [*anew, *more])
    assert not knowledge.check({"user": "u1"}).allowed
    assert not knowledge.check({"user": "u2"}).allowed
    # At the end it knows all there is.
    await told(console, knowledge, [*anew, *more, COMPLETE])
    assert knowledge.check({"user": "u1"}).allowed
    assert not knowledge.check({"user": "u2"}).allowed
    assert not knowledge.fails_closed({"service": "service/video"})


async def test_what_ended_while_nobody_listened_is_gone_with_a_new_stream(console: Console) -> None:
    knowledge = knowledge_of([0])
    begun = [("flag", frame(flag("user/u1", revision=7), flag("user/u2"), snapshot=True)), COMPLETE]
    # Its topic was made anew: revisions begin at 1 again.
    anew = [("flag", frame(flag("user/u1", "warning", revision=1), snapshot=True)), COMPLETE]
    await told(console, knowledge, begun, anew)
    assert knowledge.check({"user": "u1"}).state == "warning"
    assert len(knowledge) == 1


async def test_after_that_each_change_counts_at_once(console: Console) -> None:
    knowledge = knowledge_of([0])
    begun = [("flag", frame(flag("user/u1"), snapshot=True)), ("budget", frame(BUDGET, snapshot=True)), COMPLETE]
    ended = [("flag", frame(flag("user/u1", "ok"))), ("budget", frame({"id": "b1", "gone": True}))]
    await told(console, knowledge, [*begun, *ended])
    assert knowledge.check({"user": "u1"}).allowed
    assert not knowledge.fails_closed({"service": "service/video"})


async def test_budgets_that_cannot_be_read_anew_stay_as_they_were(console: Console) -> None:
    age_ms = [0]
    knowledge = knowledge_of(age_ms)
    begun = [("flag", frame(snapshot=True)), ("budget", frame(BUDGET, snapshot=True)), COMPLETE]
    console.lists["/budgets"] = None
    await told(console, knowledge, begun, [("budget", frame(snapshot=True, more=501))], [])
    age_ms[0] = 60_001
    assert knowledge.check({"service": "video"}).error == "limits_unknown"


async def test_of_many_changes_what_a_frame_leaves_out_is_read_as_a_list(console: Console) -> None:
    knowledge = knowledge_of([0])
    begun = [("flag", frame(flag("user/u1"), snapshot=True)), ("budget", frame(BUDGET, snapshot=True)), COMPLETE]
    console.lists = {"/flags": [flag("user/u2")], "/budgets": [BUDGET | {"id": "b2", "scope": "service/chat"}]}
    await told(console, knowledge, [*begun, ("flag", frame(more=501)), ("budget", frame(more=501))])
    assert knowledge.check({"user": "u1"}).allowed
    assert not knowledge.check({"user": "u2"}).allowed
    assert not knowledge.fails_closed({"service": "service/video"})
    assert knowledge.fails_closed({"service": "service/chat"})


async def test_limits_are_known_once_the_console_has_read_them(console: Console) -> None:
    knowledge = knowledge_of([0])
    await told(console, knowledge, [COMPLETE, ("flag", frame(snapshot=True)), READS])
    assert knowledge.age_ms is None
    await told(console, knowledge, [("flag", frame(snapshot=True)), ("heartbeat", beat("2026-11-21T09:59:59Z", None))])
    assert knowledge.age_ms == 1_000
