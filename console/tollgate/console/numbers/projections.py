"""Forecasts of a scope: what ClickHouse knows of its days and hours, given to `tollgate.domain.forecast`."""

import asyncio
from typing import TYPE_CHECKING, Any, Final

from tollgate.console.numbers.restriction import Restriction
from tollgate.console.numbers.sums import picousd
from tollgate.domain.forecast import HISTORY_DAYS_MAX, Forecast, History, Method, forecast
from tollgate.domain.windows import DAY_MS, LIFETIME_END_MS, day_start, window_end, window_start
from tollgate.schemas.amounts import format_usd
from tollgate.schemas.instants import format_instant
from tollgate.schemas.vocabulary import WindowKind

if TYPE_CHECKING:
    from tollgate.console.numbers.numbers import Numbers

# As many days as the first page shows, so that both are one question.
DAYS: Final = 30
assert DAYS >= HISTORY_DAYS_MAX
# Hours are for the profile of a day; the worker holds those of two days before today.
HOUR_DAYS: Final = 2

_NOTES: Final = {
    Method.WEEKDAYS: "Each day as its weekday was in the last {weeks}; the range holds the outcome four times in five.",
    Method.RUN_RATE: "At the pace seen so far: there are fewer than seven complete days yet. The range is wide.",
    Method.NOTHING_KNOWN: "Nothing was spent yet.",
}


async def project(
    numbers: "Numbers",
    restriction: Restriction,
    scope: str,
    kind: WindowKind,
    now_ms: int,
    *,
    spent_picousd: int | None = None,
    limit_picousd: int | None = None,
) -> Forecast:
    """The forecast for the scope's window of this kind at `now_ms`. `spent_picousd`: what the caller knows is spent in
    it, later than ClickHouse does.
    """
    today, start_ms = day_start(now_ms), window_start(kind, now_ms)
    end_ms = window_end(kind, start_ms)
    days, hours = await asyncio.gather(
        numbers.daily(restriction, max(today - DAYS * DAY_MS, 0), today + DAY_MS, scope),
        numbers.hourly(restriction, max(today - HOUR_DAYS * DAY_MS, 0), today + DAY_MS, scope),
    )
    if spent_picousd is None:
        window = await numbers.series(restriction, kind, start_ms, end_ms, scope)
        spent_picousd = picousd(window.items[0].cost_usd)
    history = History.of(
        {day.start_ms: picousd(day.cost_usd) for day in days.items},
        {hour.start_ms: picousd(hour.cost_usd) for hour in hours.items},
    )
    return forecast(history, spent_picousd, end_ms, now_ms, limit_picousd)


def note(found: Forecast) -> str:
    """How the projection was made and how sure it is, in one sentence."""
    weeks = found.days_known // 7
    return _NOTES[found.method].format(weeks="week" if weeks == 1 else f"{weeks} weeks")


def as_json(
    found: Forecast, scope: str, kind: WindowKind, now_ms: int, limit_picousd: int | None = None
) -> dict[str, Any]:
    """The forecast for programs: `tollgate forecast --json` and `GET /projections`. A lifetime has no projection."""
    start_ms = window_start(kind, now_ms)
    end_ms = window_end(kind, start_ms)
    has_end = end_ms < LIFETIME_END_MS
    reached = found.limit_reached_ms
    return {
        "scope": scope,
        "window": {
            "kind": kind.value,
            "start": format_instant(start_ms),
            "end": format_instant(end_ms),
            "timezone": "UTC",
        },
        "spent_usd": format_usd(found.spent_picousd),
        "projected_usd": format_usd(found.projected_picousd) if has_end else None,
        "low_usd": format_usd(found.low_picousd) if has_end else None,
        "high_usd": format_usd(found.high_picousd) if has_end else None,
        "method": found.method.value,
        "note": note(found),
        "days_known": found.days_known,
        "next_24_hours_usd": format_usd(found.pace_picousd),
        "limit_usd": None if limit_picousd is None else format_usd(limit_picousd),
        "limit_reached_at": None if reached is None else format_instant(reached),
        "days": [
            {
                "start": format_instant(day.start_ms),
                "cost_usd": format_usd(day.middle_picousd),
                "low_usd": format_usd(day.low_picousd),
                "high_usd": format_usd(day.high_picousd),
            }
            for day in found.days
        ],
        "as_of": format_instant(now_ms),
    }
