"""The first page, and `GET /dashboard`, which answers what is on it."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from tollgate.console.access.callers import Caller, Role, allow
from tollgate.console.api.asking import ANSWERS, now_ms
from tollgate.console.dashboard import dashboard
from tollgate.console.pages import overview
from tollgate.console.pages.overview_model import Dashboard
from tollgate.console.parts import TheParts
from tollgate.console.room import Entry, Room

router = APIRouter(responses={status: answer for status, answer in ANSWERS.items() if status != 503})
pages = APIRouter()

Viewer = Annotated[Caller, Depends(allow(Role.VIEWER))]


@router.get("/dashboard", operation_id="get_dashboard", summary="Show the first page's numbers")
async def show(parts: TheParts, caller: Viewer) -> Dashboard:
    """Everything that the first page shows, as of now. A part that is not known is null, and `unavailable` says why."""
    return await dashboard(parts, caller.org, now_ms())


@pages.get("/")
async def page(request: Request, parts: TheParts, caller: Viewer) -> HTMLResponse:
    """The first page."""
    return overview.page(request, caller, await dashboard(parts, caller.org, now_ms()))


_ROLES: Final = frozenset({Role.VIEWER, Role.ANALYST, Role.ADMIN})

ROOM: Final = Room("dashboard", api=router, pages=pages, entries=(Entry("Overview", "/", "overview", _ROLES),))
