"""Plans: what users are subscribed to, and who has which."""

from typing import Annotated, Any, Final, Self

from fastapi import APIRouter, Path, Response
from pydantic import ConfigDict, Field, model_validator

from tollgate.console.api.asking import Admin, Viewer, now_ms
from tollgate.console.api.audit import for_the_whole_company
from tollgate.console.api.users import UserPath, seen
from tollgate.console.changes import ANSWERS, OrNew, put_record, unknown
from tollgate.console.paging import Cursor, Limit, Page, page_of
from tollgate.console.parts import TheParts
from tollgate.console.problems import Problem, ProblemBody
from tollgate.console.room import Room
from tollgate.console.versions import IfNoneMatch, not_modified, tag
from tollgate.control import ControlStore, Held
from tollgate.schemas.control import (
    ASSIGNMENT_KEY_PREFIX,
    PLAN_KEY_PREFIX,
    AssignmentRecord,
    PlanLimitRecord,
    PlanRecord,
)
from tollgate.schemas.instants import format_instant
from tollgate.schemas.plans import shipped_plans
from tollgate.schemas.scopes import Dimension, scope_of

router = APIRouter()

PlanPath = Annotated[
    str,
    Path(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9_.-]*$", description="the plan's id", examples=["pro"]),
]

_NO_PART: Final = frozenset({"shipped", "users", "is_default", "actor", "version", "updated_at"})


class PlanLimitBody(PlanLimitRecord):
    """One limit of a plan."""

    # A field that is spelled wrong must not be lost: it may be the one that limits.
    model_config = ConfigDict(extra="forbid")


class PlanBody(PlanRecord):
    """A plan to be set. It replaces the whole record: what is left out has its default.

    What was read may be sent back: `id` must be that of the address, and `actor`, `version` and `updated_at` are set by
    the change, whatever is sent.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "Team",
                    "price_usd": "49",
                    "credits_per_day": "10",
                    "limits": [{"feature": "video", "unit": "events", "limit": "10", "window": "month"}],
                    "reason": "for small teams",
                }
            ]
        },
    )

    limits: tuple[PlanLimitBody, ...] = Field((), max_length=64)

    @model_validator(mode="before")
    @classmethod
    def _as_it_was_read(cls, given: Any) -> Any:
        """What an answer says beside the record, and of its last change, is no part of the next one."""
        if not isinstance(given, dict):
            return given
        # Generated clients send the default of a field that is left out.
        empty_id = {"id"} if given.get("id") == "" else set()
        return {name: value for name, value in given.items() if name not in _NO_PART | empty_id}

    def record(self, plan_id: str) -> PlanRecord:
        """The record under this id. Raises Problem 422."""
        if "id" in self.model_fields_set and self.id not in ("", plan_id):
            raise Problem(422, "invalid_request", "id: it must be that of the address, or be left out.")
        return PlanRecord.model_validate(self.model_dump(mode="json") | {"id": plan_id})


class PlanShown(PlanRecord):
    """A plan, with who changed it last and why."""

    shipped: bool
    """Whether it is as Tollgate ships it; then it has no version."""
    users: int
    """How many users are assigned to it."""
    is_default: bool
    """Whether everybody without a plan of their own has it."""

    @classmethod
    def of(cls, control: ControlStore, plan: PlanRecord) -> Self:
        """The plan and its users."""
        assignments = control.assignments()
        default = assignments.pop("default", None)
        return cls(
            **plan.model_dump(),
            shipped=plan.id not in control.plans(),
            users=sum(1 for one in assignments.values() if one.plan == plan.id),
            is_default=default is not None and default.plan == plan.id,
        )


class AssignmentBody(AssignmentRecord):
    """The plan that a user is to have. It replaces the whole assignment: what is left out has its default, and `since`
    is this moment, or as it was where the plan stays.
    """

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"plan": "pro", "timezone": "Asia/Tokyo", "reason": "upgrade"}]}
    )


class AssignmentShown(AssignmentRecord):
    """A user's plan as it is stored."""

    user: str


_UNKNOWN: Final[dict[int | str, dict[str, Any]]] = {
    404: {"model": ProblemBody, "description": "There is no plan of this id."}
}


