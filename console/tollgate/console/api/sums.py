"""The rooms of sums: by day, month and hour, by name, and where they are going."""

import asyncio
from typing import Annotated, Final, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from tollgate.console.access.restriction import restriction_of
from tollgate.console.api.asking import (
    ANSWERS,
    Reader,
    ScopeQuery,
    ThirtyDays,
    ThisMonth,
    TwelveMonths,
    now_ms,
)
from tollgate.console.numbers import Restriction, Series, Share, Shares, Sum
from tollgate.console.numbers.answers import SignedUsd
from tollgate.console.numbers.projections import as_json
from tollgate.console.numbers.restriction import narrowed
from tollgate.console.numbers.sums import SHARES_MAX, percent, picousd
from tollgate.console.parts import Parts, TheParts
from tollgate.console.problems import Problem
from tollgate.console.room import Room
from tollgate.domain.forecast import Method
from tollgate.domain.windows import window_start
from tollgate.schemas.amounts import format_usd
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import Amount, Instant, Percent, Usd, Window
from tollgate.schemas.scopes import GLOBAL_SCOPE, Dimension
from tollgate.schemas.vocabulary import WindowKind

router = APIRouter(responses=ANSWERS)


class Answer(BaseModel):
    """What answers share."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Amounts(Answer):
    """A sum of costs, of what users were charged, and of events."""

    cost_usd: SignedUsd
    retail_usd: SignedUsd
    profit_usd: SignedUsd
    """Retail less cost."""
    events: int


class SumOf(Amounts):
    """The sum of one window; of one that the range cuts, what is within the range."""

    start: Instant
    usage: dict[str, Amount]

    @classmethod
    def of(cls, found: Sum) -> Self:
        """As it is answered."""
        return cls(
            start=format_instant(found.start_ms),
            cost_usd=found.cost_usd,
            retail_usd=found.retail_usd,
            profit_usd=profit(found.cost_usd, found.retail_usd),
            events=found.events,
            usage=found.usage,
        )


class SeriesAnswer(Answer):
    """Sums of a scope, one for every window of the range."""

    scope: str
    window: WindowKind
    from_: Annotated[Instant, Field(alias="from")]
    to: Instant
    items: list[SumOf]
    total: Amounts
    as_of: Instant

    model_config = ConfigDict(populate_by_name=True)


class ShareOf(Amounts):
    """What one name has of the whole. An empty name: events without one."""

    name: str
    percent: Percent
    """Of the whole's cost, rounded down."""

    @classmethod
    def of(cls, found: Share) -> Self:
        """As it is answered."""
        return cls(
            name=found.name,
            cost_usd=found.cost_usd,
            retail_usd=found.retail_usd,
            profit_usd=profit(found.cost_usd, found.retail_usd),
            events=found.events,
            percent=found.percent,
        )


class SharesAnswer(Answer):
    """The names of a dimension with the highest costs, the highest first."""

    by: Dimension
    scope: str
    from_: Annotated[Instant, Field(alias="from")]
    to: Instant
    items: list[ShareOf]
    rest: ShareOf | None
    """All the others together; null when there are none."""
    total: Amounts
    as_of: Instant

    model_config = ConfigDict(populate_by_name=True)


class TrendAnswer(SeriesAnswer):
    """A series, and how its total compares with that of the same length of time before it."""

    before: Amounts
    change_percent: Annotated[str | None, Field(description="of the cost; null when nothing was spent before")]


class ExpectedDay(Answer):
    """What is expected of a day, or of what is left of today."""

    start: Instant
    cost_usd: Usd
    low_usd: Usd
    high_usd: Usd


class ForecastAnswer(Answer):
    """Where a window's spend will be at its end. A lifetime has none, and so no projection."""

    scope: str
    window: Window
    spent_usd: SignedUsd
    projected_usd: SignedUsd | None
    low_usd: SignedUsd | None
    high_usd: SignedUsd | None
    method: Method
    note: str
    """How it was made and how sure it is, in one sentence."""
    days_known: int
    """Complete days that it is made of, at most 28."""
    next_24_hours_usd: Usd
    limit_usd: Usd | None
    """The lowest limit in dollars on this scope in this kind of window."""
    limit_reached_at: Instant | None
    """When that is reached at the present pace; null when it is not within the window."""
    days: list[ExpectedDay]
    as_of: Instant


ByDimension = Annotated[Dimension, Query(description="whose names are compared")]
SharesLimit = Annotated[int, Query(ge=1, le=SHARES_MAX, description="how many names at most")]


@router.get("/summaries/daily", operation_id="get_daily_summary", summary="Sum up by day", response_model_by_alias=True)
async def daily(parts: TheParts, caller: Reader, within: ThirtyDays, scope: ScopeQuery = GLOBAL_SCOPE) -> SeriesAnswer:
    """What a scope spent on each day of the range, in UTC."""
    return await _series(parts, caller, WindowKind.DAY, within, scope)


@router.get("/summaries/monthly", operation_id="get_monthly_summary", summary="Sum up by month")
async def monthly(
    parts: TheParts, caller: Reader, within: TwelveMonths, scope: ScopeQuery = GLOBAL_SCOPE
) -> SeriesAnswer:
    """What a scope spent in each month of the range, in UTC."""
    return await _series(parts, caller, WindowKind.MONTH, within, scope)


