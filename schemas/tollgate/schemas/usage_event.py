"""The usage event, as services send it: the reference that says which events are valid.

`usage_codec` decodes the same events many times faster and is tested to accept and refuse the same; it asks this module
whenever it is in doubt. JSON Schema is generated from these models too.

Absent and null mean the same, and so does the empty string for a name that is optional. Unknown fields are ignored.
"""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails

from tollgate.schemas.cloud_events import Headers, binary_attributes
from tollgate.schemas.conventions import Convention
from tollgate.schemas.event_time import parse_event_time
from tollgate.schemas.refusals import Refusal, RefusalReason
from tollgate.schemas.strict_json import read_json
from tollgate.schemas.text_rules import (
    FIELD_NAME,
    NAME_CHARS_MAX,
    NAME_PATTERN,
    USAGE_KEY_PATTERN,
    WHOLE_KEY,
    WHOLE_KEY_PATTERN,
)
from tollgate.schemas.usage_limits import (
    EVENT_BYTES_MAX,
    LATENCY_MS_MAX,
    METADATA_KEYS_MAX,
    OPTION_KEYS_MAX,
    USAGE_KEYS_MAX,
)
from tollgate.schemas.usage_values import MetadataValue, TimeText, UsageAmount, UsdAmount, fault

Name = Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX, pattern=NAME_PATTERN)]
OptionalName = Annotated[str, Field(max_length=NAME_CHARS_MAX, pattern=NAME_PATTERN)] | None
UsageKey = Annotated[str, Field(max_length=NAME_CHARS_MAX, pattern=USAGE_KEY_PATTERN)]


def without_nulls(given: Any) -> Any:
    """The object without its null members: null means absent."""
    return {name: value for name, value in given.items() if value is not None} if isinstance(given, dict) else given


def _whole_amounts(schema: dict[str, Any]) -> None:
    """What comes in whole units, for JSON Schema; `UsageData._whole_units` is the same in code."""
    schema["additionalProperties"] = False
    schema["patternProperties"][WHOLE_KEY_PATTERN] = {
        "anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^[0-9]{1,18}(\.0{1,9})?$"}]
    }


# The two rules over several fields, for JSON Schema; `UsageData._complete` is the same in code.
_GIVEN: dict[str, JsonValue] = {"type": "string", "minLength": 1}
_COST_GIVEN: dict[str, JsonValue] = {"required": ["cost_usd"], "properties": {"cost_usd": {"type": "string"}}}
_PAYERS: list[JsonValue] = [
    {"required": ["provider", "model"], "properties": {"provider": _GIVEN, "model": _GIVEN}},
    {"required": ["agent"], "properties": {"agent": _GIVEN}},
    _COST_GIVEN,
]
_CAUSES: list[JsonValue] = [
    {"required": ["usage"], "properties": {"usage": {"minProperties": 1}}},
    {"required": ["status"], "properties": {"status": {"enum": ["error", "rate_limited", "cancelled"]}}},
    _COST_GIVEN,
]


