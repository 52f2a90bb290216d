"""What a scope has spent, window by window: the sums that flags and bills are made of.

Money is in 10⁻¹² USD, usage in 10⁻⁹ units, both as integers of any size; nothing is ever rounded here.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from tollgate.domain.windows import LIFETIME, Horizon, WindowKey, Windows
from tollgate.schemas.usage_limits import COMMON_DIMENSIONS
from tollgate.schemas.vocabulary import BASE_WINDOWS, WindowKind

_KINDS: Final = (WindowKind.LIFETIME, *BASE_WINDOWS)
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
"""The open windows of a scope as the state topic has them: the number of the transaction that wrote them, the sum of
lifetime, then start and sum of each kind of `BASE_WINDOWS`, in its order.
"""

unpack_open_row: Final[Callable[[bytes], OpenRow]] = msgspec.json.Decoder(list[int | Spend]).decode


class ScopeSpend:
    """All held windows of one scope.

    The newest window of each kind is *open*, and all of these share one state row; a window that a newer one has
    replaced is *closed* and has a row of its own, so that the row written with every batch stays small. Closed windows
    are kept packed: see `pack_spend`. A kind in which nothing was counted yet has an open window that starts in 1970.
    """

    __slots__ = ("_open", "_sums", "closed", "lifetime")

    def __init__(self, windows: Windows = ()) -> None:
        """A scope whose first amount counts in these windows; it has still to be added."""
        self._open: Windows = windows if len(windows) == len(_KINDS) else _NOTHING_YET
        self._sums: dict[str, Spend] = {kind: Spend() for kind in _KINDS}
        # Of lifetime there is one window, so it is always this one.
        self.lifetime: Spend = self._sums[WindowKind.LIFETIME]
        self.closed: dict[WindowKey, bytes] = {}

    def add(self, windows: Windows, amount: Spend) -> Sequence[WindowKey]:
        """Count an amount in these windows (see `Horizon.windows_of`); returns those that changed or closed.

        The result is `windows` itself when they are the open ones.
        """
        if windows == self._open:
            # The common case: an event of the present hour. Scopes that are busy at the same time share one tuple.
            self._open = windows
            _add_to_all(self._sums.values(), amount)
            return windows
        starts = dict(self._open)
        changed: list[WindowKey] = []
        for window in windows:
            kind, start = window
            changed.append(window)
            if start > starts[kind]:
                self._close((kind, starts[kind]), changed)
                starts[kind], self._sums[kind] = start, Spend()
            if start == starts[kind]:
                self._sums[kind].add(amount)
            else:
                self._add_to_closed(window, amount)
        self._open = tuple(starts.items())
        return changed

    def folded(self, amount: Spend) -> Spend:
        """The amount as this scope counts it: usage of dimensions that it has no room for is under `OTHER`.

        A dimension is counted under its own name if it is a common one, if lifetime has that name already, or if there
        is room for it. So a dimension never changes sides, and all windows of a scope have the same names.
        """
        names = self.lifetime.usage_nano
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
        """Lifetime and the newest window of each kind, which share a row."""
        return self._open

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
        row: OpenRow = [sequence, self.lifetime]
        for kind, start in self._open[1:]:
            row += (start, self._sums[kind])
        return row

    @classmethod
    def from_open_row(cls, row: OpenRow) -> "ScopeSpend":
        """The inverse of `open_row`; takes over the row's sums. The caller puts closed windows back into `closed`.

        The row may be of a release with fewer kinds of windows, or with more, which are left out.
        """
        self = cls.__new__(cls)
        starts, sums = (0, *row[2::2]), (row[1], *row[3::2])
        self._open = tuple(zip(_KINDS, starts, strict=False))
        self._sums = dict(zip(_KINDS, sums, strict=False))
        for kind in _KINDS[len(sums) :]:
            self._open += ((kind, 0),)
            self._sums[kind] = Spend()
        self.lifetime = row[1]
        self.closed = {}
        return self


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
