"""`tollgate spend`: what a scope has spent in a window."""

import time
from typing import Any

from cyclopts import App

from tollgate.cli.budget_reading import read_book
from tollgate.cli.exits import AnswerIsNoError, UsageError
from tollgate.cli.options import AsJson, DataDir, examples
from tollgate.cli.output import print_json, print_line
from tollgate.cli.scope_names import checked_scope
from tollgate.cli.services import find_settings
from tollgate.cli.spend_reading import read_spend
from tollgate.domain.budgets import BASE_CALENDARS, window_json
from tollgate.domain.standings import BudgetStanding, standings
from tollgate.domain.windows import window_start
from tollgate.schemas.calendars import UTC_ZONE, WEEKDAYS, Calendar
from tollgate.schemas.event_time import parse_event_time
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import SpendRecord
from tollgate.schemas.scopes import is_combination
from tollgate.schemas.vocabulary import WindowKind

app = App(
    name="spend",
    help_epilogue=examples(
        "tollgate spend user/u-42",
        "tollgate spend global --window day --json",
        "tollgate spend agent/SEO --window hour --at 2026-11-21T10:30:00Z",
        "tollgate spend user/u-42+feature/video --timezone Asia/Tokyo",
    ),
)


@app.default
async def spend(
    scope: str,
    *,
    window: WindowKind = WindowKind.MONTH,
    timezone: str = UTC_ZONE,
    week_starts_on: str = WEEKDAYS[0],
    month_starts_on: int = 1,
    at: str | None = None,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show what SCOPE has spent in a window, and how much of its budgets. An unknown scope has spent 0.

    Combinations, weeks, and windows of other time zones or first days are counted where a budget or plan needs them.
    Exit 1 for those that none needs.

    Parameters
    ----------
    scope
        global, a dimension and a name: user/u-42, agent/SEO, campaign/holiday-2024; or two or three of these joined by
        +, in the order of the dimensions: user/u-42+model/gpt-4o.
    window
        hour, day, week, month or lifetime.
    timezone
        IANA zone in which days, weeks and months begin.
    week_starts_on
        First day of a week, in lower case.
    month_starts_on
        First day of a month, 1 to 31; where a month is shorter, its last day.
    at
        An instant within the window, RFC 3339. Default: now.
    """
    checked_scope(scope)
    try:
        calendar = Calendar(window, timezone, week_starts_on, month_starts_on).text
    except ValueError as error:
        raise UsageError(f"{error}.") from None
    at_ms = instant_or_now("--at", at)
    settings = find_settings(data_dir)
    found = await read_spend(settings, scope)
    start_ms = window_start(calendar, at_ms)
    record = found.get((calendar, format_instant(start_ms)))
    book = await read_book(settings)
    is_base = calendar in BASE_CALENDARS and not is_combination(scope)
    if record is None and not is_base and calendar not in book.calendars(scope):
        raise AnswerIsNoError(
            f"nobody counts {scope} by {calendar}, because no budget or plan needs it: set a budget on it, or ask the "
            "console, which adds it up from events (GET /api/v1/spend)."
        )
    here = [standing for standing in standings(scope, book, found, at_ms) if standing.budget.calendar == calendar]
    shown = window_json(calendar, start_ms)
    if json:
        print_json(_as_json(scope, shown, record, here))
        return
    zone = f" ({shown['timezone']})" if shown["timezone"] != UTC_ZONE else ""
    print_line(f"{scope}, {window.value} from {shown['start']} to {shown['end']}{zone}")
    print_line(f"spent   {record.spent_usd if record else '0'} USD")
    if record and record.reserved_usd != "0":
        print_line(f"holds   {record.reserved_usd} USD for open reservations")
    print_line(f"events  {record.events if record else 0:,}")
    for dimension, amount in sorted(record.usage.items()) if record else ():
        print_line(f"usage   {dimension} {amount}")
    for standing in here:
        print_line(f"budget  {standing.budget.id}: {standing.numbers}")


def instant_or_now(option: str, text: str | None) -> int:
    """Milliseconds of an instant given on the command line, or of this moment."""
    if text is None:
        return time.time_ns() // 1_000_000
    try:
        return parse_event_time(text)
    except ValueError as error:
        raise UsageError(f"{option} {error}.") from None


def _as_json(
    scope: str, window: dict[str, str], record: SpendRecord | None, budgets: list[BudgetStanding]
) -> dict[str, Any]:
    return {
        "scope": scope,
        "window": window,
        "spent_usd": record.spent_usd if record else "0",
        "retail_usd": record.retail_usd if record else "0",
        "usage": record.usage if record else {},
        "events": record.events if record else 0,
        "reserved_usd": record.reserved_usd if record else "0",
        "revenue_usd": record.revenue_usd if record else "0",
        "updated_at": record.updated_at if record else None,
        "budgets": [standing.as_json() for standing in budgets],
    }
