"""The fakes of `tollgate.sdk.testing` answer as the real clients do."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.support.usage_door import UsageDoor, usage_door

from tollgate.sdk import (
    AsyncRecordingTollgate,
    AsyncTollgate,
    BlockedError,
    InvalidEventError,
    Recorder,
    RecordingTollgate,
    Tollgate,
)
from tollgate.sdk.decision import Decision
from tollgate.sdk.event_fields import Usage

GOOD: dict[str, Any] = {"user": "u-42", "provider": "openai", "model": "gpt-4o", "usage": {"input_tokens": 3}}


@pytest.fixture(params=["real", "fake"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def door() -> Iterator[UsageDoor]:
    with usage_door() as opened:
        yield opened


@pytest.fixture
def toll(kind: str, door: UsageDoor, tmp_path: Path) -> Iterator[Tollgate | RecordingTollgate]:
    client = RecordingTollgate("chat") if kind == "fake" else Tollgate(url=door.url, source="chat", spool_dir=tmp_path)
    with client:
        yield client


def events_of(toll: Any, door: UsageDoor) -> list[dict[str, Any]]:
    """What was recorded, as it goes out."""
    assert toll.flush(10)
    if isinstance(toll, RecordingTollgate):
        return [json.loads(event.value) for event in toll.events]
    return door.events


def test_an_event_has_the_same_form(toll: Tollgate | RecordingTollgate, door: UsageDoor) -> None:
    assert isinstance(toll, Recorder)
    assert toll.source == "chat"
    when = datetime(2026, 11, 21, 10, tzinfo=UTC)
    usage: Usage = {"input_tokens": 3, "video_seconds": Decimal("1.5")}
    told = toll.record(user="u1", agent="SEO", usage=usage, time=when, id="e1", cost_usd=Decimal("0.10"), status=None)
    made = toll.record(**GOOD)
    assert told == "e1"
    assert len(made) == 32
    events = events_of(toll, door)
    assert events[0] == {
        "specversion": "1.0",
        "type": "tollgate.usage.v1",
        "source": "chat",
        "id": "e1",
        "subject": "u1",
        "time": "2026-11-21T10:00:00Z",
        "data": {"agent": "SEO", "usage": {"input_tokens": 3, "video_seconds": "1.5"}, "cost_usd": "0.10"},
    }
    assert [event["id"] for event in events] == ["e1", made]
    assert (toll.stats.recorded, toll.stats.sent, toll.stats.waiting) == (2, 2, 0)


@pytest.mark.parametrize(
    ("wrong", "error", "sentence"),
    [
        ({"time": datetime(2026, 11, 21)}, InvalidEventError, "no offset"),  # noqa: DTZ001 # this is what is wrong
        ({"usage": {"input_tokens": -1}}, InvalidEventError, "0 or more"),
        ({"usage": {"input_tokens": 0.5}}, InvalidEventError, "write an int"),
        ({"modle": "x"}, TypeError, "write model="),
    ],
    ids=["naive time", "negative", "float", "unknown"],
)
def test_wrong_use_fails_with_the_same_sentence(
    toll: Tollgate | RecordingTollgate, wrong: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        toll.record(**GOOD | wrong)
    assert toll.stats.recorded == 0


def test_nothing_is_known_so_a_call_goes_ahead(toll: Tollgate | RecordingTollgate) -> None:
    decision = toll.check(user="u1", model="gpt-4o", estimate_usd="0.10")
    assert isinstance(decision, Decision)
    assert decision.allowed
    with pytest.raises(TypeError):
        toll.check(user="u1", colour="red")  # type: ignore[call-arg] # the wrong use that is meant


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"usd": None}, "say how much to set aside"),
        ({"usd": 0.1}, "not a float"),
        ({"credits": "many"}, "credits must be a decimal in text"),
        ({"ttl_seconds": 0}, "whole seconds from 1 to 3600"),
        ({"slice": True, "id": "r-1"}, "leave it out, or slice=True"),
        ({"modle": "x"}, "'modle' is no dimension of a call"),
    ],
    ids=["nothing", "float", "credits", "ttl", "id", "unknown"],
)
def test_a_wrong_reservation_fails_where_it_is_made(
    toll: Tollgate | RecordingTollgate, wrong: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(TypeError, match=sentence):
        toll.reserve(**{"user": "u1", "usd": "0.10"} | wrong)
    with pytest.raises(TypeError, match="estimate_usd must be dollars"):
        toll.check(user="u1", estimate_usd=0.1)  # type: ignore[arg-type] # the wrong use that is meant


def test_a_closed_client_is_closed(toll: Tollgate | RecordingTollgate) -> None:
    toll.close()
    toll.close()
    for use in (lambda: toll.record(**GOOD), lambda: toll.check(user="u1"), lambda: toll.reserve(user="u1", usd="1")):
        with pytest.raises(TypeError, match="the client is closed"):
            use()


async def test_the_awaiting_ones_are_closed_by_their_block(kind: str, door: UsageDoor, tmp_path: Path) -> None:
    made = (
        AsyncRecordingTollgate() if kind == "fake" else AsyncTollgate(url=door.url, source="tests", spool_dir=tmp_path)
    )
    async with made as toll:
        assert isinstance(toll, Recorder)
        toll.record(**GOOD)
        assert await toll.flush(10)
        assert toll.stats.sent == 1
    with pytest.raises(TypeError, match="the client is closed"):
        made.record(**GOOD)


def test_the_fake_denies_what_it_is_told_to() -> None:
    toll = RecordingTollgate()
    toll.deny("user/u1+model/gpt-4o", budget="b", message="No.")
    toll.deny("global", error="spending_stopped")
    toll.allow("global")
    denied = toll.check(user="u1", model="gpt-4o", provider="openai")
    assert (denied.allowed, denied.http_status, denied.error, denied.budget) == (
        False,
        429,
        "usage_limit_exceeded",
        "b",
    )
    assert toll.check(user="u1").allowed
    with pytest.raises(BlockedError, match=r"No\."), toll.reserve(user="u1", model="gpt-4o", usd="1"):
        pass
    assert [reservation.end for reservation in toll.reservations.values()] == ["denied"]
    assert toll.checked[0] == {"user": "u1", "model": "gpt-4o", "provider": "openai"}


def test_the_fakes_reservation_is_settled_once_or_given_back() -> None:
    toll = RecordingTollgate()
    with toll.reserve(user="u1", usd="0.10", provider="openai", model="gpt-4o") as held:
        assert held.granted
        held.settle(usage={"input_tokens": 1}, more=True)
        held.settle(usage={"input_tokens": 2})
        with pytest.raises(TypeError, match="settled already"):
            held.settle(usage={"input_tokens": 3})
    with toll.reserve(user="u1", credits=Decimal(5), id="r2"):
        pass
    assert [reservation.end for reservation in toll.reservations.values()] == ["settled", "released"]
    assert [event.data.get("more") for event in toll.events] == [True, None]
    assert {event.data["reservation_id"] for event in toll.events} == {held.id}


async def test_the_awaiting_fake_reserves_likewise() -> None:
    toll = AsyncRecordingTollgate()
    async with toll.reserve(user="u1", usd="0.10", provider="openai", model="gpt-4o") as held:
        await held.settle(usage={"input_tokens": 1})
    assert [reservation.end for reservation in toll.reservations.values()] == ["settled"]
    toll.deny("user/u1", error="insufficient_credits")
    with pytest.raises(BlockedError) as caught:
        async with toll.reserve(user="u1", credits="5"):
            pass
    assert caught.value.http_status == 402
