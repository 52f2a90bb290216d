"""The page of alerts: what is open, the worst first, and what was resolved in the last 30 days."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from tollgate.console.access.callers import Caller, Role, allow
from tollgate.console.api.alerts import AlertPage, list_alerts
from tollgate.console.live.sight import Sight
from tollgate.console.numbers import AlertRevision, Page, Range
from tollgate.console.pages.rendering import render
from tollgate.console.pages.shown import path_part
from tollgate.console.pages.told import Told, told
from tollgate.console.paging import Cursor
from tollgate.console.parts import TheParts
from tollgate.console.room import Entry, Room
from tollgate.domain.windows import DAY_MS
from tollgate.schemas.outputs import Alert, AlertKind, AlertLevel

OPEN_SHOWN: Final = 50
RESOLVED_SHOWN: Final = 25
RESOLVED_DAYS: Final = 30

router = APIRouter()


@dataclass(frozen=True, slots=True)
class NextStep:
    """What a person can do about an alert: a sentence, and where it is done or the command that does it."""

    text: str
    href: str = ""
    command: str = ""


@router.get("/alerts")
async def page(
    request: Request,
    parts: TheParts,
    caller: Annotated[Caller, Depends(allow(Role.VIEWER))],
    cursor: Cursor = "",
    resolved: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Open alerts, and those that were resolved."""
    now_ms = time.time_ns() // 1_000_000
    within = Range(max(now_ms - RESOLVED_DAYS * DAY_MS, 0), now_ms + DAY_MS)
    scope = Sight.of(caller).scope or ""
    # ClickHouse decides nothing of the first panel, which comes from memory.
    opened, over = await asyncio.gather(
        list_alerts(parts, caller, OPEN_SHOWN, cursor),
        told(parts.numbers.alerts_history(scope, within, RESOLVED_SHOWN, resolved, AlertLevel.RESOLVED)),
    )
    return show(request, caller, opened, over, total=_total(parts.live.alert_count, caller), paths=(cursor, resolved))


def show(
    request: Request,
    caller: Caller,
    opened: AlertPage,
    over: Told[Page[AlertRevision]],
    *,
    total: int | None,
    paths: tuple[str, str] = ("", ""),
) -> Response:
    """The page of these alerts. `paths` are the cursors by which they were asked for."""
    cursor, resolved = paths
    return render(
        request,
        caller,
        "alerts.html",
        opened=opened,
        steps={alert.key: next_steps(alert) for alert in opened.items},
        resolved=over,
        total=total,
        is_admin=caller.role is Role.ADMIN,
        open_pages=_pages({"resolved": resolved}, "cursor", cursor, opened.next_cursor or ""),
        resolved_pages=_pages(
            {"cursor": cursor}, "resolved", resolved, over.value.cursor if over.value is not None else ""
        ),
        resolved_days=RESOLVED_DAYS,
    )


def next_steps(alert: Alert) -> list[NextStep]:
    """What can be done about an alert, the first thing first."""
    if alert.kind is AlertKind.BUDGET:
        return _of_budget(alert)
    if alert.kind is AlertKind.UNPRICED:
        return [NextStep("Set a price", href=f"/prices?{urlencode({'q': alert.model or alert.scope})}")]
    if alert.kind is AlertKind.POISON:
        return [NextStep("See the refused record", href="/health?reason=poison#dead-letters")]
    if alert.kind is AlertKind.STOP:
        return [NextStep("Let spending go on", command="tollgate resume --reason REASON")]
    return [NextStep("Set the broker's clock right, then look at", href="/health")]


def _of_budget(alert: Alert) -> list[NextStep]:
    dimension, _, name = alert.scope.partition("/")
    page = f"/users/{path_part(name)}" if dimension == "user" and name else f"/scopes/{path_part(alert.scope)}"
    steps = [NextStep("See the user" if dimension == "user" else "See who spends", href=page)]
    if alert.budget is not None:
        steps.insert(0, NextStep("Change the limit", href=f"/budgets/{path_part(alert.budget)}"))
    return steps


def _pages(others: Mapping[str, str], name: str, cursor: str, following: str) -> dict[str, Any]:
    """Addresses of the first and the next page of one of the two lists, while the other stays where it is."""
    kept = {key: value for key, value in others.items() if value}
    anchor = "#open" if name == "cursor" else "#resolved"
    return {
        "first": f"/alerts?{urlencode(kept)}{anchor}" if cursor else "",
        "next": f"/alerts?{urlencode({**kept, name: following})}{anchor}" if following else "",
    }


def _total(count: int, caller: Caller) -> int | None:
    """How many alerts are open; None for those who may see their org's alone."""
    return None if caller.org else count


ROOM: Final = Room(
    "alerts page",
    pages=router,
    entries=(Entry("Alerts", "/alerts", "alerts", frozenset({Role.VIEWER, Role.ANALYST, Role.ADMIN})),),
)
