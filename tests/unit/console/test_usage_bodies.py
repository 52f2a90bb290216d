"""What `POST /usage` makes of a body: the very events that the worker would read, or its reasons to refuse them."""

import json
from typing import Any

import pytest
from tests.support.usage import event

from tollgate.console.usage_bodies import Event, NoJsonError, Refused, TooManyError, read_events
from tollgate.schemas.refusals import Refusal, RefusalReason
from tollgate.schemas.usage_codec import EventRecord, decode_usage_event
from tollgate.schemas.usage_limits import EVENT_BYTES_MAX

NOW = "2026-11-21T12:00:00.123Z"
DATA = {"provider": "openai", "model": "gpt-4o", "usage": {"input_tokens": 1200, "output_tokens": 300}}


def read(body: Any, org: str = "") -> list[Event | Refused]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return list(read_events(raw, NOW, lambda index: f"made-{index}", org))


def decoded(found: Event | Refused) -> EventRecord:
    assert isinstance(found, Event), found
    record = decode_usage_event(found.value)
    assert not isinstance(record, Refusal)
    return record


def reason(found: Event | Refused) -> tuple[int, str, str]:
    assert isinstance(found, Refused), found
    return found.place, found.reason, found.error


def test_a_whole_event_is_passed_on_byte_by_byte() -> None:
    raw = json.dumps(event(), indent=2).encode()
    (found,) = read(raw)
    assert found == Event(0, "u1", "e1", "2026-11-21T10:00:00Z", raw, made=False)


def test_an_event_may_leave_out_everything_but_source_subject_and_data() -> None:
    (found,) = read({"source": "chat-api", "subject": "u-42", "data": DATA})
    record = decoded(found)
    assert (record.id, record.time, record.source, record.subject) == ("made-0", NOW, "chat-api", "u-42")
    assert (record.data.model, record.data.usage) == ("gpt-4o", {"input_tokens": 1200, "output_tokens": 300})
    assert isinstance(found, Event)
    assert found.made


def test_the_data_may_stand_beside_source_and_subject() -> None:
    (found,) = read({"source": "chat-api", "subject": "u-42", "id": "e7", "time": "2026-11-21T10:00:00Z", **DATA})
    record = decoded(found)
    assert (record.id, record.time, record.data.provider) == ("e7", "2026-11-21T10:00:00Z", "openai")
    assert isinstance(found, Event)
    assert not found.made


@pytest.mark.parametrize("given", [DATA, {"data": DATA}])
def test_the_user_of_an_abbreviated_event_may_be_called_so(given: dict[str, Any]) -> None:
    (found,) = read({"source": "chat-api", "user": "u-42", **given})
    record = decoded(found)
    assert (record.subject, record.data.model) == ("u-42", "gpt-4o")
    (named_twice,) = read({"source": "chat-api", "user": "u-1", "subject": "u-42", **given})
    assert decoded(named_twice).subject == "u-42"


def test_a_null_id_is_made_and_a_given_one_is_kept() -> None:
    first, second = read([event() | {"id": None, "time": None}, event("e2") | {"time": None}])
    assert (decoded(first).id, decoded(first).time) == ("made-0", NOW)
    assert (decoded(second).id, decoded(second).time) == ("e2", NOW)


def test_events_are_refused_by_their_place_with_the_workers_reasons() -> None:
    bad = [
        event() | {"subject": ""},
        event(data={"usage": {"input_tokens": -1}}),
        event(data={"usage": {"input_tokens": 1.5}}),
        event() | {"time": "yesterday"},
        event() | {"specversion": "0.3"},
        {"data": DATA},
        {},
        7,
        None,
        [],
        event("x" * 257),
        event(data={"metadata": {"text": "x" * 70_000}}),
    ]
    found = read([event("good"), *bad])
    assert isinstance(found[0], Event)
    assert [reason(one)[:2] for one in found[1:]] == [
        (1, RefusalReason.INVALID),
        (2, RefusalReason.NEGATIVE_USAGE),
        (3, RefusalReason.WRONG_TYPE),
        (4, RefusalReason.INVALID_TIME),
        (5, RefusalReason.INVALID),
        (6, RefusalReason.MISSING_FIELD),
        (7, RefusalReason.MISSING_FIELD),
        (8, RefusalReason.WRONG_TYPE),
        (9, RefusalReason.WRONG_TYPE),
        (10, RefusalReason.WRONG_TYPE),
        (11, RefusalReason.INVALID),
        (12, RefusalReason.TOO_LARGE),
    ]
    assert reason(found[2])[2] == "data.usage.input_tokens: must not be negative"


def test_a_whole_event_without_data_lacks_its_data() -> None:
    whole = event()
    del whole["data"]
    (found,) = read(whole)
    assert reason(found)[1:] == (RefusalReason.MISSING_FIELD, "data: is missing")


