"""`GET /why/{scope}`: why calls of a scope are blocked, and what to do about it."""

import asyncio
import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from tollgate.console.access.callers import Caller, Role, allow
from tollgate.console.access.restriction import check_scope, restriction_of
from tollgate.console.api.flags import FlagNow, ScopePath
from tollgate.console.api.user_accounts import Credits, PlanNow, credits_of, plan_of
from tollgate.console.live.sight import Sight
from tollgate.console.numbers import EventFilter, NumbersError, Range, UnavailableError
from tollgate.console.numbers.accounts import Decided
from tollgate.console.parts import Parts, TheParts
from tollgate.console.room import Room
from tollgate.domain.standings import BudgetStanding, standing
from tollgate.domain.why import Why, deciding_scopes, leaves_alone
from tollgate.domain.windows import window_start
from tollgate.schemas.instants import format_instant, parse_instant
from tollgate.schemas.outputs import Action, AlertLevel, Amount, Flag, FlagState, Instant, Measure, Percent, Usd, Window
from tollgate.schemas.scopes import Dimension, parse_names, scope_of

router = APIRouter()

# A flag tells for itself; the events are worth a short wait.
_EVENTS_SECONDS_MAX: Final = 3.0
_RESERVATIONS_SHOWN: Final = 10
_COMBINATIONS_MAX: Final = 50


class StandingNow(BaseModel):
    """How much of one budget is spent in the window of this moment."""

    budget: str
    scope: str
    window: Window
    limit: Measure
    unit: str
    spent: Measure
    percent: Percent
    threshold: AlertLevel | None = Field(description="the highest one that is reached")
    action: Action | None = Field(description="what that one asks for")


class LastEvent(BaseModel):
    """One counted event, with what it cost."""

    time: Instant
    event_id: str
    source: str
    user: str
    provider: str
    model: str
    agent: str
    cost_usd: Usd
    price_status: str


class DecisionShown(BaseModel):
    """The answer to a reservation."""

    decided_at: Instant
    reservation_id: str
    source: str
    granted: bool
    amount_usd: Usd
    credits: Amount
    expires_at: Instant | None
    error: str = Field(description="why it was denied; empty when it was granted")
    scope: str = Field(description="of the limit that was in the way; empty when none was")
    budget: str
    message: str


class WhyAnswer(BaseModel):
    """Why calls are blocked. Only `scope`, `blocked`, `state` and `flag` are told of a scope that is not blocked."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    scope: str
    blocked: bool
    state: FlagState
    flag: FlagNow
    blocked_by: str | None = None
    """The scope whose flag blocks: this one, or `global`."""
    http_status: int | None = None
    """What services answer."""
    error: str | None = None
    since: Instant | None = None
    until: Instant | None = None
    budgets: list[StandingNow] = []
    """The budgets of the scope that blocks, the fullest first."""
    unknown_budgets: list[str] = []
    """Those of them whose spend is not known now."""
    last_events: list[LastEvent] | None = None
    """The newest events that led there, the newest first. Null when they are not told: `last_events_problem` says why
    they are not known now; otherwise nobody asked, the scope is not blocked, or the caller may not see them."""
    last_events_from: str = "nowhere"
    """`ClickHouse`, or `nowhere` when there are none to tell."""
    last_events_problem: str | None = None
    """Why the last events are not known now; null when they are, or are not told anyway."""
    next_steps: list[str] = []
    """What a person can do."""
    names: list[str] = []
    """The single scopes that a combination is made of."""
    combinations: list[FlagNow] = []
    """Combinations with this scope that are warned or blocked, such as a user's videos; at most 50."""
    plan: PlanNow | None = None
    """Of a user's scope: their plan. Null without one."""
    credits: Credits | None = None
    """Of a user's scope: their credits. Null without an account."""
    reservations: list[DecisionShown] | None = None
    """Of a user's scope: the newest decisions about their reservations. Null when they are not known."""


@router.get("/why/{scope:path}", operation_id="explain_scope", summary="Explain why calls are blocked")
async def explain(
    scope: ScopePath,
    parts: TheParts,
    caller: Annotated[Caller, Depends(allow(Role.USER, Role.VIEWER))],
    events: Annotated[int, Query(ge=0, le=100, description="how many of the last events to show")] = 10,
) -> WhyAnswer:
    """The flag that blocks, its budgets with their numbers, the last events that led there, and what to do.

    A stop of the whole company blocks every scope, and a block of `user/u-42` its combinations too. Numbers are shown
    to those who may see them. While ClickHouse is away, `last_events` is null and
    `last_events_problem` says so; the rest is known from Kafka.
    """
    check_scope(caller, scope)
    answer = await _answer(scope, parts, caller, events)
    found = await _account(parts, caller, scope)
    return answer.model_copy(update=found)


