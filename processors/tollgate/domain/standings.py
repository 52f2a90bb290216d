"""How much of its budgets a scope has spent, by the sums of the spend topic; and whether a call would fit in."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget, Threshold, window_json
from tollgate.domain.windows import window_end, window_start
from tollgate.schemas.amounts import NANO
from tollgate.schemas.control import BudgetRecord
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import FlagState, SpendRecord
from tollgate.schemas.vocabulary import WindowKind


class Summed(Protocol):
    """A sum of the spend topic, whole or as much of it as budgets limit."""

    @property
    def spent_usd(self) -> str:
        """US dollars as a decimal string."""

    @property
    def events(self) -> int:
        """How many were counted."""

    @property
    def usage(self) -> Mapping[str, str]:
        """Amounts by dimension, decimal strings."""


BLOCKING = (FlagState.BLOCKED, FlagState.STOPPED)

SpendByWindow = Mapping[tuple[str, str], SpendRecord]
"""A scope's sums by window kind and start: `("month", "2026-11-01T00:00:00Z")`. A window without a sum has spent 0."""


@dataclass(frozen=True, slots=True)
class BudgetStanding:
    """How much of one budget is spent in the window of the moment, and the highest threshold reached."""

    budget: Budget
    start_ms: int
    spent: int
    threshold: Threshold | None

    @property
    def end_ms(self) -> int:
        """First instant after the window."""
        return window_end(self.budget.calendar, self.start_ms)

    @property
    def is_blocking(self) -> bool:
        """Whether a threshold is reached that blocks or stops."""
        return self.threshold is not None and self.threshold.state in BLOCKING

    @property
    def numbers(self) -> str:
        """For people: `104.2 of 100 usd, 104.20 %`."""
        budget = self.budget
        spent, limit = budget.format(self.spent), budget.format(budget.limit)
        return f"{spent} of {limit} {budget.unit}, {budget.percent(self.spent)} %"

    def as_json(self) -> dict[str, Any]:
        """For programs, in the words of the flags topic."""
        budget = self.budget
        return {
            "budget": budget.id,
            "scope": budget.scope,
            "window": window_json(budget.calendar, self.start_ms),
            "limit": budget.format(budget.limit),
            "unit": budget.unit,
            "spent": budget.format(self.spent),
            "percent": budget.percent(self.spent),
            "threshold": self.threshold.level.value if self.threshold else None,
            "action": self.threshold.action.value if self.threshold else None,
        }


def standing(budget: Budget, record: SpendRecord | None, start_ms: int) -> BudgetStanding:
    """Where the budget stands with this sum in its window that starts at `start_ms`. No sum: nothing was spent."""
    spent = measured(budget, record)
    return BudgetStanding(budget, start_ms, spent, budget.reached(spent))


def standings(
    scope: str, budgets: BudgetBook | Iterable[BudgetRecord], spend: SpendByWindow, at_ms: int
) -> list[BudgetStanding]:
    """The budgets that apply to the scope, in their windows at this instant, the fullest first."""
    book = budgets if isinstance(budgets, BudgetBook) else BudgetBook(map(Budget.from_record, budgets))
    found = []
    for budget in book.in_force(scope, at_ms):
        start_ms = window_start(budget.calendar, at_ms)
        found.append(standing(budget, spend.get((budget.calendar, format_instant(start_ms))), start_ms))
    return sorted(found, key=lambda s: s.spent * 10_000 // s.budget.limit, reverse=True)


def window_record(spend: SpendByWindow, kind: WindowKind, at_ms: int) -> tuple[int, int, SpendRecord | None]:
    """Start and end of the window that contains the instant, and its record if anything was spent in it."""
    start_ms = window_start(kind, at_ms)
    return start_ms, window_end(kind, start_ms), spend.get((kind.value, format_instant(start_ms)))


def measured(budget: Budget, record: Summed | None) -> int:
    """The part of a sum that the budget limits, in the limit's own unit."""
    if record is None:
        return 0
    if budget.unit == "usd":
        return sum_of_usd(record.spent_usd)
    if budget.unit == "events":
        return record.events * NANO
    return _sum(record.usage.get(budget.unit, "0"), 9)


def first_blocking(budget: Budget) -> Threshold | None:
    """The lowest threshold that blocks or stops; None when the budget only warns."""
    blocking = [threshold for threshold in budget.thresholds if threshold.state in BLOCKING]
    return min(blocking, key=lambda threshold: threshold.percent_nano, default=None)


def would_pass(budget: Budget, spent: int, amount: int) -> Threshold | None:
    """The threshold that blocks or stops and that the spend would be above after `amount` more; None when none.

    Reaching it exactly is allowed, as for a reservation: `spent + amount ≤ limit`. With a limit of 100, blocked at
    100 %, and 99.5 spent, 0.5 more is allowed and 0.51 is not.
    """
    threshold = first_blocking(budget)
    if threshold is None or (spent + amount) * 100 * NANO <= threshold.percent_nano * budget.limit:
        return None
    return threshold


def fits_without_flag(budget: Budget, amount: int) -> bool:
    """Whether `amount` more cannot pass a threshold that blocks, whatever was spent, if the scope has no flag in force.

    Such a scope is below every threshold of its budgets. With a warning at 80 % of 100 and a block at 100 %, 20 more
    always fits, and of 20.01 nobody knows without the sum.
    """
    blocking = first_blocking(budget)
    if blocking is None:
        return True
    lowest = min(threshold.percent_nano for threshold in budget.thresholds)
    return lowest * budget.limit + amount * 100 * NANO <= blocking.percent_nano * budget.limit


def sum_of_usd(text: str) -> int:
    """A sum in dollars as 10⁻¹² USD. Unlike a single cost it may have 26 digits, and be negative for a while when a
    correction comes before what it corrects.
    """
    return _sum(text, 12)


def sum_of_amount(text: str) -> int:
    """The same for an amount, such as credits that are owed, as 10⁻⁹ units."""
    return _sum(text, 9)


def _sum(text: str, decimals: int) -> int:
    whole, _, fraction = text.removeprefix("-").partition(".")
    size: int = int(whole) * 10**decimals + int(fraction.ljust(decimals, "0"))
    return -size if text.startswith("-") else size
