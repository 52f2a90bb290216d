"""`POST /check`: may a call go ahead? For services without Kafka."""

import asyncio
import time
from collections.abc import Iterator
from typing import Annotated, Final, NamedTuple

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from tollgate.console.access.callers import Caller, Role, allow
from tollgate.console.access.restriction import restriction_of
from tollgate.console.live.sight import Sight
from tollgate.console.parts import Parts, TheParts
from tollgate.console.problems import Problem
from tollgate.console.room import Room
from tollgate.domain.budgets import Budget, Threshold
from tollgate.domain.standings import (
    BudgetStanding,
    first_blocking,
    fits_without_flag,
    standing,
    sum_of_usd,
    would_pass,
)
from tollgate.domain.windows import LIFETIME_END_MS, window_start
from tollgate.schemas.amounts import parse_usd
from tollgate.schemas.budgets import Fail
from tollgate.schemas.instants import format_instant, parse_instant
from tollgate.schemas.outputs import Flag, FlagState, Instant, Measure
from tollgate.schemas.scopes import GLOBAL_SCOPE, Dimension
from tollgate.schemas.text_rules import NAME_CHARS_MAX, NAME_PATTERN
from tollgate.schemas.usage_values import UsdAmount
from tollgate.sdk.call_scopes import excepted_calls, is_excepted, singles_of
from tollgate.sdk.decision import denied_as_unknown
from tollgate.sdk.in_words import message as message_of
from tollgate.sdk.in_words import too_much
from tollgate.sdk.knowledge import KNOWLEDGE_SECONDS_MAX

router = APIRouter()

Name = Annotated[str, Field(max_length=NAME_CHARS_MAX, pattern=NAME_PATTERN)]


class CheckBody(BaseModel):
    """The names of a call, as its usage event will have them. What is left out counts nowhere; `org` is filled in for a
    token of an org.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"user": "u-42", "provider": "openai", "model": "gpt-4o", "estimate_usd": "0.02"}]
        },
    )

    user: Name | None = None
    org: Name | None = None
    service: Name | None = None
    provider: Name | None = None
    model: Name | None = None
    agent: Name | None = None
    campaign: Name | None = None
    feature: Name | None = None
    product: Name | None = None
    estimate_usd: UsdAmount | None = Field(
        None, description="what the call will cost at most; it is denied when a budget would be passed by it"
    )

    def names(self) -> dict[str, str]:
        """The names by dimension."""
        given = ((dimension.value, getattr(self, dimension.value)) for dimension in Dimension)
        return {dimension: name for dimension, name in given if name}


class CheckAnswer(BaseModel):
    """The decision. The budget's numbers are told when it denies or warns, and the caller may see its scope."""

    allowed: bool
    state: FlagState = Field(description="the strictest state of the call's scopes; `blocked` for a large estimate too")
    http_status: int | None = Field(None, description="what to answer when the call is denied", examples=[429])
    error: str | None = Field(None, description="`usage_limit_exceeded`, `spending_stopped` or `limits_unknown`")
    message: str = Field(description="one sentence for people")
    scope: str | None = Field(None, description="the scope that decided", examples=["user/u-42"])
    budget: str | None = Field(None, description="the id of the budget that decided")
    limit: Measure | None = None
    spent: Measure | None = None
    until: Instant | None = Field(None, description="when the window ends")
    retry_after_seconds: int | None = Field(None, description="null when waiting does not help")
    as_of: Instant | None = Field(description="how old the knowledge is; null while nothing is known yet")


class _Known(NamedTuple):
    """Where a budget stands, and as of when. `standing` is None when the call fits in whatever was spent. `reserved` is
    what open reservations hold beside it, as far as a flag tells it.
    """

    standing: BudgetStanding | None
    as_of_ms: int
    reserved: int = 0


class _Obstacle(NamedTuple):
    scope: str
    standing: BudgetStanding
    threshold: Threshold


