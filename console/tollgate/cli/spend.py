"""`tollgate spend`: what a scope has spent in a window."""

import time
from typing import Any

from cyclopts import App

from tollgate.cli.budgets import read_budgets
from tollgate.cli.exits import UsageError
from tollgate.cli.options import AsJson, DataDir, examples
from tollgate.cli.output import print_json, print_line
from tollgate.cli.scope_names import checked_scope
from tollgate.cli.services import find_settings
from tollgate.cli.spend_reading import read_spend
from tollgate.domain.standings import BudgetStanding, standings, window_record
from tollgate.schemas.event_time import parse_event_time
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import SpendRecord
from tollgate.schemas.vocabulary import WindowKind

app = App(
    name="spend",
    help_epilogue=examples(
        "tollgate spend user/u-42",
        "tollgate spend global --window day --json",
        "tollgate spend agent/SEO --window hour --at 2026-11-21T10:30:00Z",
    ),
)


@app.default
async def spend(
    scope: str,
    *,
    window: WindowKind = WindowKind.MONTH,
    at: str | None = None,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show what SCOPE has spent in a window, and how much of its budgets. An unknown scope has spent 0.

    Parameters
    ----------
    scope
        global, or a dimension and a name: user/u-42, agent/SEO, campaign/holiday-2024.
    window
        hour, day, week, month or lifetime, of the calendar in UTC.
    at
        An instant within the window, RFC 3339. Default: now.
    """
    checked_scope(scope)
    at_ms = instant_or_now("--at", at)
    settings = find_settings(data_dir)
    found = await read_spend(settings, scope)
    start_ms, end_ms, record = window_record(found, window, at_ms)
    budgets = list((await read_budgets(settings)).values())
    here = [standing for standing in standings(scope, budgets, found, at_ms) if standing.budget.window is window]
    if json:
        print_json(_as_json(scope, window, start_ms, end_ms, record, here))
        return
    print_line(f"{scope}, {window.value} from {format_instant(start_ms)} to {format_instant(end_ms)}")
    print_line(f"spent   {record.spent_usd if record else '0'} USD")
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
    scope: str,
    window: WindowKind,
    start_ms: int,
    end_ms: int,
    record: SpendRecord | None,
    budgets: list[BudgetStanding],
) -> dict[str, Any]:
    return {
        "scope": scope,
        "window": {
            "kind": window.value,
            "start": format_instant(start_ms),
            "end": format_instant(end_ms),
            "timezone": "UTC",
        },
        "spent_usd": record.spent_usd if record else "0",
        "retail_usd": record.retail_usd if record else "0",
        "usage": record.usage if record else {},
        "events": record.events if record else 0,
        "updated_at": record.updated_at if record else None,
        "budgets": [standing.as_json() for standing in budgets],
    }
