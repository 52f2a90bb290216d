"""The pages of users: who costs the most, one of them, and oneself."""

from collections.abc import Iterable
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tollgate.console.access.callers import Caller, Role
from tollgate.console.access.restriction import restriction_of
from tollgate.console.api.asking import Reader, Viewer, now_ms
from tollgate.console.api.flags import FlagNow
from tollgate.console.api.plans import all_plans
from tollgate.console.api.users import UserAnswer, UserPath, flag_of, seen, user_answer
from tollgate.console.numbers import NumbersError, Shares
from tollgate.console.pages.rendering import render
from tollgate.console.pages.shown import path_part
from tollgate.console.pages.told import Told, told
from tollgate.console.parts import Parts, TheParts
from tollgate.console.problems import Problem
from tollgate.console.room import Entry, Room
from tollgate.domain.windows import DAY_MS, day_start, month_start
from tollgate.schemas.control import PlanRecord
from tollgate.schemas.outputs import FlagState
from tollgate.schemas.scopes import Dimension, scope_of

# One screen of a person who looks for the most expensive.
_SHOWN: Final = 50

router = APIRouter()


@router.get("/users")
async def show_users(
    request: Request,
    parts: TheParts,
    caller: Viewer,
    id: Annotated[str, Query(max_length=256)] = "",  # noqa: A002 # the query parameter's name
) -> Response:
    """The users with the highest cost this month; with an id, on to that user's page."""
    if id:
        return RedirectResponse(f"/users/{path_part(id)}", 303)
    at_ms = now_ms()
    try:
        found = await parts.numbers.top(
            restriction_of(caller), Dimension.USER, month_start(at_ms), day_start(at_ms) + DAY_MS, _SHOWN
        )
    except NumbersError as error:
        return list_page(request, caller, None, {}, str(error))
    flags = {scope: parts.live.flag(scope) for one in found.items if (scope := scope_of(Dimension.USER, one.name))}
    in_force = set(parts.live.flag_scopes(at_ms))
    states = {scope: flag.state for scope, flag in flags.items() if flag is not None and scope in in_force}
    return list_page(request, caller, found, states if not caller.org else {}, "")


def list_page(
    request: Request, caller: Caller, top: Shares | None, states: dict[str, FlagState], away: str
) -> HTMLResponse:
    """The page of the list; without `top`, `away` says why it is not known."""
    as_of = top.as_of_ms if top is not None else None
    return render(request, caller, "users.html", top=top, states=states, away=away, as_of=as_of)


@router.get("/users/{id:path}")
async def show_user(id: UserPath, request: Request, parts: TheParts, caller: Reader) -> HTMLResponse:  # noqa: A002 # the path's name
    """One user."""
    seen(caller, id)
    return await _page(request, parts, caller, id, own=False)


@router.get("/me")
async def show_me(request: Request, parts: TheParts, caller: Reader) -> Response:
    """Oneself, for callers that are a user."""
    if not caller.user:
        if caller.role is Role.USER:
            raise Problem(403, "not_allowed", "This token is of the role user and names no user.")
        return RedirectResponse("/", 303)
    return await _page(request, parts, caller, caller.user, own=True)


async def _page(request: Request, parts: Parts, caller: Caller, user: str, *, own: bool) -> HTMLResponse:
    restriction = restriction_of(caller)
    found = await told(user_answer(parts, restriction, user))
    flag = found.value.flag if found.value is not None else flag_of(parts, restriction, user, now_ms())
    plans = all_plans(parts.control)
    return user_page(request, caller, user, flag, found, [plans[key] for key in sorted(plans)], own=own)


def user_page(
    request: Request,
    caller: Caller,
    user: str,
    flag: FlagNow,
    found: Told[UserAnswer],
    plans: Iterable[PlanRecord],
    *,
    own: bool,
) -> HTMLResponse:
    """The page of a user, who can be given one of the plans. The flag is known from Kafka, also without the answer."""
    return render(
        request,
        caller,
        "user.html",
        user=user,
        flag=flag,
        u=found.value,
        away=found.why,
        own=own,
        plans=[(plan.id, plan.name) for plan in plans],
    )


_ROLES: Final = frozenset({Role.VIEWER, Role.ANALYST, Role.ADMIN})

ROOM: Final = Room(
    "user pages",
    pages=router,
    entries=(
        Entry("Users", "/users", "users", _ROLES),
        Entry("My usage", "/me", "user", frozenset({Role.USER})),
    ),
)
