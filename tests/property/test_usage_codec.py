"""The codec and the reference model read every input alike."""

import copy
import json
import os
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, seed, settings
from hypothesis import strategies as st
from tests.property.usage_event_inputs import FAULTS, Fault, Json, serialised, valid_events

from tollgate.schemas.refusals import Refusal, RefusalReason
from tollgate.schemas.usage_codec import EventRecord, decode_usage_event
from tollgate.schemas.usage_event import UsageEvent, validate_usage_event
from tollgate.schemas.usage_identity import fingerprint

SEED = int(os.environ.get("TOLLGATE_TEST_SEED", random.randrange(2**32)))
EXAMPLES = int(os.environ.get("TOLLGATE_TEST_EXAMPLES", "200"))
many = settings(
    max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)


@pytest.fixture(autouse=True)
def _print_seed() -> None:
    print(f"TOLLGATE_TEST_SEED={SEED}")


def as_record(event: UsageEvent) -> dict[str, Any]:
    """What the reference says a decoded record must hold."""
    names = {name: "" if value is None and name not in NULLABLE else value for name, value in event.data}
    envelope = {name: getattr(event, name) for name in ("source", "id", "subject", "time", "time_ms")}
    return {**envelope, "data": names}


NULLABLE = {"cost_usd", "latency_ms", "retail_tokens"}


def read_by_both(value: bytes | None, headers: Any = ()) -> EventRecord | Refusal:
    """The codec's answer, after comparing it with the reference's."""
    reference = validate_usage_event(value, headers)
    read = decode_usage_event(value, headers)
    if isinstance(reference, Refusal):
        assert read == reference
        return reference
    assert isinstance(read, EventRecord), read
    expected = as_record(reference)
    data = expected.pop("data")
    assert {name: getattr(read, name) for name in expected} == expected
    found = {name: getattr(read.data, name) for name in data}
    assert found == data
    # 1, 1.0 and True are equal in Python and different in JSON.
    assert json.dumps(found) == json.dumps(data)
    return read


def in_binary_mode(event: Json) -> tuple[bytes, list[tuple[str, bytes]]]:
    """The event with its attributes in headers."""
    headers = [
        (f"ce_{name}", value.encode()) for name, value in event.items() if isinstance(value, str) and name != "x"
    ]
    return serialised(event["data"]), [("content-type", b"application/json"), *headers]


@seed(SEED)
@many
@given(event=valid_events(), ascii_only=st.booleans(), spaced=st.booleans())
def test_both_accept_every_valid_event_and_read_the_same(event: Json, ascii_only: bool, spaced: bool) -> None:
    read = read_by_both(serialised(event, ascii_only=ascii_only, spaced=spaced))
    assert isinstance(read, EventRecord), read


@seed(SEED)
@many
@given(event=valid_events())
def test_binary_mode_says_the_same_as_structured_mode(event: Json) -> None:
    structured = read_by_both(serialised(event))
    assert read_by_both(*in_binary_mode(event)) == structured


@seed(SEED)
@many
@given(event=valid_events(), other_order=st.randoms(use_true_random=False))
def test_a_retry_that_was_serialised_again_has_the_same_fingerprint(event: Json, other_order: random.Random) -> None:
    again = copy.deepcopy(event)
    again["data"] = _shuffled(again["data"], other_order)
    again["data"]["usage"] = {
        dimension: f"0{amount}" if isinstance(amount, int) and amount < 10**17 else amount
        for dimension, amount in _shuffled(again["data"]["usage"], other_order).items()
    }
    if other_order.random() < 0.5:
        again["data"]["usage"]["zero_of_something"] = other_order.choice([0, "0.0"])
    metadata = {name: value for name, value in (again["data"].get("metadata") or {}).items() if value is not None}
    again["data"]["metadata"] = {
        name: float(value) if type(value) is int and abs(value) < 2**53 else value for name, value in metadata.items()
    }
    again["time"] = "2026-11-21T10:00:00Z"
    first, second = read_by_both(serialised(event)), read_by_both(serialised(again, ascii_only=True, spaced=True))
    assert isinstance(first, EventRecord)
    assert isinstance(second, EventRecord)
    assert fingerprint(first) == fingerprint(second)
    assert 0 <= fingerprint(first) < 2**64


