"""After a change of patterns or plans, or a restart: which of a partition's scopes must be decided, a few at a time."""

from typing import Final

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import earliest, next_change_ms
from tollgate.ledger.reached import PATTERNS_MAX, Reached
from tollgate.ledger.rows import Walk
from tollgate.ledger.scope_table import ScopeTable

# Scopes that are looked at for one transaction: about 10 ms in which nothing else is counted. Rows are read by the
# compiled core, or else by Python as objects are.
ROWS_MAX: Final = 40_000
OBJECTS_MAX: Final = 2_000


class Sweep:
    """Walks over the scopes of a table: those that are held as bytes, then those that were busy when the walk began.

    A scope that is new or becomes busy meanwhile is decided because something was spent in it.
    """

    def __init__(self, spend: ScopeTable) -> None:
        self._spend = spend
        self._budgets = BudgetBook()
        self._idle = Walk()
        self._busy: list[str] = []
        self._reached: Reached | None = None
        self._is_new = False
        # Too many patterns to compare each scope with.
        self._takes_all = False
        # When a budget of a pattern begins or ends next.
        self._again_ms: int | None = None

    def begin(self, budgets: BudgetBook) -> None:
        """Look through all scopes, those first that the walk under way has still to come to."""
        self._budgets = budgets
        self._again_ms = None
        if not budgets.has_patterns:
            self._idle.stop()
            self._busy = []
            return
        self._idle.begin()
        self._busy = self._spend.busy_names()
        self._is_new = True

    def tick(self, now_ms: int) -> None:
        """Look through them again when a budget begins or ends."""
        if self._again_ms is not None and self._again_ms <= now_ms:
            self.begin(self._budgets)

    def has_pending(self) -> bool:
        """Whether there are scopes to be looked at."""
        return self._is_new or not self._idle.is_over or bool(self._busy)

    def take(self, now_ms: int) -> list[str]:
        """The scopes that must be decided, among the next few."""
        if not self.has_pending():
            return []
        if self._is_new or self._reached is None:
            self._is_new = False
            budgets = list(self._budgets.on_patterns())
            self._takes_all = len(budgets) > PATTERNS_MAX
            self._reached = Reached(() if self._takes_all else budgets, now_ms)
            self._again_ms = earliest(self._again_ms, next_change_ms(budgets, now_ms))
        most = ROWS_MAX if self._reached.is_compiled else OBJECTS_MAX
        found = self._of_idle(self._reached, most) if not self._idle.is_over else []
        return [*found, *self._of_busy(self._reached)] if self._idle.is_over else found

    def _of_idle(self, reached: Reached, most: int) -> list[str]:
        """Those among the next scopes that are held as bytes."""
        place, most = self._idle.next(most)
        if self._takes_all:
            names, to = self._spend.idle_names(place, most)
            found = self._covered(names)
        else:
            found, to = self._spend.reached(reached, place, most)
            if self._budgets.plans.has_own_calendars:
                names, _ = self._spend.idle_names(place, most)
                found = self._with_own_calendars(found, names)
        self._idle.went(to)
        return found

    def _of_busy(self, reached: Reached) -> list[str]:
        """Those among the next scopes that are held as objects."""
        busy, self._busy[-OBJECTS_MAX:] = self._busy[-OBJECTS_MAX:], ()
        if self._takes_all:
            return self._covered(busy)
        held = ((scope, spend) for scope in busy if (spend := self._spend.find(scope)) is not None)
        found = [scope for scope, spend in held if reached.is_reached_by(scope, spend)]
        return self._with_own_calendars(found, busy) if self._budgets.plans.has_own_calendars else found

    def _covered(self, names: list[str]) -> list[str]:
        """Those to which a budget may apply."""
        covers = self._budgets.covers
        return [scope for scope in names if covers(scope)]

    def _with_own_calendars(self, found: list[str], names: list[str]) -> list[str]:
        """These, and of the others those on which plans have limits in a calendar of their user."""
        known = set(found)
        return [*found, *(s for s in names if s not in known and self._budgets.has_own_calendar(s))]
