"""The room of budgets: what is limited, where each limit stands, and what a change would do."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends, Query, Response

from tollgate.console.access.callers import Caller, Role, allow
from tollgate.console.access.restriction import may_see, restriction_of
from tollgate.console.api.asking import SCOPE_CHARS_MAX, Admin, Analyst, Reader, now_ms
from tollgate.console.api.budget_bodies import BudgetBody, BudgetId, BudgetShown
from tollgate.console.api.budget_preview import Preview, preview
from tollgate.console.api.budget_status import StatusPage, status_page
from tollgate.console.changes import ANSWERS, OfAVersion, OrNew, Reason, put_record, remove_record, unknown
from tollgate.console.live.sight import Sight
from tollgate.console.paging import Cursor, Limit, Page, page_of
from tollgate.console.parts import TheParts
from tollgate.console.problems import Problem, ProblemBody
from tollgate.console.room import Room
from tollgate.console.scope_parts import is_pattern
from tollgate.console.versions import IfNoneMatch, not_modified, tag
from tollgate.control import ControlStore
from tollgate.domain.budgets import Budget
from tollgate.schemas.control import BUDGET_KEY_PREFIX
from tollgate.schemas.outputs import FlagState
from tollgate.schemas.text_rules import NAME_CHARS_MAX

_NAME: Final = "budget"

router = APIRouter()
_UNKNOWN: Final[dict[int | str, dict[str, Any]]] = {
    404: {"model": ProblemBody, "description": "There is no budget of this id."}
}


@router.get("/budgets", operation_id="list_budgets", summary="List budgets")
async def list_budgets(
    caller: Annotated[Caller, Depends(allow(Role.USER, Role.VIEWER, Role.SERVICE))],
    parts: TheParts,
    scope: Annotated[str, Query(max_length=SCOPE_CHARS_MAX, description="of this scope or pattern alone")] = "",
    owner: Annotated[str, Query(max_length=NAME_CHARS_MAX, description="of this owner alone")] = "",
    limit: Limit = 50,
    cursor: Cursor = "",
) -> Page[BudgetShown]:
    """Budgets by scope. A caller with the role `user` sees those of their own scope, one of an org the org's."""
    restriction_of(caller)
    found = [
        held
        for held in parts.control.records(BUDGET_KEY_PREFIX)
        if (not scope or held.value["scope"] == scope)
        and (not owner or held.value.get("owner") == owner)
        and may_see_budget(caller, held.value["scope"])
    ]
    # No scope holds a control character.
    page = page_of(found, limit, cursor, "budgets", lambda held: f"{held.value['scope']}\0{held.key}")
    return Page(items=[BudgetShown.of(held) for held in page.items], next_cursor=page.next_cursor)


@router.get("/budgets/status", operation_id="list_budget_status", summary="Show where budgets stand")
async def show_status(
    caller: Reader,
    parts: TheParts,
    scope: Annotated[str, Query(max_length=SCOPE_CHARS_MAX, description="of this scope or pattern alone")] = "",
    state: Annotated[FlagState | None, Query(description="only those in this state")] = None,
    limit: Limit = 50,
    cursor: Cursor = "",
) -> StatusPage:
    """How much of each budget is spent in the window of this moment, the worst first.

    A pattern such as `user/*` says how many of its scopes are warned and blocked, and which have spent the most. A
    caller with the role `user` sees the budgets that apply to them, one of an org those that apply to the org.
    """
    restriction_of(caller)
    return await status_page(parts, caller, now_ms(), limit, cursor, scope=scope, state=state)


@router.get(
    "/budgets/{id:path}",
    operation_id="get_budget",
    summary="Show a budget",
    response_model=BudgetShown,
    responses={**_UNKNOWN, 304: {"description": "You have the present version."}},
)
async def show_budget(
    id: BudgetId,  # noqa: A002 # the contract's name
    caller: Reader,
    parts: TheParts,
    response: Response,
    if_none_match: IfNoneMatch = None,
) -> BudgetShown | Response:
    """The budget as it is stored. Its version is the ETag."""
    restriction_of(caller)
    held = parts.control.get(BUDGET_KEY_PREFIX + id)
    if held is None or not may_see_budget(caller, held.value["scope"]):
        raise unknown(_NAME)
    return not_modified(response, tag(held.version), if_none_match) or BudgetShown.of(held)


