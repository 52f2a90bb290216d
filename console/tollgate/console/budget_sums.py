"""What scopes have spent of budgets now: from the topics in memory where they are kept, else from ClickHouse."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import structlog

from tollgate.console.live import Live
from tollgate.console.numbers import Numbers, NumbersError, SpendKey
from tollgate.console.numbers.spends import SCOPES_MAX
from tollgate.domain.budgets import Budget
from tollgate.domain.spend import Spend
from tollgate.domain.standings import measured
from tollgate.domain.windows import window_start
from tollgate.schemas.amounts import parse_amount, parse_usd
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import Flag, SpendRecord

log = structlog.get_logger("tollgate.console")

# Of so many sums some milliseconds are made; then others have their turn.
_TURN: Final = 500


class Wanted(NamedTuple):
    """A budget, and the scope whose sum counts: for a pattern one of its scopes."""

    budget: Budget
    scope: str


@dataclass(slots=True)
class BudgetSums:
    """Values by budget and scope, as of `as_of_ms`."""

    now_ms: int
    as_of_ms: int
    records: dict[SpendKey, SpendRecord | Spend] = field(default_factory=dict)
    unknown: set[SpendKey] = field(default_factory=set)
    flags: dict[str, Flag] = field(default_factory=dict)

    def value(self, budget: Budget, scope: str) -> int | None:
        """What the scope has spent in the budget's window of now, in the budget's unit. None: not known."""
        start_ms = window_start(budget.window, self.now_ms)
        key = SpendKey(scope, budget.window, start_ms)
        told = self._by_flag(budget, scope, start_ms)
        found = self.records.get(key)
        # A flag is rewritten with every change of what it tells; ClickHouse is as far behind as its sink.
        if told is not None:
            return told
        if key in self.unknown:
            return None
        return budget.measure(found) if isinstance(found, Spend) else measured(budget, found)

    def _by_flag(self, budget: Budget, scope: str, start_ms: int) -> int | None:
        flag = self.flags.get(scope)
        if flag is None or flag.spent is None or flag.window is None or flag.unit != budget.unit:
            return None
        if flag.window.kind is not budget.window or flag.window.start != format_instant(start_ms):
            return None
        parse = parse_usd if budget.unit == "usd" else parse_amount
        return -parse(flag.spent[1:]) if flag.spent.startswith("-") else parse(flag.spent)


async def budget_sums(live: Live, numbers: Numbers, wanted: Iterable[Wanted], now_ms: int) -> BudgetSums:
    """The sums of these budgets and scopes, at most one question to ClickHouse for each kind of window.

    Of more than 20,000 scopes that only ClickHouse knows, the last ones are unknown.
    """
    fresh = live.freshness("spend")
    sums = BudgetSums(now_ms, fresh.as_of_ms or now_ms)
    asked: dict[SpendKey, None] = {}
    units: set[str] = set()
    for at, (budget, scope) in enumerate(wanted, 1):
        if at % _TURN == 0:
            await asyncio.sleep(0)
        key = SpendKey(scope, budget.window, window_start(budget.window, now_ms))
        flag = live.flag(scope)
        if flag is not None:
            sums.flags[scope] = flag
        if fresh.as_of_ms and live.knows(*key):
            record = live.spend(*key)
            if record is not None:
                sums.records[key] = record
        else:
            asked[key] = None
            units.add(budget.unit)
    await _ask(numbers, list(asked), units - {"usd", "events"}, sums)
    return sums


async def _ask(numbers: Numbers, asked: list[SpendKey], units: set[str], sums: BudgetSums) -> None:
    scopes = dict.fromkeys(key.scope for key in asked)
    known = set(list(scopes)[:SCOPES_MAX])
    keys = [key for key in asked if key.scope in known]
    sums.unknown.update(key for key in asked if key.scope not in known)
    if not keys:
        return
    try:
        sums.records |= await numbers.spends_of(keys, units)
    except NumbersError as error:
        log.warning("what scopes have spent is not known", error=str(error))
        sums.unknown.update(keys)
