"""Which scopes have reached the lowest threshold of a pattern's budget or a plan's limit, without deciding about all.

The answer may have more scopes than those whose flag changes: a more specific budget may replace the limit, or the
scope may match the pattern's letters alone. It never has fewer. Rows are read by the compiled core where it was built;
Python is the reference.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from tollgate.domain.budgets import Budget
from tollgate.domain.spend import PLACES, ScopeSpend, Spend, unpack_open_row
from tollgate.domain.windows import window_start
from tollgate.ledger.rows import Rows
from tollgate.schemas.amounts import NANO
from tollgate.schemas.scopes import is_combination
from tollgate.schemas.vocabulary import CREDITS, WindowKind

try:
    from tollgate.ledger._native import ReachedLimits
    from tollgate.ledger._native import Rows as NativeRows
except ImportError:
    ReachedLimits = NativeRows = None  # type: ignore[assignment, misc] # not built

# Every scope is compared with every pattern: with more of them, deciding about it is as fast.
PATTERNS_MAX: Final = 256

# The core counts to 2¹²⁷.
_MINIMUM_MAX: Final = 1 << 126


class Limit(NamedTuple):
    """Reached when the sum of the window is at least `minimum`, in the unit of `Budget.limit`."""

    place: int | None
    """Of a base calendar: where a row has it."""
    calendar: str
    start_ms: int
    """Of the present window."""
    unit: str
    minimum: int
    is_bounded: bool
    """Whether the window has never more than lifetime, which is added to whenever a base window is. To others the past
    is added alone, and lifetime may be without the credits that a release before this one did not count.
    """

    @classmethod
    def of(cls, budget: Budget, now_ms: int) -> "Limit":
        """The lowest threshold of a budget, which has one."""
        lowest = budget.lowest_minimum
        assert lowest is not None, f"{budget.id} has no threshold"
        calendar = str(budget.calendar)
        minimum = min(lowest, _MINIMUM_MAX)
        place = PLACES.get(calendar)
        is_bounded = place is not None and minimum > 0 and budget.unit != CREDITS
        return cls(place, calendar, window_start(calendar, now_ms), budget.unit, minimum, is_bounded)

    def is_reached_by(self, sum_: Spend) -> bool:
        """Whether the sum is enough, whatever its window."""
        if self.unit == "usd":
            return sum_.cost_picousd >= self.minimum
        if self.unit == "events":
            return sum_.events * NANO >= self.minimum
        return sum_.usage_nano.get(self.unit, 0) >= self.minimum


Pattern = tuple[list[str], bool, list[Limit]]
"""What stands around the stars, whether it is a combination, and its limits."""


class Reached:
    """The limits in force at an instant of budgets whose scopes are patterns, fewer than `PATTERNS_MAX` of them."""

    def __init__(self, budgets: Iterable[Budget], now_ms: int) -> None:
        by_scope: dict[str, list[Limit]] = {}
        for budget in budgets:
            if budget.thresholds and budget.is_valid_at(now_ms):
                by_scope.setdefault(budget.scope, []).append(Limit.of(budget, now_ms))
        self._patterns: list[Pattern] = [(s.split("*"), is_combination(s), limits) for s, limits in by_scope.items()]
        self._core = ReachedLimits(self._patterns) if ReachedLimits is not None else None  # type: ignore[arg-type] # a NamedTuple is a tuple

    @property
    def is_compiled(self) -> bool:
        """Whether `in_rows` is a matter of nanoseconds for each row."""
        return self._core is not None

    def in_rows(self, rows: Rows, place: int, most: int) -> tuple[list[str], int | None]:
        """Of the scopes at up to `most` places of the rows from this one on, those that have reached a limit, in no
        order, and where to go on: see `Rows`.
        """
        if self._core is None or not isinstance(rows, NativeRows):
            return self.in_rows_by_python(rows, place, most)
        found, left, to = self._core.find(rows, place, most)
        return [*found, *self._reached_of(rows, left)], to

    def in_rows_by_python(self, rows: Rows, place: int, most: int) -> tuple[list[str], int | None]:
        """The reference."""
        names, to = rows.names(place, most)
        return self._reached_of(rows, names), to

    def _reached_of(self, rows: Rows, names: Iterable[str]) -> list[str]:
        held = ((name, row) for name in names if (row := rows.get(name)) is not None)
        return [n for n, row in held if self.is_reached_by(n, ScopeSpend.from_open_row(unpack_open_row(row)))]

    def is_reached_by(self, scope: str, spend: ScopeSpend) -> bool:
        """Whether a sum of the scope has reached a limit, as far as its open windows tell."""
        starts = dict(spend.open_windows())
        for literals, is_combined, limits in self._patterns:
            if is_combined is not spend.is_base and _matches(literals, scope):
                for limit in limits:
                    start_ms = starts.get(limit.calendar, -1)
                    if limit.minimum <= 0 or (start_ms >= limit.start_ms and _may_reach(limit, spend, start_ms)):
                        return True
        return False


def _may_reach(limit: Limit, spend: ScopeSpend, start_ms: int) -> bool:
    """Whether the open window has reached the limit, or an earlier one might have, that closed ahead of time."""
    if spend.is_base and limit.is_bounded:
        lifetime = spend.window(WindowKind.LIFETIME, 0)
        if lifetime is None or not limit.is_reached_by(lifetime):
            return False
    found = spend.window(limit.calendar, start_ms)
    return start_ms > limit.start_ms or (found is not None and limit.is_reached_by(found))


def _matches(literals: Sequence[str], scope: str) -> bool:
    first, *middle, last = literals
    if len(scope) < len(first) + len(last) or not (scope.startswith(first) and scope.endswith(last)):
        return False
    rest = scope[len(first) : len(scope) - len(last)]
    for literal in middle:
        _, found, rest = rest.partition(literal)
        if not found:
            return False
    return True
