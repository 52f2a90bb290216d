"""The windows of every calendar and how long each is held in state.

A window is half-open: an instant belongs to `[start, end)`. All instants are milliseconds since 1970-01-01T00:00:00Z. A
calendar is named by its text, such as `month` or `month@Asia/Tokyo`: see `schemas/calendars.py`. Which kinds there are,
and how they are cut in UTC, is data in `schemas/vocabulary.py`; `zoned_windows.py` cuts all other calendars.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from tollgate.domain.zoned_windows import zoned_windows
from tollgate.schemas.instants import from_ms, to_ms
from tollgate.schemas.vocabulary import BASE_WINDOWS, CUTS, DAY_MS, HOUR_MS, SLOT_MS, Cut, WindowKind

__all__ = [
    "CLOCK_AHEAD_MS_MAX", "DAY_MS", "HOUR_MS", "LIFETIME", "LIFETIME_END_MS", "Horizon", "WindowKey", "Windows",
    "day_start", "held_from", "hour_start", "month_start", "months_later", "slot_start", "window_end", "window_start",
    "windows_at",
]  # fmt: skip

WindowKey = tuple[str, int]
"""A window: the text of its calendar and its start. The text of a kind in UTC is the `WindowKind` itself."""

Windows = tuple[WindowKey, ...]
"""The windows that an amount counts in: for a base scope lifetime first, then in the order of `BASE_WINDOWS`; then the
windows of other calendars, in alphabetical order.
"""

LIFETIME: Final[WindowKey] = (WindowKind.LIFETIME, 0)

# A broker's clock may run ahead of the worker's by this much. A clock that jumps further must not close the windows of
# today: events of today would then be late, and no budget would see them.
CLOCK_AHEAD_MS_MAX: Final = HOUR_MS

# The lifetime window has no end; flags and rows give this instant, the last second RFC 3339 can write.
LIFETIME_END_MS: Final = to_ms(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))

# By text: a calendar in UTC is found by its kind's.
_CUTS: Final[Mapping[str, Cut]] = {kind.value: cut for kind, cut in CUTS.items()}
_LIFETIME: Final[str] = WindowKind.LIFETIME

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


@lru_cache(maxsize=4096)
def months_later(month_start_ms: int, months: int) -> int:
    """The start of the month `months` after (or, when negative, before) the month that starts at `month_start_ms`.

    Before 1970 it is 0, and after 9999 `LIFETIME_END_MS`.
    """
    start = from_ms(month_start_ms)
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    if not 1970 <= year <= 9999:
        return 0 if year < 1970 else LIFETIME_END_MS
    return to_ms(datetime(year, month + 1, 1, tzinfo=UTC))


def window_start(calendar: str, instant_ms: int) -> int:
    """Start of the calendar's window that contains the instant; 0 for lifetime. ValueError for no calendar's text."""
    cut = _CUTS.get(calendar)
    if cut is not None:
        if cut.length_ms is None:
            return month_start(instant_ms)
        return max(instant_ms - (instant_ms - cut.origin_ms) % cut.length_ms, 0)
    return 0 if calendar == _LIFETIME else zoned_windows(calendar).start(instant_ms)


def window_end(calendar: str, start_ms: int) -> int:
    """First instant after the window that starts at `start_ms`."""
    cut = _CUTS.get(calendar)
    if cut is not None:
        if cut.length_ms is None:
            return months_later(start_ms, 1)
        # The week that 1970 began in is shorter.
        return start_ms - (start_ms - cut.origin_ms) % cut.length_ms + cut.length_ms
    return LIFETIME_END_MS if calendar == _LIFETIME else zoned_windows(calendar).end(start_ms)


def held_from(calendar: str, clock_ms: int) -> int:
    """Start of the oldest window of the calendar that is held while a clock shows this instant; 0 for lifetime.

    A clock near 1970, which has seen no record yet, holds everything.
    """
    cut = _CUTS.get(calendar)
    if cut is not None:
        start = window_start(calendar, clock_ms)
        return months_later(start, -cut.held) if cut.length_ms is None else start - cut.held * cut.length_ms
    return 0 if calendar == _LIFETIME else zoned_windows(calendar).held_from(clock_ms)


def windows_at(instant_ms: int) -> Windows:
    """The base windows that contain the instant."""
    return (LIFETIME, *((kind, window_start(kind, instant_ms)) for kind in BASE_WINDOWS))


class Horizon:
    """Which windows are still held, as of a clock that only moves forward.

    The clock is the highest broker timestamp of a partition's records, so the same log gives the same answer on every
    replay and to `tollgate verify`. The machine's time is only its bound: see `bound`.

    `slack_ms` keeps windows longer than the promise; the second stage uses it, whose inputs come from partitions whose
    clocks differ. What is held, in every calendar, is the same for every clock in `[since_ms, next_ms)`. Every window
    holds what was spent at `punctual_from_ms` or later.
    """

    __slots__ = (
        "_as_of_ms",
        "_held_from",
        "_windows",
        "_windows_in",
        "_windows_with",
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
        # By slot and calendars.
        self._windows_in: dict[tuple[int, tuple[str, ...]], Windows] = {}
        self._windows_with: dict[tuple[int, tuple[str, ...]], Windows] = {}
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
        # Other calendars are looked at as of here: their own borders lie between `since_ms` and `next_ms`.
        self._as_of_ms = max(starts.values())
        self.since_ms = min(self._as_of_ms + self.slack_ms, self.clock_ms)
        self.next_ms = min(window_end(*window) for window in starts.items()) + self.slack_ms
        self._held_from: dict[str, int] = {kind: held_from(kind, now) for kind in BASE_WINDOWS}
        self.punctual_from_ms = max(self._held_from.values())
        self._windows.clear()
        self._windows_in.clear()
        self._windows_with.clear()

    def holds(self, calendar: str, start_ms: int) -> bool:
        """Whether an event may still be counted in the calendar's window that starts at `start_ms`."""
        oldest_ms = self._held_from.get(calendar)
        if oldest_ms is None:
            oldest_ms = self._held_from[calendar] = held_from(calendar, self._as_of_ms)
        return start_ms >= oldest_ms

    def windows_of(self, slot_start_ms: int) -> Windows:
        """The base windows that count what was spent in this slot: of a punctual one all, of an old one lifetime."""
        windows = self._windows.get(slot_start_ms)
        if windows is None:
            if len(self._windows) >= _SLOTS_MAX:
                self._windows.clear()
            windows = tuple(window for window in windows_at(slot_start_ms) if self.holds(*window))
            self._windows[slot_start_ms] = windows
        return windows

    def windows_in(self, slot_start_ms: int, calendars: tuple[str, ...]) -> Windows:
        """The windows of these calendars that count what was spent in this slot, in the calendars' order."""
        key = (slot_start_ms, calendars)
        windows = self._windows_in.get(key)
        if windows is None:
            if len(self._windows_in) >= _SLOTS_MAX:
                self._windows_in.clear()
            found = ((calendar, window_start(calendar, slot_start_ms)) for calendar in calendars)
            windows = self._windows_in[key] = tuple(window for window in found if self.holds(*window))
        return windows

    def windows_with(self, slot_start_ms: int, calendars: tuple[str, ...]) -> Windows:
        """The base windows and those of these calendars that count what was spent in this slot."""
        key = (slot_start_ms, calendars)
        windows = self._windows_with.get(key)
        if windows is None:
            if len(self._windows_with) >= _SLOTS_MAX:
                self._windows_with.clear()
            windows = self.windows_of(slot_start_ms) + self.windows_in(slot_start_ms, calendars)
            self._windows_with[key] = windows
        return windows
