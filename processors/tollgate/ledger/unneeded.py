"""Which scopes count in calendars that no meter of the partition needs any more, a few at a time."""

from collections.abc import Iterator
from typing import Final

from tollgate.domain.spend import ScopeSpend
from tollgate.ledger.meters import Metering
from tollgate.ledger.rows import Walk
from tollgate.ledger.scope_table import ScopeTable

# Scopes that are looked at for one transaction: about 5 ms.
LOOKED_MAX: Final = 5_000

# A calendar may be counted that no budget here asks for: the partition that sent the amount knew another policy. After
# this time, or twice as much, it is looked at again.
_LATER_MS: Final = 60_000


class Unneeded:
    """Looks through all scopes when a meter has gone, and again at those that are noted."""

    def __init__(self, meters: Metering) -> None:
        self._meters = meters
        # Scopes still to be looked at, taken from the end, and how far the walk has come that finds them.
        self._found: list[str] = []
        self._walk = Walk()
        # Those to be looked at when a time has passed, the older ones first.
        self._later: tuple[dict[str, None], dict[str, None]] = ({}, {})
        self._later_ms = 0

    def look_through(self, spend: ScopeTable) -> None:
        """Look at every scope."""
        if spend.has_idle_counting_more():
            self._walk.begin()
        self._found = spend.busy_counting_more()

    def note(self, scope: str, spend: ScopeSpend) -> None:
        """Look at the scope again later, when it counts in a calendar that no meter needs."""
        more = spend.more_calendars()
        if more and not set(more) <= set(self._meters.calendars(scope)):
            self._later[1][scope] = None

    def tick(self, now_ms: int) -> None:
        """Look at those that were noted a while ago."""
        if now_ms >= self._later_ms + _LATER_MS:
            self._later_ms = now_ms
            older, newer = self._later
            self._found.extend(older)
            self._later = (newer, {})

    def has_pending(self) -> bool:
        """Whether there are scopes to be looked at."""
        return bool(self._found) or not self._walk.is_over

    def take(self, spend: ScopeTable) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The next of them, with the calendars that are needed. Whoever stops early goes on there next time."""
        if not self._walk.is_over and len(self._found) < LOOKED_MAX:
            found, to = spend.unneeded(*self._walk.next(LOOKED_MAX), self._meters.calendars)
            self._walk.went(to)
            self._found += found
        for _ in range(LOOKED_MAX):
            if not self._found:
                return
            scope = self._found.pop()
            held, needed = spend.find(scope), self._meters.calendars(scope)
            if held is not None and not set(held.more_calendars()) <= set(needed):
                yield scope, needed