@router.get("/trends", operation_id="get_trend", summary="Compare with the time before")
async def trends(
    parts: TheParts,
    caller: Reader,
    within: ThirtyDays,
    window: Annotated[WindowKind, Query(description="hour, day or month")] = WindowKind.DAY,
    scope: ScopeQuery = GLOBAL_SCOPE,
) -> TrendAnswer:
    """The sums of a range, and its total beside that of the same length of time just before."""
    restriction, before = restriction_of(caller), within.before
    now, then = await asyncio.gather(
        _series(parts, caller, window, within, scope),
        parts.numbers.series(restriction, window, before.from_ms, before.to_ms, scope),
    )
    earlier = _total(then)
    return TrendAnswer.model_validate(
        now.model_dump(by_alias=True)
        | {"before": earlier, "change_percent": change_percent(now.total.cost_usd, earlier.cost_usd)}
    )


@router.get("/breakdown", operation_id="get_breakdown", summary="Break costs down by name")
async def breakdown(
    parts: TheParts,
    caller: Reader,
    within: ThisMonth,
    by: ByDimension = Dimension.SERVICE,
    scope: ScopeQuery = GLOBAL_SCOPE,
    limit: SharesLimit = 50,
) -> SharesAnswer:
    """The names of a dimension with the highest costs of a scope in the range, and their part of the whole."""
    found = await parts.numbers.breakdown(restriction_of(caller), by, within.from_ms, within.to_ms, limit, scope)
    return _shares(found, by, scope, within.from_ms, within.to_ms)


@router.get("/top", operation_id="get_top", summary="List the highest spenders")
async def top(
    parts: TheParts, caller: Reader, within: ThisMonth, by: ByDimension = Dimension.USER, limit: SharesLimit = 10
) -> SharesAnswer:
    """The names of a dimension with the highest costs in the range."""
    found = await parts.numbers.top(restriction_of(caller), by, within.from_ms, within.to_ms, limit)
    return _shares(found, by, GLOBAL_SCOPE, within.from_ms, within.to_ms)


@router.get("/projections", operation_id="get_projection", summary="Project spend to the window's end")
async def projections(
    parts: TheParts, caller: Reader, scope: ScopeQuery = GLOBAL_SCOPE, window: WindowKind = WindowKind.MONTH
) -> ForecastAnswer:
    """Where a scope's spend will be at the end of its window, with a range, and when it reaches its limit."""
    restriction, at_ms = restriction_of(caller), now_ms()
    # What a caller may see of `global` is a scope of its own: their user's or org's.
    own = scope_within(restriction, scope)
    spent = live_picousd(parts, own, window, at_ms) if own else None
    limit = limit_of(parts, own, window) if own else None
    found = await parts.numbers.forecast(restriction, scope, window, at_ms, spent_picousd=spent, limit_picousd=limit)
    return ForecastAnswer.model_validate(as_json(found, scope, window, at_ms, limit))


def scope_within(restriction: Restriction, scope: str) -> str | None:
    """The scope that is counted when this one is asked for within the restriction; None when it takes several names.

    Raises Problem 422 when the text is no scope.
    """
    try:
        names = narrowed(restriction, scope)
    except ValueError as error:
        raise Problem(422, "invalid_scope", f"{error}.") from None
    return None if names.impossible else names.scope


def live_picousd(parts: Parts, scope: str, kind: WindowKind, at_ms: int) -> int | None:
    """What the console's memory knows of the scope's present window; None when it does not."""
    start_ms, live = window_start(kind, at_ms), parts.live
    if not live.knows(scope, kind, start_ms) or live.freshness("spend").stale:
        return None
    record = live.spend(scope, kind, start_ms)
    return picousd(record.spent_usd) if record is not None else 0


def limit_of(parts: Parts, scope: str, kind: WindowKind) -> int | None:
    """The lowest limit in 10⁻¹² USD on the scope in this kind of window."""
    limits = [b.limit for b in parts.live.book().in_force(scope, now_ms()) if b.calendar == kind and b.unit == "usd"]
    return min(limits, default=None)


def profit(cost_usd: str, retail_usd: str) -> str:
    """Retail less cost."""
    return format_usd(picousd(retail_usd) - picousd(cost_usd))


def change_percent(now_usd: str, then_usd: str) -> str | None:
    """`change_percent("150", "100")` is "50.00", `("75", "100")` "-25.00"; None when nothing was spent then."""
    now, then = picousd(now_usd), picousd(then_usd)
    if then <= 0:
        return None
    text = percent(abs(now - then), then)
    return f"-{text}" if now < then and text != "0.00" else text


async def _series(parts: Parts, caller: Reader, kind: WindowKind, within: ThirtyDays, scope: str) -> SeriesAnswer:
    found = await parts.numbers.series(restriction_of(caller), kind, within.from_ms, within.to_ms, scope)
    return SeriesAnswer(
        scope=scope,
        window=kind,
        from_=format_instant(within.from_ms),
        to=format_instant(within.to_ms),
        items=[SumOf.of(one) for one in found.items],
        total=_total(found),
        as_of=format_instant(found.as_of_ms),
    )


def _total(found: Series) -> Amounts:
    cost = sum(picousd(one.cost_usd) for one in found.items)
    retail = sum(picousd(one.retail_usd) for one in found.items)
    return Amounts(
        cost_usd=format_usd(cost),
        retail_usd=format_usd(retail),
        profit_usd=format_usd(retail - cost),
        events=sum(one.events for one in found.items),
    )


def _shares(found: Shares, by: Dimension, scope: str, from_ms: int, to_ms: int) -> SharesAnswer:
    total = ShareOf.of(found.total)
    return SharesAnswer(
        by=by,
        scope=scope,
        from_=format_instant(from_ms),
        to=format_instant(to_ms),
        items=[ShareOf.of(share) for share in found.items],
        rest=ShareOf.of(found.rest) if found.rest is not None else None,
        total=Amounts.model_validate(total.model_dump(include=set(Amounts.model_fields))),
        as_of=format_instant(found.as_of_ms),
    )


ROOM: Final = Room("sums", api=router)
