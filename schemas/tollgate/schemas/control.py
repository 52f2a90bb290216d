"""Records of the control topic: budgets, prices and settings that people set at run time.

Keys are `budget/<id>`, `price/<id>` and `setting/<name>`; a record without a value removes. These records are validated
where they are made (`tollgate.control`) and again where they are read.
"""

import json
from hashlib import blake2b
from itertools import pairwise
from typing import Annotated, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)

from tollgate.schemas.amounts import format_amount, format_usd, parse_amount, parse_usd
from tollgate.schemas.event_time import parse_event_time
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import Action
from tollgate.schemas.scopes import Dimension, parse_scope
from tollgate.schemas.text_rules import CONTROL_CHARACTER, NAME_CHARS_MAX, USAGE_KEY, USAGE_KEY_PATTERN
from tollgate.schemas.vocabulary import WindowKind

BUDGET_KEY_PREFIX: Final = "budget/"
PRICE_KEY_PREFIX: Final = "price/"
SETTING_KEY_PREFIX: Final = "setting/"

# The setting that stops all spending by hand.
STOP_SETTING: Final = "stop"

# The setting under which `tollgate verify --record` keeps what it found.
LAST_VERIFY_SETTING: Final = "last-verify"

# The first version of a record, and that of a record of a release that had no versions.
FIRST_VERSION: Final = 1
# The largest whole number that every JSON reader keeps exact.
VERSION_MAX: Final = 2**53 - 1
REASON_CHARS_MAX: Final = 1024

# Budget ids contain a scope, a window and a unit, so they may be longer than a name.
ID_CHARS_MAX: Final = 600

_PERCENT_MAX: Final = 10_000
_CUTS_OF_OTHER_ZONES: Final = "only UTC is supported yet; windows follow the calendar in UTC"
_DIMENSIONS: Final = frozenset(dimension.value for dimension in Dimension)
_WINDOWS: Final = tuple(kind.value for kind in WindowKind)


def _plain(text: str) -> str:
    if CONTROL_CHARACTER.search(text):
        raise ValueError("must not contain control characters")
    return text


def _canonical_usd(text: str) -> str:
    return format_usd(parse_usd(text))


def _canonical_amount(text: str) -> str:
    return format_amount(parse_amount(text))


def _canonical_instant(text: str) -> str:
    return format_instant(parse_event_time(text))


Id = Annotated[str, Field(min_length=1, max_length=ID_CHARS_MAX), AfterValidator(_plain)]
# Empty: it follows from the record.
OptionalId = Annotated[str, Field(max_length=ID_CHARS_MAX), AfterValidator(_plain)]
Name = Annotated[str, Field(max_length=NAME_CHARS_MAX), AfterValidator(_plain)]
UsdText = Annotated[str, AfterValidator(_canonical_usd), Field(description="US dollars ≥ 0, a decimal string")]
AmountText = Annotated[str, AfterValidator(_canonical_amount), Field(description="an amount ≥ 0, a decimal string")]
InstantText = Annotated[str, AfterValidator(_canonical_instant), Field(description="RFC 3339 with offset, kept in UTC")]


class _Value(BaseModel):
    """A control record or a part of one: fields of later releases are ignored, a value is frozen."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class ControlRecord(_Value):
    """What all control records share: who changed them last, why, and how often they were changed.

    `tollgate.control` sets these fields at every change. Records of releases that had none read as version 1.
    """

    actor: Name = ""
    """Who made the change, for example `cli:alice`; empty when not known."""
    reason: Annotated[str, Field(max_length=REASON_CHARS_MAX), AfterValidator(_plain)] = ""
    """Why, in the actor's words; empty when not given."""
    version: int = Field(FIRST_VERSION, strict=True, ge=FIRST_VERSION, le=VERSION_MAX)
    """Rises by 1 with every change of the key."""
    updated_at: InstantText | None = None
    """When the change was made; null when not known."""


class ThresholdRecord(_Value):
    """A level of a budget: reached when spend is at least `percent` of the limit."""

    percent: AmountText
    """Percent of the limit, above 0 and at most 10000, as a decimal string: `"80"`."""
    action: Action

    @field_validator("percent")
    @classmethod
    def _in_range(cls, percent: str) -> str:
        if not 0 < parse_amount(percent) <= parse_amount(str(_PERCENT_MAX)):
            raise ValueError(f"must be above 0 and at most {_PERCENT_MAX}")
        return percent


