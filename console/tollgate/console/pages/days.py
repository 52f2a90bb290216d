"""Ranges of days as people type them into a form: the first and the last day, both included, in UTC."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

from tollgate.console.numbers import Range
from tollgate.console.problems import Problem
from tollgate.domain.windows import DAY_MS
from tollgate.schemas.event_time import EVENT_TIME_MS_MAX
from tollgate.schemas.instants import to_ms

_END: Final = EVENT_TIME_MS_MAX + 1


class Days(NamedTuple):
    """What was typed, and the range it means; None: all of time."""

    first: str
    last: str
    range: Range | None


def days_of(first: str, last: str) -> Days:
    """The days of a form, whose fields may be empty. Raises Problem 422 for what is no date or no range."""
    if not first and not last:
        return Days("", "", None)
    begin = _day("the first day", first) if first else 0
    end = min(_day("the last day", last) + DAY_MS, _END) if last else _END
    if begin >= end:
        raise Problem(422, "invalid_request", "The first day is after the last one.")
    return Days(first, last, Range(begin, end))


def _day(name: str, text: str) -> int:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise Problem(422, "invalid_request", f"{name} is no date such as 2026-11-01.") from None
    if not 1970 <= day.year <= 9999:
        raise Problem(422, "invalid_request", f"{name} is in the years 1970 to 9999.")
    return to_ms(datetime(day.year, day.month, day.day, tzinfo=UTC))


def presets(now_ms: int) -> Mapping[str, tuple[str, str]]:
    """Ranges that people ask for, by name: the first and the last day."""
    today = datetime.fromtimestamp(now_ms / 1000, UTC).date()
    month = today.replace(day=1)
    before = month - timedelta(days=1)
    return {
        "This month": (month.isoformat(), today.isoformat()),
        "Last month": (before.replace(day=1).isoformat(), before.isoformat()),
        "Last 7 days": ((today - timedelta(days=6)).isoformat(), today.isoformat()),
        "Last 30 days": ((today - timedelta(days=29)).isoformat(), today.isoformat()),
        "This year": (today.replace(month=1, day=1).isoformat(), today.isoformat()),
    }
