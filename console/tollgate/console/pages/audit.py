"""The page of changes: who changed what from what to what, when and why."""

from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from tollgate.console.access.callers import Caller, Role, allow
from tollgate.console.api.audit import AuditEntry, AuditPage, list_changes
from tollgate.console.audit_differences import Difference, differences
from tollgate.console.pages.days import Days, days_of
from tollgate.console.pages.rendering import render
from tollgate.console.pages.shown import path_part
from tollgate.console.pages.told import Told, told
from tollgate.console.paging import Cursor
from tollgate.console.parts import TheParts
from tollgate.console.room import Entry, Room
from tollgate.console.scope_parts import name_in
from tollgate.schemas.audit import AuditAction

KINDS: Final = ("budget", "plan", "assignment", "credit", "price", "setting", "token")
SHOWN: Final = 25
_VERBS: Final = {
    "budget": "the budget",
    "plan": "the plan",
    "assignment": "the plan of",
    "credit": "credits of",
    "price": "the price",
    "setting": "the setting",
    "token": "the token",
}

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Change:
    """One change as the page shows it."""

    entry: AuditEntry
    verb: str
    """`set`, `changed` or `removed`."""
    what: str
    """`the budget`."""
    name: str
    href: str
    """The page of the record; empty when it has none."""
    differences: list[Difference]


@router.get("/audit")
async def page(
    request: Request,
    parts: TheParts,
    caller: Annotated[Caller, Depends(allow(Role.ADMIN))],
    kind: Annotated[str, Query(max_length=64)] = "",
    key: Annotated[str, Query(max_length=600)] = "",
    actor: Annotated[str, Query(max_length=300)] = "",
    first: Annotated[str, Query(max_length=10)] = "",
    last: Annotated[str, Query(max_length=10)] = "",
    cursor: Cursor = "",
) -> Response:
    """Changes, the newest first."""
    days = days_of(first, last)
    kind, key, actor = kind.strip(), key.strip(), actor.strip()
    found = await told(
        list_changes(parts, caller, days.range, kind=kind, key=key, actor=actor, limit=SHOWN, cursor=cursor)
    )
    return show(request, caller, found, {"kind": kind, "key": key, "actor": actor}, days, cursor)


def show(
    request: Request, caller: Caller, found: Told[AuditPage], wanted: dict[str, str], days: Days, cursor: str
) -> Response:
    """The page of these changes."""
    asked = {name: value for name, value in {**wanted, "first": days.first, "last": days.last}.items() if value}
    after = found.value.next_cursor if found.value is not None else None
    return render(
        request,
        caller,
        "audit.html",
        found=found,
        changes=[change_of(entry) for entry in found.value.items] if found.value is not None else [],
        kinds=[("", "Everything"), *((kind, kind.capitalize() + "s") for kind in KINDS)],
        wanted=wanted,
        days=days,
        is_filtered=bool(asked),
        first=f"/audit?{urlencode(asked)}" if cursor else "",
        next=f"/audit?{urlencode({**asked, 'cursor': after})}" if after else "",
    )


def change_of(entry: AuditEntry) -> Change:
    """The change in words."""
    name = entry.key.partition("/")[2]
    verb = "changed" if entry.before is not None else "set"
    if entry.action is AuditAction.REMOVE:
        verb = "removed"
    if entry.kind == "assignment":
        name = name_in(name) if name != "default" else "everybody else"
    elif entry.kind == "credit":
        verb, name = "granted", str((entry.after or {}).get("user") or name)
    href = {
        "plan": f"/plans/{path_part(name)}",
        "assignment": f"/users/{path_part(name)}" if name != "everybody else" else "/plans",
        "credit": f"/users/{path_part(name)}",
        "budget": f"/budgets/{path_part(name)}",
        "price": f"/prices?q={quote(name.partition('@')[0], safe='')}",
        "setting": "/settings",
        "token": "/settings",
    }.get(entry.kind, "")
    label = str((entry.after or entry.before or {}).get("name") or name) if entry.kind == "token" else name
    return Change(
        entry,
        verb,
        _VERBS.get(entry.kind, entry.kind),
        label,
        "" if verb == "removed" and entry.kind != "assignment" else href,
        differences(entry.before, entry.after),
    )


ROOM: Final = Room("audit page", pages=router, entries=(Entry("Audit", "/audit", "audit", frozenset({Role.ADMIN})),))
