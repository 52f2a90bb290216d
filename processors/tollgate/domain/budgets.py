"""Budgets: limits on a scope's spend, which of them apply to a scope, and how much of a limit is spent.

Percentages are exact: a threshold is reached when `value × 100 ≥ percent × limit` in integers. What is printed is
rounded down to two decimals, so that 99.999 % never reads as 100.00 %.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from msgspec import structs

from tollgate.domain.spend import ScopeSpend, Spend
from tollgate.domain.windows import window_end, window_start
from tollgate.schemas.amounts import NANO, format_amount, format_usd, parse_amount, parse_usd
from tollgate.schemas.control import BudgetRecord
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import Action, AlertLevel, FlagState
from tollgate.schemas.outputs_codec import WindowRecord
from tollgate.schemas.vocabulary import Shape, WindowKind

_STATE_OF_ACTION: Final = {
    Action.ALERT: FlagState.WARNING,
    Action.DOWNGRADE: FlagState.WARNING,
    Action.BLOCK: FlagState.BLOCKED,
    Action.STOP: FlagState.STOPPED,
}
_SEVERITY: Final = {Action.ALERT: 0, Action.DOWNGRADE: 1, Action.BLOCK: 2, Action.STOP: 3}
_LEVEL_ORDER: Final = {AlertLevel.WARNING: 1, AlertLevel.CRITICAL: 2, AlertLevel.EMERGENCY: 3}


@dataclass(frozen=True, slots=True)
class Threshold:
    """A level that is reached at `percent_nano` (80 % is 80 × 10⁹) of the limit, and what is done then."""

    level: AlertLevel
    percent_nano: int
    action: Action

    @property
    def state(self) -> FlagState:
        """The flag state that the action means for services."""
        return _STATE_OF_ACTION[self.action]

    @property
    def severity(self) -> int:
        """0 for alert to 3 for stop: how much the action restricts."""
        return _SEVERITY[self.action]


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit on a scope (`user/u-42`) or on every scope of a dimension (`user/*`), in one kind of window, in UTC.

    `limit` is in 10⁻¹² USD when `unit` is `usd`, else in 10⁻⁹ of the unit (`events` or a usage dimension).
    `thresholds` are ordered by percent, highest first.
    """

    id: str
    scope: str
    unit: str
    limit: int
    window: WindowKind
    thresholds: tuple[Threshold, ...]

    @classmethod
    def from_record(cls, record: BudgetRecord) -> "Budget":
        """Compile what the control topic holds."""
        levels = {
            AlertLevel.WARNING: record.thresholds.warning,
            AlertLevel.CRITICAL: record.thresholds.critical,
            AlertLevel.EMERGENCY: record.thresholds.emergency,
        }
        thresholds = [
            Threshold(level, parse_amount(t.percent), t.action) for level, t in levels.items() if t is not None
        ]
        thresholds.sort(key=lambda t: (t.percent_nano, _LEVEL_ORDER[t.level]), reverse=True)
        limit = parse_usd(record.limit) if record.unit == "usd" else parse_amount(record.limit)
        return cls(record.id, record.scope, record.unit, limit, WindowKind(record.window), tuple(thresholds))

    def measure(self, spend: Spend) -> int:
        """The part of a sum that this budget limits, in the limit's own unit."""
        if self.unit == "usd":
            return spend.cost_picousd
        if self.unit == "events":
            return spend.events * NANO
        return spend.usage_nano.get(self.unit, 0)

    def reached(self, value: int) -> Threshold | None:
        """The highest threshold that the value has reached: at exactly 80 % of the limit, warning is reached."""
        for threshold in self.thresholds:
            if value * 100 * NANO >= threshold.percent_nano * self.limit:
                return threshold
        return None

    def format(self, value: int) -> str:
        """A value of this budget as a decimal string."""
        return format_usd(value) if self.unit == "usd" else format_amount(value)

    def percent(self, value: int) -> str:
        """The value as a percentage of the limit, rounded down to two decimals: `"104.20"`, `"-0.05"`."""
        hundredths = self.hundredths(value)
        whole, rest = divmod(abs(hundredths), 100)
        return f"{'-' if hundredths < 0 else ''}{whole}.{rest:02d}"

    def hundredths(self, value: int) -> int:
        """The value in hundredths of a percent of the limit, rounded down: 10420 for 104.2 %."""
        return value * 10_000 // self.limit


