"""Meters: sums that a budget or plan needs beyond the base ones, since when they are counted, and what is missing.

A meter is a scope or a pattern of scopes and a calendar: `user/*+feature/video|month`. Each usage partition begins to
count it at one usage offset. What was spent in the window of that moment before that offset, its *past*, comes from
ClickHouse in parts. Until it is there, the sums of that window are incomplete, and flags say so. Later windows are
whole by themselves.

A meter that nobody needs any more is counted until its window ends. So a budget that is removed and set again goes on
where it was, and no window ever gets its past twice. See ADR 39.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import product
from typing import Final, NamedTuple, Protocol

import msgspec

from tollgate.domain.windows import WindowKey, window_end, window_start
from tollgate.schemas.scopes import is_combination, joint_of, parse_names, scope_of_all, split_names
from tollgate.schemas.vocabulary import GLOBAL_SCOPE, Shape

# An event may be this much later than the broker's clock: so the window that begins this soon may have events already.
AHEAD_MS: Final = 5 * 60 * 1000

_SCOPES_MAX: Final = 100_000

# Dimensions of a scope or pattern, and which of its names are stars: bit i is for name i.
Form = tuple[tuple[str, ...], int]


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
        """The inverse of `id`. Of another text it is a meter that nobody keeps."""
        scope, _, calendar = text.rpartition("|")
        return cls(scope, calendar)


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
    past_from_ms: int = 0
    """An older meter of the same scopes has gone, which counted windows that start earlier: no past is added there."""

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

    def takes_past(self, start_ms: int) -> bool:
        """Whether events below `from_offset` may be in the window that starts then, and are still to be added."""
        return start_ms in (self.window_start_ms, self.whole_from_ms) and start_ms >= self.past_from_ms


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
        # How many scopes with meters have this first name.
        self._firsts: Counter[str] = Counter()
        # By scopes that are counted alike.
        self._calendars: dict[str, tuple[str, ...]] = {}
        self._covering: dict[tuple[str, str], list[tuple[Meter, Kept]]] = {}
        # The same for the start of a slot.
        self._at: dict[tuple[str, int], tuple[str, ...]] = {}
        self._combined: Counter[Form] = Counter()
        # How many scopes of one name have meters, by dimension; `global` is one.
        self._singles: Counter[str] = Counter()
        # How many of the scopes have stars.
        self._patterns = 0
        # Those that nobody needs, which are few.
        self._ending: dict[Meter, int] = {}
        # Another number whenever the combinations are others.
        self.version = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, meter: Meter) -> bool:
        return meter in self._kept

    def __iter__(self) -> Iterator[Meter]:
        return iter(self._kept)

    def items(self) -> Iterable[tuple[Meter, Kept]]:
        """Every meter with what is known of it."""
        return self._kept.items()

    def get(self, meter: Meter) -> Kept | None:
        """What is known of a meter."""
        return self._kept.get(meter)

    def put(self, meter: Meter, kept: Kept) -> None:
        """Add or replace a meter."""
        self._kept[meter] = kept
        self._note_end(meter, kept.ends_ms)
        calendars = self._by_scope.get(meter.scope)
        if calendars is None:
            calendars = self._by_scope[meter.scope] = {}
            self._changed(meter.scope, 1)
        calendars[meter.calendar] = kept
        self._forget_found()

    def remove(self, meter: Meter) -> None:
        """Forget a meter."""
        del self._kept[meter]
        self._note_end(meter, None)
        calendars = self._by_scope[meter.scope]
        del calendars[meter.calendar]
        if not calendars:
            del self._by_scope[meter.scope]
            self._changed(meter.scope, -1)
        self._forget_found()

    def set_end(self, meter: Meter, ends_ms: int | None) -> None:
        """Count windows of a meter only if they start before this instant; None: all."""
        self._kept[meter].ends_ms = ends_ms
        self._note_end(meter, ends_ms)
        self._at.clear()

    def _forget_found(self) -> None:
        self._calendars.clear()
        self._covering.clear()
        self._at.clear()

    def _note_end(self, meter: Meter, ends_ms: int | None) -> None:
        if ends_ms is not None:
            self._ending[meter] = ends_ms
        else:
            self._ending.pop(meter, None)

    def ended(self, clock_ms: int) -> list[Meter]:
        """The meters that nobody needs and whose windows have ended."""
        return [meter for meter, ends_ms in self._ending.items() if ends_ms <= clock_ms]

    def _changed(self, scope: str, more: int) -> None:
        self._firsts[_first_of(scope)] += more
        self._patterns += more if is_pattern(scope) else 0
        form = form_of(scope)
        if len(form[0]) > 1:
            self._combined[form] += more
            if not self._combined[form]:
                del self._combined[form]
            self.version += 1
        else:
            self._singles[form[0][0]] += more

    def counts_singles(self, shape: Shape) -> bool:
        """Whether there may be meters of scopes of this shape, of at most one name."""
        dimension = shape.dimensions[0].value if shape.dimensions else GLOBAL_SCOPE
        return self._singles[dimension] > 0

    def _alike(self, scope: str) -> str:
        """The same for scopes that are counted alike. Few meters are of one user: without the first name of a scope, a
        million users have the same few of them.
        """
        first = _first_of(scope)
        if self._firsts.get(first):
            return scope
        dimension, slash, _ = first.partition("/")
        return f"{dimension}/*{scope[len(first) :]}" if slash else scope

    def calendars(self, scope: str) -> tuple[str, ...]:
        """The calendars in which the scope is metered, in a fixed order."""
        return self._calendars_of(self._alike(scope)) if self._by_scope else ()

    def calendars_at(self, scope: str, slot_ms: int) -> tuple[str, ...]:
        """Those of them whose window counts what is spent in this slot."""
        if not self._by_scope:
            return ()
        alike = self._alike(scope)
        found = self._at.get((alike, slot_ms))
        if found is None:
            if len(self._at) >= _SCOPES_MAX:
                self._at.clear()
            found = self._at[alike, slot_ms] = tuple(
                calendar
                for calendar in self._calendars_of(alike)
                if _counts(self._covering_of(alike, calendar), window_start(calendar, slot_ms))
            )
        return found

    def _calendars_of(self, alike: str) -> tuple[str, ...]:
        found = self._calendars.get(alike)
        if found is None:
            if len(self._calendars) >= _SCOPES_MAX:
                self._calendars.clear()
            names = {calendar for pattern in patterns_of(alike) for calendar in self._by_scope.get(pattern, ())}
            found = self._calendars[alike] = tuple(sorted(names))
        return found

    def covering(self, scope: str, calendar: str) -> list[tuple[Meter, Kept]]:
        """The meters that count the scope in the calendar, the oldest first, and of those that began together the
        widest.
        """
        return self._covering_of(self._alike(scope), calendar)

    def _covering_of(self, alike: str, calendar: str) -> list[tuple[Meter, Kept]]:
        found = self._covering.get((alike, calendar))
        if found is None:
            if len(self._covering) >= _SCOPES_MAX:
                self._covering.clear()
            meters = (Meter(pattern, calendar) for pattern in dict.fromkeys(patterns_of(alike)))
            found = [(meter, kept) for meter in meters if (kept := self._kept.get(meter)) is not None]
            found.sort(key=lambda entry: _place(*entry))
            self._covering[alike, calendar] = found
        return found

    def wider(self, meter: Meter) -> Kept | None:
        """What is known of the oldest meter that counts these scopes and others, and is still needed."""
        if not self._patterns:
            return None
        return next((kept for _, kept in self.covering(*meter) if kept.ends_ms is None), None)

    def counting(self, scope: str, window: WindowKey) -> list[tuple[Meter, Kept]]:
        """Those of `covering` that count this window.

        The first of them is the one whose past is added: of any two, the one that began later would add it again.
        """
        calendar, start_ms = window
        return [entry for entry in self.covering(scope, calendar) if entry[1].counts(start_ms)]

    @property
    def combinations(self) -> frozenset[str]:
        """The scopes and patterns of meters that are combinations."""
        return frozenset(filter(is_combination, self._by_scope))

    @property
    def forms(self) -> frozenset[Form]:
        """The forms of these."""
        return frozenset(self._combined)

    def counts(self, scope: str, window: WindowKey) -> bool:
        """Whether the window is one of the scope's."""
        calendar, start_ms = window
        return _counts(self.covering(scope, calendar), start_ms)

    def is_whole(self, scope: str, window: WindowKey) -> bool:
        """Whether the sum of the window has all that this partition has counted of the scope."""
        found = self.counting(scope, window)
        return bool(found) and (found[0][1].is_filled or any(window[1] >= kept.exact_from_ms for _, kept in found))


