"""Budgets: limits on a scope's spend, and how much of a limit is spent.

Percentages are exact: a threshold is reached when `value × 100 ≥ percent × limit` in integers. What is printed is
rounded down to two decimals, so that 99.999 % never reads as 100.00 %.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from msgspec import structs

from tollgate.domain.spend import ScopeSpend, Spend
from tollgate.domain.windows import LIFETIME_END_MS, window_end, window_start
from tollgate.schemas.amounts import NANO, format_amount, format_usd, parse_amount, parse_usd
from tollgate.schemas.calendars import parse_calendar
from tollgate.schemas.control import BudgetRecord, Fail, ThresholdsRecord
from tollgate.schemas.instants import format_instant, parse_instant
from tollgate.schemas.outputs import Action, AlertLevel, FlagState
from tollgate.schemas.outputs_codec import WindowRecord
from tollgate.schemas.vocabulary import BASE_WINDOWS, WindowKind

# What has no end is valid to here.
NO_END_MS: Final = LIFETIME_END_MS

# The calendars that every single name and `global` is counted in, whatever budgets there are.
BASE_CALENDARS: Final = frozenset({*(kind.value for kind in BASE_WINDOWS), WindowKind.LIFETIME.value})

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
    """A level that is reached at `percent_nano` (80 % is 80 × 10⁹) of the limit, and what is done then.

    `written` is what the record says, where a lower level does more: that goes on.
    """

    level: AlertLevel
    percent_nano: int
    action: Action
    written: Action | None = None

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
    """A limit on a scope (`user/u-42`) or on every scope with such names (`user/*`, `user/*+feature/video`).

    `limit` is in 10⁻¹² USD when `unit` is `usd`, else in 10⁻⁹ of the unit (`events`, `credits` or a usage dimension).
    `thresholds` are ordered by percent, highest first; none is milder than a lower one. `calendar` is how the windows
    are cut, `window` their kind. It limits what is decided in `[valid_from_ms, valid_to_ms)`. `plan` is the name of the
    plan that it is a limit of.
    """

    id: str
    scope: str
    unit: str
    limit: int
    window: WindowKind
    thresholds: tuple[Threshold, ...]
    calendar: str
    fail: Fail = Fail.OPEN
    except_: tuple[str, ...] = ()
    valid_from_ms: int = 0
    valid_to_ms: int = NO_END_MS
    plan: str = ""

    @classmethod
    def from_record(cls, record: BudgetRecord) -> "Budget":
        """Compile what the control topic holds."""
        return cls(
            id=record.id,
            scope=record.scope,
            unit=record.unit,
            limit=parse_usd(record.limit) if record.unit == "usd" else parse_amount(record.limit),
            window=record.window,
            thresholds=_thresholds(record.thresholds),
            calendar=record.calendar.text,
            fail=record.fail,
            except_=record.except_,
            valid_from_ms=parse_instant(record.valid_from) if record.valid_from is not None else 0,
            valid_to_ms=parse_instant(record.valid_to) if record.valid_to is not None else NO_END_MS,
        )

    def is_valid_at(self, instant_ms: int) -> bool:
        """Whether it limits anything at this instant."""
        return self.valid_from_ms <= instant_ms < self.valid_to_ms

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

    @property
    def lowest_minimum(self) -> int | None:
        """The least value that reaches a threshold; None when there are no thresholds."""
        if not self.thresholds:
            return None
        return -(-self.thresholds[-1].percent_nano * self.limit // (100 * NANO))

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


@lru_cache(maxsize=1024)
def _thresholds(record: ThresholdsRecord) -> tuple[Threshold, ...]:
    levels = {
        AlertLevel.WARNING: record.warning,
        AlertLevel.CRITICAL: record.critical,
        AlertLevel.EMERGENCY: record.emergency,
    }
    given = [Threshold(level, parse_amount(t.percent), t.action) for level, t in levels.items() if t is not None]
    found: list[Threshold] = []
    for threshold in sorted(given, key=lambda t: (t.percent_nano, _LEVEL_ORDER[t.level])):
        # A block stays when more is spent, also where the next level merely alerts.
        is_milder = bool(found) and found[-1].severity > threshold.severity
        found.append(replace(threshold, action=found[-1].action, written=threshold.action) if is_milder else threshold)
    return tuple(reversed(found))


def earliest(*instants_ms: int | None) -> int | None:
    """The first of the instants; None, which stands for never, when there are none."""
    return min((instant for instant in instants_ms if instant is not None), default=None)


def next_change_ms(budgets: Iterable[Budget], now_ms: int) -> int | None:
    """When one of them begins or ends next, after now; None: never."""
    instants = (instant for budget in budgets for instant in (budget.valid_from_ms, budget.valid_to_ms))
    return min((instant for instant in instants if now_ms < instant < NO_END_MS), default=None)


@dataclass(frozen=True, slots=True)
class Position:
    """How much of one budget a scope has spent, in the window that contains the present moment."""

    budget: Budget
    window_start_ms: int
    window_end_ms: int
    value: int
    threshold: Threshold | None
    # Whether the sum has what was spent in the window before the budget was set.
    is_whole: bool = True

    @property
    def until_ms(self) -> int:
        """First instant at which the budget does not limit this window's spend any more."""
        return min(self.window_end_ms, self.budget.valid_to_ms)

    @property
    def blocks(self) -> bool:
        """Whether a threshold is reached that blocks or stops."""
        return self.threshold is not None and self.threshold.state in (FlagState.BLOCKED, FlagState.STOPPED)

    @property
    def advice(self) -> str:
        """What to do about a plan limit that is reached: `10 of 10 video events of the month are used, the limit of
        plan Free: change to a larger plan, or wait until 2026-12-01T00:00:00Z`.
        """
        budget = self.budget
        feature = budget.scope.partition("+feature/")[2]
        what = f"{feature} {budget.unit}" if feature else budget.unit
        used = f"{budget.format(self.value)} of {budget.format(budget.limit)} {what}"
        if self.until_ms == NO_END_MS:
            return f"{used} are used, the limit of plan {budget.plan}: change to a larger plan"
        until = format_instant(self.until_ms)
        return (
            f"{used} of the {budget.window.value} are used, the limit of plan {budget.plan}: "
            f"change to a larger plan, or wait until {until}"
        )

    @property
    def window(self) -> WindowRecord:
        """The window as it is written in flags and alerts."""
        return written_window(self.budget.calendar, self.window_start_ms)


