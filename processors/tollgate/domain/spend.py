"""What a scope has spent, window by window: the sums that flags and bills are made of.

Money is in 10⁻¹² USD, usage in 10⁻⁹ units, both as integers of any size; nothing is ever rounded here.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from sys import intern
from typing import Any, Final

import msgspec

from tollgate.domain.windows import LIFETIME, Horizon, WindowKey, Windows
from tollgate.schemas.usage_limits import COMMON_DIMENSIONS
from tollgate.schemas.vocabulary import BASE_WINDOWS, WindowKind

# The calendars of every base scope, and how many they are.
_KINDS: Final = (WindowKind.LIFETIME, *BASE_WINDOWS)
_BASE: Final = len(_KINDS)
# The open windows of a scope in which nothing was counted.
_NOTHING_YET: Final[Windows] = tuple((kind, 0) for kind in _KINDS)

# Besides the common ones, a scope's usage is kept for at most so many dimensions, those that it saw first. What comes
# under other names is added up under `OTHER`. With names of 256 characters a scope's state row then has 170 kB, so that
# it fits into a record.
DIMENSIONS_MAX: Final = 128
OTHER: Final = "other"


class Spend(msgspec.Struct, array_like=True, gc=False):
    """A sum: cost, retail value, number of events, usage by dimension. As JSON an array in this order."""

    cost_picousd: int = 0
    retail_picousd: int = 0
    events: int = 0
    usage_nano: dict[str, int] = {}

    def add(self, other: "Spend") -> None:
        """Add the other sum to this one. `other` is not kept."""
        self.cost_picousd += other.cost_picousd
        self.retail_picousd += other.retail_picousd
        self.events += other.events
        mine = self.usage_nano
        for dimension, amount in other.usage_nano.items():
            mine[dimension] = mine.get(dimension, 0) + amount


# A sum as JSON. Closed windows are kept like this: it takes a tenth of the memory, and few of them are read again.
pack_spend: Final = msgspec.json.Encoder().encode
unpack_spend: Final = msgspec.json.Decoder(Spend).decode


OpenRow = list[Any]
"""The open windows of a scope as the state topic has them: the number of the transaction that wrote them; of a base
scope the sum of lifetime, then start and sum of each kind of `BASE_WINDOWS`, in its order; and where there are more,
a map from calendar to start and sum.
"""

_Row = list[int | Spend | dict[str, tuple[int, Spend]]]

unpack_open_row: Final[Callable[[bytes], OpenRow]] = msgspec.json.Decoder(_Row).decode


# Where a row has the sums of the base calendars, by their texts: 0 for lifetime.
PLACES: Final = {kind.value: place for place, kind in enumerate(_KINDS)}


def counts_more(row: bytes) -> bool:
    """Whether the packed row has windows of calendars beyond the base ones. Nothing is decoded."""
    return row.endswith(b"}]")


class ScopeSpend:
    """All held windows of one scope: of a base scope those of the base calendars and of any that budgets need besides;
    of a combination only the latter.

    The newest window of each calendar is *open*, and all of these share one state row; a window that a newer one has
    replaced is *closed* and has a row of its own, so that the row written with every batch stays small. Closed windows
    are kept packed: see `pack_spend`. A base calendar in which nothing was counted yet has an open window that starts
    in 1970.
    """

    __slots__ = ("_open", "_sums", "closed", "is_base", "names")

    def __init__(self, windows: Windows = (), *, is_base: bool = True) -> None:
        """A scope whose first amount counts in these windows; it has still to be added."""
        self.is_base = is_base
        self._open: Windows = windows if _is_whole(windows, is_base) else _NOTHING_YET
        self._sums: dict[str, Spend] = {calendar: Spend() for calendar, _ in self._open}
        # The usage dimensions that the scope counts under their own names: of a base scope those of lifetime.
        self.names: dict[str, int] = self._sums[WindowKind.LIFETIME].usage_nano if is_base else {}
        self.closed: dict[WindowKey, bytes] = {}

    @classmethod
    def begun(cls, windows: Windows, amount: Spend, *, is_base: bool) -> "ScopeSpend | None":
        """A scope that has this amount in these windows and nothing else; None where not all of them are open then.

        The same as to add it to a new scope, in half the time: most new scopes have only one amount in a batch.
        """
        if not _is_whole(windows, is_base):
            return None
        self = cls.__new__(cls)
        self.is_base = is_base
        self._open = windows
        cost, retail, events, usage = amount.cost_picousd, amount.retail_picousd, amount.events, amount.usage_nano
        self._sums = {calendar: Spend(cost, retail, events, usage.copy()) for calendar, _ in windows}
        self.names = self._sums[WindowKind.LIFETIME].usage_nano if is_base else usage.copy()
        self.closed = {}
        return self

    def add(self, windows: Windows, amount: Spend) -> Sequence[WindowKey]:
        """Count an amount in these windows (see `Horizon`); returns those that changed or closed.

        The result is `windows` itself when they are the open ones.
        """
        if not self.is_base:
            self.names.update(amount.usage_nano)
        if windows == self._open:
            # The common case: an event of the present hour. Scopes that are busy at the same time share one tuple.
            self._open = windows
            _add_to_all(self._sums.values(), amount)
            return windows
        starts = dict(self._open)
        changed: list[WindowKey] = []
        for window in windows:
            calendar, start = window
            changed.append(window)
            if calendar not in starts:
                starts[calendar], self._sums[calendar] = start, Spend()
            elif start > starts[calendar]:
                self._close((calendar, starts[calendar]), changed)
                starts[calendar], self._sums[calendar] = start, Spend()
            if start == starts[calendar]:
                self._sums[calendar].add(amount)
            else:
                self._add_to_closed(window, amount)
        first = _BASE if self.is_base else 0
        now_open = tuple(starts.items())
        # In the order of `Windows`, wherever a new calendar came in.
        self._open = now_open[:first] + tuple(sorted(now_open[first:]))
        return changed

    def folded(self, amount: Spend) -> Spend:
        """The amount as this scope counts it: usage of dimensions that it has no room for is under `OTHER`.

        A dimension is counted under its own name if it is a common one, if the scope has that name already, or if there
        is room for it. So a dimension of a base scope never changes sides, and all its windows have the same names; of
        a combination the names are those of its open windows after a restart.
        """
        names = self.names
        own = COMMON_DIMENSIONS | {OTHER}
        room = DIMENSIONS_MAX - sum(name not in own for name in names)
        usage: dict[str, int] = {}
        for dimension, nano in amount.usage_nano.items():
            name = dimension
            if dimension not in own and dimension not in names:
                if room > 0:
                    room -= 1
                else:
                    name = OTHER
            usage[name] = usage.get(name, 0) + nano
        return Spend(amount.cost_picousd, amount.retail_picousd, amount.events, usage)

    def open_windows(self) -> Windows:
        """The newest window of each calendar, which share a row."""
        return self._open

    @property
    def open_sums(self) -> Mapping[str, Spend]:
        """Their sums by calendar, to be read only."""
        return self._sums

    def _close(self, window: WindowKey, changed: list[WindowKey]) -> None:
        spend = self._sums[window[0]]
        # The window in which a kind begins closes empty: nothing to keep.
        if spend.events:
            self.closed[window] = pack_spend(spend)
            changed.append(window)

    def _add_to_closed(self, window: WindowKey, amount: Spend) -> None:
        packed = self.closed.get(window)
        spend = unpack_spend(packed) if packed is not None else Spend()
        spend.add(amount)
        self.closed[window] = pack_spend(spend)

    def more_calendars(self) -> tuple[str, ...]:
        """The calendars beyond the base ones; of a combination all of its calendars."""
        more = self._open[_BASE:] if self.is_base else self._open
        return tuple(calendar for calendar, _ in more)

    def keep_only(self, calendars: Container[str]) -> list[WindowKey]:
        """Forget all windows of calendars beyond the base ones that are not among these, open and closed; returns them.

        A combination without any calendar left has no windows.
        """
        dropped = {calendar for calendar in self.more_calendars() if calendar not in calendars}
        gone = [window for window in (*self._open, *self.closed) if window[0] in dropped]
        self._open = tuple(window for window in self._open if window[0] not in dropped)
        for window in gone:
            self.closed.pop(window, None)
        for calendar in dropped:
            del self._sums[calendar]
        return gone

    def window(self, calendar: str, start_ms: int) -> Spend | None:
        """The sum of one window, to be read only; None when nothing was counted in it (or it is no longer held)."""
        if self.is_open((calendar, start_ms)):
            return self._sums[calendar]
        packed = self.closed.get((calendar, start_ms))
        return unpack_spend(packed) if packed is not None else None

    def is_open(self, window: WindowKey) -> bool:
        """Whether the window is in the row of open windows; else it has its own row."""
        return window in self._open

    def evict(self, horizon: Horizon, is_needed: Callable[[WindowKey], bool] = lambda _: False) -> list[WindowKey]:
        """Forget closed windows that are neither held nor needed any more; returns them, so that their rows can go."""
        gone = [window for window in self.closed if not horizon.holds(*window) and not is_needed(window)]
        for window in gone:
            del self.closed[window]
        return gone

    def windows(self) -> Iterator[WindowKey]:
        """Every open window with events, and lifetime."""
        for window in self._open:
            if window == LIFETIME or self._sums[window[0]].events:
                yield window

    def open_row(self, sequence: int = 0) -> OpenRow:
        """The open windows for the state topic. Their sums are shared with the row: encode it at once."""
        row: OpenRow = [sequence]
        sums = self._sums
        more = self._open
        if self.is_base:
            row.append(sums[WindowKind.LIFETIME])
            for calendar, start in more[1:_BASE]:
                row += (start, sums[calendar])
            more = more[_BASE:]
        if more:
            row.append({calendar: (start, sums[calendar]) for calendar, start in more})
        return row

    @classmethod
    def from_open_row(cls, row: OpenRow) -> "ScopeSpend":
        """The inverse of `open_row`; takes over the row's sums. The caller puts closed windows back into `closed`.

        The row may be of a release with fewer base windows, or with more, which are left out.
        """
        self = cls.__new__(cls)
        more: dict[str, tuple[int, Spend]] = row.pop() if isinstance(row[-1], dict) else {}
        self.is_base = len(row) > 1
        self._open, self._sums, self.closed = (), {}, {}
        if self.is_base:
            starts, sums = (0, *row[2::2]), (row[1], *row[3::2])
            self._open = tuple(zip(_KINDS, starts, strict=False))
            self._sums = dict(zip(_KINDS, sums, strict=False))
            for kind in _KINDS[len(sums) :]:
                self._open += ((kind, 0),)
                self._sums[kind] = Spend()
        self._open += tuple((intern(calendar), start) for calendar, (start, _) in more.items())
        self._sums.update((calendar, spend) for calendar, (_, spend) in more.items())
        if self.is_base:
            self.names = self._sums[WindowKind.LIFETIME].usage_nano
        else:
            self.names = {name: 0 for spend in self._sums.values() for name in spend.usage_nano}
        return self


def _is_whole(windows: Windows, is_base: bool) -> bool:
    """Whether these can be all open windows of a scope: a base scope has one of each base calendar."""
    return not is_base or (len(windows) >= _BASE and windows[_BASE - 1][0] == _KINDS[-1])


def _add_to_all(sums: Iterable[Spend], amount: Spend) -> None:
    """`Spend.add` to each of the sums, in one walk over the usage."""
    cost, retail, events = amount.cost_picousd, amount.retail_picousd, amount.events
    usage = []
    for spend in sums:
        spend.cost_picousd += cost
        spend.retail_picousd += retail
        spend.events += events
        usage.append(spend.usage_nano)
    for dimension, nano in amount.usage_nano.items():
        for found in usage:
            found[dimension] = found.get(dimension, 0) + nano
