"""`GET /audit`: who changed which budget, price, token or setting from what to what, when and why."""

import json
from typing import Annotated, Any, Final, Self

from fastapi import APIRouter, Query
from pydantic import Field

from tollgate.console.access.callers import Caller
from tollgate.console.api.asking import ANSWERS, Admin, MaybeRange
from tollgate.console.api.sums import Answer
from tollgate.console.audit_differences import differences
from tollgate.console.numbers import AuditRow
from tollgate.console.paging import Cursor, Limit, Page
from tollgate.console.parts import TheParts
from tollgate.console.problems import Problem
from tollgate.console.room import Room
from tollgate.schemas.audit import AuditAction
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import Instant

router = APIRouter(responses=ANSWERS)


class FieldChange(Answer):
    """A field that a change made another, in words for people."""

    field: str = Field(examples=["thresholds.warning.percent"])
    """Its path in the record; rates of a price are named by their dimension, `rates.input_tokens`."""
    name: str = Field(examples=["Warning at"])
    """What people call it."""
    before: str = Field(examples=["80 %"])
    """What it was, for people; empty when the record did not have it."""
    after: str = Field(examples=["70.5 %"])
    """What it became; empty when the record no longer has it."""


class AuditEntry(Answer):
    """One change. It is never changed itself."""

    id: str
    time: Instant
    actor: str
    """Who made it: `cli:` and the system's user, or the caller's name in the console."""
    action: AuditAction
    key: str
    """The changed record's key: `budget/user/u-42:month:usd`."""
    kind: str
    before: dict[str, Any] | None
    """The record before the change; null when there was none. Hashes of tokens are left out."""
    after: dict[str, Any] | None
    """The record after the change; null when it was removed."""
    differences: list[FieldChange]
    """What differs between the two, field by field; empty when it was set again to what it was."""
    reason: str
    version: int

    @classmethod
    def of(cls, row: AuditRow) -> Self:
        """As it is answered."""
        values: dict[str, Any] = row._asdict()
        time = format_instant(values.pop("time_ms"))
        before, after = _record(row.before), _record(row.after)
        changed = [
            FieldChange(field=one.field, name=one.name, before=one.before, after=one.after)
            for one in differences(before, after)
        ]
        return cls(**values | {"time": time, "before": before, "after": after, "differences": changed})


class AuditPage(Page[AuditEntry]):
    """Changes, the newest first."""

    as_of: Instant


@router.get("/audit", operation_id="list_audit", summary="List changes")
async def list_changes(
    parts: TheParts,
    caller: Admin,
    within: MaybeRange,
    kind: Annotated[str, Query(max_length=64, description="budget, price, token or setting")] = "",
    key: Annotated[str, Query(max_length=600, description="the whole key of a record")] = "",
    actor: Annotated[str, Query(max_length=300)] = "",
    limit: Limit = 50,
    cursor: Cursor = "",
) -> AuditPage:
    """Changes of budgets, prices, tokens and settings, the newest first."""
    for_the_whole_company(caller)
    page = await parts.numbers.audit(kind=kind, key=key, actor=actor, within=within, limit=limit, cursor=cursor)
    return AuditPage(
        items=[AuditEntry.of(row) for row in page.items],
        next_cursor=page.cursor or None,
        as_of=format_instant(page.as_of_ms),
    )


def for_the_whole_company(caller: Caller) -> None:
    """Raises Problem 403 for somebody of one org: what follows is not kept by org."""
    if caller.org or caller.user:
        raise Problem(403, "not_allowed", "This is for those who may see the whole company.")


def _record(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text) if text else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


ROOM: Final = Room("audit", api=router)