def _counts(covering: Iterable[tuple[Meter, Kept]], start_ms: int) -> bool:
    return any(kept.counts(start_ms) for _, kept in covering)


def _first_of(scope: str) -> str:
    """`user/u1+model/x` → `user/u1`; of another scope itself."""
    joint = joint_of(scope)
    return scope if joint < 0 else scope[:joint]


@lru_cache(maxsize=_SCOPES_MAX)
def patterns_of(scope: str) -> tuple[str, ...]:
    """The scope and every pattern that it matches: `user/u1` gives `user/u1` and `user/*`."""
    names = parse_names(scope)
    return tuple(scope_of_all(chosen) for chosen in product(*(((d, name), (d, "*")) for d, name in names)))


@lru_cache(maxsize=_SCOPES_MAX)
def form_of(scope: str) -> Form:
    """The dimensions of a scope or pattern, and which of its names are stars: bit i is for name i."""
    names = split_names(scope)
    stars = sum(1 << place for place, (_, name) in enumerate(names) if name == "*")
    return tuple(dimension for dimension, _ in names), stars


def is_pattern(scope: str) -> bool:
    """Whether one of the names is a star."""
    return scope.endswith("/*") or "/*+" in scope


def begin(table: MeterTable, wanted: Iterable[Meter], next_offset: int, clock_ms: int) -> list[Meter]:
    """Keep these meters; returns those that changed.

    A meter whose scopes are counted already, by a wider one, goes on with what that one knows. One that nobody needed
    goes on where it was, unless its end is so near that events of the next window may have come: they were not counted.
    Then it begins again once it has ended.
    """
    changed: list[Meter] = []
    fresh: dict[str, Kept] = {}
    for meter in sorted(wanted):
        kept = table.get(meter)
        if kept is None:
            known = table.wider(meter) or fresh.get(meter.calendar)
            if known is None:
                known = fresh[meter.calendar] = Kept.begun(meter.calendar, next_offset, clock_ms)
            # Its own past comes in parts of its own.
            table.put(meter, msgspec.structs.replace(known, parts=0))
        elif kept.ends_ms is not None and clock_ms + AHEAD_MS < kept.ends_ms:
            table.set_end(meter, None)
        else:
            continue
        changed.append(meter)
    return changed


