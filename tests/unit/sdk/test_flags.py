"""The flag reader's memory, without Kafka: records are handed to it as they arrive."""

import asyncio
import contextlib
import json
from typing import Any, cast

import pytest

from tollgate.schemas.instants import parse_instant
from tollgate.schemas.outputs import FlagState
from tollgate.sdk import FlagReader

NOW_MS = parse_instant("2026-11-21T10:00:00Z")


def value(scope: str, state: str = "blocked", revision: int = 1, **changes: Any) -> bytes:
    given = {
        "scope": scope,
        "state": state,
        "blocked": state in ("blocked", "stopped"),
        "reason": "usage_limit_exceeded",
        "since": "2026-11-21T09:00:00Z",
        "until": "2026-12-01T00:00:00Z",
        "revision": revision,
    }
    return json.dumps(given | changes).encode()


@pytest.fixture
def flags() -> FlagReader:
    return FlagReader("nowhere:1", now_ms=lambda: NOW_MS)


def test_a_call_is_checked_against_each_of_its_scopes_and_the_company(flags: FlagReader) -> None:
    flags.take("agent/SEO", value("agent/SEO"))
    assert flags.check(user="u1").allowed
    assert not flags.check(user="u1", agent="SEO").allowed
    assert flags.check(user="u1", agent=None, model="").allowed
    flags.take("global", value("global", "stopped", reason="spending_stopped"))
    assert flags.check().http_status == 503


def test_an_older_revision_changes_nothing(flags: FlagReader) -> None:
    flags.take("user/u1", value("user/u1", revision=7))
    flags.take("user/u1", value("user/u1", "ok", revision=6))
    assert flags.check(user="u1").state is FlagState.BLOCKED
    flags.take("user/u1", value("user/u1", "ok", revision=8))
    assert flags.check(user="u1").allowed


def test_a_null_removes_the_flag(flags: FlagReader) -> None:
    flags.take("user/u1", value("user/u1"))
    flags.take("user/u1", None)
    flags.take("user/never-seen", None)
    assert flags.flag("user/u1") is None
    assert flags.check(user="u1").allowed


def test_a_record_that_is_no_flag_is_ignored(flags: FlagReader) -> None:
    flags.take("user/u1", value("user/u1"))
    flags.take("user/u1", b"{")
    assert not flags.check(user="u1").allowed


def test_in_force_lists_what_warns_or_blocks_now(flags: FlagReader) -> None:
    flags.take("user/b", value("user/b"))
    flags.take("user/a", value("user/a", "warning"))
    flags.take("user/c", value("user/c", "ok"))
    flags.take("user/d", value("user/d", until="2026-11-21T10:00:00Z"))
    assert [flag.scope for flag in flags.in_force()] == ["user/a", "user/b"]


def test_an_unknown_dimension_is_a_mistake_in_the_program(flags: FlagReader) -> None:
    with pytest.raises(TypeError, match="'usr' is no dimension"):
        flags.check(usr="u1")


class LosesCancellation:
    """A consumer that behaves as aiokafka's does when a cancellation arrives together with a refused connection."""

    def __init__(self) -> None:
        self.stopped = False

    async def getmany(self, timeout_ms: int) -> dict[object, object]:
        """Nothing, and the first cancellation is lost."""
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(timeout_ms / 1000)
        return {}

    async def stop(self) -> None:
        """Note that it happened."""
        self.stopped = True


async def test_a_reader_stops_though_the_library_loses_its_cancellation() -> None:
    reader, consumer = FlagReader("127.0.0.1:1"), cast("Any", LosesCancellation())
    reader._consumer = consumer
    reader._following = asyncio.create_task(reader._follow(consumer))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await reader.stop()
    assert consumer.stopped