@lru_cache(maxsize=4096)
def written_window(calendar: str, start_ms: int) -> WindowRecord:
    """A window as it is written in flags, alerts and spend."""
    cut, end_ms = parse_calendar(calendar), window_end(calendar, start_ms)
    return WindowRecord(cut.kind, format_instant(start_ms), format_instant(end_ms), cut.timezone)


def window_json(calendar: str, start_ms: int) -> dict[str, str]:
    """The same for those who read JSON: kind, start, end, time zone."""
    return structs.asdict(written_window(calendar, start_ms))


def position(budget: Budget, spend: ScopeSpend | None, window_start_ms: int) -> Position:
    """Where `spend` stands against the budget in the window that starts at `window_start_ms`."""
    held = spend.window(budget.calendar, window_start_ms) if spend is not None else None
    value = budget.measure(held) if held is not None else 0
    end = window_end(budget.calendar, window_start_ms)
    return Position(budget, window_start_ms, end, value, budget.reached(value))


def positions(budgets: Iterable[Budget], spend: ScopeSpend | None, now_ms: int) -> list[Position]:
    """How much of each budget in force at `now_ms` is spent then. A new window starts at zero by itself; no job resets
    anything.
    """
    return [
        position(budget, spend, window_start(budget.calendar, now_ms))
        for budget in budgets
        if budget.is_valid_at(now_ms)
    ]