def _shuffled(node: Json, order: random.Random) -> Json:
    names = list(node)
    order.shuffle(names)
    return {name: node[name] for name in names}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: ascii(fault.name))
@seed(SEED)
@settings(many, max_examples=3)
@given(event=valid_events(), ascii_only=st.booleans())
def test_one_fault_is_refused_for_its_reason(fault: Fault, event: Json, ascii_only: bool) -> None:
    fault.apply(event)
    refusal = read_by_both(serialised(event, ascii_only=ascii_only))
    assert isinstance(refusal, Refusal)
    assert refusal.reason is fault.reason, refusal


@seed(SEED)
@many
@given(event=valid_events(), faults=st.lists(st.sampled_from(FAULTS), min_size=2, max_size=4))
def test_both_refuse_events_with_several_faults(event: Json, faults: list[Fault]) -> None:
    for fault in faults:
        if isinstance(event["data"], dict) and isinstance(event["data"].get("usage"), dict | None):
            try:
                fault.apply(event)
            except (TypeError, AttributeError):
                return  # an earlier fault has put a scalar where this one needs an object
    read_by_both(serialised(event))


@seed(SEED)
@settings(many, max_examples=EXAMPLES * 3)
@given(event=valid_events(), ascii_only=st.booleans(), data=st.data())
def test_both_judge_damaged_bytes_alike(event: Json, ascii_only: bool, data: st.DataObject) -> None:
    value = bytearray(serialised(event, ascii_only=ascii_only))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(value)))
        piece = data.draw(st.sampled_from(PIECES))
        value[at : at + data.draw(st.integers(0, 3))] = piece
    read_by_both(bytes(value))


PIECES = [
    b"", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"-", b"0", b"9" * 5000, b"1e400", b"1.0",
    b"NaN", b"Infinity", b"\xff", b"\x00", b"\x1f", b"\x7f", b"\xc2\x85", b"\\ud800", b"\\udc00", b"\\ud83d\\ude00",
    b"\\u0000", b"\\u0085", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"[" * 40, b'"id":1,', b'"id":"x",', b'"data":null,',
    b'"a":"\\ud800",', b'"usage":{},', b" ", b"\n", b"\x0b", b"\xc2\xa0", b"/*x*/", b"'", b"1e5", b"-0", b"01",
]  # fmt: skip


@seed(SEED)
@many
@given(value=st.binary(max_size=200))
@example(value=b"")
@example(value=b"\xef\xbb\xbf{}")
@example(value=b"[" * 65536)
@example(value=b'{"a":' * 13000)
@example(value=b'"' + b'\\"' * 32767)
@example(value=b"9" * 65536)
@example(value=b"[1]")
@example(value=b"null")
@example(value=b"{}" + b" " * 65535)
def test_nothing_that_is_no_event_is_accepted_or_raises(value: bytes) -> None:
    assert isinstance(read_by_both(value), Refusal)


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            ["ce_id", "ce_source", "ce_subject", "ce_time", "ce_type", "ce_specversion", "ce_x", "Content-Type"]
        ),
        st.none()
        | st.binary(max_size=20)
        | st.sampled_from(
            [
                b"1.0",
                b"tollgate.usage.v1",
                b"2026-11-21T10:00:00Z",
                b"u",
                b"application/cloudevents+json; charset=UTF-8",
                b"application/json",
                b"",
                b"a\nb",
                b"\xc2\x85",
                b"x" * 257,
            ]
        ),
    ),
    max_size=8,
)


@seed(SEED)
@many
@given(event=valid_events(), headers=HEADERS)
def test_both_read_any_headers_alike(event: Json, headers: list[tuple[str, bytes | None]]) -> None:
    read_by_both(serialised(event), headers)
    value, own = in_binary_mode(event)
    read_by_both(value, [*own, *headers])
    read_by_both(b'{}, "id": "injected"', [*own, *headers])


def test_no_value_is_refused() -> None:
    refusal = read_by_both(None)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is RefusalReason.NULL_VALUE
