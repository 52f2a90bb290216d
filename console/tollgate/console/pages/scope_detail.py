"""What the page of one scope shows."""

import asyncio
from dataclasses import dataclass
from typing import Final

from tollgate.console.access.callers import Caller, Role
from tollgate.console.access.restriction import check_scope, restriction_of
from tollgate.console.api.why import WhyAnswer, explain
from tollgate.console.dashboard import budgets
from tollgate.console.live import Freshness
from tollgate.console.numbers import CountedEvent, EventFilter, Page, Series
from tollgate.console.pages.agent_rates import AgentRate, rates_of
from tollgate.console.pages.overview_model import Standing
from tollgate.console.pages.told import Told, told
from tollgate.console.parts import Parts
from tollgate.domain.windows import DAY_MS, day_start, window_end, window_start
from tollgate.schemas.outputs import SpendRecord
from tollgate.schemas.scopes import Dimension, parse_names
from tollgate.schemas.vocabulary import WindowKind

DAYS: Final = 30
EVENTS: Final = 12
_KINDS: Final = (WindowKind.HOUR, WindowKind.DAY, WindowKind.MONTH, WindowKind.LIFETIME)


@dataclass(frozen=True, slots=True)
class WindowSum:
    """What the scope spent in its present window of one kind. `record` is None when nothing was spent, or when that is
    not known.
    """

    kind: WindowKind
    start_ms: int
    end_ms: int
    record: SpendRecord | None
    is_known: bool


@dataclass(frozen=True, slots=True)
class ScopeDetail:
    """One scope: its sums, its budgets, its flag, and for analysts its last events."""

    scope: str
    dimension: Dimension | None
    """None for `global`."""
    name: str
    windows: list[WindowSum]
    days: Told[Series]
    why: WhyAnswer
    """Whether calls of it are refused now, by its own flag or by that of the whole company."""
    standings: list[Standing]
    """The budgets that apply to it, the fullest first; those whose spend is not known last."""
    rates: list[AgentRate] | None
    """None for what is no agent."""
    events: Told[Page[CountedEvent]] | None
    """None for callers who may not see single events."""
    spend: Freshness
    flags: Freshness


async def scope_detail(parts: Parts, caller: Caller, scope: str, now_ms: int) -> ScopeDetail:
    """What is known of the scope. Raises Problem 422 for what is no scope and 403 for one of somebody else."""
    check_scope(caller, scope)
    names = parse_names(scope)
    dimension, name = names[0] if len(names) == 1 else (None, scope if names else "the whole company")
    live = parts.live
    last = day_start(now_ms)
    days, windows, events, why, standings = await asyncio.gather(
        told(parts.numbers.daily(restriction_of(caller), last - (DAYS - 1) * DAY_MS, last + DAY_MS, scope)),
        asyncio.gather(*(_window(parts, scope, kind, now_ms) for kind in _KINDS)),
        _events(parts, caller, names),
        explain(scope, parts, caller, events=0),
        budgets.of_scope(parts, scope, now_ms),
    )
    return ScopeDetail(
        scope,
        dimension,
        name,
        windows,
        days,
        why,
        standings,
        rates_of(await parts.prices.book(), name, now_ms) if dimension is Dimension.AGENT else None,
        events,
        live.freshness("spend"),
        live.freshness("flags"),
    )


async def _window(parts: Parts, scope: str, kind: WindowKind, now_ms: int) -> WindowSum:
    start = window_start(kind, now_ms)
    known = await parts.sums.get(scope, kind, start)
    return WindowSum(
        kind, start, window_end(kind, start), known.record if known is not None else None, known is not None
    )


async def _events(
    parts: Parts, caller: Caller, names: tuple[tuple[Dimension, str], ...]
) -> Told[Page[CountedEvent]] | None:
    if caller.role not in (Role.ANALYST, Role.ADMIN):
        return None
    return await told(parts.numbers.events(restriction_of(caller), EventFilter(dict(names)), EVENTS))
