"""Calendar windows in UTC and how long each is held in state.

A window is half-open: an instant belongs to `[start, end)`. Hours, days and months nest, so a window of any kind is
found from the start of the hour. All instants are milliseconds since 1970-01-01T00:00:00Z.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from tollgate.schemas.instants import from_ms, to_ms
from tollgate.schemas.outputs import WindowKind

HOUR_MS: Final = 60 * 60 * 1000
DAY_MS: Final = 24 * HOUR_MS

# How long a worker keeps windows of each kind, which bounds its memory per scope. ClickHouse has older windows.
HOURS_HELD_MS: Final = 72 * HOUR_MS
DAYS_HELD_MS: Final = 62 * DAY_MS
MONTHS_HELD: Final = 25

# A broker's clock may run ahead of the worker's by this much. A clock that jumps further must not close the windows of
# today: events of today would then be late, and no budget would see them.
CLOCK_AHEAD_MS_MAX: Final = HOUR_MS

# The lifetime window has no end; flags and rows give this instant, the last second RFC 3339 can write.
LIFETIME_END_MS: Final = to_ms(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))


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
    """The start of the month `months` after (or, when negative, before) the month that starts at `month_start_ms`."""
    start = from_ms(month_start_ms)
    years, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    return to_ms(datetime(years, month + 1, 1, tzinfo=UTC))


def window_start(kind: WindowKind, instant_ms: int) -> int:
    """Start of the window of this kind that contains the instant; 0 for lifetime."""
    if kind is WindowKind.HOUR:
        return hour_start(instant_ms)
    if kind is WindowKind.DAY:
        return day_start(instant_ms)
    if kind is WindowKind.MONTH:
        return month_start(instant_ms)
    return 0


def window_end(kind: WindowKind, start_ms: int) -> int:
    """First instant after the window that starts at `start_ms`."""
    if kind is WindowKind.HOUR:
        return start_ms + HOUR_MS
    if kind is WindowKind.DAY:
        return start_ms + DAY_MS
    if kind is WindowKind.MONTH:
        return months_later(start_ms, 1)
    return LIFETIME_END_MS


class Horizon:
    """Which windows are still held, as of a clock that only moves forward.

    The clock is the highest broker timestamp of a partition's records, so the same log gives the same answer on every
    replay and to `tollgate verify`. The machine's time is only its bound: see `bound`.

    `slack_ms` keeps windows longer than the promise; the
    second stage uses it, whose inputs come from partitions whose clocks differ. The limits hold while the clock stays
    below `next_hour_ms`.
    """

    __slots__ = ("clock_ms", "days_from", "hours_from", "limit_ms", "months_from", "next_hour_ms", "slack_ms")

    def __init__(self, clock_ms: int = 0, slack_ms: int = 0) -> None:
        self.slack_ms = slack_ms
        self.clock_ms = clock_ms
        self.limit_ms = LIFETIME_END_MS
        self._set_limits()

    def bound(self, now_ms: int) -> None:
        """From now on the clock moves no further than an hour past the machine's time."""
        self.limit_ms = now_ms + CLOCK_AHEAD_MS_MAX

    def advance(self, instant_ms: int) -> None:
        """Move the clock forward to the instant, or to its bound; an earlier one changes nothing."""
        instant_ms = min(instant_ms, self.limit_ms)
        if instant_ms > self.clock_ms:
            self.clock_ms = instant_ms
            if instant_ms >= self.next_hour_ms:
                self._set_limits()

    def _set_limits(self) -> None:
        now = max(self.clock_ms - self.slack_ms, 0)
        self.next_hour_ms = hour_start(self.clock_ms) + HOUR_MS
        self.hours_from = hour_start(now) - HOURS_HELD_MS
        self.days_from = day_start(now) - DAYS_HELD_MS
        # A clock near 1970 (no record seen yet) holds everything.
        self.months_from = months_later(month_start(now), -MONTHS_HELD) if now > 900 * DAY_MS else 0

    def holds(self, kind: WindowKind, start_ms: int) -> bool:
        """Whether an event may still be counted in the window of this kind that starts at `start_ms`."""
        if kind is WindowKind.HOUR:
            return start_ms >= self.hours_from
        if kind is WindowKind.DAY:
            return start_ms >= self.days_from
        if kind is WindowKind.MONTH:
            return start_ms >= self.months_from
        return True

    def held_kinds(self, hour_start_ms: int) -> int:
        """How many of lifetime, month, day, hour (in this order) hold an event of that hour: 4 for a punctual one."""
        if hour_start_ms >= self.hours_from:
            return 4
        if day_start(hour_start_ms) >= self.days_from:
            return 3
        return 2 if month_start(hour_start_ms) >= self.months_from else 1
