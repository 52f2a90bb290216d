"""Records of the control topic: budgets, plans, prices and settings that people set at run time.

Keys are `budget/<id>`, `plan/<id>`, `assignment/…`, `price/<id>` and `setting/<name>`; a record without a value
removes. These records are validated where they are made (`tollgate.control`) and again where they are read.
"""

import json
from hashlib import blake2b
from typing import Annotated, Final, Self

from pydantic import Field, JsonValue, ValidationError, field_validator, model_validator

from tollgate.schemas.amounts import parse_amount
from tollgate.schemas.budgets import (
    BUDGET_KEY_PREFIX,
    BudgetRecord,
    Fail,
    ThresholdRecord,
    ThresholdsRecord,
    default_budget_id,
    default_thresholds,
)
from tollgate.schemas.control_values import (
    FIRST_VERSION,
    ID_CHARS_MAX,
    REASON_CHARS_MAX,
    VERSION_MAX,
    AmountText,
    ControlRecord,
    ControlValue,
    InstantText,
    Name,
    OptionalId,
    UsdText,
    describe_faults,
)
from tollgate.schemas.event_time import parse_event_time
from tollgate.schemas.plans import (
    ASSIGNMENT_KEY_PREFIX,
    DEFAULT_ASSIGNMENT_KEY,
    PLAN_KEY_PREFIX,
    AssignmentRecord,
    PlanLimitRecord,
    PlanRecord,
)
from tollgate.schemas.text_rules import NAME_CHARS_MAX, USAGE_KEY

__all__ = [
    "ASSIGNMENT_KEY_PREFIX",
    "BUDGET_KEY_PREFIX",
    "DEFAULT_ASSIGNMENT_KEY",
    "FIRST_VERSION",
    "ID_CHARS_MAX",
    "LAST_VERIFY_SETTING",
    "PLAN_KEY_PREFIX",
    "PRICE_KEY_PREFIX",
    "REASON_CHARS_MAX",
    "SETTING_KEY_PREFIX",
    "STOP_SETTING",
    "VERSION_MAX",
    "AssignmentRecord",
    "BudgetRecord",
    "ControlRecord",
    "Fail",
    "InstantText",
    "Name",
    "PlanLimitRecord",
    "PlanRecord",
    "PriceRecord",
    "RateRecord",
    "SettingRecord",
    "StopValue",
    "ThresholdRecord",
    "ThresholdsRecord",
    "VerifyCheck",
    "VerifyValue",
    "default_budget_id",
    "default_thresholds",
    "describe_faults",
    "price_id",
]

PRICE_KEY_PREFIX: Final = "price/"
SETTING_KEY_PREFIX: Final = "setting/"

# The setting that stops all spending by hand.
STOP_SETTING: Final = "stop"

# The setting under which `tollgate verify --record` keeps what it found.
LAST_VERIFY_SETTING: Final = "last-verify"


class RateRecord(ControlValue):
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


class StopValue(ControlValue):
    """Value of the setting `stop`: the company-wide stop by hand."""

    stopped: bool = Field(strict=True)
    """Whether services must refuse every call, whatever is spent."""


class VerifyCheck(ControlValue):
    """One comparison of a verification."""

    name: str
    ok: bool = Field(strict=True)
    expected: str = ""
    found: str = ""
    difference: str = ""
    """The first thing that differs, with both values; empty when nothing does."""


class VerifyValue(ControlValue):
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
_SETTING_VALUES: Final[dict[str, type[ControlValue]]] = {STOP_SETTING: StopValue, LAST_VERIFY_SETTING: VerifyValue}


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
