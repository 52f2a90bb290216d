"""`tollgate forecast`: where a scope's spend will be at the end of its window."""

import time

from cyclopts import App

from tollgate.cli.asking_numbers import numbers_of
from tollgate.cli.budget_reading import read_book
from tollgate.cli.options import AsJson, DataDir, examples
from tollgate.cli.output import print_json, print_line
from tollgate.cli.scope_names import checked_scope
from tollgate.cli.services import find_settings
from tollgate.console.numbers import EVERYTHING
from tollgate.console.numbers.projections import as_json
from tollgate.schemas.vocabulary import WindowKind

app = App(
    name="forecast",
    help_epilogue=examples(
        "tollgate forecast global", "tollgate forecast user/u-42 --json", "tollgate forecast service/chat --window day"
    ),
)


@app.default
async def forecast(
    scope: str, *, window: WindowKind = WindowKind.MONTH, json: AsJson = False, data_dir: DataDir = None
) -> None:
    """Show where SCOPE's spend will be at the end of its window, with a range, and when it reaches its limit.

    From seven complete days on each day is expected to be as its weekday was; before that spend goes on at the pace
    seen so far, and the answer says so.

    Parameters
    ----------
    scope
        global, or a dimension and a name: user/u-42, agent/SEO, campaign/holiday-2024.
    window
        hour, day, week, month or lifetime, of the calendar in UTC.
    """
    checked_scope(scope)
    settings, now_ms = find_settings(data_dir), time.time_ns() // 1_000_000
    book = await read_book(settings)
    limits = [b.limit for b in book.in_force(scope, now_ms) if b.calendar == window and b.unit == "usd"]
    limit = min(limits, default=None)
    async with numbers_of(settings) as numbers:
        found = await numbers.forecast(EVERYTHING, scope, window, now_ms, limit_picousd=limit)
    shown = as_json(found, scope, window, now_ms, limit)
    if json:
        print_json(shown)
        return
    print_line(f"{scope}, {window.value} to {shown['window']['end']}")
    print_line(f"spent      {shown['spent_usd']} USD")
    if shown["projected_usd"] is not None:
        print_line(f"projected  {shown['projected_usd']} USD, from {shown['low_usd']} to {shown['high_usd']}")
    print_line(f"next 24 h  {shown['next_24_hours_usd']} USD")
    if limit is not None:
        when = f"reached at {shown['limit_reached_at']}" if shown["limit_reached_at"] else "not reached at this pace"
        print_line(f"limit      {shown['limit_usd']} USD, {when}")
    print_line(f"how        {shown['note']}")
