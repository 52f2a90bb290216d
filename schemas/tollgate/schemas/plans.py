"""Plans as control records: what a user is subscribed to, who is subscribed to what, and the plans that are shipped."""

import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from tollgate.schemas.budgets import PLAN_BUDGETS, LimitUnit, MonthDay, Note, Window, Zone, canonical_limit
from tollgate.schemas.control_values import AmountText, ControlRecord, ControlValue, InstantText, Name, UsdText, plain
from tollgate.schemas.text_rules import NAME_CHARS_MAX
from tollgate.schemas.vocabulary import WindowKind

PLAN_KEY_PREFIX: Final = "plan/"
ASSIGNMENT_KEY_PREFIX: Final = "assignment/"
DEFAULT_ASSIGNMENT_KEY: Final = "assignment/default"

LIMITS_MAX: Final = 64

_PLAN_ID: Final = r"^[a-z0-9][a-z0-9_.-]*$"
_DURATION: Final = re.compile(r"P(?=\d)(?:(\d{1,3})Y)?(?:(\d{1,4})M)?(?:(\d{1,4})W)?(?:(\d{1,5})D)?")
_NO_DURATION: Final = "must be a duration of ISO 8601 in years, months, weeks or days, such as P1Y or P30D"

PlanId = Annotated[str, Field(min_length=1, max_length=64, pattern=_PLAN_ID)]


def parse_duration(text: str) -> tuple[int, int]:
    """Months and days of an ISO 8601 duration: `"P1Y2M"` → (14, 0), `"P2W1D"` → (0, 15). ValueError for others."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(_NO_DURATION)
    years, months, weeks, days = (int(part or 0) for part in match.groups())
    if not (years or months or weeks or days):
        raise ValueError("must be longer than nothing")
    return years * 12 + months, weeks * 7 + days


class PlanLimitRecord(ControlValue):
    """One limit of a plan: what each of its users may use of a feature in a window of the user's own calendar."""

    feature: Name = ""
    """Such as `video`; empty: whatever the user does."""
    unit: LimitUnit = "events"
    """`events`, `usd`, `credits`, or a usage dimension such as `images`."""
    limit: str
    """Above 0, as a decimal string: `"10"`."""
    window: Window = WindowKind.MONTH

    @field_validator("feature")
    @classmethod
    def _no_pattern(cls, feature: str) -> str:
        if "*" in feature:
            raise ValueError("must name one feature; leave it out for whatever the user does")
        return feature

    @model_validator(mode="after")
    def _canonical(self) -> Self:
        try:
            # The model is frozen for its users; here it is still being made.
            object.__setattr__(self, "limit", canonical_limit(self.limit, self.unit))
        except ValueError as error:
            raise ValueError(f"limit: {error}") from None
        return self


class PlanRecord(ControlRecord):
    """Value of `plan/<id>`: limits, free credits and the price of what a user is subscribed to.

    An id that is not given is the name in lower case with dashes: `Team Plus` is `team-plus`.
    """

    id: str = Field("", max_length=64)
    name: Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX), AfterValidator(plain)]
    description: Note = ""
    price_usd: UsdText = "0"
    """What it costs a month."""
    limits: tuple[PlanLimitRecord, ...] = Field((), max_length=LIMITS_MAX)
    credits_per_day: AmountText = "0"
    """Free credits of each day, from the user's own midnight."""
    ends_after: str | None = None
    """How long a user has it, as a duration of ISO 8601 such as `P1Y`; then the default plan holds. Null: no end."""
    notice: Note | None = None
    """What its users should be told."""

    @field_validator("ends_after")
    @classmethod
    def _duration(cls, text: str | None) -> str | None:
        if text is not None:
            parse_duration(text)
        return text

    @model_validator(mode="after")
    def _complete(self) -> Self:
        made = self.id or re.sub(r"[^a-z0-9_.]+", "-", self.name.lower()).strip("-")
        if re.match(_PLAN_ID, made) is None or len(made) > 64:
            raise ValueError("id: must be 1 to 64 of a to z, 0 to 9, dot, dash and underscore, such as team-plus")
        object.__setattr__(self, "id", made)
        seen: set[tuple[str, str, str]] = set()
        for limit in self.limits:
            what = (limit.feature, limit.unit, limit.window.value)
            if what in seen:
                feature = limit.feature or "everything"
                raise ValueError(f"limits: {feature} in {limit.unit} per {limit.window.value} is limited twice")
            seen.add(what)
        if len(set(self.budget_ids())) != len(self.limits):
            raise ValueError("limits: two of them would have the same budget id; rename a feature")
        return self

    def budget_ids(self) -> list[str]:
        """The ids that its limits have in flags, one for each: `plan/free/video/events`.

        A second limit on the same feature and unit has its window at the end: `plan/free/video/events/day`.
        """
        ids: list[str] = []
        for limit in self.limits:
            made = f"{PLAN_BUDGETS}{self.id}/{limit.feature or '*'}/{limit.unit}"
            ids.append(f"{made}/{limit.window.value}" if made in ids else made)
        return ids


class AssignmentRecord(ControlRecord):
    """Value of `assignment/user/<id>`: the plan of a user; and of `assignment/default`: that of everybody else."""

    plan: PlanId
    since: InstantText | None = None
    """When it began; null: when the record was written. `ends_after` of the plan is counted from here."""
    timezone: Zone = "UTC"
    """The user's IANA zone: their days, weeks and months begin there at midnight."""
    month_starts_on: MonthDay = 1
    """The first day of the user's month, such as the day of their bill; where a month is shorter, its last day."""


def _limits(**limits: str) -> tuple[PlanLimitRecord, ...]:
    """Calls a month, by feature."""
    return tuple(PlanLimitRecord(feature=feature, limit=limit) for feature, limit in limits.items())


def shipped_plans() -> dict[str, PlanRecord]:
    """The plans that exist without a record, by id. A record of the same id replaces one of them."""
    plans = (
        PlanRecord(
            id="demo",
            name="Demo",
            description="Everything, for a year: for demonstrations and for our own people.",
            limits=_limits(content="999999", image="999999", video="999999", chat="999999"),
            ends_after="P1Y",
            notice="This is a demo account: nothing is limited for one year.",
        ),
        PlanRecord(
            id="free",
            name="Free",
            description="To try it out.",
            limits=_limits(content="50", image="100", video="10", chat="100"),
            credits_per_day="10",
        ),
        PlanRecord(
            id="creator",
            name="Creator",
            description="For one person who publishes every week.",
            price_usd="9",
            limits=_limits(content="500", image="1000", video="100", chat="2000"),
            credits_per_day="10",
        ),
        PlanRecord(
            id="pro",
            name="Pro",
            description="For professionals and small teams.",
            price_usd="19.99",
            limits=_limits(content="2000", image="5000", video="500", chat="10000"),
            credits_per_day="10",
        ),
    )
    return {plan.id: plan for plan in plans}
