"""Ranges of time, and which of the worker's windows they are made of.

The worker counts late events in a window only while it holds that window; ClickHouse's `usage` has all of them. So what
is older than the worker surely holds is summed from `usage`, and the rest is the worker's own sums.
"""

import re
from dataclasses import dataclass
from datetime import date
from typing import Final

from tollgate.console.numbers.errors import BadQuestionError
from tollgate.domain import windows
from tollgate.domain.windows import HOUR_MS, month_start, window_end, window_start
from tollgate.schemas.event_time import EVENT_TIME_MS_MAX, parse_event_time
from tollgate.schemas.vocabulary import WindowKind

# Two machines' clocks may differ, and this process's may be behind the one that the worker counts by.
_CLOCKS_MS: Final = 2 * HOUR_MS
# Events may be a little ahead of the broker's time. After this there are none yet.
_AHEAD_MS: Final = HOUR_MS
# A series has at most so many windows: 62 days of hours, or four years of days.
WINDOWS_MAX: Final = 1500
# So many of the worker's windows are added up by their names; more are read from `usage`.
_COVER_MAX: Final = 100


_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def parse_moment(text: str) -> int:
    """Milliseconds of an instant, RFC 3339, or of a date's first instant in UTC. ValueError says what is wrong."""
    if not _DATE.fullmatch(text):
        return parse_event_time(text)
    try:
        date.fromisoformat(text)
    except ValueError:
        raise ValueError("is no date of the calendar") from None
    return parse_event_time(f"{text}T00:00:00Z")


@dataclass(frozen=True, slots=True)
class Range:
    """The half-open interval `[from_ms, to_ms)`. BadQuestionError unless it is one, within the years 1970 to 9999."""

    from_ms: int
    to_ms: int

    def __post_init__(self) -> None:
        if not 0 <= self.from_ms <= EVENT_TIME_MS_MAX or not 0 <= self.to_ms <= EVENT_TIME_MS_MAX + 1:
            raise BadQuestionError("from and to are in the years 1970 to 9999.")
        if self.from_ms >= self.to_ms:
            raise BadQuestionError("from is before to: the range includes its first instant and not its last.")

    @property
    def before(self) -> "Range":
        """The range of the same length that ends where this one begins, cut at 1970."""
        return Range(max(2 * self.from_ms - self.to_ms, 0), self.from_ms) if self.from_ms else self


def held_from(kind: WindowKind, now_ms: int) -> int:
    """Windows of this kind that start then or later count every event, however late it came."""
    return max(windows.held_from(kind, max(now_ms + _CLOCKS_MS, 0)), 0)


def is_aligned(kind: WindowKind, instant_ms: int) -> bool:
    """Whether a window of this kind starts at the instant."""
    return window_start(kind, instant_ms) == instant_ms


def starts(kind: WindowKind, within: Range) -> list[int]:
    """The starts of all windows that touch the range, in order. BadQuestionError when there are more than 1,500."""
    found = []
    at = window_start(kind, within.from_ms)
    while at < within.to_ms:
        found.append(at)
        if len(found) > WINDOWS_MAX:
            raise BadQuestionError(
                f"The range has more than {WINDOWS_MAX} windows of a {kind.value}: take longer ones."
            )
        at = window_end(kind, at)
    return found


def cover(within: Range, now_ms: int) -> list[tuple[WindowKind, int]] | None:
    """The fewest windows held by the worker that together are the range, as pairs of kind and start.

    None when there are none: an end within an hour, a part that is no longer held, or more than 100 windows. Where no
    event can be later than the range, its last window may reach beyond it: `[1 November, tomorrow)` is November.
    """
    end_ms = within.to_ms
    if end_ms >= now_ms + _AHEAD_MS:
        end_ms = max(window_end(WindowKind.MONTH, month_start(within.to_ms - 1)), end_ms)
    found: list[tuple[WindowKind, int]] = []
    at = within.from_ms
    while at < within.to_ms:
        for kind in (WindowKind.MONTH, WindowKind.DAY, WindowKind.HOUR):
            fits = is_aligned(kind, at) and at >= held_from(kind, now_ms) and window_end(kind, at) <= end_ms
            if fits:
                found.append((kind, at))
                at = window_end(kind, at)
                break
        else:
            return None
        if len(found) > _COVER_MAX:
            return None
    return found
