"""Where a scope's spend will be at the end of a window, with a range, and when it reaches a limit. Pure.

All money is an integer of 10⁻¹² USD. Divisions round half up, so a figure is off by at most one unit for each day
ahead.

From seven complete days on, a day is expected to be as its weekday was: the level is the last seven days, the profile
the last whole weeks (four at most). Before that, spend goes on at the pace seen so far, and the answer says so. What is
expected is never below zero, because corrections do not repeat: a projection is never below what is spent.

The range is meant to hold the outcome four times in five. From seven days on it follows from how far such expectations
were off on the days that are known; before that it is from half to twice of what is expected.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isqrt
from typing import Final

from tollgate.domain.windows import DAY_MS, HOUR_MS, LIFETIME_END_MS, day_start

WEEK_DAYS: Final = 7
# Four weeks: long enough for a profile, short enough to forget last quarter's.
HISTORY_DAYS_MAX: Final = 28
# With less than an hour of history, one call would be taken for the pace of days; for an hour's end less is enough.
_SEEN_MS_MIN: Final = HOUR_MS
_SEEN_PER_AHEAD_MIN: Final = 10
# A limit further away than this is not reached "at the present pace".
_AHEAD_DAYS_MAX: Final = 366
# So many hundredths of a deviation on either side hold 80 %, by how many errors the deviation is made of, less one
# where they are from their own mean: Student's t at 0.90 for 1, 2, … degrees of freedom.
_HUNDREDTHS_OF_DEVIATION: Final = (308, 189, 164, 153, 148, 144, 142, 140, 138, 137, 136, 136, 135, 135, 134)
_HUNDREDTHS_OF_MANY: Final = 132


class Method(StrEnum):
    """How what is to come was estimated."""

    WEEKDAYS = "weekday_profile"
    RUN_RATE = "run_rate"
    NOTHING_KNOWN = "nothing_known"
    """Nothing was ever spent: the projection is what is spent."""


@dataclass(frozen=True, slots=True)
class History:
    """What is known of a scope. A day or hour within the history that is not in a mapping had nothing.

    `days_picousd` is by the start of the UTC day, today included; `hours_picousd` by the start of the hour, and may be
    of the last few days alone. `first_ms` is the start of the first day that counts as history: one on which something
    was spent. None: nothing was ever spent.
    """

    days_picousd: Mapping[int, int]
    hours_picousd: Mapping[int, int]
    first_ms: int | None

    @classmethod
    def of(cls, days_picousd: Mapping[int, int], hours_picousd: Mapping[int, int] | None = None) -> "History":
        """The history that begins with the first day that is not zero."""
        spent_on = [start for start, amount in days_picousd.items() if amount]
        return cls(days_picousd, hours_picousd or {}, min(spent_on) if spent_on else None)


@dataclass(frozen=True, slots=True)
class ExpectedDay:
    """What is expected of one day, or of the rest of today or of the last day's part; `low <= middle <= high`."""

    start_ms: int
    low_picousd: int
    middle_picousd: int
    high_picousd: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """`low <= projected <= high`, all at the window's end; `spent <= low` unless corrections made `spent` fall."""

    spent_picousd: int
    projected_picousd: int
    low_picousd: int
    high_picousd: int
    method: Method
    days_known: int
    """Complete days that the estimate is made of."""
    pace_picousd: int
    """Expected for the next 24 hours."""
    limit_reached_ms: int | None
    """When the limit is reached at the present pace, within the window; None when it is not, or there is no limit."""
    days: tuple[ExpectedDay, ...]
    """The rest of today, and each day up to the window's end."""


@dataclass(frozen=True, slots=True)
class _Expectation:
    """What each weekday is expected to have, Monday (0) to Sunday (6), and how far off a day usually is."""

    by_weekday: tuple[int, ...]
    margin_picousd: int
    """How far a day is off at most, four times in five."""
    method: Method
    days_known: int

    def of_day(self, start_ms: int) -> int:
        return self.by_weekday[weekday(start_ms)]