def test_numbers_are_passed_on_as_they_were_sent() -> None:
    (found,) = read(b'{"source":"s","subject":"u","data":{"agent":"SEO","usage":{"input_tokens":1e3}}}')
    assert reason(found)[1] is RefusalReason.WRONG_TYPE
    digits = b"9" * 1_000_000
    (found,) = read(b'{"source":"s","subject":"u","data":{"agent":"SEO","usage":{"input_tokens":' + digits + b"}}}")
    assert reason(found)[1] is RefusalReason.TOO_LARGE


@pytest.mark.parametrize("body", [b"", b"{", b"[{]", b"[1] 2", b"nope", b"[" * 100_000, b"\xff", b"{}{}"])
def test_what_is_no_json_is_told(body: bytes) -> None:
    with pytest.raises(NoJsonError):
        read(body)


def test_bad_utf8_in_one_event_refuses_that_one() -> None:
    good = json.dumps(event()).encode()
    bad = good.replace(b"gpt-4o", b"\xff\xfe")
    first, second = read(b"[" + good + b"," + bad + b"]")
    assert isinstance(first, Event)
    assert reason(second)[1] is RefusalReason.INVALID_UTF8


def test_a_list_has_at_most_1000_events() -> None:
    assert len(read([event()] * 1000)) == 1000
    with pytest.raises(TooManyError):
        read([event()] * 1001)
    assert read([]) == []


@pytest.mark.parametrize("org", [{}, {"org": None}, {"org": ""}])
def test_an_event_without_org_gets_that_of_the_caller(org: dict[str, Any]) -> None:
    whole = event(data=org)
    flat = {"source": "chat-api", "subject": "u-42", **DATA, **org}
    for found in read([whole, flat, {"source": "s", "subject": "u", "data": DATA | org}], org='ac"me'):
        assert decoded(found).data.org == 'ac"me'
    (found,) = read(whole, org="acme")
    assert isinstance(found, Event)
    filled = json.loads(found.value)
    assert filled["data"].pop("org") == "acme"
    assert filled == event()


def test_an_event_of_the_callers_org_is_passed_on_byte_by_byte() -> None:
    raw = json.dumps(event(data={"org": "acme"}), indent=2).encode()
    assert read(raw, org="acme") == [Event(0, "u1", "e1", "2026-11-21T10:00:00Z", raw, made=False)]


@pytest.mark.parametrize("other", ["globex", "Acme", "acme ", "acme/x", "*"])
def test_an_event_of_another_org_is_refused(other: str) -> None:
    good, bad, flat = read(
        [event(), event(data={"org": other}), {"source": "s", "subject": "u", **DATA, "org": other}], org="acme"
    )
    assert decoded(good).data.org == "acme"
    told = "data.org: must be acme or absent, for this token is of that org alone"
    assert [reason(bad), reason(flat)] == [(1, "not_allowed", told), (2, "not_allowed", told)]


@pytest.mark.parametrize(
    ("first", "last", "org"), [("acme", "globex", None), ("globex", "acme", "acme"), ("globex", "", "acme")]
)
def test_of_an_org_that_is_said_twice_the_one_that_the_worker_reads_counts(first: str, last: str, org: str) -> None:
    twice = f'"org": "{first}", "\\u006frg": "{last}", "provider"'
    raw = json.dumps(event()).replace('"provider"', twice).encode()
    worker = decode_usage_event(raw)
    assert not isinstance(worker, Refusal)
    assert worker.data.org == last
    (found,) = read(raw, org="acme")
    assert (decoded(found).data.org if isinstance(found, Event) else None) == org


def test_an_org_that_makes_an_event_too_large_refuses_it() -> None:
    room = EVENT_BYTES_MAX - len(json.dumps(event(data={"metadata": {"text": ""}}), separators=(",", ":")))
    fits = json.dumps(event(data={"metadata": {"text": "x" * room}}), separators=(",", ":")).encode()
    assert isinstance(read(fits)[0], Event)
    assert reason(read(fits, org="acme")[0])[1] is RefusalReason.TOO_LARGE


def test_a_release_is_taken_among_events_and_a_reservation_is_not() -> None:
    envelope = {"specversion": "1.0", "source": "chat-api", "subject": "u-42", "time": NOW}
    release = envelope | {"type": "tollgate.release.v1", "id": "r-1/release", "data": {"reservation_id": "r-1"}}
    data = {"amount_usd": "0.10", "ttl_seconds": 60}
    reservation = envelope | {"type": "tollgate.reservation.v1", "id": "r-2", "data": data}
    first, second, third, last = read([event(), release, reservation, release | {"data": {}}], org="")
    assert decoded(first).id == "e1"
    assert second == Event(1, "u-42", "r-1/release", NOW, json.dumps(release).encode(), made=False)
    assert reason(third)[:2] == (2, RefusalReason.INVALID)
    assert reason(last) == (3, RefusalReason.MISSING_FIELD, "data.reservation_id: is missing")
    assert isinstance(read([release], org="acme")[0], Event)