@router.post("/check", operation_id="check_call", summary="May this call go ahead?")
async def check(
    asked: CheckBody,
    parts: TheParts,
    caller: Annotated[Caller, Depends(allow(Role.SERVICE, Role.ADMIN))],
) -> CheckAnswer:
    """Decide by the flags of the call's scopes, and by their budgets when an estimate is given.

    The company as a whole (`global`) always counts. A call is denied when one of its scopes is blocked, or when the
    estimate would take what one has spent and reserved above a limit that blocks. Reaching a limit exactly is allowed.
    While flags are not known, or not since 60 s, a call that a budget with `fail: closed` covers is denied with 503
    `limits_unknown`.

    A token of an org asks about calls of this org alone, and is told the numbers of no other scope.
    """
    now_ms, sight = time.time_ns() // 1_000_000, Sight.of(caller)
    names = _own_names(asked, caller)
    as_of_ms = parts.live.freshness("flags").as_of_ms
    decision = parts.live.decide(names, now_ms)
    flag = sight.of_decision(decision.flag) if decision.flag is not None else None
    is_known = now_ms - as_of_ms <= KNOWLEDGE_SECONDS_MAX * 1000
    message = ""
    if decision.allowed and asked.estimate_usd is not None:
        denied, as_of_ms, unknown = await _by_estimate(parts, names, parse_usd(asked.estimate_usd), now_ms, as_of_ms)
        if denied is not None:
            return _too_much(denied, asked.estimate_usd, now_ms, as_of_ms, sight)
        if unknown:
            message = f"Decided by flags alone: what {unknown[0]} has spent is not known now."
    if decision.allowed and not is_known and _fails_closed(parts, names, now_ms):
        return _as_unknown(as_of_ms)
    return _by_flag(flag, now_ms, as_of_ms, message)


def _own_names(asked: CheckBody, caller: Caller) -> dict[str, str]:
    """The names of the call, with the caller's org. Raises Problem 403 for a call of another org."""
    names, org = asked.names(), restriction_of(caller).org
    if org and names.setdefault(Dimension.ORG.value, org) != org:
        raise Problem(403, "not_allowed", f"This token may ask about calls of the org {org} alone.")
    return names


def _by_flag(flag: Flag | None, now_ms: int, as_of_ms: int, message: str = "") -> CheckAnswer:
    as_of = _instant(as_of_ms)
    if flag is None:
        told = "Within budget." if as_of else "Flags are not read yet."
        return CheckAnswer(allowed=True, state=FlagState.OK, message=message or told, as_of=as_of)
    is_stop = flag.reason == "spending_stopped"
    return CheckAnswer(
        allowed=not flag.blocked,
        state=flag.state,
        http_status=(503 if is_stop else 429) if flag.blocked else None,
        error=("spending_stopped" if is_stop else "usage_limit_exceeded") if flag.blocked else None,
        message=message or message_of(flag),
        scope=flag.scope,
        budget=flag.budget,
        limit=flag.limit,
        spent=flag.spent,
        until=flag.until,
        retry_after_seconds=_wait(parse_instant(flag.until), now_ms) if flag.blocked and flag.until else None,
        as_of=as_of,
    )


def _as_unknown(as_of_ms: int) -> CheckAnswer:
    denied = denied_as_unknown()
    return CheckAnswer(
        allowed=False,
        state=denied.state,
        http_status=denied.http_status,
        error=denied.error,
        message=denied.message,
        as_of=_instant(as_of_ms),
    )


def _fails_closed(parts: Parts, names: dict[str, str], now_ms: int) -> bool:
    """Whether a budget covers the call that lets nothing through while nothing is known."""
    return any(budget.fail is Fail.CLOSED for _, budget in _budgets(parts, names, now_ms))


def _too_much(denied: _Obstacle, estimate: str, now_ms: int, as_of_ms: int, sight: Sight) -> CheckAnswer:
    where, budget = denied.standing, denied.standing.budget
    is_stop, is_seen = denied.scope == GLOBAL_SCOPE, sight.sees(denied.scope)
    end_ms = min(where.end_ms, budget.valid_to_ms)
    numbers = where.numbers if is_seen else None
    return CheckAnswer(
        allowed=False,
        state=denied.threshold.state,
        http_status=503 if is_stop else 429,
        error="spending_stopped" if is_stop else "usage_limit_exceeded",
        message=too_much(estimate, denied.scope, budget.window.value, numbers)
        + (f" It is a limit of plan {budget.plan}: change to a larger plan." if budget.plan and is_seen else ""),
        scope=denied.scope,
        budget=budget.id if is_seen else None,
        limit=budget.format(budget.limit) if is_seen else None,
        spent=budget.format(where.spent) if is_seen else None,
        until=format_instant(end_ms),
        retry_after_seconds=_wait(end_ms, now_ms),
        as_of=_instant(as_of_ms),
    )


