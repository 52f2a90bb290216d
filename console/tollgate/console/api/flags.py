"""`GET /flags` and `GET /flags/{scope}`: who is warned, blocked or stopped now."""

import heapq
import time
from typing import Annotated, Final, Self

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from tollgate.console.access.callers import Caller, Role, allow
from tollgate.console.access.restriction import check_scope, restriction_of
from tollgate.console.live.sight import Sight
from tollgate.console.paging import Cursor, Limit, Page, make_cursor, read_cursor
from tollgate.console.parts import TheParts
from tollgate.console.room import Room
from tollgate.schemas.instants import format_instant, parse_instant
from tollgate.schemas.outputs import Action, Flag, FlagState, Instant, Measure, Percent, Window
from tollgate.schemas.scopes import GLOBAL_SCOPE

router = APIRouter()

Reader = Annotated[Caller, Depends(allow(Role.USER, Role.VIEWER, Role.SERVICE))]
ScopePath = Annotated[
    str,
    Path(
        description="`global`, a dimension and a name, or two or three joined by `+`, percent-encoded",
        examples=["user/u-42"],
        max_length=850,
    ),
]


class FlagNow(BaseModel):
    """A flag as it was last written, and whether it holds at this moment. A scope without a flag is `ok`."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    scope: str = Field(examples=["user/u-42"])
    state: FlagState
    blocked: bool
    """Whether the flag was written to block. Calls are blocked while it is also in force."""
    in_force: bool
    """Whether it holds now: false for `ok`, and once its window has ended."""
    action: Action | None = None
    reason: str = "within_budget"
    budget: str | None = None
    window: Window | None = None
    limit: Measure | None = None
    unit: str | None = None
    spent: Measure | None = None
    percent: Percent | None = None
    since: Instant | None = None
    until: Instant | None = None
    note: str | None = None
    """What to do about a limit of a plan; or why the company was stopped by hand."""
    reserved: Measure | None = None
    """What open reservations hold of this limit; null when there are none, and always of a scope without a user."""
    can_exceed_by: Measure | None = None
    """By how much reserved calls can take the scope over its limit; null without a bound, and always of a scope
    without a user."""
    except_: list[str] | None = Field(None, serialization_alias="except", validation_alias="except")
    """Scopes that the block leaves alone: a call that has one of them is let through. Null when there are none."""
    incomplete: bool | None = None
    """True while the sum lacks what was spent in the window before the limit was set."""
    revision: int | None = None

    @classmethod
    def of(cls, flag: Flag, now_ms: int) -> Self:
        """The flag at this moment."""
        lasts = flag.until is None or now_ms < parse_instant(flag.until)
        return cls(**flag.model_dump(by_alias=True), in_force=lasts and flag.state is not FlagState.OK)


class FlagPage(Page[FlagNow]):
    """Flags in force, by scope."""

    as_of: Instant | None = Field(description="everything written until then is known; null while nothing is read yet")
    stale: bool = Field(description="whether that is over 30 s ago")


@router.get("/flags", operation_id="list_flags", summary="List the flags in force")
async def list_flags(parts: TheParts, caller: Reader, limit: Limit = 50, cursor: Cursor = "") -> FlagPage:
    """Every scope that is warned, blocked or stopped at this moment. No flag means ok.

    A caller with the role `user` sees their own flag, one of an org the org's. A stop of the whole company is shown to
    them without its numbers.
    """
    restriction_of(caller)
    now_ms, live, sight = time.time_ns() // 1_000_000, parts.live, Sight.of(caller)
    after = read_cursor(cursor, "flags", str)
    scopes = (
        scope
        for scope in live.flag_scopes(now_ms)
        if (after is None or scope > after[0]) and (sight.is_whole or sight.sees(scope) or scope == GLOBAL_SCOPE)
    )
    shown = heapq.nsmallest(limit + 1, scopes)
    flags = [sight.of_flag(flag) for scope in shown[:limit] if (flag := live.flag(scope)) is not None]
    fresh = live.freshness("flags")
    return FlagPage(
        items=[FlagNow.of(flag, now_ms) for flag in flags if flag is not None],
        next_cursor=make_cursor("flags", shown[limit - 1]) if len(shown) > limit else None,
        as_of=format_instant(fresh.as_of_ms) if fresh.as_of_ms else None,
        stale=fresh.stale,
    )


@router.get("/flags/{scope:path}", operation_id="get_flag", summary="Show the flag of a scope")
async def show_flag(scope: ScopePath, parts: TheParts, caller: Reader) -> FlagNow:
    """The scope's flag as last written; `ok` when there is none."""
    sight = Sight.of(caller)
    if scope != GLOBAL_SCOPE:
        check_scope(caller, scope)
    flag = parts.live.flag(scope)
    shown = None if flag is None else sight.of_flag(flag)
    if shown is None:
        return FlagNow(scope=scope, state=FlagState.OK, blocked=False, in_force=False)
    return FlagNow.of(shown, time.time_ns() // 1_000_000)


ROOM: Final = Room("flags", api=router)
