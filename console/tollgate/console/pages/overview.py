"""The first page."""

from fastapi import Request
from fastapi.responses import HTMLResponse

from tollgate.console.access.callers import Caller
from tollgate.console.pages import overview_charts
from tollgate.console.pages.overview_model import Dashboard
from tollgate.console.pages.rendering import render


def page(request: Request, caller: Caller, dashboard: Dashboard) -> HTMLResponse:
    """The overview of this data."""
    return render(
        request,
        caller,
        "overview.html",
        d=dashboard,
        daily=overview_charts.by_day(dashboard) if dashboard.days else None,
        hourly=overview_charts.by_hour(dashboard.hours) if dashboard.hours else None,
        sums=overview_charts.added_up(dashboard),
    )