async def _account(parts: Parts, caller: Caller, scope: str) -> dict[str, Any]:
    """What else explains the scope: its names, combinations that are blocked, a user's plan, credits, reservations."""
    now_ms, names = time.time_ns() // 1_000_000, parse_names(scope)
    flags = (parts.live.flag(one) for one in parts.live.combinations(scope, now_ms)[:_COMBINATIONS_MAX])
    found: dict[str, Any] = {
        "names": [scope_of(*name) for name in names] if len(names) > 1 else [],
        "combinations": [FlagNow.of(flag, now_ms) for flag in flags if flag is not None],
    }
    if len(names) != 1 or names[0][0] is not Dimension.USER or caller.org:
        return found
    user = names[0][1]
    try:
        async with asyncio.timeout(_EVENTS_SECONDS_MAX):
            decided = await parts.numbers.decisions(user, _RESERVATIONS_SHOWN)
        reservations: list[DecisionShown] | None = [_decision(one) for one in decided]
    except (NumbersError, TimeoutError):
        reservations = None
    return found | {
        "plan": plan_of(parts, user, now_ms),
        "credits": credits_of(parts, user),
        "reservations": reservations,
    }


def _decision(one: Decided) -> DecisionShown:
    expires = format_instant(one.expires_ms) if one.expires_ms is not None else None
    values = {**one._asdict(), "decided_at": format_instant(one.decided_ms), "expires_at": expires}
    return DecisionShown.model_validate(values)


async def _answer(scope: str, parts: Parts, caller: Caller, events: int) -> WhyAnswer:
    now_ms, sight = time.time_ns() // 1_000_000, Sight.of(caller)
    flags = (parts.live.flag(one) for one in deciding_scopes(scope))
    flag = next((one for one in flags if one and _blocks(one, now_ms) and not leaves_alone(one, scope)), None)
    if flag is None:
        own = parts.live.flag(scope)
        now = FlagNow.of(own, now_ms) if own is not None else None
        now = now or FlagNow(scope=scope, state=FlagState.OK, blocked=False, in_force=False)
        state = now.state if now.in_force else FlagState.OK
        return WhyAnswer(scope=scope, blocked=False, state=state, flag=now)
    budgets: list[BudgetStanding] = []
    unknown: list[str] = []
    last: list[LastEvent] | None = None
    problem = None
    if sight.sees(flag.scope):
        budgets, unknown = await standings_of(parts, flag.scope, now_ms)
        try:
            last = await _last_events(parts, caller, flag, now_ms, events) if events else None
        except NumbersError as error:
            problem = f"The last events are not known now. {error}"
    found = Why(scope, flag, budgets)
    return WhyAnswer(
        scope=scope,
        blocked=True,
        state=flag.state,
        flag=FlagNow.of(sight.of_decision(flag), now_ms),
        blocked_by=flag.scope,
        http_status=found.http_status,
        error=flag.reason,
        since=flag.since,
        until=flag.until,
        budgets=[StandingNow.model_validate(stands.as_json()) for stands in budgets],
        unknown_budgets=unknown,
        last_events=last,
        last_events_from="nowhere" if last is None else "ClickHouse",
        last_events_problem=problem,
        next_steps=found.next_steps if sight.sees(flag.scope) else [],
    )


def _blocks(flag: Flag, now_ms: int) -> bool:
    return flag.blocked and FlagNow.of(flag, now_ms).in_force


async def standings_of(parts: Parts, scope: str, now_ms: int) -> tuple[list[BudgetStanding], list[str]]:
    """The scope's budgets, the fullest first, and the ids of those whose spend is not known."""
    budgets = parts.live.book().in_force(scope, now_ms)
    starts = [window_start(budget.calendar, now_ms) for budget in budgets]
    sums = await asyncio.gather(
        *(parts.sums.get(scope, budget.calendar, start) for budget, start in zip(budgets, starts, strict=True))
    )
    known = [
        standing(budget, found.record, start)
        for budget, start, found in zip(budgets, starts, sums, strict=True)
        if found is not None
    ]
    known.sort(key=lambda stands: stands.spent * 10_000 // stands.budget.limit, reverse=True)
    return known, [budget.id for budget, found in zip(budgets, sums, strict=True) if found is None]


async def _last_events(parts: Parts, caller: Caller, flag: Flag, now_ms: int, limit: int) -> list[LastEvent]:
    """The newest events of the flag's window. Raises NumbersError when ClickHouse does not tell them soon."""
    start_ms = parse_instant(flag.window.start) if flag.window is not None else 0
    wanted = EventFilter(by=dict(parse_names(flag.scope)), within=Range(start_ms, now_ms + 1))
    try:
        async with asyncio.timeout(_EVENTS_SECONDS_MAX):
            page = await parts.numbers.events(restriction_of(caller), wanted, limit)
    except TimeoutError:
        raise UnavailableError("ClickHouse did not answer in time.") from None
    return [LastEvent.model_validate(event, from_attributes=True) for event in page.items]


ROOM: Final = Room("why", api=router)
