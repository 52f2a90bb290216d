"""The example files are what they are filed as: for the models, for the codec and for the generated JSON Schemas."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from tollgate.schemas.generate import MODELS, json_schema
from tollgate.schemas.refusals import Refusal, RefusalReason
from tollgate.schemas.usage_codec import EventRecord, decode_usage_event
from tollgate.schemas.usage_event import UsageEvent, validate_usage_event

EXAMPLES = Path(__file__).parents[3] / "schemas" / "examples"
USAGE = "usage-event"

# JSON Schema knows neither bytes nor calendars nor exact numbers (1200.0 is an integer to it), and these rules are
# between fields or about text that is no JSON.
BEYOND_JSON_SCHEMA = {
    f"{USAGE}/wrong_type-usage-is-a-float",
    f"{USAGE}/invalid_time-without-offset",
    f"{USAGE}/invalid_time-leap-second",
    f"{USAGE}/invalid_time-before-1970",
    f"{USAGE}/invalid_time-no-such-day",
    f"{USAGE}/invalid-nested-too-deep",
    f"{USAGE}/too_large-payload",
    "budget/limit-zero",
    "budget/limit-negative",
    "budget/unknown-time-zone",
    "budget/week-of-months",
    "budget/day-from-the-15th",
    "budget/lifetime-in-a-zone",
    "budget/names-in-another-order",
    "budget/dimension-twice",
    "budget/four-names",
    "budget/ends-before-it-starts",
    "budget/except-a-pattern",
    "budget/id-of-a-plan",
    "plan/id-with-slash",
    "plan/limit-zero",
    "plan/limited-twice",
    "plan/ends-after-an-hour",
    "plan/ends-after-nothing",
    "plan/feature-with-star",
    "assignment/unknown-time-zone",
    "budget/unknown-scope",
    "budget/scope-without-name",
    "budget/pattern-with-text",
    "budget/thresholds-out-of-order",
    "budget/no-threshold",
    "budget/percent-zero",
    "budget/update-without-offset",
    "budget/reason-with-newline",
    "price/dimension-twice",
    "price/per-zero",
    "price/rate-negative",
    "price/ends-before-it-starts",
    "price/nobody",
    "price/start-without-offset",
    "setting/stopped-as-text",
    "setting/stop-that-is-no-object",
    "credit/taken-back-and-expires",
}


def examples(kind: str) -> list[Path]:
    """The files of one kind, for every schema."""
    return sorted((EXAMPLES / kind).glob("*/*.json"))


def name(path: Path) -> str:
    """`usage-event/smallest`."""
    return f"{path.parent.name}/{path.stem}"


def test_every_schema_has_valid_and_invalid_examples() -> None:
    for kind in ("valid", "invalid"):
        assert {path.parent.name for path in examples(kind)} == set(MODELS)


@pytest.mark.parametrize("path", examples("valid"), ids=name)
def test_a_valid_example_is_accepted_by_model_and_json_schema(path: Path) -> None:
    document = json.loads(path.read_bytes())
    MODELS[path.parent.name].model_validate(document)
    if path.parent.name != "dead-letter-headers":  # headers are text; the schema describes what they stand for
        Draft202012Validator(json_schema(path.parent.name)).validate(document)


@pytest.mark.parametrize("path", [p for p in examples("invalid") if p.parent.name != USAGE], ids=name)
def test_an_invalid_example_is_refused_by_its_model(path: Path) -> None:
    with pytest.raises(ValidationError):
        MODELS[path.parent.name].model_validate_json(path.read_bytes())


@pytest.mark.parametrize("path", [p for p in examples("invalid") if "not_json" not in p.stem], ids=name)
def test_json_schema_refuses_what_it_can_express(path: Path) -> None:
    if path.stem.startswith("invalid_utf8"):
        return
    is_valid = Draft202012Validator(json_schema(path.parent.name)).is_valid(json.loads(path.read_bytes()))
    assert is_valid == (name(path) in BEYOND_JSON_SCHEMA)


@pytest.mark.parametrize("path", [p for p in examples("valid") if p.parent.name == USAGE], ids=name)
def test_a_valid_usage_event_is_decoded(path: Path) -> None:
    assert isinstance(decode_usage_event(path.read_bytes()), EventRecord)
    assert isinstance(validate_usage_event(path.read_bytes()), UsageEvent)


@pytest.mark.parametrize("path", [p for p in examples("invalid") if p.parent.name == USAGE], ids=name)
def test_an_invalid_usage_event_is_refused_for_the_reason_in_its_name(path: Path) -> None:
    refusal = decode_usage_event(path.read_bytes())
    assert isinstance(refusal, Refusal)
    assert refusal.reason is RefusalReason(path.stem.partition("-")[0])
    assert validate_usage_event(path.read_bytes()) == refusal


def test_every_reason_that_a_record_alone_can_give_has_an_example() -> None:
    reasons = {path.stem.partition("-")[0] for path in examples("invalid") if path.parent.name == USAGE}
    from_the_stream = {"null_value", "future", "too_old", "conflict", "misrouted", "poison"}
    assert reasons == {reason.value for reason in RefusalReason} - from_the_stream