def weekday(day_start_ms: int) -> int:
    """0 for Monday. 1 January 1970 was a Thursday."""
    return (day_start_ms // DAY_MS + 3) % WEEK_DAYS


def forecast(
    history: History, spent_picousd: int, end_ms: int, now_ms: int, limit_picousd: int | None = None
) -> Forecast:
    """The forecast for a window of which `spent_picousd` is spent and that ends at `end_ms`, as of `now_ms`.

    A window that is over is what it is. A lifetime has no end: its projection is what is spent, and only the pace and
    the limit are forecast, a year ahead at most.
    """
    has_end = end_ms < LIFETIME_END_MS
    expectation = _expectation(history, now_ms, end_ms)
    ahead_ms = min(end_ms, day_start(now_ms) + _AHEAD_DAYS_MAX * DAY_MS)
    days = _expected_days(history, expectation, now_ms, ahead_ms)
    rest = sum(day.middle_picousd for day in days) if has_end else 0
    below, above = _spread(expectation, rest, max(end_ms - now_ms, 0)) if has_end else (0, 0)
    reached = None if limit_picousd is None else _reached(days, spent_picousd, limit_picousd, now_ms, ahead_ms)
    return Forecast(
        spent_picousd,
        spent_picousd + rest,
        spent_picousd + max(rest - below, 0),
        spent_picousd + rest + above,
        expectation.method,
        expectation.days_known,
        _pace(history, expectation, now_ms),
        reached,
        tuple(days) if has_end else (),
    )


def _expectation(history: History, now_ms: int, end_ms: int) -> _Expectation:
    today = day_start(now_ms)
    if history.first_ms is None or history.first_ms > now_ms:
        return _Expectation((0,) * WEEK_DAYS, 0, Method.NOTHING_KNOWN, 0)
    known = min((today - day_start(history.first_ms)) // DAY_MS, HISTORY_DAYS_MAX)
    days = [history.days_picousd.get(today - back * DAY_MS, 0) for back in range(known, 0, -1)]
    if known < WEEK_DAYS:
        # What is spent today counts as well, with the time that today has had.
        spent = sum(days) + history.days_picousd.get(today, 0)
        # In tenths of a millisecond: a rounded tenth of a short time ahead would make a longer one cost less.
        per_ms = _SEEN_PER_AHEAD_MIN
        seen = max((now_ms - history.first_ms) * per_ms, min(_SEEN_MS_MIN * per_ms, end_ms - now_ms), per_ms)
        pace = max(_divided(spent * DAY_MS * per_ms, seen), 0)
        return _Expectation((pace,) * WEEK_DAYS, 0, Method.RUN_RATE, known)
    first_weekday = weekday(today - known * DAY_MS)
    return _Expectation(tuple(_by_weekday(days, first_weekday)), _margin(days, first_weekday), Method.WEEKDAYS, known)


def _by_weekday(days: Sequence[int], first_weekday: int) -> list[int]:
    """What each weekday is expected to have after these days (seven at least), the first of which has that weekday."""
    weeks = len(days) // WEEK_DAYS
    recent = days[len(days) - weeks * WEEK_DAYS :]
    begin = (first_weekday + len(days) - len(recent)) % WEEK_DAYS
    level = sum(days[-WEEK_DAYS:])
    whole = sum(recent)
    expected = [0] * WEEK_DAYS
    for offset in range(WEEK_DAYS):
        share = sum(recent[offset::WEEK_DAYS])
        # Corrections may make a sum zero or less; then there is no profile, and every day is like another.
        amount = _divided(level * share, whole) if whole > 0 else _divided(level, WEEK_DAYS)
        expected[(begin + offset) % WEEK_DAYS] = max(amount, 0)
    return expected


def _margin(days: Sequence[int], first_weekday: int) -> int:
    """How far a day is from what was expected of it, four times in five: from the days that had seven before them; with
    just seven days, from these and their mean.
    """
    errors = []
    for number in range(WEEK_DAYS, len(days)):
        expected = _by_weekday(days[:number], first_weekday)
        errors.append(days[number] - expected[(first_weekday + number) % WEEK_DAYS])
    freedom = len(errors)
    if not errors:
        mean = _divided(sum(days), len(days))
        errors = [amount - mean for amount in days]
        freedom = len(errors) - 1
    deviation = isqrt(sum(error * error for error in errors) // freedom)
    known = len(_HUNDREDTHS_OF_DEVIATION)
    times = _HUNDREDTHS_OF_DEVIATION[freedom - 1] if freedom <= known else _HUNDREDTHS_OF_MANY
    return deviation * times // 100


def _expected_days(history: History, expectation: _Expectation, now_ms: int, end_ms: int) -> list[ExpectedDay]:
    found = []
    at = now_ms
    while at < end_ms:
        start = day_start(at)
        until = min(start + DAY_MS, end_ms)
        middle = _part_of_day(history, expectation, start, at, until)
        below, above = _spread(expectation, middle, until - at)
        found.append(ExpectedDay(start, max(middle - below, 0), middle, middle + above))
        at = until
    return found


def _part_of_day(history: History, expectation: _Expectation, start_ms: int, from_ms: int, to_ms: int) -> int:
    """What is expected of a part of the day that starts at `start_ms`."""
    whole = expectation.of_day(start_ms)
    if to_ms - from_ms == DAY_MS:
        return whole
    if expectation.method is Method.WEEKDAYS and (weights := _hour_weights(history, start_ms)) is not None:
        weight = 0
        for hour, amount in enumerate(weights):
            hour_ms = start_ms + hour * HOUR_MS
            weight += amount * max(min(to_ms, hour_ms + HOUR_MS) - max(from_ms, hour_ms), 0)
        return _divided(whole * weight, sum(weights) * HOUR_MS)
    return _divided(whole * (to_ms - from_ms), DAY_MS)


def _hour_weights(history: History, before_ms: int) -> list[int] | None:
    """What each hour of the day had on the three days before, as far as known; None when nothing is."""
    weights = [0] * 24
    for hour_ms, amount in history.hours_picousd.items():
        if before_ms - 3 * DAY_MS <= hour_ms < before_ms:
            weights[hour_ms % DAY_MS // HOUR_MS] += max(amount, 0)
    return weights if sum(weights) > 0 else None


def _spread(expectation: _Expectation, middle: int, ahead_ms: int) -> tuple[int, int]:
    """How far below and above the middle the range reaches for what comes within `ahead_ms`.

    Days are off by `margin` each, independently, so that n days are off by its √n-fold; and the level, the mean of
    seven days, is itself off by margin / √7, which all n days share. Together: margin * √(n + n²/7).
    """
    if expectation.method is not Method.WEEKDAYS:
        return _divided(middle, 2), middle
    days_square_ms = ahead_ms * DAY_MS + ahead_ms * ahead_ms // WEEK_DAYS
    amount = expectation.margin_picousd * isqrt(days_square_ms) // DAY_MS
    return amount, amount


def _pace(history: History, expectation: _Expectation, now_ms: int) -> int:
    return sum(day.middle_picousd for day in _expected_days(history, expectation, now_ms, now_ms + DAY_MS))


def _reached(days: Sequence[ExpectedDay], spent: int, limit: int, now_ms: int, end_ms: int) -> int | None:
    if spent >= limit:
        return now_ms
    for day in days:
        if spent + day.middle_picousd >= limit:
            begin = max(day.start_ms, now_ms)
            until = min(day.start_ms + DAY_MS, end_ms)
            # Rounded up to the millisecond: the limit is reached by then, not before.
            return begin - (spent - limit) * (until - begin) // day.middle_picousd
        spent += day.middle_picousd
    return None


def _divided(amount: int, by: int) -> int:
    """`amount / by`, rounded half up; `by` is positive."""
    return (2 * amount + by) // (2 * by)
