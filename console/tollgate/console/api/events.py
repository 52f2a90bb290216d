"""`GET /events`: single events with what they cost."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query

from tollgate.console.access.callers import Caller, Role, allow
from tollgate.console.access.restriction import restriction_of
from tollgate.console.api.asking import ANSWERS, MaybeRange
from tollgate.console.numbers import CountedEvent, EventFilter
from tollgate.console.paging import Cursor, Limit, Page
from tollgate.console.parts import TheParts
from tollgate.console.room import Room
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import EventKind, EventStatus, Instant, PriceStatus
from tollgate.schemas.scopes import Dimension

router = APIRouter(responses=ANSWERS)

Name = Annotated[str, Query(max_length=256)]


class EventPage(Page[CountedEvent]):
    """Events, the newest first."""

    as_of: Instant


@router.get("/events", operation_id="list_events", summary="List events")
async def list_events(  # one parameter for each filter
    parts: TheParts,
    caller: Annotated[Caller, Depends(allow(Role.USER, Role.ANALYST))],
    within: MaybeRange,
    user: Name = "",
    org: Name = "",
    service: Name = "",
    provider: Name = "",
    model: Name = "",
    agent: Name = "",
    campaign: Name = "",
    feature: Name = "",
    product: Name = "",
    source: Name = "",
    event_id: Name = "",
    kind: EventKind | None = None,
    status: EventStatus | None = None,
    price_status: PriceStatus | None = None,
    limit: Limit = 50,
    cursor: Cursor = "",
) -> EventPage:
    """Single events, the newest first, with all the names that are given. A user sees their own events only.

    A page goes on where the one before ended, whatever arrived meanwhile.
    """
    names = {
        Dimension.USER: user,
        Dimension.ORG: org,
        Dimension.SERVICE: service,
        Dimension.PROVIDER: provider,
        Dimension.MODEL: model,
        Dimension.AGENT: agent,
        Dimension.CAMPAIGN: campaign,
        Dimension.FEATURE: feature,
        Dimension.PRODUCT: product,
    }
    wanted = EventFilter(
        {dimension: name for dimension, name in names.items() if name},
        within,
        source,
        event_id,
        status,
        price_status,
        kind,
    )
    page = await parts.numbers.events(restriction_of(caller), wanted, limit, cursor)
    return EventPage(
        items=page.items,
        next_cursor=page.cursor or None,
        as_of=format_instant(page.as_of_ms),
    )


ROOM: Final = Room("events", api=router)