class ThresholdsRecord(_Value):
    """The levels of a budget. Each may be absent; those given must not fall from warning to emergency."""

    warning: ThresholdRecord | None = None
    critical: ThresholdRecord | None = None
    emergency: ThresholdRecord | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        given = [(name, t) for name in ("warning", "critical", "emergency") if (t := getattr(self, name)) is not None]
        if not given:
            raise ValueError("give at least one of warning, critical and emergency")
        for (lower, low), (upper, high) in pairwise(given):
            if parse_amount(low.percent) > parse_amount(high.percent):
                raise ValueError(f"{lower} ({low.percent} %) must not be above {upper} ({high.percent} %)")
        return self


def default_thresholds(action: Action = Action.BLOCK) -> ThresholdsRecord:
    """Warning at 80 %, critical at 100 % and emergency at 150 % of the limit; the last two do `action`."""
    return ThresholdsRecord(
        warning=ThresholdRecord(percent="80", action=Action.ALERT),
        critical=ThresholdRecord(percent="100", action=action),
        emergency=ThresholdRecord(percent="150", action=action),
    )


def default_budget_id(scope: str, window: WindowKind | str, unit: str) -> str:
    """The id of a budget that was given none: `default_budget_id("user/*", "month", "usd")` → `"user/*:month:usd"`."""
    return f"{scope}:{WindowKind(window).value}:{unit}"


def _known_window(window: object) -> object:
    if isinstance(window, str) and window not in _WINDOWS:
        raise ValueError(f"must be one of {', '.join(_WINDOWS)}")
    return window


class BudgetRecord(ControlRecord):
    """Value of `budget/<id>`: a limit on what a scope may spend in a window.

    A pattern scope (`user/*`) is a budget for each scope of that dimension that has none of its own in the same window
    and unit. `limit` is in dollars when `unit` is `usd`, else in the unit. An id that is not given is the default one.
    """

    id: OptionalId = ""
    scope: str
    """`global`, `<dimension>/<name>`, or `<dimension>/*` for every name."""
    limit: str
    """Above 0, as a decimal string: `"100"`."""
    unit: str = Field("usd", min_length=1, max_length=NAME_CHARS_MAX, pattern=USAGE_KEY_PATTERN)
    """`usd`, `events`, or a usage dimension such as `images`."""
    window: Annotated[WindowKind, BeforeValidator(_known_window)] = WindowKind.MONTH
    timezone: str = "UTC"
    """The zone whose calendar cuts the windows; only `UTC` is supported yet."""
    thresholds: ThresholdsRecord = Field(default_factory=default_thresholds)
    owner: Name | None = None
    """Who looks after the budget: a person or a team. No rule depends on it."""
    note: Annotated[str, Field(max_length=REASON_CHARS_MAX), AfterValidator(_plain)] | None = None
    """What the budget is for."""
    updated_at: InstantText

    @field_validator("scope")
    @classmethod
    def _scope_or_pattern(cls, scope: str) -> str:
        head, slash, name = scope.partition("/")
        if slash and name == "*" and head in list(Dimension):
            return scope
        if slash and "*" in name:
            # A name with a star would read as a pattern that matches nothing.
            raise ValueError(f"{scope[:64]!r} is no pattern; a pattern is a dimension and a star, such as user/*")
        parse_scope(scope)
        return scope

    @field_validator("timezone")
    @classmethod
    def _utc(cls, timezone: str) -> str:
        if timezone != "UTC":
            raise ValueError(_CUTS_OF_OTHER_ZONES)
        return timezone

    @model_validator(mode="after")
    def _complete(self) -> Self:
        try:
            text = _canonical_usd(self.limit) if self.unit == "usd" else _canonical_amount(self.limit)
        except ValueError as error:
            raise ValueError(f"limit: {error}") from None
        if text == "0":
            raise ValueError("limit: must be above 0")
        # The model is frozen for its users; here it is still being made.
        object.__setattr__(self, "limit", text)
        if not self.id:
            object.__setattr__(self, "id", default_budget_id(self.scope, self.window, self.unit))
        return self

    @property
    def is_pattern(self) -> bool:
        """Whether this is a budget for every scope of a dimension."""
        return self.scope.endswith("/*")


class RateRecord(_Value):
    """The price of one dimension: `usd` dollars for `per` units. 2.50 per 1000000 is 0.0000025 each, kept exact."""

    dimension: str = Field(min_length=1, max_length=NAME_CHARS_MAX)
    """A usage dimension such as `input_tokens`."""
    usd: UsdText
    per: AmountText = "1"

    @field_validator("dimension")
    @classmethod
    def _usage_key(cls, dimension: str) -> str:
        if USAGE_KEY.fullmatch(dimension) is None:
            raise ValueError("must start with a letter and hold only a to z, 0 to 9 and _")
        return dimension

    @field_validator("per")
    @classmethod
    def _above_zero(cls, per: str) -> str:
        if parse_amount(per) == 0:
            raise ValueError("must be above 0")
        return per


