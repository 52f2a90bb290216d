"""Where each budget stands now, the worst first."""

import asyncio
import heapq
from collections import Counter
from typing import Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from tollgate.console.access.callers import Caller
from tollgate.console.budget_sums import TURN, BudgetSums, Wanted, budget_sums
from tollgate.console.live.held_flags import BudgetFlags
from tollgate.console.live.sight import Sight
from tollgate.console.paging import Page, make_cursor, read_cursor
from tollgate.console.parts import Parts
from tollgate.console.scope_parts import is_pattern
from tollgate.domain.budgets import Budget, Threshold, window_json
from tollgate.domain.windows import window_start
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import Action, AlertLevel, FlagState, Instant, Measure, Percent, Window

_SEVERITY: Final = {FlagState.OK: 0, FlagState.WARNING: 1, FlagState.BLOCKED: 2, FlagState.STOPPED: 3}
_LIST: Final = "budgets/status"


class ScopeStanding(BaseModel):
    """One of the scopes that a pattern is a budget for, as its flag has it."""

    scope: str = Field(examples=["user/u-42"])
    state: FlagState
    spent: Measure | None
    percent: Percent | None


class PatternScopes(BaseModel):
    """The scopes whose flag shows the pattern."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    warned: int
    blocked: int
    """Blocked or stopped."""
    worst: list[ScopeStanding]
    """Those that have spent the most of it, at most five."""


class BudgetStatus(BaseModel):
    """How much of one budget is spent in the window of this moment."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str = Field(examples=["agent/SEO:month:usd"])
    scope: str = Field(examples=["agent/SEO"])
    """Whose spend this is; of a pattern as a whole the pattern."""
    pattern: str | None = Field(examples=["user/*"])
    """The pattern that the budget is set on; null when it is a scope's own."""
    window: Window
    in_force: bool
    """False before `valid_from` and from `valid_to` on: then it limits nothing, and its `state` is `ok`."""
    limit: Measure
    unit: str = Field(examples=["usd"])
    spent: Measure | None
    """Null for a pattern as a whole, and while it is not known."""
    remaining: Measure | None
    """Limit less spend, never below 0."""
    percent: Percent | None
    """Of a pattern as a whole that of the scope that has spent the most, if that one is warned or blocked."""
    state: FlagState
    """What this budget alone makes of it; of a pattern as a whole the strictest of its scopes' flags."""
    level: AlertLevel | None
    """The highest threshold that is reached."""
    action: Action | None
    """What that threshold asks for."""
    known: bool
    """False while what is spent is not known; then `state` is what the flag says."""
    scopes: PatternScopes | None
    """Of a pattern as a whole only."""


class StatusPage(Page[BudgetStatus]):
    """Budgets, the worst first: by state, then by percent."""

    as_of: Instant | None = Field(description="how old the numbers are; null while nothing is read yet")
    stale: bool = Field(description="whether spend or flags are over 30 s old")
    counts: dict[FlagState, int] = Field(description="how many budgets have each state, on all pages together")


class _Standing(NamedTuple):
    """Enough of a budget's status to find its place in the list."""

    budget: Budget
    scope: str
    value: int | None
    threshold: Threshold | None
    state: FlagState
    known: bool
    hundredths: int
    scopes: PatternScopes | None

    @property
    def rank(self) -> tuple[int, int, str]:
        """What is not known comes before what is known to be in order."""
        return -2 * _SEVERITY[self.state] - (not self.known), -self.hundredths, self.budget.id


