"""What the pages of campaigns, agents, services and so on show: the names of a dimension, the most expensive first."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tollgate.console.access.callers import Caller
from tollgate.console.access.restriction import restriction_of
from tollgate.console.dashboard import budgets
from tollgate.console.live import Freshness, Live
from tollgate.console.numbers import Share, Shares
from tollgate.console.numbers.sums import shares_of
from tollgate.console.pages.agent_rates import AgentRate, agents_of, rates_of
from tollgate.console.pages.overview_model import Standing
from tollgate.console.pages.told import Told, told
from tollgate.console.parts import Parts
from tollgate.domain.windows import DAY_MS, day_start, month_start, months_later
from tollgate.schemas.outputs import FlagState
from tollgate.schemas.scopes import GLOBAL_SCOPE, Dimension, scope_of
from tollgate.schemas.vocabulary import WindowKind

ROWS: Final = 50
# A search looks at so many of the most expensive names.
SEARCHED: Final = 1000
TREND_DAYS: Final = 14
# While ClickHouse is away the sums come from memory, where each of them has to be decoded.
_IN_MEMORY_MAX: Final = 2000


@dataclass(frozen=True, slots=True)
class ScopeRow:
    """One name of the dimension. `state` and `standing` are None for callers of one org, who may not see them."""

    name: str
    scope: str
    share: Share
    state: FlagState | None = None
    standing: Standing | None = None
    """Its fullest budget."""
    days: tuple[str, ...] = ()
    """What it cost on each of the 14 days before today, which is not over; empty when that is not known."""
    rates: tuple[AgentRate, ...] = ()


@dataclass(frozen=True, slots=True)
class ScopeList:
    """The list of one dimension for the present month."""

    dimension: Dimension
    rows: list[ScopeRow]
    total: Share | None
    nameless: Share | None
    """Events without a name; None when there are none or they are not on this page."""
    rest: Share | None
    """All names that are not on this page."""
    sees_budgets: bool
    more: bool
    """Whether the next page has rows."""
    as_of_ms: int
    stale: bool
    note: str = ""
    """What this list lacks now, and why."""
    why: str = ""
    """Why there is no list."""


async def scope_list(
    parts: Parts, caller: Caller, dimension: Dimension, query: str, page: int, now_ms: int
) -> ScopeList:
    """The `page`th 50 names (from 1), or those of the 1,000 most expensive that hold `query`."""
    restriction = restriction_of(caller)
    begin = month_start(now_ms)
    wanted = SEARCHED if query else min(page * ROWS + 1, SEARCHED)
    found = await told(parts.numbers.breakdown(restriction, dimension, begin, months_later(begin, 1), wanted))
    sees_budgets = not caller.org
    note = ""
    if found.value is None and sees_budgets:
        note = f"{found.why} These are the sums that the console holds in memory; trends come back with ClickHouse."
        found = _from_memory(parts.live, dimension, now_ms, found.why)
    if found.value is None:
        return ScopeList(dimension, [], None, None, None, sees_budgets, False, 0, True, why=found.why)
    shares = found.value
    named = [share for share in shares.items if share.name and query.casefold() in share.name.casefold()]
    if dimension is Dimension.AGENT and shares.rest is None:
        named += await _without_spend(parts, named, query, now_ms)
    shown = named[(page - 1) * ROWS : page * ROWS]
    days: Mapping[str, list[str]] = {}
    if not note:
        last = day_start(now_ms)
        names = [share.name for share in shown]
        trend = await told(parts.numbers.trends(restriction, dimension, names, last - TREND_DAYS * DAY_MS, last))
        days, note = trend.value or {}, trend.why and f"Trends are not known now: {trend.why}"
    age = Freshness(shares.as_of_ms, False) if not note else parts.live.freshness("spend")
    return ScopeList(
        dimension,
        [await _row(parts, dimension, share, days.get(share.name, []), sees_budgets, now_ms) for share in shown],
        shares.total,
        next((share for share in shares.items if not share.name), None) if page == 1 and not query else None,
        shares.rest if not query and len(named) <= page * ROWS else None,
        sees_budgets,
        len(named) > page * ROWS,
        age.as_of_ms,
        age.stale,
        note,
    )


async def _row(
    parts: Parts, dimension: Dimension, share: Share, days: list[str], sees_budgets: bool, now_ms: int
) -> ScopeRow:
    scope = scope_of(dimension, share.name)
    rates: tuple[AgentRate, ...] = ()
    if dimension is Dimension.AGENT:
        rates = tuple(rates_of(await parts.prices.book(), share.name, now_ms))
    if not sees_budgets:
        return ScopeRow(share.name, scope, share, days=tuple(days), rates=rates)
    flag = parts.live.flag(scope)
    state = flag.state if flag is not None and budgets.holds(flag, now_ms) else FlagState.OK
    standing = next(iter(await budgets.of_scope(parts, scope, now_ms)), None)
    return ScopeRow(share.name, scope, share, state, standing, tuple(days), rates)


async def _without_spend(parts: Parts, named: list[Share], query: str, now_ms: int) -> list[Share]:
    """Agents that have a rate and no spend this month."""
    known = {share.name for share in named}
    book = await parts.prices.book()
    names = [name for name in agents_of(book, now_ms) if name not in known and query.casefold() in name.casefold()]
    return [Share(name, "0", "0", 0, "0.00") for name in names]


def _from_memory(live: Live, dimension: Dimension, now_ms: int, why: str) -> Told[Shares]:
    """The month's shares from what the console holds; as `why` says when it holds too much or not all of it."""
    scopes = live.scopes(dimension.value)
    begin = month_start(now_ms)
    whole = live.spend(GLOBAL_SCOPE, WindowKind.MONTH, begin)
    if whole is None or len(scopes) > _IN_MEMORY_MAX or not live.scopes_are_complete:
        return Told(None, why)
    rows: list[list[Any]] = []
    for scope in scopes:
        record = live.spend(scope, WindowKind.MONTH, begin)
        if record is not None:
            name = scope.removeprefix(f"{dimension.value}/")
            rows.append([name, record.spent_usd, record.retail_usd, record.events])
    total = [whole.spent_usd, whole.retail_usd, whole.events]
    return Told(shares_of(rows, total, SEARCHED, live.freshness("spend").as_of_ms))
