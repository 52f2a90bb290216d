"""Meters: sums that a budget or plan needs beyond the base ones, since when they are counted, and what is missing.

A meter is a scope or a pattern of scopes and a calendar: `user/*+feature/video|month`. Each usage partition begins to
count it at one usage offset. What was spent in the window of that moment before that offset, its *past*, comes from
ClickHouse in parts. Until it is there, the sums of that window are incomplete, and flags say so. Later windows are
whole by themselves.

A meter that nobody needs any more is counted until its window ends. So a budget that is removed and set again goes on
where it was, and no window ever gets its past twice.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import product
from typing import Final, NamedTuple, Protocol

import msgspec

from tollgate.domain.windows import WindowKey, window_end, window_start
from tollgate.schemas.scopes import is_combination, parse_names, scope_of_all

# An event may be this much later than the broker's clock: so the window that begins this soon may have events already.
AHEAD_MS: Final = 5 * 60 * 1000

_SCOPES_MAX: Final = 100_000


class Meter(NamedTuple):
    """`scope` may have a star for a name: `user/*+feature/video`. `calendar` as text: `month@Asia/Tokyo`."""

    scope: str
    calendar: str

    @property
    def id(self) -> str:
        """`user/*+feature/video|month`: its name in rows and records. No calendar has a bar."""
        return f"{self.scope}|{self.calendar}"

    @classmethod
    def of(cls, text: str) -> "Meter":
        """The inverse of `id`."""
        return cls(*text.rsplit("|", 1))


class Kept(msgspec.Struct, array_like=True):
    """What one usage partition knows of a meter."""

    from_offset: int
    """The first usage offset that is counted."""
    window_start_ms: int
    """Start of the window in which it began. Earlier windows are not kept."""
    whole_from_ms: int
    """Start of the window after that one."""
    exact_from_ms: int
    """The first window that cannot have had an event before `from_offset`."""
    is_filled: bool = False
    """Whether its past was added."""
    parts: int = 0
    """How many parts of its past were added."""
    ends_ms: int | None = None
    """No budget needs it: windows that start here or later are not counted."""

    @classmethod
    def begun(cls, calendar: str, from_offset: int, clock_ms: int) -> "Kept":
        """A meter that counts from this offset on, at which the partition's clock showed this."""
        start = window_start(calendar, clock_ms)
        whole = window_end(calendar, start)
        exact = whole if clock_ms + AHEAD_MS < whole else window_end(calendar, whole)
        # Nothing stands before the first offset.
        return cls(from_offset, start, whole, exact, is_filled=from_offset == 0)

    def counts(self, start_ms: int) -> bool:
        """Whether the window that starts then is one of its windows."""
        return start_ms >= self.window_start_ms and (self.ends_ms is None or start_ms < self.ends_ms)


class Metering(Protocol):
    """Which sums beyond the base ones are kept of a scope, and which of them have all that was spent."""

    def calendars(self, scope: str) -> tuple[str, ...]:
        """The calendars beyond the base ones in which the scope is counted."""

    def is_whole(self, scope: str, window: WindowKey) -> bool:
        """Whether the sum of the window has all that was counted of the scope."""


class MeterTable:
    """The meters of one usage partition, by the scopes that they cover."""

    def __init__(self) -> None:
        self._kept: dict[Meter, Kept] = {}
        self._by_scope: dict[str, dict[str, Kept]] = {}
        self._calendars: dict[str, tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, meter: Meter) -> bool:
        return meter in self._kept

    def __iter__(self) -> Iterator[Meter]:
        return iter(self._kept)

    def get(self, meter: Meter) -> Kept | None:
        """What is known of a meter."""
        return self._kept.get(meter)

    def put(self, meter: Meter, kept: Kept) -> None:
        """Add or replace a meter."""
        self._kept[meter] = kept
        self._by_scope.setdefault(meter.scope, {})[meter.calendar] = kept
        self._calendars.clear()

    def remove(self, meter: Meter) -> None:
        """Forget a meter."""
        del self._kept[meter]
        calendars = self._by_scope[meter.scope]
        del calendars[meter.calendar]
        if not calendars:
            del self._by_scope[meter.scope]
        self._calendars.clear()

    def calendars(self, scope: str) -> tuple[str, ...]:
        """The calendars in which the scope is metered, in a fixed order."""
        if not self._by_scope:
            return ()
        found = self._calendars.get(scope)
        if found is None:
            if len(self._calendars) >= _SCOPES_MAX:
                self._calendars.clear()
            names = {calendar for pattern in patterns_of(scope) for calendar in self._by_scope.get(pattern, ())}
            found = self._calendars[scope] = tuple(sorted(names))
        return found

    def covering(self, scope: str, calendar: str) -> list[tuple[int, str, Kept]]:
        """The meters that count the scope in the calendar: offset, scope or pattern, and what is known.

        The first of them is the one whose past is added: of any two, the one that began later would add it again.
        """
        found = []
        for pattern in patterns_of(scope):
            kept = self._by_scope.get(pattern, {}).get(calendar)
            if kept is not None:
                found.append((kept.from_offset, pattern, kept))
        return sorted(found, key=lambda entry: entry[:2])

    @property
    def combinations(self) -> frozenset[str]:
        """The scopes and patterns of meters that are combinations."""
        return frozenset(scope for scope in self._by_scope if is_combination(scope))

    def counts(self, scope: str, window: WindowKey) -> bool:
        """Whether the window is one of the scope's."""
        calendar, start_ms = window
        return any(kept.counts(start_ms) for _, _, kept in self.covering(scope, calendar))

    def is_whole(self, scope: str, window: WindowKey) -> bool:
        """Whether the sum of the window has all that this partition has counted of the scope."""
        calendar, start_ms = window
        found = self.covering(scope, calendar)
        return bool(found) and (found[0][2].is_filled or any(start_ms >= kept.exact_from_ms for _, _, kept in found))


@lru_cache(maxsize=_SCOPES_MAX)
def patterns_of(scope: str) -> tuple[str, ...]:
    """The scope and every pattern that it matches: `user/u1` gives `user/u1` and `user/*`."""
    names = parse_names(scope)
    return tuple(scope_of_all(chosen) for chosen in product(*(((d, name), (d, "*")) for d, name in names)))


def begin(table: MeterTable, wanted: Iterable[Meter], next_offset: int, clock_ms: int) -> list[Meter]:
    """Begin the meters that are wanted and not kept, and let end those that are not wanted; returns those that changed.

    A meter whose scopes are counted already, by a wider one, goes on with what that one knows.
    """
    changed = []
    wanted = frozenset(wanted)
    for meter in sorted(wanted):
        kept = table.get(meter)
        if kept is None:
            wider = [found for _, _, found in table.covering(*meter) if found.ends_ms is None]
            kept = msgspec.structs.replace(wider[0]) if wider else Kept.begun(meter.calendar, next_offset, clock_ms)
            table.put(meter, kept)
        elif kept.ends_ms is not None:
            kept.ends_ms = None
        else:
            continue
        changed.append(meter)
    for meter in table:
        kept = table.get(meter)
        if meter not in wanted and kept is not None and kept.ends_ms is None:
            kept.ends_ms = window_end(meter.calendar, window_start(meter.calendar, clock_ms))
            changed.append(meter)
    return changed


def ended(table: MeterTable, clock_ms: int) -> list[Meter]:
    """The meters that nobody needs and whose window has ended."""
    return [
        m for m in table if (kept := table.get(m)) is not None and kept.ends_ms is not None and kept.ends_ms <= clock_ms
    ]
