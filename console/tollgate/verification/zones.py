"""Calendar windows in a time zone: weeks, months anchored on a day, and days that are 23 or 25 hours long.

A calendar is written `month`, `week`, `month@Asia/Tokyo`, `week@UTC~sunday` or `month@Europe/Amsterdam~15`. Its windows
are found by looking at a clock of the zone, a quarter of an hour after the other, and not by arithmetic with offsets as
the ledger does it: so the two check each other.
"""

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tollgate.verification.calendar import (
    DAYS_HELD,
    EPOCH,
    FOREVER,
    HOURS_HELD,
    KINDS,
    MONTHS_HELD,
    end_of,
    instant,
    is_held,
    milliseconds,
    start_of,
)

# Weeks are kept for as long as the contract's two months and a little: this many before the present one.
WEEKS_HELD: Final = 10

_KINDS: Final = ("hour", "day", "week", "month", "lifetime")
_WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
# The offset of each zone in use is a multiple of it, so each window begins at one.
_SLOT: Final = timedelta(minutes=15)
# No zone is further from UTC than 14 hours; one went from one side of the date line to the other.
_FARTHEST: Final = timedelta(hours=26)


class Calendar(NamedTuple):
    """How windows are cut: `anchor` is the weekday (0 is Monday) or the day of the month on which they begin."""

    kind: str
    zone: str
    anchor: int


@lru_cache(maxsize=4_096)
def read_calendar(text: str) -> Calendar:
    """Take a calendar's text apart. ValueError for what is none."""
    rest, _, anchor = text.partition("~")
    kind, at, zone = rest.partition("@")
    if kind not in _KINDS or (at and (not zone or kind == "lifetime")) or ("~" in text and not (at and anchor)):
        raise ValueError(f"{text[:80]!r} is no calendar")
    day = 0 if kind == "week" else 1
    if anchor:
        if kind == "week" and anchor in _WEEKDAYS:
            day = _WEEKDAYS.index(anchor)
        elif kind == "month" and anchor.isascii() and anchor.isdigit() and 1 <= int(anchor) <= 31:
            day = int(anchor)
        else:
            raise ValueError(f"{text[:80]!r} is no calendar")
    calendar = Calendar(kind, zone or "UTC", day)
    if text != write_calendar(calendar):
        raise ValueError(f"{text[:80]!r} is written {write_calendar(calendar)}")
    _zone(calendar.zone)
    return calendar


def write_calendar(calendar: Calendar) -> str:
    """The only text of a calendar: `write_calendar(Calendar("week", "UTC", 6))` → `"week@UTC~sunday"`."""
    kind, zone, anchor = calendar
    usual = anchor == (0 if kind == "week" else 1)
    if kind == "lifetime" or (zone == "UTC" and usual):
        return kind
    return f"{kind}@{zone}" if usual else f"{kind}@{zone}~{_WEEKDAYS[anchor] if kind == 'week' else anchor}"


@lru_cache(maxsize=1_024)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError) as error:
        raise ValueError(f"{name[:80]!r} is no time zone") from error


def start_in(text: str, moment: datetime) -> datetime:
    """First instant of the window of this calendar that contains the moment. ValueError for no calendar."""
    return start_of(text, moment) if text in KINDS else zoned_start(text, moment)


def end_in(text: str, start: datetime) -> datetime:
    """First instant after the window of this calendar that starts then. ValueError for no calendar."""
    return end_of(text, start) if text in KINDS else zoned_end(text, start)


@lru_cache(maxsize=65_536)
def is_held_in(text: str, start: datetime, clock_ms: int) -> bool:
    """Whether the window of this calendar that starts then is still held while the clock is in the hour `clock_ms`."""
    if text in KINDS:
        return is_held(text, start, clock_ms)
    kind = read_calendar(text).kind
    return kind == "lifetime" or start >= _oldest_held(text, zoned_start(text, instant(clock_ms)))


