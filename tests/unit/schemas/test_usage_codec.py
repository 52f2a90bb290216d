"""Facts about reading usage events."""

import json
from typing import Any

import pytest

from tollgate.schemas.refusals import Refusal, RefusalReason
from tollgate.schemas.usage_codec import EventData, EventRecord, decode_usage_event

MODEL = {"provider": "openai", "model": "gpt-4o"}


def sent(data: Any = None, **changes: Any) -> bytes:
    """A valid event with these changes, as JSON."""
    event = {
        "specversion": "1.0",
        "type": "tollgate.usage.v1",
        "source": "chat-api",
        "id": "e1",
        "subject": "u-42",
        "time": "2026-11-21T10:00:00.123Z",
        "data": {**MODEL, "usage": {"input_tokens": 1200}} if data is None else data,
    }
    return json.dumps(event | changes).encode()


def accepted(value: bytes, headers: Any = ()) -> EventRecord:
    """The decoded event."""
    event = decode_usage_event(value, headers)
    assert isinstance(event, EventRecord), event
    return event


def refused(value: bytes | None, headers: Any = ()) -> tuple[RefusalReason, str]:
    """Why the input was refused."""
    refusal = decode_usage_event(value, headers)
    assert isinstance(refusal, Refusal), refusal
    return refusal.reason, refusal.error


def padded(size: int) -> bytes:
    """A valid event of exactly this many bytes."""
    value = sent(padding="")
    return sent(padding="x" * (size - len(value)))


def test_an_event_is_read_with_its_time_in_milliseconds() -> None:
    event = accepted(sent())
    assert (event.source, event.id, event.subject) == ("chat-api", "e1", "u-42")
    # 2026-11-21 is day 20,778 of the epoch: 20,778 × 86,400,000 + 10 × 3,600,000 + 123.
    assert event.time_ms == 1_795_255_200_123
    assert event.data == EventData(provider="openai", model="gpt-4o", usage={"input_tokens": 1200})


def test_absent_names_are_empty_and_absent_numbers_none() -> None:
    data = accepted(sent()).data
    assert (data.agent, data.org, data.reservation_id) == ("", "", "")
    assert (data.latency_ms, data.cost_usd, data.retail_tokens) == (None, None, None)
    assert (data.status, data.convention, data.billed) == ("success", "inclusive", False)


def test_null_means_absent() -> None:
    nulls = dict.fromkeys(["agent", "latency_ms", "status", "billed", "options", "metadata", "convention", "cost_usd"])
    assert accepted(sent({**MODEL, "usage": {"input_tokens": 1200}, **nulls})) == accepted(sent())


def test_amounts_are_brought_into_shortest_form() -> None:
    usage = {"a": "1.50", "b": "2.0", "c": "007", "d": 3, "e": "0.000000001", "f": "0.0"}
    data = accepted(sent({"cost_usd": "0.01250", "retail_tokens": "5.0", "usage": usage})).data
    assert data.usage == {"a": "1.5", "b": 2, "c": 7, "d": 3, "e": "0.000000001", "f": 0}
    assert data.cost_usd == "0.0125"
    assert data.retail_tokens == 5


def test_the_largest_amount_is_one_below_ten_to_the_eighteenth() -> None:
    largest = 999_999_999_999_999_999
    assert accepted(sent({**MODEL, "usage": {"images": largest}})).data.usage == {"images": largest}
    assert refused(sent({**MODEL, "usage": {"images": largest + 1}}))[0] is RefusalReason.INVALID


def test_a_value_of_64_kib_is_read_and_one_byte_more_is_too_large() -> None:
    accepted(padded(65_536))
    assert refused(padded(65_537)) == (RefusalReason.TOO_LARGE, "value: 65537 bytes; at most 65536 are accepted")


def test_a_record_without_value_is_refused() -> None:
    assert refused(None) == (RefusalReason.NULL_VALUE, "value: the record has no value")


def test_names_have_1_to_256_characters() -> None:
    assert accepted(sent(subject="ü" * 256)).subject == "ü" * 256
    assert refused(sent(subject="ü" * 257)) == (RefusalReason.INVALID, "subject: must have at most 256 characters")
    assert refused(sent(subject="")) == (RefusalReason.INVALID, "subject: must not be empty")


def test_64_usage_keys_are_read_and_65_are_refused() -> None:
    accepted(sent({**MODEL, "usage": {f"k{n}": 1 for n in range(64)}}))
    error = refused(sent({**MODEL, "usage": {f"k{n}": 1 for n in range(65)}}))
    assert error == (RefusalReason.INVALID, "data.usage: has too many keys")


def test_latency_is_an_unsigned_32_bit_integer() -> None:
    assert accepted(sent({**MODEL, "usage": {"a": 1}, "latency_ms": 4_294_967_295})).data.latency_ms == 4_294_967_295
    assert refused(sent({**MODEL, "usage": {"a": 1}, "latency_ms": 4_294_967_296}))[0] is RefusalReason.INVALID