def all_plans(control: ControlStore) -> dict[str, PlanRecord]:
    """Every plan by id, those that are shipped too."""
    return shipped_plans() | control.plans()


@router.get("/plans", operation_id="list_plans", summary="List plans")
async def list_plans(caller: Viewer, parts: TheParts, limit: Limit = 50, cursor: Cursor = "") -> Page[PlanShown]:
    """Plans by id, those that are shipped too."""
    for_the_whole_company(caller)
    plans = all_plans(parts.control)
    page = page_of([plans[key] for key in sorted(plans)], limit, cursor, "plans", lambda plan: plan.id)
    return Page(items=[PlanShown.of(parts.control, plan) for plan in page.items], next_cursor=page.next_cursor)


@router.get(
    "/plans/{id}",
    operation_id="get_plan",
    summary="Show a plan",
    response_model=PlanShown,
    responses={**_UNKNOWN, 304: {"description": "You have the present version."}},
)
async def show_plan(
    id: PlanPath,  # noqa: A002 # the contract's name
    caller: Viewer,
    parts: TheParts,
    response: Response,
    if_none_match: IfNoneMatch = None,
) -> PlanShown | Response:
    """A plan. Its version is the ETag, unless it is as it was shipped."""
    for_the_whole_company(caller)
    plan = all_plans(parts.control).get(id)
    if plan is None:
        raise unknown("plan")
    shown = PlanShown.of(parts.control, plan)
    if shown.shipped:
        return shown
    return not_modified(response, tag(shown.version), if_none_match) or shown


@router.put(
    "/plans/{id}",
    operation_id="set_plan",
    summary="Set a plan",
    responses={
        **ANSWERS,
        201: {"model": PlanShown, "description": "The plan is new, or replaces a shipped one."},
        412: {"model": ProblemBody, "description": "If-None-Match: there is one. If-Match *: there is none."},
    },
)
async def set_plan(
    id: PlanPath,  # noqa: A002 # the contract's name
    asked: PlanBody,
    caller: Admin,
    parts: TheParts,
    response: Response,
    conditions: OrNew,
) -> PlanShown:
    """Create a plan, or replace the version in If-Match. It acts on all of its users within a second."""
    for_the_whole_company(caller)
    value = asked.record(id).model_dump(mode="json", exclude_none=True)
    changed = await put_record(
        parts.control, caller, response, PLAN_KEY_PREFIX + id, value, asked.reason, conditions, name="plan"
    )
    response.status_code = 201 if changed.before is None else 200
    return PlanShown.of(parts.control, PlanRecord.model_validate(changed.after))


@router.put(
    "/users/{id:path}/plan",
    operation_id="set_user_plan",
    summary="Give a user a plan",
    responses={
        **ANSWERS,
        201: {"model": AssignmentShown, "description": "The user had the default plan."},
        412: {"model": ProblemBody, "description": "If-None-Match: there is one. If-Match *: there is none."},
    },
)
async def set_user_plan(
    id: UserPath,  # noqa: A002 # the contract's name
    asked: AssignmentBody,
    caller: Admin,
    parts: TheParts,
    response: Response,
    conditions: OrNew,
) -> AssignmentShown:
    """Give a user a plan, or replace the version of their assignment in If-Match.

    It acts within a second: what was used before counts, and an upgrade frees at once.
    """
    for_the_whole_company(caller)
    seen(caller, id)
    scope = scope_of(Dimension.USER, id)
    key = ASSIGNMENT_KEY_PREFIX + scope
    said = asked.model_dump(mode="json", exclude_none=True, exclude={"updated_at", "version", "actor"})
    value = {"since": _since(parts.control.get(key), asked.plan)} | said
    changed = await put_record(
        parts.control, caller, response, key, value, asked.reason, conditions, name="plan", said=said
    )
    response.status_code = 201 if changed.before is None else 200
    return AssignmentShown.model_validate({**(changed.after or {}), "user": id})


def _since(held: Held | None, plan: str) -> str:
    """When a user got the plan that they are given now: as it was where they have it already, else this moment."""
    if held is not None and held.value.get("plan") == plan:
        return held.value.get("since") or held.updated_at or format_instant(0)
    return format_instant(now_ms())


ROOM: Final = Room("plans", api=router)
