"""The charts of the overview, from its data. What a description holds is both drawn and shown as a table."""

from decimal import Decimal
from typing import Any

from tollgate.console.amounts import exact
from tollgate.console.pages.overview_model import Dashboard, Point

CENT = Decimal("0.01")


def by_hour(hours: list[Point]) -> dict[str, Any]:
    """Today's cost by the hour."""
    return {
        "unit": "usd",
        "x_form": "minute",
        "x_name": "Hour from",
        "x": [point.start for point in hours],
        "series": [{"name": "Cost", "role": "bar", "colour": 1, "values": [point.cost_usd for point in hours]}],
    }


def by_day(data: Dashboard) -> dict[str, Any]:
    """Cost of the last 30 days, and what the days to come are thought to cost, with the range."""
    days, ahead = data.days or [], data.projected or []
    before, after = [None] * len(days), [None] * len(ahead)
    series: list[dict[str, Any]] = [
        {"name": "Cost", "role": "bar", "colour": 1, "values": [*(day.cost_usd for day in days), *after]},
        {"name": "Retail", "role": "line", "colour": 3, "values": [*(day.retail_usd for day in days), *after]},
    ]
    if ahead:
        series += [
            {"name": "Projected", "role": "dashed", "colour": 2, "values": [*before, *(day.cost_usd for day in ahead)]},
            {
                "name": "Projected, low",
                "role": "low",
                "colour": 2,
                "values": [*before, *(day.low_usd for day in ahead)],
            },
            {
                "name": "Projected, high",
                "role": "high",
                "colour": 2,
                "values": [*before, *(day.high_usd for day in ahead)],
            },
        ]
    starts = [*(day.start for day in days), *(day.start for day in ahead)]
    return {"unit": "usd", "x_form": "day", "x_name": "Day", "x": starts, "series": series}


def added_up(data: Dashboard) -> dict[str, Any] | None:
    """The month's cost added up day by day against the budget, to its projected end. None without a month's days."""
    if data.month is None or not data.days:
        return None
    this_month = [day for day in data.days if day.start >= data.month.window.start]
    ahead = data.projected or []
    total, so_far = Decimal(0), []
    for day in this_month:
        total += Decimal(day.cost_usd)
        so_far.append(exact(total))
    line, low, high = _to_the_end(data, total)
    gap: list[str | None] = [None] * (len(so_far) - 1)
    series: list[dict[str, Any]] = [
        {"name": "Cost so far", "role": "line", "colour": 1, "values": [*so_far, *([None] * len(ahead))]}
    ]
    if line and so_far:
        join = [so_far[-1]]
        series += [
            {"name": "Projected", "role": "dashed", "colour": 2, "values": [*gap, *join, *line]},
            {"name": "Projected, low", "role": "low", "colour": 2, "values": [*gap, *join, *low]},
            {"name": "Projected, high", "role": "high", "colour": 2, "values": [*gap, *join, *high]},
        ]
    starts = [*(day.start for day in this_month), *(day.start for day in ahead)]
    if data.budget is not None:
        series.append({"name": "Budget", "role": "limit", "colour": 5, "values": [data.budget.limit] * len(starts)})
    return {"unit": "usd", "x_form": "day", "x_name": "To the end of", "x": starts, "series": series, "area": True}


def _to_the_end(data: Dashboard, total: Decimal) -> tuple[list[str], list[str], list[str]]:
    """The projected sums of the days to come. Their range widens with the root of the time, to the month's end."""
    ahead, end = data.projected or [], data.projection
    if not ahead or end is None:
        return [], [], []
    line: list[str] = []
    low: list[str] = []
    high: list[str] = []
    whole = sum((Decimal(day.cost_usd) for day in ahead), Decimal(0)) or Decimal(1)
    rest, below, above = (
        Decimal(end.usd) - total,
        Decimal(end.usd) - Decimal(end.low_usd),
        Decimal(end.high_usd) - Decimal(end.usd),
    )
    added = Decimal(0)
    for number, day in enumerate(ahead, 1):
        added += Decimal(day.cost_usd)
        middle = total + rest * added / whole
        width = (Decimal(number) / len(ahead)).sqrt()
        for found, value in ((line, middle), (low, middle - below * width), (high, middle + above * width)):
            found.append(exact(value.quantize(CENT)))
    return line, low, high
