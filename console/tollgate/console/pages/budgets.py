"""The pages of budgets: all of them, the worst first, and one with its slider, its thresholds and its history."""

from decimal import Decimal
from typing import Annotated, Final, NamedTuple

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from tollgate.console.access.callers import Caller, Role
from tollgate.console.api.asking import Viewer, now_ms
from tollgate.console.api.audit import AuditEntry
from tollgate.console.api.budget_bodies import BudgetId
from tollgate.console.api.budget_status import BudgetStatus, StatusPage, status_page
from tollgate.console.api.budgets import may_see_budget
from tollgate.console.audit_differences import Difference, differences
from tollgate.console.changes import unknown
from tollgate.console.numbers import AuditRow, NumbersError
from tollgate.console.pages.rendering import render
from tollgate.console.paging import Cursor
from tollgate.console.parts import Parts, TheParts
from tollgate.console.room import Entry, Room
from tollgate.control import Held
from tollgate.schemas.control import BUDGET_KEY_PREFIX, default_thresholds
from tollgate.schemas.outputs import FlagState

_SHOWN: Final = 25
_CHANGES: Final = 20
_IN_THE_TITLE: Final = frozenset({"scope", "window", "unit", "timezone"})
# The slider of a monthly budget in dollars; small and large limits have one of their own.
_SLIDER: Final = (100, 5_000, 50)

router = APIRouter()


class Slider(NamedTuple):
    """Its ends and its step in dollars. The field beside it holds what lies outside of them."""

    low: int
    high: int
    step: int


class Change(NamedTuple):
    """One change in the budget's history: who, when, why, and each field that became another one."""

    time_ms: int
    actor: str
    action: str
    reason: str
    version: int
    differences: list[Difference]


@router.get("/budgets")
async def show_budgets(
    request: Request,
    parts: TheParts,
    caller: Viewer,
    scope: Annotated[str, Query(max_length=300)] = "",
    state: FlagState | None = None,
    cursor: Cursor = "",
) -> HTMLResponse:
    """Every budget, the worst first."""
    found = await status_page(parts, caller, now_ms(), _SHOWN, cursor, scope=scope.strip(), state=state)
    return list_page(request, caller, found, scope=scope, state=state, is_first=not cursor)


def list_page(
    request: Request, caller: Caller, found: StatusPage, *, scope: str, state: FlagState | None, is_first: bool
) -> HTMLResponse:
    """The page of the list."""
    return render(
        request,
        caller,
        "budgets.html",
        found=found,
        scope=scope,
        state=state,
        is_first=is_first,
        may_change=caller.role is Role.ADMIN,
        base={"thresholds": default_thresholds().model_dump(mode="json")},
    )


@router.get("/budgets/{id:path}")
async def show_budget(
    id: BudgetId,  # noqa: A002 # the contract's name
    request: Request,
    parts: TheParts,
    caller: Viewer,
) -> HTMLResponse:
    """One budget."""
    held = parts.control.get(BUDGET_KEY_PREFIX + id)
    if held is None or not may_see_budget(caller, held.value["scope"]):
        raise unknown("budget")
    standing = await _standing(parts, caller, id, held)
    is_admin = caller.role is Role.ADMIN
    changes, away = await _history(parts, held.key) if is_admin and not caller.org else (None, "")
    return budget_page(request, caller, id, held, standing, changes, away)


def budget_page(
    request: Request,
    caller: Caller,
    budget_id: str,
    held: Held,
    standing: BudgetStatus | None,
    changes: list[Change] | None,
    away: str,
) -> HTMLResponse:
    """The page of a budget. `changes` is None where the caller may not see them or, with `away`, none can be told."""
    return render(
        request,
        caller,
        "budget.html",
        id=budget_id,
        budget=held.value,
        version=held.version,
        changed_at=held.updated_at,
        changed_by=held.actor,
        standing=standing,
        changes=changes,
        away=away,
        slider=slider_of(held.value["limit"]),
        may_change=caller.role is Role.ADMIN,
    )


def slider_of(limit: str) -> Slider:
    """100 to 5,000 where the limit is within; else from 1 to 200, or to twice the limit."""
    amount = Decimal(limit)
    low, high, step = _SLIDER
    if amount < low:
        return Slider(1, 2 * low, 1)
    if amount <= high:
        return Slider(low, high, step)
    return Slider(low, int(2 * amount // 1000 + 1) * 1000, 1000 if amount > 100_000 else 100)


def change_of(row: AuditRow) -> Change:
    """What a person reads of an entry of the audit."""
    entry = AuditEntry.of(row)
    found = differences(entry.before, entry.after)
    if entry.before is None or entry.after is None:
        # Of a new or removed budget what makes it this one is left out: the title has it.
        found = [one for one in found if one.field not in _IN_THE_TITLE]
    return Change(row.time_ms, row.actor, row.action, row.reason, row.version, found)


async def _standing(parts: Parts, caller: Caller, budget_id: str, held: Held) -> BudgetStatus | None:
    # Several budgets may be of one scope.
    found = await status_page(parts, caller, now_ms(), 100, "", scope=held.value["scope"])
    return next((one for one in found.items if one.id == budget_id), None)


async def _history(parts: Parts, key: str) -> tuple[list[Change] | None, str]:
    try:
        found = await parts.numbers.audit(key=key, limit=_CHANGES)
    except NumbersError as error:
        return None, str(error)
    return [change_of(row) for row in found.items], ""


ROOM: Final = Room(
    "budget pages",
    pages=router,
    entries=(Entry("Budgets", "/budgets", "budgets", frozenset({Role.VIEWER, Role.ANALYST, Role.ADMIN})),),
)
