"""Whether a scope's budgets may have something to say about what was spent: far cheaper than to decide."""

from collections.abc import Callable, Sequence
from typing import Final

from tollgate.domain.budgets import NO_END_MS, Budget
from tollgate.domain.spend import ScopeSpend, Spend


class Watch:
    """The lowest thresholds of the budgets of a scope.

    Of a scope without flag and alerts of which nothing is reserved, a decision below all of them is to write nothing.
    """

    __slots__ = ("_is_always", "_lowest")

    def __init__(self, budgets: Sequence[Budget]) -> None:
        # What begins or ends by itself is left to the decision, which knows when to look again.
        self._is_always = any(budget.valid_from_ms > 0 or budget.valid_to_ms < NO_END_MS for budget in budgets)
        self._lowest: list[tuple[str, Callable[[Spend], int], int]] = [
            (str(budget.calendar), budget.measure, lowest)
            for budget in budgets
            if (lowest := budget.lowest_minimum) is not None
        ]

    def may_be_reached_by(self, spend: ScopeSpend) -> bool:
        """Whether an open window has reached a threshold, the present one or not."""
        if self._is_always:
            return True
        sums = spend.open_sums
        for calendar, measure, minimum in self._lowest:
            held = sums.get(calendar)
            if (measure(held) if held is not None else 0) >= minimum:
                return True
        return False


UNWATCHED: Final = Watch(())
"""Of a scope without budgets."""
