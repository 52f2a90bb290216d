"""The room of tokens: who may use the API, and with which role."""

import time
from typing import Annotated, Final, Self

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tollgate.console.access.callers import Caller, allow
from tollgate.console.idempotency import IdempotencyKey, repeated, store_key
from tollgate.console.paging import Cursor, Limit, Page, page_of
from tollgate.console.parts import TheParts
from tollgate.console.problems import Problem, ProblemBody
from tollgate.console.room import Room
from tollgate.control import ControlStore, NoRecordError, RepeatedKeyError
from tollgate.schemas.text_rules import NAME_CHARS_MAX, NAME_PATTERN
from tollgate.schemas.tokens import TOKEN_KEY_PREFIX, Role, TokenKind, TokenRecord, new_token_text, token_record

Admin = Annotated[Caller, Depends(allow(Role.ADMIN))]
Name = Annotated[str, Field(max_length=NAME_CHARS_MAX, pattern=NAME_PATTERN)]

_DAY_MS: Final = 24 * 3600 * 1000


class TokenRequest(BaseModel):
    """A token to be made."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    role: Role = Field(examples=["viewer"])
    name: Name = Field("", examples=["billing dashboard"])
    """What people call it; the audit shows it as the actor."""
    user: Name = ""
    """Whose data a token of the role `user` may see."""
    org: Name = Field("", examples=["acme"])
    """Confines the token to the data of one org; empty for the whole company."""
    expires_in_days: int | None = Field(None, ge=1, le=3660, strict=True)
    """How long it holds; null until it is removed."""

    @model_validator(mode="after")
    def _user_and_role_agree(self) -> Self:
        if (self.role is Role.USER) != bool(self.user):
            raise ValueError("give a user with the role user, and with no other role")
        return self


class TokenShown(BaseModel):
    """A token without its secret."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    kind: TokenKind
    role: Role
    name: str
    user: str
    org: str
    created_at: str
    expires_at: str | None
    """First instant at which it no longer holds; null when it holds until it is removed."""
    created_by: str
    """Who made it."""
    version: int


class TokenMade(TokenShown):
    """A new token. The secret is told here and never again."""

    token: str | None
    """The text for `Authorization: Bearer …`; null when this answer repeats that of an earlier request with the same
    Idempotency-Key, for it is stored nowhere."""


router = APIRouter()


@router.get("/tokens", operation_id="list_tokens", summary="List tokens")
async def list_tokens(
    caller: Admin,
    parts: TheParts,
    kind: Annotated[TokenKind, Query(description="`session` for logins of people, `login` for unused links")] = (
        TokenKind.API
    ),
    limit: Limit = 50,
    cursor: Cursor = "",
) -> Page[TokenShown]:
    """Tokens that hold, without their secrets, by id. An admin of an org sees those of the org."""
    found = tokens_of(parts.control, caller, kind)
    return page_of(found, limit, cursor, f"tokens/{kind.value}", lambda token: token.id)


@router.post(
    "/tokens",
    operation_id="create_token",
    status_code=201,
    summary="Make a token",
    responses={
        200: {"model": TokenMade, "description": "It was made by an earlier request with this Idempotency-Key."},
    },
)
async def make_token(
    asked: TokenRequest,
    caller: Admin,
    parts: TheParts,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> TokenMade:
    """Make a token. Its secret is in this answer and is stored nowhere."""
    if caller.org and asked.org != caller.org:
        raise Problem(403, "not_allowed", f"You may make tokens of the org {caller.org} only.")
    text = new_token_text()
    record = token_record(
        text,
        asked.role,
        _now_ms(),
        lifetime_ms=asked.expires_in_days * _DAY_MS if asked.expires_in_days is not None else None,
        name=asked.name,
        user=asked.user,
        org=asked.org,
    )
    try:
        changed = await parts.control.change(
            TOKEN_KEY_PREFIX + record.id,
            record.model_dump(mode="json"),
            actor=caller.name,
            expect_version=0,
            idempotency_key=store_key(caller, idempotency_key),
            # The id and the secret are others each time.
            request=f"POST /tokens {asked.model_dump_json()}",
        )
    except RepeatedKeyError:
        raise repeated() from None
    made = _record(changed.after or {})
    assert made is not None, "the store answers with the record that it has checked"
    if changed.replayed:
        response.status_code = 200
    return TokenMade(**shown(made).model_dump(), token=None if changed.replayed else str(text))


@router.delete(
    "/tokens/{id}",
    operation_id="revoke_token",
    status_code=204,
    summary="Revoke a token",
    responses={404: {"model": ProblemBody, "description": "There is no such token."}},
)
async def revoke_token(id: Annotated[str, Path(max_length=64)], caller: Admin, parts: TheParts) -> None:  # noqa: A002 # the contract's name
    """Revoke a token or end a session, at once and in every process."""
    if not _may_revoke(parts.control, caller, id):
        raise _unknown()
    try:
        await parts.control.change(TOKEN_KEY_PREFIX + id, None, actor=caller.name)
    except NoRecordError:
        raise _unknown() from None


def tokens_of(control: ControlStore, caller: Caller, kind: TokenKind) -> list[TokenShown]:
    """The tokens that hold and that an admin may see, in no order."""
    now_ms = _now_ms()
    return [
        shown(record)
        for held in control.records(TOKEN_KEY_PREFIX)
        if (record := _record(held.value)) is not None
        and record.kind is kind
        and record.holds_at(now_ms)
        and (not caller.org or record.org == caller.org)
    ]


def shown(record: TokenRecord) -> TokenShown:
    """What may be told of a token."""
    return TokenShown(
        id=record.id,
        kind=record.kind,
        role=record.role,
        name=record.name,
        user=record.user,
        org=record.org,
        created_at=record.created_at,
        expires_at=record.expires_at,
        created_by=record.actor,
        version=record.version,
    )


def _may_revoke(control: ControlStore, caller: Caller, token_id: str) -> bool:
    held = control.get(TOKEN_KEY_PREFIX + token_id)
    record = _record(held.value) if held is not None else None
    return record is not None and _is_theirs(caller, record)


def _is_theirs(caller: Caller, record: TokenRecord) -> bool:
    return not caller.org or record.org == caller.org


def _record(value: dict[str, object]) -> TokenRecord | None:
    try:
        return TokenRecord.model_validate(value)
    except ValidationError:
        return None


def _unknown() -> Problem:
    return Problem(404, "not_found", "There is no such token.")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


ROOM: Final = Room("tokens", api=router)
