"""`GET /events`: single events with what they cost."""

from typing import Annotated, Any, Final, Self

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from tollgate.console.access.callers import Caller, Role, allow
from tollgate.console.access.restriction import restriction_of
from tollgate.console.api.asking import ANSWERS, MaybeRange
from tollgate.console.api.sums import Answer, SignedUsd
from tollgate.console.numbers import EventFilter, EventRow
from tollgate.console.paging import Cursor, Limit, Page
from tollgate.console.parts import TheParts
from tollgate.console.room import Room
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import Amount, EventKind, EventStatus, Instant, PriceStatus
from tollgate.schemas.scopes import Dimension

router = APIRouter(responses=ANSWERS)

Name = Annotated[str, Query(max_length=256)]


class CountedEvent(Answer):
    """One counted event. Names that were not given are empty."""

    time: Instant
    event_id: str
    source: str
    kind: EventKind
    user: str
    org: str
    service: str
    provider: str
    model: str
    agent: str
    campaign: str
    feature: str
    product: str
    operation: str
    status: str
    latency_ms: int | None
    resource_type: str
    resource_id: str
    request_id: str
    usage: dict[str, Amount]
    options: dict[str, str]
    cost_usd: SignedUsd
    retail_usd: SignedUsd
    price_id: str
    price_status: PriceStatus
    source_partition: int
    """Its place in the usage topic."""
    source_offset: int
    metadata: Annotated[str, Field(description="free data of the event, JSON as text")]

    @classmethod
    def of(cls, row: EventRow) -> Self:
        """As it is answered."""
        values: dict[str, Any] = row._asdict()
        return cls(time=format_instant(values.pop("time_ms")), **values)


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
        items=[CountedEvent.of(row) for row in page.items],
        next_cursor=page.cursor or None,
        as_of=format_instant(page.as_of_ms),
    )


ROOM: Final = Room("events", api=router)
