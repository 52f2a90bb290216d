"""Calendar windows in UTC and how long each is held in state.

A window is half-open: an instant belongs to `[start, end)`. All instants are milliseconds since 1970-01-01T00:00:00Z.
Which kinds there are, and how they are cut, is data: `schemas/vocabulary.py`.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from tollgate.schemas.instants import from_ms, to_ms
from tollgate.schemas.vocabulary import BASE_WINDOWS, DAY_MS, HOUR_MS, SLOT_MS, WindowKind

__all__ = [
    "CLOCK_AHEAD_MS_MAX", "DAY_MS", "HOUR_MS", "LIFETIME", "LIFETIME_END_MS", "Horizon", "WindowKey", "Windows",
    "day_start", "held_from", "hour_start", "month_start", "months_later", "slot_start", "window_end", "window_start",
    "windows_at",
]  # fmt: skip

WindowKey = tuple[WindowKind, int]
"""A window: its kind and its start."""

Windows = tuple[WindowKey, ...]
"""The windows that an amount counts in: lifetime first, then in the order of `BASE_WINDOWS`."""

LIFETIME: Final[WindowKey] = (WindowKind.LIFETIME, 0)

# A broker's clock may run ahead of the worker's by this much. A clock that jumps further must not close the windows of
# today: events of today would then be late, and no budget would see them.
CLOCK_AHEAD_MS_MAX: Final = HOUR_MS

# The lifetime window has no end; flags and rows give this instant, the last second RFC 3339 can write.
LIFETIME_END_MS: Final = to_ms(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))

# Slots whose windows a horizon remembers. A sender can invent as many times as there are slots since 1970.
_SLOTS_MAX: Final = 4096


def slot_start(instant_ms: int) -> int:
    """Start of the slot, the unit of time of a sum."""
    return instant_ms - instant_ms % SLOT_MS


def hour_start(instant_ms: int) -> int:
    """Start of the hour: 10:59:59.999 and 10:00:00.000 give 10:00."""
    return instant_ms - instant_ms % HOUR_MS


def day_start(instant_ms: int) -> int:
    """Start of the UTC day."""
    return instant_ms - instant_ms % DAY_MS


def month_start(instant_ms: int) -> int:
    """Start of the calendar month in UTC."""
    return _month_of_day(instant_ms // DAY_MS)


@lru_cache(maxsize=4096)
def _month_of_day(day: int) -> int:
    return to_ms(from_ms(day * DAY_MS).replace(day=1))


def months_later(month_start_ms: int, months: int) -> int:
    """The start of the month `months` after (or, when negative, before) the month that starts at `month_start_ms`.

    Before 1970 it is 0, and after 9999 `LIFETIME_END_MS`.
    """
    start = from_ms(month_start_ms)
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    if not 1970 <= year <= 9999:
        return 0 if year < 1970 else LIFETIME_END_MS
    return to_ms(datetime(year, month + 1, 1, tzinfo=UTC))


def window_start(kind: WindowKind, instant_ms: int) -> int:
    """Start of the window of this kind that contains the instant; 0 for lifetime."""
    cut = BASE_WINDOWS.get(kind)
    if cut is None:
        return 0
    if cut.length_ms is None:
        return month_start(instant_ms)
    return instant_ms - (instant_ms - cut.origin_ms) % cut.length_ms


def window_end(kind: WindowKind, start_ms: int) -> int:
    """First instant after the window that starts at `start_ms`."""
    cut = BASE_WINDOWS.get(kind)
    if cut is None:
        return LIFETIME_END_MS
    return months_later(start_ms, 1) if cut.length_ms is None else start_ms + cut.length_ms


def held_from(kind: WindowKind, clock_ms: int) -> int:
    """Start of the oldest window of this kind that is held while a clock shows this instant; 0 for lifetime.

    A clock near 1970, which has seen no record yet, holds everything.
    """
    cut = BASE_WINDOWS.get(kind)
    if cut is None:
        return 0
    start = window_start(kind, clock_ms)
    return months_later(start, -cut.held) if cut.length_ms is None else start - cut.held * cut.length_ms


def windows_at(instant_ms: int) -> Windows:
    """Every window that contains the instant."""
    return (LIFETIME, *((kind, window_start(kind, instant_ms)) for kind in BASE_WINDOWS))


class Horizon:
    """Which windows are still held, as of a clock that only moves forward.

    The clock is the highest broker timestamp of a partition's records, so the same log gives the same answer on every
    replay and to `tollgate verify`. The machine's time is only its bound: see `bound`.

    `slack_ms` keeps windows longer than the promise; the second stage uses it, whose inputs come from partitions whose
    clocks differ. What is held is the same for every clock in `[since_ms, next_ms)`. Every window holds what was spent
    at `punctual_from_ms` or later.
    """

    __slots__ = (
        "_held_from",
        "_windows",
        "clock_ms",
        "limit_ms",
        "next_ms",
        "punctual_from_ms",
        "since_ms",
        "slack_ms",
    )

    def __init__(self, clock_ms: int = 0, slack_ms: int = 0) -> None:
        self.slack_ms = slack_ms
        self.clock_ms = clock_ms
        self.limit_ms = LIFETIME_END_MS
        self._windows: dict[int, Windows] = {}
        self._set_limits()

    def bound(self, now_ms: int) -> None:
        """From now on the clock moves no further than an hour past the machine's time."""
        self.limit_ms = now_ms + CLOCK_AHEAD_MS_MAX

    def advance(self, instant_ms: int) -> None:
        """Move the clock forward to the instant, or to its bound; an earlier one changes nothing."""
        instant_ms = min(instant_ms, self.limit_ms)
        if instant_ms > self.clock_ms:
            self.clock_ms = instant_ms
            if instant_ms >= self.next_ms:
                self._set_limits()

    def _set_limits(self) -> None:
        now = max(self.clock_ms - self.slack_ms, 0)
        starts = {kind: window_start(kind, now) for kind in BASE_WINDOWS}
        self.since_ms = min(max(starts.values()) + self.slack_ms, self.clock_ms)
        self.next_ms = min(window_end(*window) for window in starts.items()) + self.slack_ms
        self._held_from = {kind: held_from(kind, now) for kind in BASE_WINDOWS}
        self.punctual_from_ms = max(self._held_from.values())
        self._windows.clear()

    def holds(self, kind: WindowKind, start_ms: int) -> bool:
        """Whether an event may still be counted in the window of this kind that starts at `start_ms`."""
        return kind not in self._held_from or start_ms >= self._held_from[kind]

    def windows_of(self, slot_start_ms: int) -> Windows:
        """The windows that count what was spent in this slot: of a punctual one all, of an old one lifetime alone."""
        windows = self._windows.get(slot_start_ms)
        if windows is None:
            if len(self._windows) >= _SLOTS_MAX:
                self._windows.clear()
            windows = tuple(window for window in windows_at(slot_start_ms) if self.holds(*window))
            self._windows[slot_start_ms] = windows
        return windows
