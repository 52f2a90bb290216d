"""A user's credits: what they have, what they were granted, and grants."""

import time
from typing import Annotated, Any, Final

import structlog
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from tollgate.console.api.asking import Admin, Reader
from tollgate.console.api.audit import for_the_whole_company
from tollgate.console.api.sums import Answer
from tollgate.console.api.usage import derived_id
from tollgate.console.api.user_accounts import Credits, credits_of
from tollgate.console.api.users import UserPath, seen
from tollgate.console.idempotency import IdempotencyKey
from tollgate.console.numbers import NumbersError
from tollgate.console.paging import Cursor, Limit, make_cursor, read_cursor
from tollgate.console.parts import Parts, TheParts
from tollgate.console.problems import Problem, ProblemBody
from tollgate.console.room import Room
from tollgate.control import UnreachableError, grant_records
from tollgate.schemas.control import REASON_CHARS_MAX
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import CreditKind, Instant
from tollgate.schemas.refusals import Refusal
from tollgate.schemas.text_rules import NAME_CHARS_MAX, NAME_PATTERN
from tollgate.sdk.recording import new_id

log = structlog.get_logger("tollgate.console")

router = APIRouter()

SOURCE: Final = "console"
"""The source of entries that people make in the console."""

_RETRY_SECONDS: Final = 2


class GrantShown(Answer):
    """Credits that a user got, or that were taken back."""

    time: Instant
    id: str
    source: str
    kind: CreditKind
    credits: str = Field(examples=["100", "-20"])
    """Negative when they were taken back."""
    expires_at: Instant | None
    note: str


class CreditsAnswer(Answer):
    """A user's credits and what they were granted, the newest first."""

    user: str
    balance: Credits | None
    """Null for a user without an account: nobody granted them anything, and no plan gives them free credits."""
    known: bool
    """False while balances are not read yet."""
    items: list[GrantShown] | None
    """Null when they are not known now; `problem` says why."""
    next_cursor: str | None
    problem: str | None


class GrantBody(BaseModel):
    """Credits to grant."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={"examples": [{"credits": "100", "kind": "bonus", "note": "a contest"}]},
    )

    credits: str = Field(max_length=32, examples=["100", "-20"])
    """A decimal string; negative takes back."""
    kind: CreditKind
    expires_at: str | None = Field(None, max_length=64)
    """From this instant on what is left of them cannot be spent, RFC 3339 with an offset; null: never."""
    note: str = Field("", max_length=REASON_CHARS_MAX)
    """Why; for people and the audit."""
    id: Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX, pattern=NAME_PATTERN)] | None = None
    """Granted once under this id, however often it is sent. Made from the Idempotency-Key when it is left out."""


class GrantAnswer(Answer):
    """A grant that Kafka has stored on all replicas. The balance has it within a second."""

    user: str
    id: str
    source: str
    kind: CreditKind
    credits: str
    expires_at: str | None
    note: str


@router.get("/users/{id:path}/credits", operation_id="get_user_credits", summary="Show a user's credits")
async def show_credits(
    id: UserPath,  # noqa: A002 # the contract's name
    parts: TheParts,
    caller: Reader,
    limit: Limit = 50,
    cursor: Cursor = "",
) -> CreditsAnswer:
    """What the user has, from Kafka, and what they were granted, from ClickHouse."""
    if seen(caller, id).org and not caller.user:
        raise Problem(403, "not_allowed", "Credits are of a user as a whole, not of one org.")
    return await credits_answer(parts, id, limit, cursor)


async def credits_answer(parts: Parts, user: str, limit: int, cursor: str = "") -> CreditsAnswer:
    """The user's credits. While ClickHouse is away the grants are not told, and the answer says so."""
    after = read_cursor(cursor, "credits", int, str)
    before = (after[0], after[1]) if after is not None else None
    items: list[GrantShown] | None = None
    next_cursor = problem = None
    try:
        found = await parts.numbers.credit_entries(user, limit + 1, before)
    except NumbersError as error:
        problem = str(error)
    else:
        items = [
            GrantShown(
                time=format_instant(one.time_ms),
                id=one.id,
                source=one.source,
                kind=CreditKind(one.kind),
                credits=one.credits,
                expires_at=format_instant(one.expires_ms) if one.expires_ms is not None else None,
                note=one.note,
            )
            for one in found[:limit]
        ]
        if len(found) > limit:
            next_cursor = make_cursor("credits", found[limit - 1].time_ms, found[limit - 1].id)
    return CreditsAnswer(
        user=user,
        balance=credits_of(parts, user),
        known=parts.live.knows_balance(user),
        items=items,
        next_cursor=next_cursor,
        problem=problem,
    )


@router.post(
    "/users/{id:path}/credits",
    operation_id="grant_credits",
    status_code=201,
    summary="Grant credits to a user",
    responses={
        422: {"model": ProblemBody, "description": "What was sent is not valid; `detail` names the field."},
        503: {"model": ProblemBody, "description": "Kafka is away. Repeat the request with the same id or key."},
    },
)
async def grant(
    id: UserPath,  # noqa: A002 # the contract's name
    asked: GrantBody,
    parts: TheParts,
    caller: Admin,
    idempotency_key: IdempotencyKey = None,
) -> GrantAnswer:
    """Grant credits, or take some back with a negative amount. It stands in the audit with the caller's name.

    The same `id` or `Idempotency-Key` again grants nothing twice; another grant under the same id is refused by the
    worker, as a dead letter.
    """
    for_the_whole_company(caller)
    seen(caller, id)
    entry_id = asked.id or _made_id(caller.token_id or caller.name, idempotency_key)
    data: dict[str, Any] = {"credits": asked.credits, "kind": asked.kind.value}
    data |= {name: given for name, given in (("expires_at", asked.expires_at), ("note", asked.note)) if given}
    now_ms = time.time_ns() // 1_000_000
    records = grant_records(entry_id, id, data, source=SOURCE, actor=caller.name, now_ms=now_ms)
    if isinstance(records, Refusal):
        error = records.error.removeprefix("data.")
        raise Problem(422, "invalid_request", f"{error}.", reason=records.reason.value)
    try:
        await parts.control.grant(records)
    except UnreachableError as error:
        detail = "Kafka cannot be reached. Repeat the request with the same id; it is granted once."
        log.warning("a grant was not made", error=str(error))
        raise Problem(
            503, "kafka_unavailable", detail, headers={"Retry-After": str(_RETRY_SECONDS)}, id=entry_id
        ) from None
    return GrantAnswer(
        user=id,
        id=entry_id,
        source=SOURCE,
        kind=asked.kind,
        credits=asked.credits,
        expires_at=asked.expires_at,
        note=asked.note,
    )


def _made_id(who: str, key: str | None) -> str:
    return new_id() if key is None else derived_id(who, key, 0)


ROOM: Final = Room("credits", api=router)
