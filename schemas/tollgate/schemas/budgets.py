"""Budgets as control records: a limit on what a scope may spend in a window, with its thresholds."""

from enum import StrEnum
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from tollgate.schemas.amounts import parse_amount
from tollgate.schemas.calendars import Calendar, time_zones
from tollgate.schemas.control_values import (
    ID_CHARS_MAX,
    REASON_CHARS_MAX,
    AmountText,
    ControlRecord,
    ControlValue,
    InstantText,
    Name,
    OptionalId,
    canonical_amount,
    canonical_usd,
    plain,
)
from tollgate.schemas.event_time import parse_event_time
from tollgate.schemas.outputs import Action
from tollgate.schemas.scopes import GLOBAL_SCOPE, parse_names
from tollgate.schemas.text_rules import NAME_CHARS_MAX, USAGE_KEY_PATTERN
from tollgate.schemas.vocabulary import WindowKind

BUDGET_KEY_PREFIX: Final = "budget/"
# Limits of plans are shown as budgets under these ids.
PLAN_BUDGETS: Final = "plan/"

# Scopes that one budget's block leaves alone. All of them are in each of its flags.
EXCEPT_MAX: Final = 64

_PERCENT_MAX: Final = 10_000
_WINDOWS: Final = tuple(kind.value for kind in WindowKind)


class Fail(StrEnum):
    """What readers of flags do while they know nothing of a scope."""

    OPEN = "open"
    CLOSED = "closed"


class ThresholdRecord(ControlValue):
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


class ThresholdsRecord(ControlValue):
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


def canonical_limit(limit: str, unit: str) -> str:
    """A limit in shortest form. ValueError when it is not above 0, or has more decimals than its unit."""
    if limit.startswith("-"):
        raise ValueError("must be above 0")
    text = canonical_usd(limit) if unit == "usd" else canonical_amount(limit)
    if text == "0":
        raise ValueError("must be above 0")
    return text


def _known_window(window: object) -> object:
    if isinstance(window, str) and window not in _WINDOWS:
        raise ValueError(f"must be one of {', '.join(_WINDOWS)}")
    return window


def _known_zone(timezone: str) -> str:
    if timezone not in time_zones():
        raise ValueError(f"{timezone[:64]!r} is no IANA time zone; one is Europe/Amsterdam")
    return timezone


@lru_cache(maxsize=1024)
def _calendar(kind: WindowKind, timezone: str, week_starts_on: str, month_starts_on: int) -> Calendar:
    return Calendar(kind, timezone, week_starts_on, month_starts_on)


LimitUnit = Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX, pattern=USAGE_KEY_PATTERN)]
Window = Annotated[WindowKind, BeforeValidator(_known_window)]
Zone = Annotated[str, AfterValidator(_known_zone)]
MonthDay = Annotated[int, Field(strict=True, ge=1, le=31)]
Note = Annotated[str, Field(max_length=REASON_CHARS_MAX), AfterValidator(plain)]


class BudgetRecord(ControlRecord):
    """Value of `budget/<id>`: a limit on what a scope may spend in a window.

    A scope with a star (`user/*`, `user/*+feature/video`) is a budget for each scope of these dimensions that has none
    of its own in the same kind of window and unit. `limit` is in dollars when `unit` is `usd`, else in the unit. An id
    that is not given is the default one.
    """

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    id: OptionalId = ""
    scope: str
    """`global`, `<dimension>/<name>`, two or three of these joined by `+` in the order of the dimensions, or any of
    them with `*` for every name."""
    limit: str
    """Above 0, as a decimal string: `"100"`."""
    unit: LimitUnit = "usd"
    """`usd`, `events`, `credits`, or a usage dimension such as `images`."""
    window: Window = WindowKind.MONTH
    timezone: Zone = "UTC"
    """The IANA zone whose calendar cuts the windows; a lifetime has none."""
    week_starts_on: Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"] = "monday"
    """The first day of a week."""
    month_starts_on: MonthDay = 1
    """The first day of a month; where a month is shorter, its last day."""
    thresholds: ThresholdsRecord = Field(default_factory=default_thresholds)
    valid_from: InstantText | None = None
    """Before this instant the budget limits nothing; null: it always did."""
    valid_to: InstantText | None = None
    """From this instant on the budget limits nothing; null: it has no end."""
    fail: Fail = Fail.OPEN
    """What readers of flags do while they know nothing: `open` lets calls pass, `closed` refuses them."""
    except_: tuple[str, ...] = Field((), alias="except", max_length=EXCEPT_MAX)
    """Scopes that a block leaves alone, such as `provider/groq`."""
    owner: Name | None = None
    """Who looks after the budget: a person or a team. No rule depends on it."""
    note: Note | None = None
    """What the budget is for."""
    updated_at: InstantText

    @field_validator("id")
    @classmethod
    def _no_plan(cls, budget_id: str) -> str:
        if budget_id.startswith(PLAN_BUDGETS):
            raise ValueError(f"must not begin with {PLAN_BUDGETS}, which names limits of plans")
        return budget_id

    @field_validator("scope")
    @classmethod
    def _scope_or_pattern(cls, scope: str) -> str:
        for _, name in parse_names(scope):
            if "*" in name and name != "*":
                # A name with a star would read as a pattern that matches nothing.
                raise ValueError(f"{scope[:64]!r} is no pattern; a star stands for a whole name, such as user/*")
        return scope

    @field_validator("except_")
    @classmethod
    def _exact_scopes(cls, scopes: tuple[str, ...]) -> tuple[str, ...]:
        for scope in scopes:
            if not parse_names(scope) or "*" in scope:
                raise ValueError(f"{scope[:64]!r} is no exception; name a scope such as provider/groq")
        if len(set(scopes)) != len(scopes):
            raise ValueError("a scope is named twice")
        return scopes

    @model_validator(mode="after")
    def _complete(self) -> Self:
        try:
            text = canonical_limit(self.limit, self.unit)
        except ValueError as error:
            raise ValueError(f"limit: {error}") from None
        # A calendar that there is not is refused with a sentence.
        _ = self.calendar
        begins, ends = self.valid_from, self.valid_to
        if begins is not None and ends is not None and parse_event_time(ends) <= parse_event_time(begins):
            raise ValueError("valid_to: must be after valid_from")
        # The model is frozen for its users; here it is still being made.
        object.__setattr__(self, "limit", text)
        if not self.id:
            made = default_budget_id(self.scope, self.window, self.unit)
            if len(made) > ID_CHARS_MAX:
                raise ValueError(f"id: give one, because the default is longer than {ID_CHARS_MAX} characters")
            object.__setattr__(self, "id", made)
        return self

    @property
    def is_pattern(self) -> bool:
        """Whether this is a budget for every name of a dimension."""
        return self.scope != GLOBAL_SCOPE and any(name == "*" for _, name in parse_names(self.scope))

    @property
    def calendar(self) -> Calendar:
        """How its windows are cut."""
        return _calendar(self.window, self.timezone, self.week_starts_on, self.month_starts_on)
