"""`GET /spend`: what a scope has spent in one window, as the worker counts it."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import Field

from tollgate.console.access.restriction import check_scope
from tollgate.console.api.asking import ANSWERS, SCOPE_CHARS_MAX, Reader, instant_of, now_ms
from tollgate.console.api.sums import Answer
from tollgate.console.api.why import StandingNow
from tollgate.console.parts import TheParts
from tollgate.console.room import Room
from tollgate.domain.budgets import window_json
from tollgate.domain.standings import standings
from tollgate.domain.windows import window_start
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
    updated_at: Annotated[Instant | None, Field(description="when the worker last changed the sum")]
    budgets: list[StandingNow]
    """The budgets of this kind of window that apply to the scope, the fullest first."""
    as_of: Instant
    """When the sum was known to be so."""


@router.get("/spend", operation_id="get_spend", summary="Show what a scope has spent")
async def spend(
    parts: TheParts,
    caller: Reader,
    scope: Annotated[
        str,
        Query(max_length=SCOPE_CHARS_MAX, description="`global`, or a dimension and a name", examples=["user/u-42"]),
    ],
    window: WindowKind = WindowKind.MONTH,
    at: Annotated[str | None, Query(max_length=64, description="an instant or date within the window; now")] = None,
) -> SpendAnswer:
    """The same as `tollgate spend --json`: from memory for the present windows of shared scopes, else ClickHouse."""
    check_scope(caller, scope)
    at_ms = now_ms() if at is None else instant_of("at", at)
    start_ms = window_start(window, at_ms)
    known = await parts.sums.get(scope, window, start_ms)
    if known is None:
        # Somebody asks for this one alone, so that they may wait as long as ClickHouse may take.
        asked_ms = now_ms()
        record = await parts.numbers.spend_of(scope, window, start_ms)
    else:
        record, asked_ms = known
    return SpendAnswer.model_validate(
        spend_json(scope, window, start_ms, record)
        | {
            "budgets": [
                standing.as_json()
                for standing in standings(scope, parts.live.book(), _by_window(record), at_ms)
                if standing.budget.window is window
            ],
            "as_of": format_instant(asked_ms),
        }
    )


def spend_json(scope: str, kind: WindowKind, start_ms: int, record: SpendRecord | None) -> dict[str, Any]:
    """The sum in the words of the spend topic, also when there is none."""
    return {
        "scope": scope,
        "window": window_json(kind, start_ms),
        "spent_usd": record.spent_usd if record else "0",
        "retail_usd": record.retail_usd if record else "0",
        "usage": record.usage if record else {},
        "events": record.events if record else 0,
        "updated_at": record.updated_at if record else None,
    }


def _by_window(record: SpendRecord | None) -> dict[tuple[str, str], SpendRecord]:
    return {} if record is None else {(record.window.kind.value, record.window.start): record}


ROOM: Final = Room("spend", api=router)
