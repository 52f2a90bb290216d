"""What scopes have spent of budgets now: from the topics in memory where they are kept, else from ClickHouse."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import structlog

from tollgate.console.live import Live
from tollgate.console.live.held_flags import FlagNumbers
from tollgate.console.live.held_spend import WindowSum
from tollgate.console.numbers import Numbers, NumbersError, SpendKey
from tollgate.console.numbers.spends import SCOPES_MAX
from tollgate.domain.budgets import Budget
from tollgate.domain.spend import Spend
from tollgate.domain.standings import measured
from tollgate.domain.windows import window_start
from tollgate.schemas.amounts import parse_amount, parse_usd
from tollgate.schemas.calendars import parse_calendar
from tollgate.schemas.instants import format_instant

log = structlog.get_logger("tollgate.console")

TURN: Final = 500
"""Of so many sums some milliseconds are made; then others have their turn."""


class Wanted(NamedTuple):
    """A budget, and the scope whose sum counts: for a pattern one of its scopes."""

    budget: Budget
    scope: str


@dataclass(slots=True)
class BudgetSums:
    """Values by budget and scope, in the windows of `now_ms`. Sums are by scope and calendar."""

    now_ms: int
    in_memory: dict[tuple[str, str], WindowSum] = field(default_factory=dict)
    asked: dict[SpendKey, Spend] = field(default_factory=dict)
    unknown: set[SpendKey] = field(default_factory=set)
    flags: dict[str, FlagNumbers] = field(default_factory=dict)
    _starts: dict[str, tuple[int, str]] = field(default_factory=dict)

    def start(self, calendar: str) -> tuple[int, str]:
        """When the calendar's window of now began, in milliseconds and as text."""
        found = self._starts.get(calendar)
        if found is None:
            at = window_start(calendar, self.now_ms)
            found = self._starts[calendar] = (at, format_instant(at))
        return found

    def value(self, budget: Budget, scope: str) -> int | None:
        """What the scope has spent in the budget's window of now, in the budget's unit. None: not known."""
        flag = self.flags.get(scope)
        # A flag is rewritten with every change of what it tells; ClickHouse is as far behind as its sink.
        if flag is not None and (told := self._by_flag(budget, flag)) is not None:
            return told
        held = self.in_memory.get((scope, budget.calendar))
        if held is not None:
            return measured(budget, held)
        key = SpendKey(scope, budget.calendar, self.start(budget.calendar)[0])
        found = self.asked.get(key)
        if found is not None:
            return budget.measure(found)
        return None if key in self.unknown else 0

    def _by_flag(self, budget: Budget, flag: FlagNumbers) -> int | None:
        window = flag.window
        if flag.spent is None or window is None or flag.unit != budget.unit:
            return None
        cut = parse_calendar(budget.calendar)
        if (window.kind, window.timezone) != (cut.kind, cut.timezone) or window.start != self.start(budget.calendar)[1]:
            return None
        parse = parse_usd if budget.unit == "usd" else parse_amount
        return -parse(flag.spent[1:]) if flag.spent.startswith("-") else parse(flag.spent)


async def budget_sums(live: Live, numbers: Numbers, wanted: Iterable[Wanted], now_ms: int) -> BudgetSums:
    """The sums of these budgets and scopes, at most one question to ClickHouse for each calendar.

    Of more than 20,000 scopes that only ClickHouse knows, the last ones are unknown.
    """
    is_read = live.freshness("spend").as_of_ms > 0
    sums = BudgetSums(now_ms)
    asked: dict[SpendKey, None] = {}
    units: set[str] = set()
    for at, (budget, scope) in enumerate(wanted, 1):
        if at % TURN == 0:
            await asyncio.sleep(0)
        flag = live.flag_numbers(scope)
        if flag is not None:
            sums.flags[scope] = flag
        start_ms, start = sums.start(budget.calendar)
        held = live.sum(scope, budget.calendar, start) if is_read else None
        if held is not None:
            sums.in_memory[scope, budget.calendar] = held
        else:
            asked[SpendKey(scope, budget.calendar, start_ms)] = None
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
        sums.asked |= await numbers.spends_of(keys, units)
    except NumbersError as error:
        log.warning("what scopes have spent is not known", error=str(error))
        sums.unknown.update(keys)
