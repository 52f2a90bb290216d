"""The pages of campaigns, agents, services, models and so on, and the page of any one scope."""

import time
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import RedirectResponse, Response

from tollgate.console.access.callers import Caller, Role
from tollgate.console.api.asking import Viewer
from tollgate.console.pages.chart_parts import cost_and_retail
from tollgate.console.pages.rendering import render
from tollgate.console.pages.scope_detail import ScopeDetail, scope_detail
from tollgate.console.pages.scope_lists import ROWS, SEARCHED, scope_list
from tollgate.console.pages.shown import path_part, rfc3339
from tollgate.console.parts import Parts, TheParts
from tollgate.console.room import Entry, Room
from tollgate.schemas.scopes import Dimension, parse_names

# Users have pages of their own.
LISTS: Final = {
    "campaigns": Dimension.CAMPAIGN,
    "agents": Dimension.AGENT,
    "services": Dimension.SERVICE,
    "models": Dimension.MODEL,
    "providers": Dimension.PROVIDER,
    "features": Dimension.FEATURE,
    "products": Dimension.PRODUCT,
    "orgs": Dimension.ORG,
}
PAGES_MAX: Final = SEARCHED // ROWS

router = APIRouter()


def list_page(path: str, dimension: Dimension) -> None:
    """Add the page of a dimension."""

    @router.get(f"/{path}", name=path)
    async def _page(
        request: Request,
        parts: TheParts,
        caller: Viewer,
        q: Annotated[str, Query(max_length=256)] = "",
        page: Annotated[int, Query(ge=1, le=PAGES_MAX)] = 1,
    ) -> Response:
        return await _list(request, parts, caller, path, dimension, q.strip(), page)


for _path, _dimension in LISTS.items():
    list_page(_path, _dimension)


async def _list(
    request: Request, parts: Parts, caller: Caller, path: str, dimension: Dimension, query: str, page: int
) -> Response:
    found = await scope_list(parts, caller, dimension, query, page, _now_ms())
    names = {"q": query} if query else {}
    return render(
        request,
        caller,
        "scopes.html",
        d=found,
        kind=dimension.value,
        lists=LISTS,
        here=path,
        query=query,
        first=f"/{path}?{urlencode(names)}" if page > 1 else "",
        next=f"/{path}?{urlencode({**names, 'page': page + 1})}" if found.more and page < PAGES_MAX else "",
        page=page,
        rows_before=(page - 1) * ROWS,
    )


@router.get("/scopes/{scope:path}")
async def detail(
    request: Request, parts: TheParts, caller: Viewer, scope: Annotated[str, Path(max_length=850)]
) -> Response:
    """One scope. A user has a page of their own."""
    try:
        names = parse_names(scope)
    except ValueError:
        names = ()
    if len(names) == 1 and names[0][0] is Dimension.USER:
        return RedirectResponse(f"/users/{path_part(names[0][1])}", 303)
    found = await scope_detail(parts, caller, scope, _now_ms())
    back = next((path for path, dimension in LISTS.items() if dimension is found.dimension), "")
    return render(request, caller, "scope.html", d=found, daily=_by_day(found), back=back)


def _by_day(found: ScopeDetail) -> dict[str, Any] | None:
    """The chart of the last 30 days; None when they are not known or nothing was spent in them."""
    days = found.days.value
    if days is None or not any(day.events for day in days.items):
        return None
    return {
        "unit": "usd",
        "x_form": "day",
        "x_name": "Day",
        "x": [rfc3339(day.start_ms) for day in days.items],
        "series": cost_and_retail([day.cost_usd for day in days.items], [day.retail_usd for day in days.items]),
    }


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


_VIEWERS: Final = frozenset({Role.VIEWER, Role.ANALYST, Role.ADMIN})
ROOM: Final = Room(
    "scopes",
    pages=router,
    entries=(
        Entry("Campaigns", "/campaigns", "campaigns", _VIEWERS),
        Entry("Agents", "/agents", "agents", _VIEWERS),
    ),
)
