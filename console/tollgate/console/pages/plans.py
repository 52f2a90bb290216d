"""The pages of plans: all of them with their users, and one to edit."""

from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from tollgate.console.access.callers import Role
from tollgate.console.api.asking import Viewer
from tollgate.console.api.audit import for_the_whole_company
from tollgate.console.api.plans import PlanPath, PlanShown, all_plans
from tollgate.console.changes import unknown
from tollgate.console.pages.rendering import render
from tollgate.console.parts import TheParts
from tollgate.console.room import Entry, Room

# Rows for further limits in the form of a plan.
_EMPTY_ROWS: Final = 3

router = APIRouter()


@router.get("/plans")
async def show_plans(request: Request, parts: TheParts, caller: Viewer) -> HTMLResponse:
    """Every plan, those that are shipped too."""
    for_the_whole_company(caller)
    plans = all_plans(parts.control)
    return render(
        request,
        caller,
        "plans.html",
        plans=[PlanShown.of(parts.control, plans[key]) for key in sorted(plans)],
        may_change=caller.role is Role.ADMIN,
    )


@router.get("/plans/{id}")
async def show_plan(
    id: PlanPath,  # noqa: A002 # the path's name
    request: Request,
    parts: TheParts,
    caller: Viewer,
) -> HTMLResponse:
    """One plan."""
    for_the_whole_company(caller)
    plan = all_plans(parts.control).get(id)
    if plan is None:
        raise unknown("plan")
    shown = PlanShown.of(parts.control, plan)
    return render(
        request,
        caller,
        "plan.html",
        plan=shown,
        rows=[*shown.limits, *([None] * _EMPTY_ROWS)],
        may_change=caller.role is Role.ADMIN,
    )


ROOM: Final = Room(
    "plan pages",
    pages=router,
    entries=(Entry("Plans", "/plans", "coins", frozenset({Role.VIEWER, Role.ANALYST, Role.ADMIN})),),
)
