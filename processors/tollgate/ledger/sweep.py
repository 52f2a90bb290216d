"""After a change of patterns or plans, or a restart: which of a partition's scopes must be decided, a few at a time."""

from typing import Final

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import earliest, next_change_ms
from tollgate.ledger.reached import PATTERNS_MAX, Reached
from tollgate.ledger.scope_table import ScopeTable

# Scopes that are looked at for one transaction: about 10 ms in which nothing else is counted. Rows are read by the
# compiled core, or else by Python as objects are.
ROWS_MAX: Final = 25_000
OBJECTS_MAX: Final = 2_000


class Sweep:
    """Walks over the scopes of a table. A scope that is new meanwhile is decided because something was spent in it."""

    def __init__(self, spend: ScopeTable) -> None:
        self._spend = spend
        self._budgets = BudgetBook()
        self._idle: list[str] = []
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
            self._idle, self._busy = [], []
            return
        idle, busy = self._spend.idle_names(), self._spend.busy_names()
        # They are taken from the end.
        left = len(self._idle)
        self._idle, self._busy = idle[left:] + idle[:left], busy
        self._is_new = True

    def tick(self, now_ms: int) -> None:
        """Look through them again when a budget begins or ends."""
        if self._again_ms is not None and self._again_ms <= now_ms:
            self.begin(self._budgets)

    def has_pending(self) -> bool:
        """Whether there are scopes to be looked at."""
        return self._is_new or bool(self._idle or self._busy)

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
        idle, self._idle[-most:] = self._idle[-most:], ()
        busy: list[str] = []
        if len(idle) < most:
            busy, self._busy[-OBJECTS_MAX:] = self._busy[-OBJECTS_MAX:], ()
        if self._takes_all:
            return [*idle, *busy]
        # Those without a row are busy by now.
        found = self._spend.reached(self._reached, idle)
        reached = self._reached
        found += [s for s in busy if (spend := self._spend.find(s)) is not None and reached.is_reached_by(s, spend)]
        if self._budgets.plans.has_own_calendars:
            known = set(found)
            found += [s for s in (*idle, *busy) if s not in known and self._budgets.has_own_calendar(s)]
        return found
