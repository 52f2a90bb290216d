"""`GET /stream`: what changes, as server-sent events."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, get_args

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse

from tollgate.console.access.callers import Caller, Role, allow
from tollgate.console.access.restriction import restriction_of
from tollgate.console.live.changes import Kind
from tollgate.console.live.frames import BYE
from tollgate.console.parts import Parts, TheParts
from tollgate.console.problems import ProblemBody
from tollgate.console.room import Room

router = APIRouter(
    responses={
        503: {"model": ProblemBody, "description": "Too many streams are open."},
    }
)

_HEADERS: Final = {
    "Cache-Control": "no-store",
    # nginx would hold the frames back.
    "X-Accel-Buffering": "no",
}
_KINDS: Final = frozenset(get_args(Kind))
# What a service needs to decide by itself.
_OF_SERVICES: Final = frozenset(("flag", "budget"))
_ALWAYS: Final = frozenset(("heartbeat", "bye"))
_EVENTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Frames, until the client closes or `bye` comes",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


@router.get(
    "/stream",
    operation_id="follow_stream",
    summary="Follow what changes",
    response_class=StreamingResponse,
    responses=_EVENTS,
)
async def follow(
    request: Request,
    parts: TheParts,
    caller: Annotated[Caller, Depends(allow(Role.USER, Role.VIEWER, Role.SERVICE))],
    kinds: Annotated[list[Kind] | None, Query(description="only events of these kinds; all when absent")] = None,
) -> StreamingResponse:
    """Server-sent events `spend`, `flag`, `alert`, `budget`, `heartbeat` (each 10 s) and at the end `bye`.

    The first four hold `{"snapshot", "items", "more"}`: an item for each key that changed, with its latest value, at
    most twice a second. A new connection begins with a snapshot of each, also after a reconnect. A `heartbeat` holds
    `{"now", "as_of", "stale"}`: as of when each topic is known, and which of them are over 30 s old. A caller with the
    role `user` is sent their own flag and alerts, one of an org the org's. A `service` is sent flags and budgets alone.
    """
    restriction_of(caller)
    wanted = frozenset(kinds or _KINDS) & (_OF_SERVICES if caller.role is Role.SERVICE else _KINDS)
    parts.access.streams.take(request, caller)
    return StreamingResponse(
        _encoded(parts, caller, wanted | _ALWAYS), media_type="text/event-stream", headers=_HEADERS
    )


async def _encoded(parts: Parts, caller: Caller, wanted: frozenset[str]) -> AsyncIterator[bytes]:
    async for frame in parts.live.frames(caller):
        if not parts.access.holds(caller):
            yield BYE.encode()
            return
        if frame.event in wanted:
            yield frame.encode()


ROOM: Final = Room("stream", api=router)
