"""The page of health: what runs, how far behind each part is, what `verify` last found, and what was refused."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from pydantic import ValidationError

from tollgate.console.access.callers import Caller, Role, allow
from tollgate.console.api.audit import for_the_whole_company
from tollgate.console.api.dead_letters import RefusedPage, list_letters
from tollgate.console.api.status import Status, show_status
from tollgate.console.pages.rendering import render
from tollgate.console.pages.told import Told, told
from tollgate.console.paging import Cursor
from tollgate.console.parts import TheParts
from tollgate.console.room import Entry, Room
from tollgate.control import ControlStore
from tollgate.schemas.control import LAST_VERIFY_SETTING, SETTING_KEY_PREFIX, VerifyValue
from tollgate.schemas.refusals import RefusalReason

LETTERS_SHOWN: Final = 25
# A sink writes once a second; a worker counts this many records in a few seconds.
LAG_WORTH_A_LOOK: Final = 10_000
_LABELS: Final = {"": "Worker", "-sink-clickhouse": "ClickHouse sink", "-sink-alerts": "Alert sink"}

router = APIRouter()


class Behind(NamedTuple):
    """How far a group of readers is behind in a topic, in records, and in its worst partition."""

    reader: str
    topic: str
    records: int
    partition: str
    in_partition: int


class LastVerify(NamedTuple):
    """What `tollgate verify --record` last found, who ran it, and when."""

    value: VerifyValue
    at: str
    actor: str


@router.get("/health")
async def page(
    request: Request,
    parts: TheParts,
    caller: Annotated[Caller, Depends(allow(Role.VIEWER))],
    reason: Annotated[str, Query(max_length=64)] = "",
    cursor: Cursor = "",
) -> Response:
    """How the installation is. Refused records are for analysts."""
    for_the_whole_company(caller)
    wanted = next((known for known in RefusalReason if known == reason), None)
    status, letters = await asyncio.gather(
        show_status(parts, caller),
        told(list_letters(parts, caller, None, wanted, LETTERS_SHOWN, cursor)) if _sees_letters(caller) else _nothing(),
    )
    return show(
        request,
        caller,
        status,
        letters,
        last_verify(parts.control),
        groups=(parts.settings.application, wanted.value if wanted is not None else "", cursor),
    )


def show(
    request: Request,
    caller: Caller,
    status: Status,
    letters: Told[RefusedPage] | None,
    verified: LastVerify | None,
    groups: tuple[str, str, str],
) -> Response:
    """The page. `groups` are the application's name, with which the names of groups begin, and which refused records
    were asked for: reason and cursor.
    """
    application, reason, cursor = groups
    after = letters.value.next_cursor if letters is not None and letters.value is not None else None
    asked = {"reason": reason} if reason else {}
    return render(
        request,
        caller,
        "health.html",
        d=status,
        behind=behind(status.lag, application) if status.lag is not None else None,
        worth_a_look=LAG_WORTH_A_LOOK,
        verified=verified,
        letters=letters,
        may_replay=caller.role is Role.ADMIN,
        reason=reason,
        reasons=[("", "Every reason"), *((known.value, known.value.replace("_", " ")) for known in RefusalReason)],
        first=f"/health?{urlencode(asked)}#dead-letters" if cursor else "",
        next=f"/health?{urlencode({**asked, 'cursor': after})}#dead-letters" if after else "",
    )


def behind(lag: Mapping[str, Mapping[str, Mapping[str, int]]], application: str) -> list[Behind]:
    """Each group's topics, the furthest behind first."""
    found = []
    for group, topics in lag.items():
        label = _LABELS.get(group.removeprefix(application), group)
        for topic, partitions in topics.items():
            worst = max(partitions.items(), key=lambda item: item[1], default=("", 0))
            found.append(Behind(label, topic, sum(partitions.values()), *worst))
    return sorted(found, key=lambda one: -one.records)


def last_verify(control: ControlStore) -> LastVerify | None:
    """What is kept of the last verification; None when none is kept, or it is of a release that wrote it otherwise."""
    held = control.get(f"{SETTING_KEY_PREFIX}{LAST_VERIFY_SETTING}")
    if held is None:
        return None
    try:
        return LastVerify(VerifyValue.model_validate(held.value["value"]), held.updated_at, held.actor)
    except ValidationError:
        return None


def _sees_letters(caller: Caller) -> bool:
    return caller.role in (Role.ANALYST, Role.ADMIN)


async def _nothing() -> Any:
    return None


ROOM: Final = Room(
    "health page",
    pages=router,
    entries=(Entry("Health", "/health", "health", frozenset({Role.VIEWER, Role.ANALYST, Role.ADMIN})),),
)
