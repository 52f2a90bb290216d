"""Windows of calendars other than those of UTC: days, weeks and months as the clocks of a time zone show them.

A window begins at the first instant of its first date in the zone: at midnight, or where clocks skip midnight, at the
instant at which they skip it. A date that clocks skip has no window. Hours are those of the clock on the wall; an hour
that is there twice is two windows, and where clocks are set by half an hour, one window has half an hour.

All instants are milliseconds since 1970-01-01T00:00:00Z; borders are whole slots (the offsets of all zones have been
since 1980), no window begins before 1970, and instants of the last two months of 9999 belong to the window before.
"""

from calendar import monthrange
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from tollgate.schemas.calendars import WEEKDAYS, Calendar, parse_calendar
from tollgate.schemas.instants import from_ms, to_ms
from tollgate.schemas.vocabulary import CUTS, HOUR_MS, SLOT_MS, WindowKind

# Dates past this are not looked at: the next window would begin in the year 10000.
_DATES_END_MS: Final = to_ms(datetime(9999, 10, 31, tzinfo=UTC))

# The same few slots and dates are asked for with every batch; a sender can invent as many as there are since 1970.
_KEPT: Final = 4096

_Step = Callable[[date], date]


class ZonedWindows:
    """The windows of one calendar of hours, days, weeks or months."""

    def __init__(self, calendar: Calendar) -> None:
        self._zone = ZoneInfo(calendar.timezone)
        self._kind = calendar.kind
        self._held = CUTS[calendar.kind].held
        self._first_date, self._next_date = _steps(calendar)
        self._start_of_slot = lru_cache(maxsize=_KEPT)(
            self._start_of_hour if calendar.kind is WindowKind.HOUR else self._start_of_dates
        )
        self._border = lru_cache(maxsize=_KEPT)(self._first_instant)

    def start(self, instant_ms: int) -> int:
        """Start of the window that contains the instant."""
        return self._start_of_slot(instant_ms - instant_ms % SLOT_MS)

    def end(self, start_ms: int) -> int:
        """First instant after the window that starts at `start_ms`."""
        if self._kind is WindowKind.HOUR:
            slots = range(start_ms + SLOT_MS, start_ms + HOUR_MS, SLOT_MS)
            return next((slot for slot in slots if self.start(slot) != start_ms), start_ms + HOUR_MS)
        first = self._first_date(self._date(start_ms))
        # Twice where the clocks skip all dates of a window.
        while (end_ms := self._border(first)) <= start_ms:
            first = self._next_date(first)
        return end_ms

    def held_from(self, clock_ms: int) -> int:
        """Start of the oldest window that is held while a clock shows this instant."""
        start_ms = self.start(clock_ms)
        if self._kind is WindowKind.HOUR:
            return self.start(max(start_ms - self._held * HOUR_MS, 0))
        first = self._first_date(self._date(start_ms))
        for _ in range(self._held):
            first = self._first_date(first - timedelta(days=1))
        return self._border(first)

    def _start_of_hour(self, slot_ms: int) -> int:
        """The clock's full hour before, or the instant since then at which the clock was set."""
        offset_ms = self._offset_ms(slot_ms)
        start_ms = slot_ms - (slot_ms + offset_ms) % HOUR_MS
        while self._offset_ms(start_ms) != offset_ms:
            start_ms += SLOT_MS
        return max(start_ms, 0)

    def _offset_ms(self, instant_ms: int) -> int:
        offset = from_ms(min(instant_ms, _DATES_END_MS)).astimezone(self._zone).utcoffset()
        assert offset is not None, "a zone has an offset at every instant"
        return offset // timedelta(milliseconds=1)

    def _start_of_dates(self, slot_ms: int) -> int:
        """The border before, whatever date the clock shows: set back just after midnight it shows a date again."""
        first = self._first_date(self._date(slot_ms))
        after_ms = self._border(self._next_date(first))
        return after_ms if after_ms <= slot_ms else self._border(first)

    def _date(self, instant_ms: int) -> date:
        return from_ms(min(instant_ms, _DATES_END_MS)).astimezone(self._zone).date()

    def _first_instant(self, day: date) -> int:
        """The first instant at which a clock of the zone shows this date or a later one, on a slot; 0 before 1970."""
        if day.year < 1970:
            return 0
        # The first of two midnights. Where clocks skip it, the instant of the skip: since 1980 each began at midnight.
        midnight_ms = to_ms(datetime(day.year, day.month, day.day, tzinfo=self._zone))
        return max(-(-midnight_ms // SLOT_MS) * SLOT_MS, 0)


def _steps(calendar: Calendar) -> tuple[_Step, _Step]:
    """The first date of the window that has a date, and the first date of the window after the one that has it."""
    if calendar.kind is WindowKind.MONTH:
        anchor = calendar.month_starts_on

        def first_of(month: int) -> date:
            year, index = divmod(month, 12)
            return date(year, index + 1, min(anchor, monthrange(year, index + 1)[1]))

        def first(day: date) -> date:
            month = day.year * 12 + day.month - 1
            return first_of(month if day >= first_of(month) else month - 1)

        def following(day: date) -> date:
            began = first(day)
            return first_of(began.year * 12 + began.month)

        return first, following
    if calendar.kind is WindowKind.WEEK:
        weekday = WEEKDAYS.index(calendar.week_starts_on)
        return (
            lambda day: day - timedelta(days=(day.weekday() - weekday) % 7),
            lambda day: day + timedelta(days=7 - (day.weekday() - weekday) % 7),
        )
    return lambda day: day, lambda day: day + timedelta(days=1)


@lru_cache(maxsize=1024)
def zoned_windows(text: str) -> ZonedWindows:
    """The windows of the calendar with this text. ValueError when it is no calendar's."""
    return ZonedWindows(parse_calendar(text))