class PriceRecord(ControlRecord):
    """Value of `price/<id>`: what a model (or an agent) costs in `[effective_from, effective_to)`.

    A price is never changed: another content is another id, and an id that is not given is made by `price_id`.
    """

    id: OptionalId = ""
    provider: Name = ""
    model: Name = ""
    agent: Name = ""
    """For events that name an agent and no model."""
    options: dict[Name, Name] = Field({}, max_length=64)
    """The price holds only for events whose options contain all of these: `{"size": "1024x1024"}`."""
    rates: tuple[RateRecord, ...] = Field(min_length=1, max_length=64)
    effective_from: InstantText
    effective_to: InstantText | None = None
    """First instant at which the price no longer holds; null when open."""
    source: str = Field("", max_length=2048)
    """Where the figures come from."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not (self.agent or (self.provider and self.model)):
            raise ValueError("name a provider and a model, or an agent")
        ends = self.effective_to
        if ends is not None and parse_event_time(ends) <= parse_event_time(self.effective_from):
            raise ValueError("effective_to: must be after effective_from")
        dimensions = [rate.dimension for rate in self.rates]
        if len(set(dimensions)) != len(dimensions):
            raise ValueError("rates: a dimension is priced twice")
        if not self.id:
            # The model is frozen for its users; here it is still being made.
            object.__setattr__(self, "id", price_id(self))
        return self


class StopValue(_Value):
    """Value of the setting `stop`: the company-wide stop by hand."""

    stopped: bool = Field(strict=True)
    """Whether services must refuse every call, whatever is spent."""


class VerifyCheck(_Value):
    """One comparison of a verification."""

    name: str
    ok: bool = Field(strict=True)
    expected: str = ""
    found: str = ""
    difference: str = ""
    """The first thing that differs, with both values; empty when nothing does."""


class VerifyValue(_Value):
    """Value of the setting `last-verify`: what `tollgate verify --record` found."""

    ok: bool = Field(strict=True)
    """Whether everything is equal."""
    events: int = Field(strict=True, ge=0)
    """How many usage events were recounted."""
    cost_usd: str
    """What they cost, as a decimal string."""
    clickhouse: bool = Field(strict=True)
    """Whether ClickHouse was compared too."""
    checks: tuple[VerifyCheck, ...] = Field(max_length=100)


# What the value of a setting must be. A setting of a later release is not in here, and may have any value.
_SETTING_VALUES: Final[dict[str, type[_Value]]] = {STOP_SETTING: StopValue, LAST_VERIFY_SETTING: VerifyValue}


class SettingRecord(ControlRecord):
    """Value of `setting/<name>`: one setting for the whole installation, such as `stop`.

    Without a record of its name, a setting has its default: nothing is stopped.
    """

    name: Annotated[Name, Field(min_length=1)]
    value: JsonValue
    """By name; `stop`: `{"stopped": true}`."""

    @model_validator(mode="after")
    def _typed(self) -> Self:
        model = _SETTING_VALUES.get(self.name)
        if model is not None:
            try:
                model.model_validate(self.value)
            except ValidationError as error:
                raise ValueError(f"value: {describe_faults(error)}") from None
        return self


def describe_faults(error: ValidationError) -> str:
    """What is wrong with a control record, for people: `"thresholds.warning.percent: must be above 0; limit: …"`."""
    texts = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        place = ".".join(str(part) for part in fault["loc"])
        text = fault["msg"].removeprefix("Value error, ")
        texts.append(f"{place}: {text}" if place else text)
    return "; ".join(texts)


def price_id(record: PriceRecord) -> str:
    """The id that follows from the price's content: `<provider>/<model>@<date of effective_from>#<8 hex digits>`.

    For an agent's price it is `agent/<agent>@…`. The order of options and rates, and ways to write the same number, do
    not matter; `id`, `effective_to` and `source` are no part of the content, so that ending a price keeps its id.
    """
    subject = f"{record.provider}/{record.model}" if record.model else f"agent/{record.agent}"
    content = {
        "provider": record.provider,
        "model": record.model,
        "agent": record.agent,
        "options": record.options,
        "rates": sorted([rate.dimension, rate.usd, rate.per] for rate in record.rates),
        "effective_from": record.effective_from,
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    digest = blake2b(text.encode(), digest_size=4).hexdigest()
    return f"{subject}@{record.effective_from[:10]}#{digest}"
