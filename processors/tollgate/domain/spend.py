"""What a scope has spent, window by window: the sums that flags and bills are made of.

Money is in 10⁻¹² USD, usage in 10⁻⁹ units, both as integers of any size; nothing is ever rounded here.
"""

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from tollgate.domain.windows import Horizon, day_start, month_start
from tollgate.schemas.outputs import WindowKind
from tollgate.schemas.usage_limits import COMMON_DIMENSIONS

WindowKey = tuple[WindowKind, int]

LIFETIME: Final[WindowKey] = (WindowKind.LIFETIME, 0)

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


class OpenRow(msgspec.Struct, array_like=True, gc=False):
    """The open windows of a scope as the state topic has them, with the transaction that wrote them in front."""

    sequence: int
    lifetime: Spend
    hour_start: int
    hour: Spend
    day_start: int
    day: Spend
    month_start: int
    month: Spend


class ScopeSpend:
    """All held windows of one scope.

    The newest hour, day and month are *open* and share one state row; a window that a newer one has replaced is
    *closed* and has a row of its own, so that the row written with every batch stays small. Closed windows are kept
    packed: see `pack_spend`.
    """

    __slots__ = ("_open", "closed", "day", "day_start", "hour", "hour_start", "lifetime", "month", "month_start")

    def __init__(self, hour_start_ms: int) -> None:
        self.lifetime = Spend()
        self.hour_start = hour_start_ms
        self.hour = Spend()
        self.day_start = day_start(hour_start_ms)
        self.day = Spend()
        self.month_start = month_start(hour_start_ms)
        self.month = Spend()
        self.closed: dict[WindowKey, bytes] = {}
        self._open: list[WindowKey] | None = None

    def add(self, hour_start_ms: int, held_kinds: int, amount: Spend) -> list[WindowKey]:
        """Count `amount`, spent in that hour, in the windows that hold it; returns those that changed or closed.

        The result is the list of `open_windows` itself when just those changed.

        `held_kinds` is `Horizon.held_kinds` of the hour: 4 counts in all windows, 1 in lifetime alone.
        """
        if held_kinds == 4 and hour_start_ms == self.hour_start and self._is_newest(hour_start_ms):
            # The common case: an event of the current hour.
            self._add_to_open(amount)
            return self.open_windows()
        self.lifetime.add(amount)
        changed = [LIFETIME]
        if held_kinds >= 2:
            self._add_month(month_start(hour_start_ms), amount, changed)
        if held_kinds >= 3:
            self._add_day(day_start(hour_start_ms), amount, changed)
        if held_kinds >= 4:
            self._add_hour(hour_start_ms, amount, changed)
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

    def _add_to_open(self, amount: Spend) -> None:
        """`Spend.add` to all four open windows, in one walk over the usage."""
        cost, retail, events = amount.cost_picousd, amount.retail_picousd, amount.events
        usage = []
        for spend in (self.lifetime, self.hour, self.day, self.month):
            spend.cost_picousd += cost
            spend.retail_picousd += retail
            spend.events += events
            usage.append(spend.usage_nano)
        for dimension, nano in amount.usage_nano.items():
            for sums in usage:
                sums[dimension] = sums.get(dimension, 0) + nano

    def open_windows(self) -> list[WindowKey]:
        """Lifetime and the newest hour, day and month, which share a row. The list is kept: do not change it."""
        if self._open is None:
            self._open = [
                LIFETIME,
                (WindowKind.HOUR, self.hour_start),
                (WindowKind.DAY, self.day_start),
                (WindowKind.MONTH, self.month_start),
            ]
        return self._open

    def _is_newest(self, hour_start_ms: int) -> bool:
        """Whether the open day and month are the hour's own. They are newer when late events, counted by a partition
        whose clock is ahead, opened them without an hour.
        """
        return day_start(hour_start_ms) == self.day_start and month_start(hour_start_ms) == self.month_start

    def _add_hour(self, start: int, amount: Spend, changed: list[WindowKey]) -> None:
        changed.append((WindowKind.HOUR, start))
        if start > self.hour_start:
            self._close(WindowKind.HOUR, self.hour_start, self.hour, changed)
            self.hour_start, self.hour = start, Spend()
        if start == self.hour_start:
            self.hour.add(amount)
        else:
            self._add_to_closed((WindowKind.HOUR, start), amount)

    def _add_day(self, start: int, amount: Spend, changed: list[WindowKey]) -> None:
        changed.append((WindowKind.DAY, start))
        if start > self.day_start:
            self._close(WindowKind.DAY, self.day_start, self.day, changed)
            self.day_start, self.day = start, Spend()
        if start == self.day_start:
            self.day.add(amount)
        else:
            self._add_to_closed((WindowKind.DAY, start), amount)

    def _add_month(self, start: int, amount: Spend, changed: list[WindowKey]) -> None:
        changed.append((WindowKind.MONTH, start))
        if start > self.month_start:
            self._close(WindowKind.MONTH, self.month_start, self.month, changed)
            self.month_start, self.month = start, Spend()
        if start == self.month_start:
            self.month.add(amount)
        else:
            self._add_to_closed((WindowKind.MONTH, start), amount)

    def _close(self, kind: WindowKind, start: int, spend: Spend, changed: list[WindowKey]) -> None:
        self._open = None
        # A scope's very first window may close empty, when its first event was counted elsewhere: nothing to keep.
        if spend.events:
            self.closed[kind, start] = pack_spend(spend)
            changed.append((kind, start))

    def _add_to_closed(self, window: WindowKey, amount: Spend) -> None:
        packed = self.closed.get(window)
        spend = unpack_spend(packed) if packed is not None else Spend()
        spend.add(amount)
        self.closed[window] = pack_spend(spend)

    def window(self, kind: WindowKind, start_ms: int) -> Spend | None:
        """The sum of one window, to be read only; None when nothing was counted in it (or it is no longer held)."""
        if kind is WindowKind.LIFETIME:
            return self.lifetime
        if kind is WindowKind.HOUR and start_ms == self.hour_start:
            return self.hour
        if kind is WindowKind.DAY and start_ms == self.day_start:
            return self.day
        if kind is WindowKind.MONTH and start_ms == self.month_start:
            return self.month
        packed = self.closed.get((kind, start_ms))
        return unpack_spend(packed) if packed is not None else None

    def is_open(self, window: WindowKey) -> bool:
        """Whether the window is in the row of open windows; else it has its own row."""
        kind, start = window
        if kind is WindowKind.HOUR:
            return start == self.hour_start
        if kind is WindowKind.DAY:
            return start == self.day_start
        return kind is WindowKind.LIFETIME or start == self.month_start

    def evict(self, horizon: Horizon, is_needed: Callable[[WindowKey], bool] = lambda _: False) -> list[WindowKey]:
        """Forget closed windows that are neither held nor needed any more; returns them, so that their rows can go."""
        gone = [window for window in self.closed if not horizon.holds(*window) and not is_needed(window)]
        for window in gone:
            del self.closed[window]
        return gone

    def windows(self) -> Iterator[WindowKey]:
        """Every open window with events, and lifetime."""
        yield LIFETIME
        for kind, start, spend in (
            (WindowKind.HOUR, self.hour_start, self.hour),
            (WindowKind.DAY, self.day_start, self.day),
            (WindowKind.MONTH, self.month_start, self.month),
        ):
            if spend.events:
                yield kind, start

    def open_row(self, sequence: int = 0) -> OpenRow:
        """The open windows and lifetime for the state topic. They are shared with the row: encode it at once."""
        return OpenRow(
            sequence,
            self.lifetime,
            self.hour_start,
            self.hour,
            self.day_start,
            self.day,
            self.month_start,
            self.month,
        )

    @classmethod
    def from_open_row(cls, row: OpenRow) -> "ScopeSpend":
        """The inverse of `open_row`; takes over the row's sums. The caller puts closed windows back into `closed`."""
        self = cls.__new__(cls)
        self.lifetime = row.lifetime
        self.hour_start, self.hour = row.hour_start, row.hour
        self.day_start, self.day = row.day_start, row.day
        self.month_start, self.month = row.month_start, row.month
        self.closed = {}
        self._open = None
        return self
