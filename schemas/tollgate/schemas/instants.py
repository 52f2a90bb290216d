"""Instants on the wire: RFC 3339 in UTC outside, integer milliseconds since 1970-01-01T00:00:00Z inside."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def to_ms(instant: datetime) -> int:
    """An aware datetime as whole milliseconds (rounded down) since the epoch. ValueError when it has no offset."""
    if instant.tzinfo is None:
        raise ValueError("the time has no offset")
    return (instant - _EPOCH) // _MS


def from_ms(instant_ms: int) -> datetime:
    """Milliseconds since the epoch as a datetime in UTC."""
    return _EPOCH + timedelta(milliseconds=instant_ms)


def parse_instant(text: str) -> int:
    """RFC 3339 text to milliseconds. ValueError when it is not an instant or has no offset."""
    return to_ms(datetime.fromisoformat(text))


# The records of a transaction have the same few instants: the moment of writing, and the ends of the present windows.
@lru_cache(maxsize=1024)
def format_instant(instant_ms: int) -> str:
    """Milliseconds to RFC 3339 in UTC: whole seconds as `2026-11-01T00:00:00Z`, others with three decimals."""
    text = from_ms(instant_ms).strftime("%Y-%m-%dT%H:%M:%S")
    ms = instant_ms % 1000
    return f"{text}.{ms:03d}Z" if ms else f"{text}Z"