def test_usage_may_be_empty_only_with_a_cost_or_when_the_call_failed() -> None:
    accepted(sent({"cost_usd": "0"}))
    accepted(sent({**MODEL, "status": "error", "usage": {}}))
    text = "data: needs usage, or cost_usd"
    assert refused(sent({**MODEL, "usage": {}})) == (RefusalReason.MISSING_FIELD, text)
    assert refused(sent(MODEL)) == (RefusalReason.MISSING_FIELD, text)


@pytest.mark.parametrize(
    ("value", "reason", "error"),
    [
        (sent(id=None), "missing_field", "id: is missing"),
        (sent(id=7), "wrong_type", "id: must be a string"),
        (sent({**MODEL, "usage": {"a": 1.0}}), "wrong_type", "data.usage.a: must be an integer or a decimal string"),
        (sent({**MODEL, "usage": {"images": -1}}), "negative_usage", "data.usage.images: must not be negative"),
        (sent({**MODEL, "usage": {"My key!": 1}}), "invalid", "data.usage.?: must match [a-z][a-z0-9_]*"),
        (sent(time="2026-11-21T10:00:00"), "invalid_time", "time: must have an offset, such as Z or +02:00"),
        (sent(subject="a\nb"), "invalid", "subject: must not contain control characters"),
        (b"[]", "wrong_type", "value: must be a JSON object"),
        (b"\xff", "invalid_utf8", "value: not UTF-8 at byte 0"),
        (b'{"a"', "not_json", "value: not JSON at character 4"),
        (b"\xef\xbb\xbf{}", "not_json", "value: starts with a byte order mark"),
        (b'{"a":NaN}', "not_json", "value: NaN and Infinity are no JSON"),
        (b"[" * 33 + b"]" * 33, "invalid", "value: nested deeper than 32 levels"),
    ],
)  # fmt: skip
def test_an_error_names_the_field_and_what_is_wrong(value: bytes, reason: str, error: str) -> None:
    assert refused(value) == (RefusalReason(reason), error)


@pytest.mark.parametrize("field", ["subject", "time", "type"])
def test_an_error_never_quotes_the_payload(field: str) -> None:
    secret = "hunter2\n"
    for data in ({"usage": {secret: 1}}, {"options": {secret: 1}}, {"status": secret}, {"metadata": {"a": [secret]}}):
        assert "hunter2" not in refused(sent({**MODEL, "usage": {"a": 1}, **data}))[1]
    assert "hunter2" not in refused(sent(**{field: secret}))[1]


def test_depth_is_counted_outside_strings() -> None:
    assert accepted(sent(note="[" * 1000)).id == "e1"


def test_of_a_repeated_name_the_last_counts() -> None:
    value = sent()
    assert accepted(value.replace(b'"id": "e1"', b'"id": 1, "id": "e1", "id": "e2"')).id == "e2"


def test_a_number_of_sixty_thousand_digits_is_refused_where_it_matters_and_ignored_elsewhere() -> None:
    digits = b"9" * 60_000
    assert refused(sent({**MODEL, "usage": {"a": 7}}).replace(b"7}", digits + b"}"))[0] is RefusalReason.INVALID
    accepted(sent(unknown="?").replace(b'"?"', digits))


HEADERS = [
    ("content-type", b"application/json"),
    ("ce_specversion", b"1.0"),
    ("ce_type", b"tollgate.usage.v1"),
    ("ce_source", b"chat-api"),
    ("ce_id", b"e1"),
    ("ce_subject", b"u-42"),
    ("ce_time", b"2026-11-21T10:00:00.123Z"),
]
DATA = json.dumps({**MODEL, "usage": {"input_tokens": 1200}}).encode()


def test_binary_mode_takes_the_attributes_from_headers() -> None:
    assert accepted(DATA, HEADERS) == accepted(sent())


def test_a_structured_content_type_wins_over_ce_headers() -> None:
    structured = ("Content-Type", b"application/cloudevents+json; charset=utf-8")
    assert accepted(sent(id="own"), [*HEADERS[1:], structured]).id == "own"


def test_other_headers_leave_structured_mode() -> None:
    assert accepted(sent(), [("traceparent", b"00-x"), ("content-type", b"application/json"), ("x", None)]).id == "e1"


def test_a_missing_or_broken_header_is_refused() -> None:
    without_id = [header for header in HEADERS if header[0] != "ce_id"]
    assert refused(DATA, without_id) == (RefusalReason.MISSING_FIELD, "id: is missing")
    assert refused(DATA, [*HEADERS, ("ce_id", b"\xff")])[0] is RefusalReason.INVALID_UTF8
    assert refused(DATA, [*HEADERS, ("ce_id", b"a\x00")])[0] is RefusalReason.INVALID


def test_the_value_in_binary_mode_cannot_reach_into_the_envelope() -> None:
    assert refused(DATA[:-1] + b'}, "id": "other"', HEADERS)[0] is RefusalReason.NOT_JSON