class BudgetBook:
    """All budgets, and which of them apply to a scope. An exact budget replaces a pattern of its window and unit."""

    def __init__(self, budgets: Iterable[Budget] = ()) -> None:
        self._exact: dict[str, list[Budget]] = {}
        self._patterns: dict[str, list[Budget]] = {}
        for budget in budgets:
            if budget.scope.endswith("/*"):
                self._patterns.setdefault(budget.scope[:-1], []).append(budget)
            else:
                self._exact.setdefault(budget.scope, []).append(budget)
        self.is_empty = not (self._exact or self._patterns)
        self.has_patterns = bool(self._patterns)
        self.shapes: tuple[Shape, ...] = ()

    def replacing(self, budget_id: str, budget: Budget | None) -> "BudgetBook":
        """This book with another budget in place of the one of that id; with None without it."""
        kept = [b for b in self if b.id != budget_id]
        return BudgetBook(kept if budget is None else [*kept, budget])

    def __iter__(self) -> Iterator[Budget]:
        """Every budget, in no order."""
        for budgets in (*self._exact.values(), *self._patterns.values()):
            yield from budgets

    def for_scope(self, scope: str) -> list[Budget]:
        """The budgets that apply to this scope, exact ones first."""
        exact = self._exact.get(scope)
        patterns = self._patterns.get(scope[: scope.find("/") + 1]) if self._patterns else None
        if not patterns:
            return exact or []
        replaced = {(b.window, b.unit) for b in exact or ()}
        return [*(exact or ()), *(b for b in patterns if (b.window, b.unit) not in replaced)]

    def meters(self) -> frozenset[tuple[str, str]]:
        """The sums beyond the base ones that budgets need: a scope or pattern, and the text of a calendar."""
        return frozenset()

    def calendars(self, scope: str) -> tuple[str, ...]:  # noqa: ARG002 # no budget is on a combination yet
        """The calendars beyond the base ones that the budgets of this scope need; all of them for a combination."""
        return ()

    def exact_scopes(self) -> Iterable[str]:
        """Scopes that have a budget of their own."""
        return self._exact

    def covers(self, scope: str) -> bool:
        """Whether any budget applies to the scope; cheaper than `for_scope`."""
        return scope in self._exact or scope[: scope.find("/") + 1] in self._patterns


@dataclass(frozen=True, slots=True)
class Position:
    """How much of one budget a scope has spent, in the window that contains the present moment."""

    budget: Budget
    window_start_ms: int
    window_end_ms: int
    value: int
    threshold: Threshold | None

    @property
    def window(self) -> WindowRecord:
        """The window as it is written in flags and alerts."""
        return written_window(self.budget.window, self.window_start_ms)


def written_window(kind: WindowKind, start_ms: int) -> WindowRecord:
    """A window as it is written in flags, alerts and spend."""
    return WindowRecord(kind, format_instant(start_ms), format_instant(window_end(kind, start_ms)))


def window_json(kind: WindowKind, start_ms: int) -> dict[str, str]:
    """The same for those who read JSON: kind, start, end, time zone."""
    return structs.asdict(written_window(kind, start_ms))


def position(budget: Budget, spend: ScopeSpend | None, window_start_ms: int) -> Position:
    """Where `spend` stands against the budget in the window that starts at `window_start_ms`."""
    held = spend.window(budget.window, window_start_ms) if spend is not None else None
    value = budget.measure(held) if held is not None else 0
    end = window_end(budget.window, window_start_ms)
    return Position(budget, window_start_ms, end, value, budget.reached(value))


def positions(budgets: Iterable[Budget], spend: ScopeSpend | None, now_ms: int) -> list[Position]:
    """How much of each budget is spent at `now_ms`. A new window starts at zero by itself; no job resets anything."""
    return [position(budget, spend, window_start(budget.window, now_ms)) for budget in budgets]
