"""`GET /spend`: what a scope has spent in one window, as the worker counts it."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import Field

from tollgate.console.access.restriction import check_scope
from tollgate.console.api.asking import ANSWERS, SCOPE_CHARS_MAX, Reader, instant_of, now_ms
from tollgate.console.api.sums import Answer
from tollgate.console.api.why import StandingNow
from tollgate.console.parts import TheParts
from tollgate.console.problems import Problem
from tollgate.console.room import Room
from tollgate.domain.budgets import window_json
from tollgate.domain.standings import standing
from tollgate.domain.windows import window_start
from tollgate.schemas.calendars import UTC_ZONE, WEEKDAYS, Calendar
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import Amount, Instant, SpendRecord, Usd, Window
from tollgate.schemas.vocabulary import WindowKind

router = APIRouter(responses=ANSWERS)


class SpendAnswer(Answer):
    """The value of `tollgate.spend`; zeros and no `updated_at` when nothing was spent. And where its budgets stand."""

    scope: str
    window: Window
    spent_usd: Usd
    retail_usd: Usd
    usage: dict[str, Amount]
    events: int
    reserved_usd: Usd
    """What open reservations hold of the scope, in the window of now."""
    revenue_usd: Usd
    """What the scope earned in the window: 0, because this release counts no revenue."""
    updated_at: Annotated[Instant | None, Field(description="when the worker last changed the sum")]
    budgets: list[StandingNow]
    """The budgets of this calendar that apply to the scope, the fullest first."""
    as_of: Instant
    """When the sum was known to be so."""


@router.get("/spend", operation_id="get_spend", summary="Show what a scope has spent")
async def spend(
    parts: TheParts,
    caller: Reader,
    scope: Annotated[
        str,
        Query(
            max_length=SCOPE_CHARS_MAX,
            description="`global`, a dimension and a name, or two or three joined by `+`: `user/u-42+model/gpt-4o`",
            examples=["user/u-42"],
        ),
    ],
    window: WindowKind = WindowKind.MONTH,
    timezone: Annotated[str, Query(max_length=64, description="the IANA zone that cuts the windows")] = UTC_ZONE,
    week_starts_on: Annotated[str, Query(max_length=16, description="of weeks, in lower case")] = WEEKDAYS[0],
    month_starts_on: Annotated[int, Query(ge=1, le=31, description="of months")] = 1,
    at: Annotated[str | None, Query(max_length=64, description="an instant or date within the window; now")] = None,
) -> SpendAnswer:
    """The same as `tollgate spend --json`: from memory for the present windows of shared scopes, else ClickHouse.

    A worker counts combinations and other calendars only where a budget or plan needs them. The others are added up
    from events, and have no `updated_at` of a worker but that of the newest event.
    """
    check_scope(caller, scope)
    at_ms = now_ms() if at is None else instant_of("at", at)
    try:
        calendar = Calendar(window, timezone, week_starts_on, month_starts_on).text
    except ValueError as error:
        raise Problem(422, "invalid_request", f"{str(error)[0].upper()}{str(error)[1:]}.") from None
    start_ms = window_start(calendar, at_ms)
    known = await parts.sums.get(scope, calendar, start_ms)
    if known is None:
        # Somebody asks for this one alone, so that they may wait as long as ClickHouse may take.
        known = await parts.sums.ask(scope, calendar, start_ms)
    budgets = [
        standing(budget, known.record, start_ms)
        for budget in parts.live.book().in_force(scope, at_ms)
        if budget.calendar == calendar
    ]
    budgets.sort(key=lambda stands: stands.spent * 10_000 // stands.budget.limit, reverse=True)
    return SpendAnswer.model_validate(
        spend_json(scope, calendar, start_ms, known.record)
        | {"budgets": [stands.as_json() for stands in budgets], "as_of": format_instant(known.as_of_ms)}
    )


def spend_json(scope: str, calendar: str, start_ms: int, record: SpendRecord | None) -> dict[str, Any]:
    """The sum in the words of the spend topic, also when there is none."""
    return {
        "scope": scope,
        "window": window_json(calendar, start_ms),
        "spent_usd": record.spent_usd if record else "0",
        "retail_usd": record.retail_usd if record else "0",
        "usage": record.usage if record else {},
        "events": record.events if record else 0,
        "reserved_usd": record.reserved_usd if record else "0",
        "revenue_usd": record.revenue_usd if record else "0",
        "updated_at": record.updated_at if record else None,
    }


ROOM: Final = Room("spend", api=router)
