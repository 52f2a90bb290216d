"""Calendar windows in UTC by `datetime`, and which of them a partition still holds at its clock.

Written again, without the ledger's arithmetic, so that the two check each other.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

KINDS = ("hour", "day", "month", "lifetime")

# The contract's promise: hours for 72 h, days for 62 days, months for 25.
HOURS_HELD = timedelta(hours=72)
DAYS_HELD = timedelta(days=62)
MONTHS_HELD = 25

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
FOREVER: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def instant(ms: int) -> datetime:
    """Milliseconds since 1970 as a datetime in UTC."""
    return EPOCH + timedelta(milliseconds=ms)


def milliseconds(moment: datetime) -> int:
    """The inverse of `instant`."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def text(moment: datetime) -> str:
    """RFC 3339 in UTC as windows have it: `2026-11-01T00:00:00Z`."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(maxsize=65_536)
def text_at(ms: int) -> str:
    """`text` of an instant; windows start at few of them."""
    return text(instant(ms))


def start_of(kind: str, moment: datetime) -> datetime:
    """First instant of the window of this kind that contains the moment."""
    if kind == "lifetime":
        return EPOCH
    hour = moment.replace(minute=0, second=0, microsecond=0)
    if kind == "hour":
        return hour
    return hour.replace(hour=0) if kind == "day" else hour.replace(hour=0, day=1)


def end_of(kind: str, start: datetime) -> datetime:
    """First instant after the window that starts then."""
    if kind == "lifetime":
        return FOREVER
    if kind == "month":
        return (start + timedelta(days=31)).replace(day=1)
    return start + (timedelta(hours=1) if kind == "hour" else timedelta(days=1))


# The windows an event is counted in, the one that is held longest first.
NESTED: Final = ("lifetime", "month", "day", "hour")


@lru_cache(maxsize=65_536)
def held_kinds(hour_ms: int, clock_ms: int) -> int:
    """How many of `NESTED` an event of this hour is counted in while the partition's clock is in that hour."""
    moment = instant(hour_ms)
    return 1 + sum(is_held(kind, start_of(kind, moment), clock_ms) for kind in NESTED[1:])


def is_held(kind: str, start: datetime, clock_ms: int) -> bool:
    """Whether the window of this kind that starts then is still held while the clock is in the hour `clock_ms`."""
    now = instant(hour_of(clock_ms))
    if kind == "hour":
        return start >= now - HOURS_HELD
    if kind == "day":
        return start >= start_of("day", now) - DAYS_HELD
    return kind == "lifetime" or start >= _oldest_month(now.year, now.month)


@lru_cache(maxsize=64)
def _oldest_month(year: int, month: int) -> datetime:
    oldest = datetime(year, month, 1, tzinfo=UTC)
    for _ in range(MONTHS_HELD):
        oldest = (oldest - timedelta(days=1)).replace(day=1)
    return oldest


@lru_cache(maxsize=65_536)
def window_suffix(kind: str, hour_ms: int) -> str:
    """What follows the scope in the key of a spend record: `|month|2026-11-01T00:00:00Z`."""
    return f"|{kind}|{text(start_of(kind, instant(hour_ms)))}"


def hour_of(ms: int) -> int:
    """Start of the hour in milliseconds."""
    return ms - ms % 3_600_000