class UsageData(BaseModel):
    """What was used. Required: `usage`, and `provider` with `model`, or `agent`, or `cost_usd`."""

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        json_schema_extra={"allOf": [{"anyOf": _PAYERS}, {"anyOf": _CAUSES}]},
    )

    provider: OptionalName = Field(None, examples=["openai"])
    """Whose API was called."""
    model: OptionalName = Field(None, examples=["gpt-4o"])
    """The model or product of the provider that was used."""
    usage: dict[UsageKey, UsageAmount] = Field(
        {},
        max_length=USAGE_KEYS_MAX,
        examples=[{"input_tokens": 1200, "output_tokens": 300}],
        json_schema_extra=_whole_amounts,
    )
    """Amounts by dimension. It may be empty only when `cost_usd` is given or the call did not succeed.

    `cached_input_tokens`, `cache_write_tokens` and `input_audio_tokens` are parts of `input_tokens`,
    `reasoning_tokens` and `output_audio_tokens` of `output_tokens`, unless `convention` says otherwise.
    `cache_write_5m_tokens` and `cache_write_1h_tokens` are parts of `cache_write_tokens`. Cached audio is in both
    `cached_input_tokens` and `input_audio_tokens`; `cache_audio_read_tokens` says how much. Tokens, images, requests
    and characters are whole numbers.
    """
    convention: Convention = "inclusive"
    """Whether the parts of input and output tokens are contained in them (`inclusive`) or come on top (`exclusive`).
    With the name of a provider, `usage` holds that provider's own keys and follows its rules of what contains what.
    """
    cost_usd: UsdAmount | None = Field(None, examples=["0.0125"])
    """The cost when the service knows it. It overrides the price book."""
    status: Literal["success", "error", "rate_limited", "cancelled"] = "success"
    """How the call ended. Other than `success` costs nothing, unless `billed`."""
    billed: bool = False
    """The provider charged for a call that did not succeed."""
    options: dict[Name, Name] = Field({}, max_length=OPTION_KEYS_MAX, examples=[{"size": "1024x1024", "quality": "hd"}])
    """What chooses among several prices of a model."""
    retail_tokens: UsageAmount | None = None
    """What the user was charged, in product tokens. Looked up when absent."""
    org: OptionalName = None
    """The customer that the user belongs to."""
    service: OptionalName = None
    """The service that made the call."""
    agent: OptionalName = None
    """The agent on whose behalf the call was made. Without a model, the agent's own rate applies."""
    campaign: OptionalName = None
    feature: OptionalName = None
    product: OptionalName = None
    operation: OptionalName = Field(None, examples=["chat.completion"])
    latency_ms: int | None = Field(None, ge=0, le=LATENCY_MS_MAX)
    """How long the call took, in milliseconds."""
    resource_type: OptionalName = Field(None, examples=["VIDEO"])
    resource_id: OptionalName = Field(None, examples=["vid_1"])
    request_id: OptionalName = None
    """The provider's or the service's own id of the call."""
    reservation_id: OptionalName = None
    """The reservation of the same source that this usage settles."""
    more: bool = False
    """The reservation stays open for further usage; else this event closes it."""
    metadata: dict[Name, MetadataValue] = Field({}, max_length=METADATA_KEYS_MAX)
    """Anything else worth keeping: scalars by name. No prompts, no payloads, no personal data."""

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, given: Any) -> Any:
        return without_nulls(given)

    @field_validator("usage")
    @classmethod
    def _whole_units(cls, usage: dict[str, int | str]) -> dict[str, int | str]:
        for key, amount in usage.items():
            if isinstance(amount, str) and WHOLE_KEY.fullmatch(key) is not None:
                error = InitErrorDetails(
                    type=fault(RefusalReason.INVALID, "must be a whole number"), loc=(key,), input=amount
                )
                # An error of its own, so that it carries the key.
                raise ValidationError.from_exception_data("usage", [error])
        return usage

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.cost_usd is None:
            if not (self.agent or (self.provider and self.model)):
                raise fault(RefusalReason.MISSING_FIELD, "needs provider and model, or agent, or cost_usd")
            if not self.usage and self.status == "success":
                raise fault(RefusalReason.MISSING_FIELD, "needs usage, or cost_usd")
        return self