async def _by_estimate(
    parts: Parts, names: dict[str, str], amount: int, now_ms: int, as_of_ms: int
) -> tuple[_Obstacle | None, int, list[str]]:
    """The budget in the way, how old the oldest of the sums is, and the scopes whose sums are not known."""
    limits = list(_limits(parts, names, now_ms))
    standings = await asyncio.gather(*(_standing(parts, scope, budget, amount, now_ms) for scope, budget in limits))
    found: list[_Obstacle] = []
    unknown: list[str] = []
    for (scope, budget), known in zip(limits, standings, strict=True):
        if known is None:
            unknown.append(scope)
        elif known.standing is not None:
            as_of_ms = min(as_of_ms, known.as_of_ms)
            threshold = would_pass(budget, known.standing.spent + known.reserved, amount)
            if threshold is not None:
                found.append(_Obstacle(scope, known.standing, threshold))
    # As with flags: the company first, then what lasts longest.
    denied = max(found, key=lambda o: (o.scope == GLOBAL_SCOPE, o.standing.end_ms), default=None)
    return denied, as_of_ms, unknown


async def _standing(parts: Parts, scope: str, budget: Budget, amount: int, now_ms: int) -> _Known | None:
    """Where a budget stands, as far as it must be known; None when nobody tells.

    Sums of shared scopes are in memory. What a user spent would have to be asked of ClickHouse for each of them; but a
    user without a flag is below every threshold, and a flag that warns tells the sum of its budget.
    """
    start_ms = window_start(budget.calendar, now_ms)
    flags_as_of_ms = parts.live.freshness("flags").as_of_ms
    if flags_as_of_ms and not parts.live.knows(scope, budget.calendar, start_ms):
        flag = parts.live.flag_in_force(scope, now_ms)
        if flag is None and fits_without_flag(budget, amount):
            return _Known(None, flags_as_of_ms)
        if flag is not None and flag.budget == budget.id and flag.spent is not None:
            spent = sum_of_usd(flag.spent)
            reserved = sum_of_usd(flag.reserved) if flag.reserved is not None else 0
            return _Known(BudgetStanding(budget, start_ms, spent, budget.reached(spent)), flags_as_of_ms, reserved)
    known = await parts.sums.get(scope, budget.calendar, start_ms)
    return None if known is None else _Known(standing(budget, known.record, start_ms), known.as_of_ms)


def _limits(parts: Parts, names: dict[str, str], now_ms: int) -> Iterator[tuple[str, Budget]]:
    """Of `_budgets` those in dollars that can block."""
    for scope, budget in _budgets(parts, names, now_ms):
        if budget.unit == "usd" and first_blocking(budget) is not None:
            yield scope, budget


def _budgets(parts: Parts, names: dict[str, str], now_ms: int) -> Iterator[tuple[str, Budget]]:
    """The budgets in force that do not leave the call alone, with the scope that each is of: the company, a name of the
    call, or a combination of its names that budgets use.
    """
    book, singles = parts.live.book(), singles_of(names)
    combined = (
        "+".join(singles[dimension] for dimension in shape.dimensions)
        for shape in book.shapes
        if singles.keys() >= set(shape.dimensions)
    )
    own = frozenset(singles.values())
    for scope in (GLOBAL_SCOPE, *singles.values(), *combined):
        for budget in book.in_force(scope, now_ms):
            if not is_excepted(excepted_calls(budget.except_), own):
                yield scope, budget


def _wait(end_ms: int, now_ms: int) -> int | None:
    """Whole seconds until the window ends, rounded up. A lifetime does not end."""
    return None if end_ms >= LIFETIME_END_MS else max(0, -((now_ms - end_ms) // 1000))


def _instant(instant_ms: int) -> str | None:
    return format_instant(instant_ms) if instant_ms else None


ROOM: Final = Room("check", api=router)
