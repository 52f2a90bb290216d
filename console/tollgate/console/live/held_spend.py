"""The spend of `global`, of shared scopes and of their combinations in the windows that people look at."""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from tollgate.console.live.ignored import Ignored
from tollgate.domain.budgets import BASE_CALENDARS
from tollgate.domain.windows import DAY_MS, HOUR_MS, day_start, hour_start, month_start, months_later, window_start
from tollgate.schemas.calendars import Calendar, parse_calendar
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import SpendRecord
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.scopes import GLOBAL_SCOPE, is_combination
from tollgate.schemas.topics import Topic


class WindowSum(msgspec.Struct, gc=False):
    """Of a sum what budgets limit. It is read ten times as fast as the whole record."""

    spent_usd: str
    events: int
    usage: dict[str, str] = {}


_read_sum: Final = msgspec.json.Decoder(WindowSum).decode
_NOTHING: Final = WindowSum("0", 0)

SCOPES_MAX: Final = 20_000
"""With seven windows of some 600 bytes each these take 100 MB."""

_USER_PREFIX: Final = b"user/"


class HeldSpend:
    """By scope, calendar and start the record that was last written. `now_ms` decides which windows are kept.

    The base sums of single names are always counted, so that a missing one is 0. In other calendars, and of
    combinations, the worker counts what budgets need: of these only the sums that are there are known.
    """

    def __init__(self, ignored: Ignored, now_ms: int) -> None:
        self._windows: dict[str, dict[tuple[str, str], bytes]] = {}
        self._ignored = ignored
        self.left_out = 0
        """How many records were left out because there are too many scopes."""
        self._set_oldest(now_ms)

    def _set_oldest(self, now_ms: int) -> None:
        """Instants as text, whose order is that of the instants."""
        hour, day = hour_start(now_ms), day_start(now_ms)
        self._next_hour_ms = hour + HOUR_MS
        self._now_ms = now_ms
        self._oldest_hour_of_company = format_instant(min(day, hour - HOUR_MS))
        self._oldest: dict[str, str] = {
            "hour": format_instant(hour - HOUR_MS),
            "day": format_instant(day - DAY_MS),
            "month": format_instant(months_later(month_start(now_ms), -1)),
            "lifetime": "",
        }

    def _is_kept(self, scope: str, calendar: str, start: str) -> bool:
        """ValueError for no calendar."""
        oldest = self._oldest.get(calendar)
        if oldest is None:
            # Of every other calendar this window and the one before it, as of base windows.
            this = window_start(calendar, self._now_ms)
            oldest = self._oldest[calendar] = format_instant(window_start(calendar, max(this - 1, 0)))
        if calendar == "hour" and scope == GLOBAL_SCOPE:
            oldest = self._oldest_hour_of_company
        return start >= oldest

    def advance(self, now_ms: int) -> None:
        """Drop windows that are no longer kept. To be called at least once an hour."""
        if now_ms < self._next_hour_ms:
            return
        self._set_oldest(now_ms)
        for scope, windows in list(self._windows.items()):
            for window in [window for window in windows if not self._is_kept(scope, *window)]:
                del windows[window]
            if not windows:
                del self._windows[scope]

    def take(self, key: bytes, value: bytes | None) -> tuple[str, str, str] | None:
        """Take in a record. Scope, calendar and start when something changed."""
        if key.startswith(_USER_PREFIX):
            return None
        try:
            # A scope's name may hold a bar itself.
            scope, text, start = key.decode().rsplit("|", 2)
            calendar = parse_calendar(text)
            is_kept = self._is_kept(scope, text, start)
        except ValueError:
            self._ignored.note(Topic.SPEND, "the key is no window")
            return None
        if not is_kept:
            return None
        windows = self._windows.get(scope)
        if value is None:
            if windows is None or windows.pop((text, start), None) is None:
                return None
            return scope, text, start
        try:
            record = read_record(SpendRecord.model_validate_json, value)
            read_record(_read_sum, value)
        except UnreadableError as error:
            self._ignored.note(Topic.SPEND, str(error))
            return None
        if not _is_of(record, scope, calendar, start):
            self._ignored.note(Topic.SPEND, "the key is not that of the window")
            return None
        if windows is None:
            if len(self._windows) >= SCOPES_MAX and scope != GLOBAL_SCOPE:
                self.left_out += 1
                return None
            windows = self._windows[scope] = {}
        windows[text, start] = value
        return scope, text, start

    def forget(self) -> None:
        """Forget everything."""
        self._windows.clear()
        self.left_out = 0

    def get(self, scope: str, calendar: str, start_ms: int) -> SpendRecord | None:
        """The sum of a scope in a window; None when nothing was spent in it, or it is not kept."""
        return self.by_key(scope, calendar, format_instant(start_ms))

    def by_key(self, scope: str, calendar: str, start: str) -> SpendRecord | None:
        """As `get`, with the window as it is written in the topic."""
        value = self._windows.get(scope, {}).get((calendar, start))
        return None if value is None else SpendRecord.model_validate_json(value)

    def sum(self, scope: str, calendar: str, start: str) -> WindowSum | None:
        """What a scope has spent in a window, named as in the topic, be it nothing; None when it is not known."""
        value = self._windows.get(scope, {}).get((calendar, start))
        if value is not None:
            return _read_sum(value)
        return _NOTHING if self._has_all(scope, calendar, start) else None

    def windows(self, scope: str) -> Iterator[SpendRecord]:
        """Every base sum of the scope that is kept, in no order."""
        for (calendar, _), value in self._windows.get(scope, {}).items():
            if calendar in BASE_CALENDARS:
                yield SpendRecord.model_validate_json(value)

    def keeps(self, scope: str) -> bool:
        """Whether a missing sum of this scope means that nothing was spent."""
        if scope.startswith("user/") or is_combination(scope):
            return False
        return not self.left_out or scope in self._windows

    def _has_all(self, scope: str, calendar: str, start: str) -> bool:
        return calendar in BASE_CALENDARS and self.keeps(scope) and self._is_kept(scope, calendar, start)

    def holds(self, scope: str, calendar: str, start_ms: int) -> bool:
        """Whether the sum of this scope and window is known, be it nothing."""
        start = format_instant(start_ms)
        return (calendar, start) in self._windows.get(scope, ()) or self._has_all(scope, calendar, start)

    def scopes(self) -> Iterable[str]:
        """Every scope that is kept, in no order; combinations are among them."""
        return self._windows


def _is_of(record: SpendRecord, scope: str, calendar: Calendar, start: str) -> bool:
    """Whether a record is of this scope and window, as far as it says so: the first day of its weeks or months is in
    the key alone.
    """
    window = record.window
    return (record.scope, window.kind, window.timezone, window.start) == (
        scope,
        calendar.kind,
        calendar.timezone,
        start,
    )