@router.put(
    "/budgets/{id:path}",
    operation_id="set_budget",
    summary="Set a budget",
    responses={
        **ANSWERS,
        201: {"model": BudgetShown, "description": "The budget is new."},
        405: {"model": ProblemBody, "description": "The id ends in `/preview`: a preview is asked for with POST."},
        412: {"model": ProblemBody, "description": "If-None-Match: there is one. If-Match *: there is none."},
    },
)
async def set_budget(
    id: BudgetId,  # noqa: A002 # the contract's name
    asked: BudgetBody,
    caller: Admin,
    parts: TheParts,
    response: Response,
    conditions: OrNew,
) -> BudgetShown:
    """Create a budget, or replace the version in If-Match. It is in force within a second.

    Spend of its window counts from the window's start, also what was spent before; a raised limit unblocks at once.
    An admin of an org sets budgets of `org/<theirs>` and its combinations alone.
    """
    record = asked.record(id)
    key = BUDGET_KEY_PREFIX + id
    _check(caller, record.scope)
    _check_held(caller, parts.control, key)
    value = record.model_dump(mode="json", exclude_none=True)
    changed = await put_record(parts.control, caller, response, key, value, asked.reason, conditions, name=_NAME)
    response.status_code = 201 if changed.before is None else 200
    return BudgetShown.model_validate(changed.after)


@router.delete(
    "/budgets/{id:path}",
    operation_id="remove_budget",
    status_code=204,
    summary="Remove a budget",
    responses={**_UNKNOWN, **ANSWERS},
)
async def remove_budget(
    id: BudgetId,  # noqa: A002 # the contract's name
    caller: Admin,
    parts: TheParts,
    conditions: OfAVersion,
    reason: Reason = "",
) -> None:
    """Remove the version in If-Match. Whom it alone has blocked is unblocked within a second."""
    key = BUDGET_KEY_PREFIX + id
    _check_held(caller, parts.control, key)
    await remove_record(parts.control, caller, key, reason, conditions, name=_NAME)


@router.post(
    "/budgets/{id:path}/preview",
    operation_id="preview_budget",
    summary="Preview a change of a budget",
    responses={**_UNKNOWN, 405: {"model": ProblemBody, "description": "The id ends in `/preview`."}},
)
async def preview_budget(
    id: BudgetId,  # noqa: A002 # the contract's name
    caller: Analyst,
    parts: TheParts,
    asked: Annotated[BudgetBody | None, Body(description="the budget as it would be; null: removed")],
) -> Preview:
    """Which flags would change if the budget were like this. Nothing is changed.

    The flags are decided by the worker's own rules, with what is spent at this moment. Of a pattern the scopes near its
    limits are looked up in ClickHouse, which is some seconds behind.
    """
    key = BUDGET_KEY_PREFIX + id
    record = asked.record(id) if asked is not None else None
    if record is not None:
        _check(caller, record.scope)
    _check_held(caller, parts.control, key)
    if record is None and parts.control.get(key) is None:
        raise unknown(_NAME)
    return await preview(parts, id, Budget.from_record(record) if record is not None else None, now_ms())


def may_see_budget(caller: Caller, scope: str) -> bool:
    """Whether the budget of this scope or pattern may be shown to the caller. A pattern is the whole company's, also to
    somebody whose user or org is called `*`.
    """
    return may_see(caller, scope) and (not is_pattern(scope) or Sight.of(caller).is_whole)


def _check(caller: Caller, scope: str) -> None:
    if not may_see_budget(caller, scope):
        raise Problem(403, "not_allowed", f"You may change budgets of org/{caller.org} only.")


def _check_held(caller: Caller, control: ControlStore, key: str) -> None:
    """Nobody replaces or removes a budget of a scope that they may not see."""
    held = control.get(key)
    if held is not None:
        _check(caller, held.value["scope"])


ROOM: Final = Room("budgets", api=router)
