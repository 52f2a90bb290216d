"""What a user's page and answer say of their plan, limits and credits."""

import asyncio
from typing import Annotated, NamedTuple

from pydantic import Field

from tollgate.console.api.asking import now_ms
from tollgate.console.api.sums import Answer
from tollgate.console.numbers.cards import CARDS
from tollgate.console.parts import Parts
from tollgate.domain.balances import balance_now
from tollgate.domain.budgets import NO_END_MS, Budget, window_json
from tollgate.domain.credits import FreeCredits
from tollgate.domain.plans import Assignment, Plan
from tollgate.domain.standings import standing
from tollgate.domain.windows import window_start
from tollgate.schemas.calendars import UTC_ZONE
from tollgate.schemas.control import ASSIGNMENT_KEY_PREFIX, DEFAULT_ASSIGNMENT_KEY, AssignmentRecord
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import Amount, Balance, FlagState, Instant, Measure, Percent, Window
from tollgate.schemas.plans import shipped_plans
from tollgate.schemas.scopes import Dimension, scope_of, scope_of_all


class PlanNow(Answer):
    """The plan that a user has at this moment."""

    id: str
    name: str
    assigned: bool
    """Whether it is the user's own; false for the default plan."""
    since: Instant | None
    ends_at: Instant | None
    """When the default plan holds instead; null: it does not end."""
    timezone: str
    """The zone in which the user's days and months begin."""
    month_starts_on: int
    price_usd: str
    credits_per_day: Amount
    notice: str | None
    """What its users should be told."""
    version: int | None
    """Of the user's own assignment, for If-Match; null without one."""


class CardLimit(Answer):
    """The fullest limit on what a card counts: of a budget or of the user's plan."""

    budget: str = Field(examples=["plan/free/video/events"])
    scope: str = Field(examples=["user/u-42+feature/video"])
    window: Window
    limit: Measure
    unit: str
    spent: Measure
    percent: Percent
    state: FlagState
    """What this limit alone makes of it."""


class Credits(Answer):
    """A user's credits as of now: as the worker last wrote them, with the free ones of their present plan and day."""

    available: Amount
    """What can be reserved or burned now. Below zero when usage that was done took more than there was."""
    reserved: Amount
    granted: Amount
    burned: Amount
    expired: Amount
    free_today: Amount
    """What is left of the free credits of the user's own day."""
    free_per_day: Amount
    free_until: Annotated[Instant | None, Field(description="the user's next midnight")]
    buckets: list["Bucket"]
    """What is left of grants, in the order in which it is burned."""
    updated_at: Instant

    @classmethod
    def of(cls, balance: Balance) -> "Credits":
        """A balance of the topic."""
        return cls.model_validate(balance.model_dump(mode="json", include=set(cls.model_fields)))


class Bucket(Answer):
    """What is left of one grant."""

    kind: str = Field(examples=["purchase"])
    left: Amount
    expires_at: Instant | None
    """From this instant on it cannot be spent; null: never."""


Credits.model_rebuild()


class _Limit(NamedTuple):
    card: str
    scope: str
    budget: Budget


def plan_of(parts: Parts, user: str, at_ms: int) -> PlanNow | None:
    """The user's plan at this instant; None when nobody has set a default plan and they have none of their own."""
    control, plans = parts.control, parts.live.book().plans
    written = scope_of(Dimension.USER, user).removeprefix("user/")
    plan = plans.plan_of(written, at_ms)
    if plan is None:
        return None
    held, default = control.get(f"{ASSIGNMENT_KEY_PREFIX}user/{written}"), control.get(DEFAULT_ASSIGNMENT_KEY)
    own = AssignmentRecord.model_validate(held.value) if held is not None else None
    usual = AssignmentRecord.model_validate(default.value) if default is not None else None
    is_own = own is not None and own.plan == plan.id and at_ms < Assignment.from_record(own).end_ms(plan)
    since, calendar = (own if is_own else usual), (own or usual)
    stored = (shipped_plans() | control.plans())[plan.id]
    return PlanNow(
        id=plan.id,
        name=plan.name,
        assigned=is_own,
        since=since.since or since.updated_at if since is not None else None,
        ends_at=_end(own, plan) if is_own and own is not None else None,
        timezone=calendar.timezone if calendar is not None else UTC_ZONE,
        month_starts_on=calendar.month_starts_on if calendar is not None else 1,
        price_usd=stored.price_usd,
        credits_per_day=stored.credits_per_day,
        notice=stored.notice,
        version=held.version if held is not None else None,
    )


def _end(own: AssignmentRecord, plan: Plan) -> str | None:
    end_ms = Assignment.from_record(own).end_ms(plan)
    return None if end_ms >= NO_END_MS else format_instant(end_ms)


async def card_limits(parts: Parts, user: str, at_ms: int) -> dict[str, CardLimit]:
    """By card the fullest limit on the user and one of its features; none for cards without one."""
    book = parts.live.book()
    limits: list[_Limit] = []
    for card in CARDS:
        for feature in card.features:
            scope = scope_of_all(((Dimension.USER, user), (Dimension.FEATURE, feature)))
            limits += [_Limit(card.name, scope, budget) for budget in book.in_force(scope, at_ms)]
    starts = [window_start(one.budget.calendar, at_ms) for one in limits]
    sums = await asyncio.gather(
        *(
            parts.sums.get(one.scope, one.budget.calendar, start_ms)
            for one, start_ms in zip(limits, starts, strict=True)
        )
    )
    found: dict[str, tuple[int, CardLimit]] = {}
    for one, start_ms, known in zip(limits, starts, sums, strict=True):
        if known is None:
            continue
        budget, stands = one.budget, standing(one.budget, known.record, start_ms)
        full = budget.hundredths(stands.spent)
        if one.card not in found or full > found[one.card][0]:
            shown = CardLimit(
                budget=budget.id,
                scope=one.scope,
                window=Window.model_validate(window_json(budget.calendar, start_ms)),
                limit=budget.format(budget.limit),
                unit=budget.unit,
                spent=budget.format(stands.spent),
                percent=budget.percent(stands.spent),
                state=stands.threshold.state if stands.threshold is not None else FlagState.OK,
            )
            found[one.card] = (full, shown)
    return {card: shown for card, (_, shown) in found.items()}


def credits_of(parts: Parts, user: str) -> Credits | None:
    """The user's credits as of now; None when they have no account and no plan gives them free credits, or when it is
    not known yet.
    """
    written, at_ms = parts.live.balance(user), now_ms()
    if written is None and not parts.live.knows_balance(user):
        return None
    balance = balance_now(written, user, FreeCredits(*parts.live.book().credits_of(user, at_ms)), at_ms)
    return None if balance is None else Credits.of(balance)
