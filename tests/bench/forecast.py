"""`python -m tests.bench.forecast [--trace CSV]`: how far forecasts were off, on data whose end is known.

The demo's usage of twelve months, priced by the shipped book: at noon of every day the month's end is forecast from
what was known then, beside the plain run rate of the month so far (spent, times the month's length, by the time gone).
And an hour of real requests, of which every minute forecasts the hour's end. One line of JSON per figure on stdout.
"""

import argparse
import csv
import statistics
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from tests.bench.scene import Result
from tests.bench.throughput import say

from tollgate.demo.history import events_of
from tollgate.domain.forecast import History, Method, forecast
from tollgate.domain.pricing import Pricer, load_price_book
from tollgate.domain.windows import DAY_MS, HOUR_MS, day_start, hour_start, month_start, months_later
from tollgate.schemas.instants import from_ms, to_ms
from tollgate.schemas.usage_codec import EventData

FIRST, MONTHS = date(2025, 11, 1), 13
# The first month is history alone.
NOON_MS = 12 * HOUR_MS
# $2.50 and $10 per million tokens, in 10⁻¹² USD a token.
TRACE_INPUT, TRACE_OUTPUT = 2_500_000, 10_000_000


@dataclass(frozen=True)
class Outcome:
    """One forecast beside what came."""

    method: Method
    day: int
    error: float
    run_rate_error: float
    held: bool


def hourly_costs() -> Counter[int]:
    """The demo's costs by the start of the hour."""
    pricer, costs = Pricer(load_price_book()), Counter[int]()
    day, end = FIRST, to_ms(datetime(FIRST.year, FIRST.month, 1, tzinfo=UTC))
    for _ in range(MONTHS):
        end = months_later(end, 1)
    while to_ms(datetime(day.year, day.month, day.day, tzinfo=UTC)) < end:
        for event in events_of(day):
            data = EventData(**{k: v for k, v in event.event["data"].items() if k in EventData.__struct_fields__})
            costs[hour_start(event.time_ms)] += pricer.price(data, event.time_ms).cost_picousd
        day += timedelta(days=1)
    return costs


def backtest(hours: Counter[int], history_days: int) -> list[Outcome]:
    """A forecast at every noon of every month but the first. `history_days` before it are known."""
    days = Counter[int]()
    for hour, cost in hours.items():
        days[day_start(hour)] += cost
    begin, end = month_start(min(days)), months_later(month_start(max(days)), 1)
    found = []
    for noon in range(months_later(begin, 1) + NOON_MS, end, DAY_MS):
        start = month_start(noon)
        stop = months_later(start, 1)
        known = {hour: cost for hour, cost in hours.items() if noon - history_days * DAY_MS <= hour < noon}
        by_day = Counter[int]()
        for hour, cost in known.items():
            by_day[day_start(hour)] += cost
        # A day that is only partly within the history would be taken for a quiet one.
        first = day_start(noon - history_days * DAY_MS)
        by_day.pop(first, None)
        spent = sum(cost for day, cost in days.items() if start <= day < day_start(noon)) + by_day[day_start(noon)]
        right = sum(cost for day, cost in days.items() if start <= day < stop)
        made = forecast(History.of(by_day, known), spent, stop, noon)
        rate = spent * (stop - start) / (noon - start)
        found.append(
            Outcome(
                made.method,
                from_ms(noon).day,
                abs(made.projected_picousd - right) / right,
                abs(rate - right) / right,
                made.low_picousd <= right <= made.high_picousd,
            )
        )
    return found


def of_trace(path: Path) -> list[Outcome]:
    """A forecast of an hour's end at every minute of the trace's hour."""
    costs = Counter[int]()
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            # Seven decimals, which Python does not read.
            at = to_ms(datetime.fromisoformat(row["TIMESTAMP"][:23]).replace(tzinfo=UTC))
            costs[at] += int(row["ContextTokens"]) * TRACE_INPUT + int(row["GeneratedTokens"]) * TRACE_OUTPUT
    begin, right = min(costs), sum(costs.values())
    found = []
    for minute in range(1, 60):
        now = begin + minute * 60_000
        spent = sum(cost for at, cost in costs.items() if at < now)
        # The trace begins within an hour of the clock; the forecast knows only that much of its day.
        shift = day_start(begin) + DAY_MS - begin
        made = forecast(
            History({day_start(now + shift): spent}, {}, begin + shift), spent, begin + shift + HOUR_MS, now + shift
        )
        rate = spent * HOUR_MS / (now - begin)
        found.append(
            Outcome(
                made.method,
                minute,
                abs(made.projected_picousd - right) / right,
                abs(rate - right) / right,
                made.low_picousd <= right <= made.high_picousd,
            )
        )
    return found


def result(name: str, outcomes: list[Outcome]) -> Result:
    """The mean error in percent of what came, beside the run rate's; how often the range held it."""
    ours = 100 * statistics.fmean(outcome.error for outcome in outcomes)
    theirs = 100 * statistics.fmean(outcome.run_rate_error for outcome in outcomes)
    held = round(100 * sum(outcome.held for outcome in outcomes) / len(outcomes))
    say(f"  {name}: off by {ours:.1f} %, run rate {theirs:.1f} %, in range {held} % of {len(outcomes)}")
    detail = {"in_range_percent": held, "forecasts": len(outcomes)}
    return Result(f"forecast: {name}", ours, "% off", "run rate", theirs, detail=detail)


def main() -> None:
    """The figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.forecast", description=__doc__)
    parser.add_argument("--trace", type=Path, help="CSV with TIMESTAMP, ContextTokens, GeneratedTokens")
    given = parser.parse_args()
    hours = hourly_costs()
    results = []
    for known, about in ((35, "28 days known"), (10, "9 days known")):
        outcomes = backtest(hours, known)
        for first, last in ((1, 5), (6, 15), (16, 25), (26, 31)):
            part = [outcome for outcome in outcomes if first <= outcome.day <= last]
            results.append(result(f"a month's end on days {first} to {last}, {about}", part))
    # Then the month so far is all that both know.
    early = [o for o in backtest(hours, 4) if o.method is Method.RUN_RATE and o.day in (3, 4)]
    results.append(result("a month's end, 3 days known", early))
    if given.trace:
        results.append(result("an hour's end from its own minutes, real requests", of_trace(given.trace)))
    for one in results:
        print(one.line())


if __name__ == "__main__":
    main()