@lru_cache(maxsize=65_536)
def start_ms_in(text: str, at_ms: int) -> int:
    """`start_in` in milliseconds."""
    return milliseconds(start_in(text, instant(at_ms)))


@lru_cache(maxsize=65_536)
def zoned_start(text: str, moment: datetime) -> datetime:
    """First instant of the calendar's window that contains the moment. ValueError when the text is no calendar."""
    calendar = read_calendar(text)
    if calendar.kind == "lifetime":
        return EPOCH
    if calendar.kind == "hour":
        return _hour_start(calendar.zone, _slot_of(moment))
    first = _first_day(calendar, moment.astimezone(_zone(calendar.zone)).date())
    start = _midnight(calendar.zone, first)
    # The clock may have been put back over midnight: then the day has begun although it is the evening before again.
    following = zoned_end(text, start)
    return following if following <= moment else start


@lru_cache(maxsize=65_536)
def zoned_end(text: str, start: datetime) -> datetime:
    """First instant after the calendar's window that starts then."""
    calendar = read_calendar(text)
    if calendar.kind == "lifetime":
        return FOREVER
    zone = calendar.zone
    if calendar.kind == "hour":
        end = start + _SLOT
        while _hour_start(zone, end) == start:
            end += _SLOT
        return end
    day = _first_day(calendar, start.astimezone(_zone(zone)).date())
    end = start
    while end <= start:
        day = _next_first_day(calendar, day)
        end = _midnight(zone, day)
    return end


@lru_cache(maxsize=4_096)
def _oldest_held(text: str, present: datetime) -> datetime:
    """The start of the oldest window that is held beside the present one, counted in dates where there are any."""
    calendar = read_calendar(text)
    if calendar.kind == "hour":
        return zoned_start(text, present - HOURS_HELD)
    first = _first_day(calendar, present.astimezone(_zone(calendar.zone)).date())
    for _ in range({"day": DAYS_HELD.days, "week": WEEKS_HELD, "month": MONTHS_HELD}[calendar.kind]):
        first = _first_day(calendar, first - timedelta(days=1))
    return _midnight(calendar.zone, first)


@lru_cache(maxsize=65_536)
def _hour_start(zone: str, slot: datetime) -> datetime:
    """The full hour by the zone's clock, or the instant since then at which the clock was set."""
    clock = _zone(zone)
    local = slot.astimezone(clock)
    while local.minute and (slot - _SLOT).astimezone(clock).utcoffset() == local.utcoffset():
        slot -= _SLOT
        local = slot.astimezone(clock)
    return slot


def _slot_of(moment: datetime) -> datetime:
    return moment - (moment - EPOCH) % _SLOT


def _first_day(calendar: Calendar, day: date) -> date:
    """The first day of the window that the day is in."""
    if calendar.kind == "day":
        return day
    if calendar.kind == "week":
        return day - timedelta(days=(day.weekday() - calendar.anchor) % 7)
    first = _anchored(day.year, day.month, calendar.anchor)
    if day >= first:
        return first
    before = day.replace(day=1) - timedelta(days=1)
    return _anchored(before.year, before.month, calendar.anchor)


def _next_first_day(calendar: Calendar, first: date) -> date:
    if calendar.kind in ("day", "week"):
        return first + timedelta(days=1 if calendar.kind == "day" else 7)
    following = first.replace(day=1) + timedelta(days=31)
    return _anchored(following.year, following.month, calendar.anchor)


def _anchored(year: int, month: int, day: int) -> date:
    """A day of a month, or the last one of a shorter month."""
    return date(year, month, min(day, monthrange(year, month)[1]))


@lru_cache(maxsize=65_536)
def _midnight(zone: str, day: date) -> datetime:
    """The first instant at which a clock of the zone shows this day or a later one: 00:00 where there is one."""
    clock = _zone(zone)
    moment = datetime(day.year, day.month, day.day, tzinfo=UTC) - _FARTHEST
    while moment.astimezone(clock).date() < day:
        moment += _SLOT
    return max(moment, EPOCH)
