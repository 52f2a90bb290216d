"""What `record` takes is what the worker takes, and what it refuses the worker refuses, for the same reason."""

import json
import os
import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, seed, settings
from hypothesis import strategies as st
from tests.property.usage_event_inputs import FAULTS, Fault, Json, valid_events

from tollgate.schemas.refusals import Refusal
from tollgate.schemas.usage_codec import EventRecord, decode_usage_event
from tollgate.sdk import InvalidEventError
from tollgate.sdk.recording import FIELDS, encode_event

SEED = int(os.environ.get("TOLLGATE_TEST_SEED", random.randrange(2**32)))
EXAMPLES = int(os.environ.get("TOLLGATE_TEST_EXAMPLES", "200"))
many = settings(
    max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)


@pytest.fixture(autouse=True)
def _print_seed() -> None:
    print(f"TOLLGATE_TEST_SEED={SEED}")


def judged(event: Json) -> EventRecord | Refusal:
    """What the worker says to the event as another client would write it."""
    text = json.dumps({**event, "data": _without_nulls(event["data"])}, ensure_ascii=False)
    return decode_usage_event(text.encode("utf-8", "surrogatepass"))


def recorded(event: Json) -> EventRecord | Refusal:
    """What the worker says to what `record` writes; what `record` refuses itself, or TypeError's text as a refusal."""
    data = {name: event["data"][name] for name in event["data"] if name in FIELDS}
    try:
        value = encode_event(event["source"], event["id"], event["subject"], event["time"], data)
    except InvalidEventError as error:
        return error.refusal
    read = decode_usage_event(value)
    assert isinstance(read, EventRecord), "it was sent, and the worker refuses it"
    return read


def _without_nulls(data: Any) -> Any:
    return {name: value for name, value in data.items() if value is not None}


def envelope(event: Json) -> Json:
    """Only what `record` is given: it writes the rest of the envelope itself."""
    event = {name: value for name, value in event.items() if name in ("source", "id", "subject", "time", "data")}
    event["data"] = {name: value for name, value in event["data"].items() if name in FIELDS}
    return {"specversion": "1.0", "type": "tollgate.usage.v1", **event}


@seed(SEED)
@many
@given(event=valid_events())
def test_every_valid_event_is_recorded_as_it_is(event: Json) -> None:
    event = envelope(event)
    assert recorded(event) == judged(event)
    assert isinstance(judged(event), EventRecord)


FIELD_FAULTS = [
    fault
    for fault in FAULTS
    if not fault.name.startswith(("specversion", "type", "data=", "time=1", "time=T", "deep", "too large"))
]


@seed(SEED)
@many
@given(event=valid_events(), fault=st.sampled_from(FIELD_FAULTS))
def test_one_fault_is_refused_at_the_call_for_the_workers_reason(event: Json, fault: Fault) -> None:
    fault.apply(event)
    event = envelope(event)
    if event.get("time") is None and "time" in fault.name:
        return  # without a time it is now
    refusal = recorded({"source": None, "id": None, "subject": None, **event})
    assert isinstance(refusal, Refusal)
    assert refusal.reason is fault.reason, refusal


ANY = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20),
    st.integers(-(10**30), 10**30).map(str), st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=8) | st.floats(allow_nan=False), max_size=3),
)  # fmt: skip


@seed(SEED)
@many
@given(event=valid_events(), changes=st.dictionaries(st.sampled_from(sorted(FIELDS)), ANY, max_size=3))
@example(event={"id": "a", "subject": "u", "source": "s", "time": "2026-11-21T10:00:00Z", "data": {}}, changes={})
def test_both_judge_whatever_is_given_alike(event: Json, changes: dict[str, Any]) -> None:
    event = envelope({**event, "data": {**event["data"], **changes}})
    expected, found = judged(event), recorded(event)
    if isinstance(expected, Refusal):
        assert isinstance(found, Refusal)
        assert found.reason is expected.reason
    else:
        assert found == expected


@seed(SEED)
@many
@given(amount=st.decimals(min_value=0, max_value=10**17, allow_nan=False, allow_infinity=False))
@example(amount=Decimal("1E+3"))
@example(amount=Decimal("1E-9"))
@example(amount=Decimal("0E-20"))
def test_a_decimal_counts_as_its_plain_text(amount: Decimal) -> None:
    data = {"agent": "SEO", "usage": {"compute_seconds": amount}}
    event = {"source": "s", "id": "e", "subject": "u", "time": "2026-11-21T10:00:00Z", "data": data}
    plain = {**data, "usage": {"compute_seconds": format(amount, "f")}}
    found, expected = recorded(event), judged(envelope({**event, "data": plain}))
    if isinstance(expected, Refusal):
        assert isinstance(found, Refusal)
        assert found.reason is expected.reason
    else:
        assert found == expected