async def status_page(
    parts: Parts,
    caller: Caller,
    now_ms: int,
    limit: int,
    cursor: str,
    *,
    scope: str = "",
    state: FlagState | None = None,
) -> StatusPage:
    """A page of what the caller may see: all budgets, or those that apply to their own user or org."""
    own, book = Sight.of(caller).scope, parts.live.book()
    if own is not None:
        wanted = [Wanted(budget, own) for budget in book.in_force(own, now_ms)]
    else:
        wanted = [Wanted(budget, budget.scope) for budget in book]
    if scope:
        wanted = [one for one in wanted if scope in (one.scope, one.budget.scope)]
    # A user may be called `*`.
    whole = [one for one in wanted if own is None and is_pattern(one.scope)]
    single = [one for one in wanted if own is not None or not is_pattern(one.scope)]
    position = read_cursor(cursor, _LIST, int, int, str)
    sums = await budget_sums(parts.live, parts.numbers, single, now_ms)
    flags = parts.live.flags_by_budget(now_ms)
    patterns = [_whole(parts, one.budget, flags.get(one.budget.id, BudgetFlags())) for one in whole]
    counts = Counter(one.state for one in patterns)
    # Of ten thousand only the place in the list is worked out, and only those of the page are made.
    places = [(one.rank, at, one.state) for at, one in enumerate(patterns, len(single))]
    for at, one in enumerate(single):
        if at % TURN == TURN - 1:
            await asyncio.sleep(0)
        standing = _single(one, sums)
        counts[standing.state] += 1
        places.append((standing.rank, at, standing.state))
    after = tuple(position) if position is not None else None
    places = [place for place in places if (state is None or place[2] is state) and (after is None or place[0] > after)]
    found = [
        _single(single[at], sums) if at < len(single) else patterns[at - len(single)]
        for _, at, _ in heapq.nsmallest(limit + 1, places)
    ]
    fresh = [parts.live.freshness(name) for name in ("spend", "flags")]
    oldest = min(one.as_of_ms for one in fresh)
    return StatusPage(
        items=[_shown(one, now_ms) for one in found[:limit]],
        next_cursor=make_cursor(_LIST, *found[limit - 1].rank) if len(found) > limit else None,
        as_of=format_instant(oldest) if oldest else None,
        stale=any(one.stale for one in fresh),
        counts=dict.fromkeys(FlagState, 0) | counts,
    )


def _single(one: Wanted, sums: BudgetSums) -> _Standing:
    budget, value = one.budget, sums.value(*one)
    if value is None:
        flag = sums.flags.get(one.scope)
        state = flag.state if flag is not None else FlagState.OK
        return _Standing(budget, one.scope, None, None, state, False, 0, None)
    threshold = budget.reached(value) if budget.is_valid_at(sums.now_ms) else None
    state = threshold.state if threshold is not None else FlagState.OK
    return _Standing(budget, one.scope, value, threshold, state, True, budget.hundredths(value), None)


def _whole(parts: Parts, budget: Budget, flags: BudgetFlags) -> _Standing:
    held = [flag for scope in flags.worst if (flag := parts.live.flag(scope)) is not None]
    worst = [ScopeStanding(scope=f.scope, state=f.state, spent=f.spent, percent=f.percent) for f in held]
    state = FlagState.BLOCKED if flags.blocked else FlagState.WARNING if flags.warned else FlagState.OK
    state = max((*(one.state for one in worst), state), key=_SEVERITY.__getitem__)
    known = parts.live.freshness("flags").as_of_ms > 0
    hundredths = int((worst[0].percent or "0").replace(".", "")) if worst else 0
    scopes = PatternScopes(warned=flags.warned, blocked=flags.blocked, worst=worst)
    return _Standing(budget, budget.scope, None, None, state, known, hundredths, scopes)


def _shown(one: _Standing, now_ms: int) -> BudgetStatus:
    budget, value = one.budget, one.value
    start_ms = window_start(budget.calendar, now_ms)
    percent = one.scopes.worst[0].percent if one.scopes is not None and one.scopes.worst else None
    return BudgetStatus(
        id=budget.id,
        scope=one.scope,
        pattern=budget.scope if is_pattern(budget.scope) else None,
        window=Window.model_validate(window_json(budget.calendar, start_ms)),
        in_force=budget.is_valid_at(now_ms),
        limit=budget.format(budget.limit),
        unit=budget.unit,
        spent=None if value is None else budget.format(value),
        remaining=None if value is None else budget.format(max(0, budget.limit - value)),
        percent=percent if value is None else budget.percent(value),
        state=one.state,
        level=one.threshold.level if one.threshold is not None else None,
        action=one.threshold.action if one.threshold is not None else None,
        known=one.known,
        scopes=one.scopes,
    )
