"""The spend of many scopes in little memory: busy scopes as objects, idle ones as the bytes of their state row.

A scope takes about 3 KB as objects and 0.2 KB as packed bytes, so a million users fit one worker. Recovery decodes
nothing: a scope is unpacked when it is first spent in, and packed again when many other scopes were busy after it.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final

import msgspec

from tollgate.domain.budgets import Budget
from tollgate.domain.spend import PLACES, ScopeSpend, unpack_open_row
from tollgate.domain.windows import WindowKey
from tollgate.ledger.reached import Reached
from tollgate.ledger.rows import Rows, new_rows

# Busy scopes per partition: with 8 partitions 160,000 of them, half a gigabyte at most.
BUSY_MAX: Final = 20_000

_encode = msgspec.json.Encoder().encode


class ScopeTable:
    """Spend by scope. The result of `find` is read-only; that of `take` may be changed until the next `settle`."""

    def __init__(self, busy_max: int = BUSY_MAX) -> None:
        self._busy_max = busy_max
        # In the order in which they were last changed, once there are many.
        self._busy: dict[str, ScopeSpend] = {}
        self._idle = new_rows()
        # The closed windows of idle scopes; those of a busy one are its own.
        self._closed: dict[str, dict[WindowKey, bytes]] = {}

    def __len__(self) -> int:
        return len(self._busy) + len(self._idle)

    def __contains__(self, scope: str) -> bool:
        return scope in self._busy or scope in self._idle

    def names(self) -> list[str]:
        """All scopes, in no order."""
        idle, _ = self._idle.names(0, 1 << 32)
        return [*idle, *self._busy]

    def busy_names(self) -> list[str]:
        """The scopes that are held as objects, in no order."""
        return list(self._busy)

    def idle_names(self, place: int, most: int) -> tuple[list[str], int | None]:
        """A walk over the scopes that are held as bytes: see `Rows.names`."""
        return self._idle.names(place, most)

    def reached(self, limits: Reached, place: int, most: int) -> tuple[list[str], int | None]:
        """The same over those of them that have reached a limit."""
        return limits.in_rows(self._idle, place, most)

    def unneeded(self, place: int, most: int, needed: Callable[[str], Iterable[str]]) -> tuple[list[str], int | None]:
        """The same over those that count in a calendar which none of `needed` is, and those whose calendars only `find`
        tells.
        """
        found, to = self._idle.counting_more(place, most)
        return [scope for scope, more in found if more is None or not set(more) <= set(needed(scope))], to

    @property
    def busy(self) -> int:
        """How many scopes are held as objects."""
        return len(self._busy)

    def find(self, scope: str) -> ScopeSpend | None:
        """The scope's spend to be read, None for an unknown scope. An idle scope stays idle."""
        spend = self._busy.get(scope)
        if spend is None:
            row = self._idle.get(scope)
            if row is not None:
                spend = self._unpacked(scope, row)
        return spend

    def values(self, scopes: Sequence[str], budget: Budget, start_ms: int) -> list[int]:
        """Of each scope what the budget measures of the window that starts then; 0 where nothing was spent.

        The budget's calendar is a base one, and no scope is a combination.
        """
        packed = self._idle.values(scopes, PLACES[budget.calendar], start_ms, budget.unit)
        return [
            value if value is not None else self._value(scope, budget, start_ms)
            for scope, value in zip(scopes, packed, strict=True)
        ]

    def _value(self, scope: str, budget: Budget, start_ms: int) -> int:
        spend = self.find(scope)
        found = spend.window(budget.calendar, start_ms) if spend is not None else None
        return budget.measure(found) if found is not None else 0

    def take(self, scope: str) -> ScopeSpend | None:
        """The scope's spend to be changed, None for an unknown scope."""
        spend = self._busy.get(scope)
        if spend is None:
            row = self._idle.pop(scope)
            if row is not None:
                spend = self._busy[scope] = self._unpacked(scope, row)
                self._closed.pop(scope, None)
        return spend

    def add(self, scope: str, spend: ScopeSpend) -> None:
        """A scope that was unknown."""
        self._busy[scope] = spend

    def remove(self, scope: str) -> None:
        """Forget a scope that is busy."""
        del self._busy[scope]

    def has_idle_counting_more(self) -> bool:
        """Whether some of those that are held as bytes have windows of calendars beyond the base ones."""
        return self._idle.has_more()

    def busy_counting_more(self) -> list[str]:
        """The scopes with windows of calendars beyond the base ones, of those that are held as objects, in no order."""
        return [scope for scope, spend in self._busy.items() if spend.more_calendars()]

    def _unpacked(self, scope: str, row: bytes) -> ScopeSpend:
        spend = ScopeSpend.from_open_row(unpack_open_row(row))
        spend.closed = self._closed.get(scope, spend.closed)
        return spend

    def settle(self, changed: Iterable[str]) -> None:
        """Pack the scopes that were not changed for longest, when too many are busy. `changed` are the latest."""
        busy = self._busy
        if len(busy) <= self._busy_max:
            return
        for scope in changed:
            busy[scope] = busy.pop(scope)
        # Collected first: asking a dict for its first key again and again walks over every key removed before it.
        for scope in list(islice(busy, len(busy) - self._busy_max)):
            spend = busy.pop(scope)
            self._idle.put(scope, _encode(spend.open_row()))
            if spend.closed:
                self._closed[scope] = spend.closed

    def restore_rows(self, rows: Rows) -> None:
        """Take over the rows of all scopes' open windows."""
        rows.settle()
        self._idle = rows

    def restore_open(self, scope: str, row: bytes) -> None:
        """Take back the row of a scope's open windows."""
        self._idle.put(scope, row)

    def written_after(self, sequence: int, most: int) -> tuple[list[tuple[str, int]], int | None]:
        """Of the scopes held as bytes, those that the next transactions after this one wrote: see `Rows`."""
        return self._idle.written_after(sequence, most)

    def restore_closed(self, scope: str, window: WindowKey, packed: bytes) -> None:
        """Take back a closed window; see `pack_spend`."""
        windows = self._closed.get(scope)
        if windows is None:
            windows = self._closed[scope] = {}
        windows[window] = packed