class Entry(BaseModel):
    """The CloudEvents 1.0 envelope of everything that stands in the ledger."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, use_attribute_docstrings=True)

    specversion: Literal["1.0"]
    """The version of CloudEvents."""
    type: str
    source: Name = Field(examples=["chat-api"])
    """The service that sends the event."""
    id: Name = Field(examples=["01JD8Z3T5V"])
    """Unique within the source. The same identity again is counted once."""
    subject: Name = Field(examples=["u-42"])
    """The user who consumed. Also the key of the Kafka record."""
    time: TimeText = Field(examples=["2026-11-21T10:00:00.123Z"], json_schema_extra={"format": "date-time"})
    """When it happened: RFC 3339 with an offset, in the years 1970 to 9999. It decides the windows."""

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, given: Any) -> Any:
        return without_nulls(given)

    @property
    def time_ms(self) -> int:
        """`time` in milliseconds since the epoch, rounded down."""
        return parse_event_time(self.time)


class UsageEvent(Entry):
    """One usage event: an immutable fact in a CloudEvents 1.0 envelope. `source` and `id` together are its identity."""

    type: Literal["tollgate.usage.v1"]
    data: UsageData


AnEntry = TypeVar("AnEntry", bound=Entry)


def validate_usage_event(value: bytes | None, headers: Headers = ()) -> UsageEvent | Refusal:
    """Read one record of `tollgate.usage`. An input with several faults is refused for one of them."""
    return validate_entry(UsageEvent, value, headers)


def validate_entry(model: type[AnEntry], value: bytes | None, headers: Headers = ()) -> AnEntry | Refusal:
    """Read one record of a topic of entries as an entry of this type. Never raises on any input."""
    if value is None:
        return Refusal(RefusalReason.NULL_VALUE, "value: the record has no value")
    if len(value) > EVENT_BYTES_MAX:
        return Refusal(RefusalReason.TOO_LARGE, f"value: {len(value)} bytes; at most {EVENT_BYTES_MAX} are accepted")
    attributes = binary_attributes(headers)
    if isinstance(attributes, Refusal):
        return attributes
    document = read_json(value)
    if isinstance(document, Refusal):
        return document
    if attributes is not None:
        document = {**attributes, "data": document}
    elif not isinstance(document, dict):
        return Refusal(RefusalReason.WRONG_TYPE, "value: must be a JSON object")
    try:
        return model.model_validate(document)
    except ValidationError as error:
        return _refusal(error.errors(include_url=False, include_context=False, include_input=False)[0])


_REASONS = frozenset(reason.value for reason in RefusalReason)
_TEXTS = {
    "missing": (RefusalReason.MISSING_FIELD, "is missing"),
    "string_too_short": (RefusalReason.INVALID, "must not be empty"),
    "string_too_long": (RefusalReason.INVALID, f"must have at most {NAME_CHARS_MAX} characters"),
    "too_long": (RefusalReason.INVALID, "has too many keys"),
    "string_type": (RefusalReason.WRONG_TYPE, "must be a string"),
    "int_type": (RefusalReason.WRONG_TYPE, "must be an integer"),
    "bool_type": (RefusalReason.WRONG_TYPE, "must be true or false"),
    "dict_type": (RefusalReason.WRONG_TYPE, "must be an object"),
    "model_type": (RefusalReason.WRONG_TYPE, "must be an object"),
}
_BOUNDS = {"greater_than_equal": "least", "less_than_equal": "most"}


def _refusal(error: ErrorDetails) -> Refusal:
    """The first error that pydantic found, with the field's path and without the input."""
    path = [str(part) for part in error["loc"] or ("value",)]
    keyed = path[-1] == "[key]"
    if keyed:
        del path[-1]
    place = ".".join(part if FIELD_NAME.fullmatch(part) else "?" for part in path)
    kind = error["type"]
    if kind in _REASONS:
        return Refusal(RefusalReason(kind), f"{place}: {error['msg']}")
    if kind == "string_pattern_mismatch":
        is_usage_key = keyed and "usage" in path
        text = "must match [a-z][a-z0-9_]*" if is_usage_key else "must not contain control characters"
        return Refusal(RefusalReason.INVALID, f"{place}: {text}")
    if kind in _BOUNDS:
        return Refusal(RefusalReason.INVALID, f"{place}: must be at {_BOUNDS[kind]} {error['msg'].split()[-1]}")
    reason, text = _TEXTS.get(kind, (RefusalReason.INVALID, error["msg"]))
    return Refusal(reason, f"{place}: {text}")
