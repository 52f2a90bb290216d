"""`GET /alerts`: which problems are open."""

from decimal import Decimal
from typing import Annotated, Final

from fastapi import APIRouter, Depends
from pydantic import Field

from tollgate.console.access.callers import Caller, Role, allow
from tollgate.console.live.held_alerts import rank
from tollgate.console.live.sight import Sight
from tollgate.console.paging import Cursor, Limit, Page, make_cursor, read_cursor
from tollgate.console.parts import TheParts
from tollgate.console.room import Room
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import Alert, Instant

router = APIRouter()


class AlertPage(Page[Alert]):
    """Open alerts, the worst first."""

    as_of: Instant | None = Field(description="everything written until then is known; null while nothing is read yet")
    stale: bool = Field(description="whether that is over 30 s ago")


@router.get("/alerts", operation_id="list_alerts", summary="List the open alerts")
async def list_alerts(
    parts: TheParts, caller: Annotated[Caller, Depends(allow(Role.VIEWER))], limit: Limit = 50, cursor: Cursor = ""
) -> AlertPage:
    """Alerts that are not resolved: by level, then by percent, the oldest first."""
    place = read_cursor(cursor, "alerts", int, str, str, str)
    after = None
    if place is not None:
        urgency, percent, since, key = place
        after = ((urgency, Decimal(percent), since), key)
    found, more = parts.live.alerts_after(limit, Sight.of(caller).scope, after)
    fresh = parts.live.freshness("alerts")
    next_cursor = None
    if more:
        urgency, percent, since = rank(found[-1])
        next_cursor = make_cursor("alerts", urgency, str(percent), since, found[-1].key)
    return AlertPage(
        items=found,
        next_cursor=next_cursor,
        as_of=format_instant(fresh.as_of_ms) if fresh.as_of_ms else None,
        stale=fresh.stale,
    )


ROOM: Final = Room("alerts", api=router)
