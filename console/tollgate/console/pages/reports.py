"""The page of reports: a range of days, grouped by time and names; the whole of it is a download."""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from tollgate.console.access.callers import Caller, Role, allow
from tollgate.console.access.restriction import restriction_of
from tollgate.console.amounts import exact
from tollgate.console.api.asking import now_ms
from tollgate.console.numbers import ReportKey, ReportRow, ReportStart
from tollgate.console.pages.chart_parts import cost_and_retail, series
from tollgate.console.pages.days import Days, days_of, presets
from tollgate.console.pages.rendering import render
from tollgate.console.pages.told import Told, told
from tollgate.console.parts import TheParts
from tollgate.console.problems import Problem
from tollgate.console.room import Entry, Room
from tollgate.schemas.instants import format_instant

# A chart may take more rows than a table that somebody reads.
ROWS: Final = 1000
SHOWN: Final = 100
_TIMES: Final = {ReportKey.HOUR: "minute", ReportKey.DAY: "day", ReportKey.MONTH: "text"}
_NAMES: Final = tuple(key for key in ReportKey if key not in _TIMES and key is not ReportKey.EVENT)
# A stacked chart tells no more names apart, and a chart of names has room for no more.
_STACKED: Final = 6
_BARS: Final = 12

router = APIRouter()


@router.get("/reports")
async def page(
    request: Request,
    parts: TheParts,
    caller: Annotated[Caller, Depends(allow(Role.ANALYST))],
    first: Annotated[str, Query(max_length=10)] = "",
    last: Annotated[str, Query(max_length=10)] = "",
    by: Annotated[str, Query(max_length=32)] = "day",
    then: Annotated[str, Query(max_length=32)] = "",
) -> Response:
    """The report of these days; of this month without any."""
    known = presets(now_ms())
    if not first and not last:
        first, last = known["This month"]
    keys = _keys(by, then)
    days = days_of(first, last)
    assert days.range is not None, "one of the days is given"
    found = await told(
        parts.numbers.report_start(restriction_of(caller), keys, days.range.from_ms, days.range.to_ms, ROWS)
    )
    return show(request, caller, found, keys, days, known)


def show(
    request: Request,
    caller: Caller,
    found: Told[ReportStart],
    keys: Sequence[ReportKey],
    days: Days,
    known: Any,
) -> Response:
    """The page of a report."""
    assert days.range is not None
    names = [key.value for key in keys]
    asked = {"by": names[0], "then": names[1] if len(names) > 1 else ""}
    ends = {"from": format_instant(days.range.from_ms), "to": format_instant(days.range.to_ms)}
    return render(
        request,
        caller,
        "reports.html",
        found=found,
        shown=SHOWN,
        keys=names,
        forms=[_TIMES.get(key, "") for key in keys],
        days=days,
        by=[(key.value, key.value.replace("_", " ").capitalize()) for key in (*_TIMES, *_NAMES)],
        then=[("", "Nothing else"), *((key.value, key.value.replace("_", " ").capitalize()) for key in _NAMES)],
        chart=chart_of(found.value, keys) if found.value is not None else None,
        presets=[
            (name, f"/reports?{urlencode({'first': one, 'last': other, **asked})}", (one, other) == days[:2])
            for name, (one, other) in known.items()
        ],
        downloads={
            form: f"/api/v1/reports/export?{urlencode({**ends, 'by': ','.join(names), 'format': form})}"
            for form in ("csv", "json")
        },
        events={
            form: f"/api/v1/reports/export?{urlencode({**ends, 'by': 'event', 'format': form})}"
            for form in ("csv", "json")
        },
    )


def _keys(by: str, then: str) -> list[ReportKey]:
    known = {key.value: key for key in (*_TIMES, *_NAMES)}
    if by not in known or (then and then not in known):
        raise Problem(422, "invalid_request", f"by and then are of {', '.join(known)}.")
    return [known[by]] if not then or then == by else [known[by], known[then]]


def chart_of(found: ReportStart, keys: Sequence[ReportKey]) -> dict[str, Any] | None:
    """The rows as a chart: bars by time, stacked by the names that cost most, or a bar for each of the first names.
    None for rows that make no chart, or are not all there.
    """
    if not found.rows:
        return None
    form = _TIMES.get(keys[0])
    if form is not None and found.rows_total > len(found.rows):
        return None
    if form is None:
        rows = found.rows[:_BARS]
        names = [" / ".join(name or "(none)" for name in row.names) for row in rows]
        return _spec("text", keys[0].value, names, [series("Cost", "bar", 1, [row.cost_usd for row in rows])])
    starts = list(dict.fromkeys(row.names[0] for row in found.rows))
    x = [_instant(start, keys[0]) for start in starts]
    if len(keys) == 1:
        sums = cost_and_retail([row.cost_usd for row in found.rows], [row.retail_usd for row in found.rows])
        return _spec(form, keys[0].value, x, sums)
    return {**_spec(form, keys[0].value, x, _stacked(found.rows, starts)), "stacked": True}


def _stacked(rows: Sequence[ReportRow], starts: Sequence[str]) -> list[dict[str, Any]]:
    whole: defaultdict[str, Decimal] = defaultdict(Decimal)
    at: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in rows:
        whole[row.names[1]] += Decimal(row.cost_usd)
    named = sorted(whole, key=lambda name: (-whole[name], name))[:_STACKED]
    for row in rows:
        at[row.names[0], row.names[1] if row.names[1] in named else "\0others"] += Decimal(row.cost_usd)
    found = [
        series(name or "(none)", "bar", number, [exact(at[start, name]) for start in starts])
        for number, name in enumerate(named, 1)
    ]
    if len(whole) > len(named):
        found.append(series("All others", "bar", 8, [exact(at[start, "\0others"]) for start in starts]))
    return found


def _spec(form: str, name: str, x: list[str], sums: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "unit": "usd",
        "x_form": form,
        "x_name": name.replace("_", " ").capitalize(),
        "x": x,
        "series": sums,
    }


def _instant(start: str, key: ReportKey) -> str:
    return f"{start}T00:00:00Z" if key is ReportKey.DAY else start


ROOM: Final = Room(
    "reports page",
    pages=router,
    entries=(Entry("Reports", "/reports", "reports", frozenset({Role.ANALYST, Role.ADMIN})),),
)