def end(table: MeterTable, meters: Iterable[Meter], clock_ms: int) -> list[Meter]:
    """Nobody needs these any more: they are counted until the last window ends that may have events now."""
    changed = []
    for meter in meters:
        kept = table.get(meter)
        if kept is not None and kept.ends_ms is None:
            table.set_end(meter, window_end(meter.calendar, window_start(meter.calendar, clock_ms + AHEAD_MS)))
            changed.append(meter)
    return changed


def remove_ended(table: MeterTable, clock_ms: int) -> tuple[list[Meter], list[Meter]]:
    """Forget the meters that nobody needs and whose windows have ended; returns them, and others that changed.

    A younger meter of the same scopes must not add its past to their windows, should it come after they have gone.
    """
    ended = table.ended(clock_ms)
    if not ended:
        return [], []
    gone = {meter: kept for meter in ended if (kept := table.get(meter)) is not None}
    for meter in ended:
        table.remove(meter)
    changed = []
    for meter, kept in table.items():
        if kept.is_filled:
            continue
        if is_pattern(meter.scope):
            older: Iterable[Meter] = (other for other in gone if _overlap(meter, other))
        else:
            older = (Meter(pattern, meter.calendar) for pattern in patterns_of(meter.scope))
        place = _place(meter, kept)
        ends = (g.ends_ms or 0 for m in older if (g := gone.get(m)) is not None and _place(m, g) < place)
        ends_ms = max(ends, default=0)
        if ends_ms > max(kept.past_from_ms, kept.window_start_ms):
            kept.past_from_ms = ends_ms
            changed.append(meter)
    return ended, changed


def _place(meter: Meter, kept: Kept) -> tuple[int, int, Meter]:
    """The order of `MeterTable.covering`."""
    return kept.from_offset, -form_of(meter.scope)[1].bit_count(), meter


def _overlap(one: Meter, other: Meter) -> bool:
    """Whether there are scopes that both cover, in the same calendar."""
    if one.calendar != other.calendar or form_of(one.scope)[0] != form_of(other.scope)[0]:
        return False
    pairs = zip(split_names(one.scope), split_names(other.scope), strict=True)
    return all(a == b or "*" in (a[1], b[1]) for a, b in pairs)
