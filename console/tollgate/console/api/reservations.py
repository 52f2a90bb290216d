"""Reservations of services without Kafka: set money or credits aside before a call, then settle or release."""

import json
import time
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from tollgate.console.access.callers import Caller, Role, allow
from tollgate.console.access.restriction import restriction_of
from tollgate.console.api.check import Name
from tollgate.console.api.usage import derived_id
from tollgate.console.deciding import NoDecisionError
from tollgate.console.idempotency import IdempotencyKey
from tollgate.console.ingest import UnavailableError
from tollgate.console.live.sight import Sight
from tollgate.console.parts import Parts, TheParts
from tollgate.console.problems import Problem, ProblemBody
from tollgate.console.room import Room
from tollgate.domain.windows import LIFETIME_END_MS
from tollgate.schemas.entries import TTL_SECONDS_MAX
from tollgate.schemas.instants import format_instant, parse_instant
from tollgate.schemas.outputs import Amount, Decision, Instant, Measure, Usd
from tollgate.schemas.refusals import Refusal
from tollgate.schemas.text_rules import NAME_CHARS_MAX, NAME_PATTERN
from tollgate.schemas.usage_codec import decode_usage_event
from tollgate.schemas.usage_limits import SPEC_VERSION
from tollgate.schemas.usage_values import UsageAmount, UsdAmount
from tollgate.schemas.vocabulary import EntryType
from tollgate.sdk import InvalidEventError
from tollgate.sdk.entries import encode_release
from tollgate.sdk.recording import new_id

router = APIRouter()

SOURCE: Final = "console"
"""The source of a reservation whose caller names none."""

_RETRY_SECONDS: Final = 2
_TTL_SECONDS: Final = 60

# What a record of the usage topic says, and a request by its address: what it is, and about which reservation. Its
# decision is the answer.
_ENVELOPE: Final = frozenset(("specversion", "type"))
_SAID_ELSEWHERE: Final = frozenset(("reservation_id", "reply_to", "reply_partition"))

Service = Annotated[Caller, Depends(allow(Role.SERVICE, Role.ADMIN))]
Given = Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX, pattern=NAME_PATTERN)]
ReservationId = Annotated[
    str,
    Path(
        min_length=1,
        max_length=NAME_CHARS_MAX,
        pattern=NAME_PATTERN,
        description="the id of the reservation, percent-encoded",
        examples=["r-1"],
    ),
]
_EXAMPLE: Final[dict[str, JsonValue]] = {
    "source": "chat-api",
    "user": "u-42",
    "amount_usd": "0.10",
    "provider": "openai",
    "model": "gpt-4o",
}


class _Body(BaseModel):
    """What the usage topic takes may be sent as it is: the user as `subject`, and what is asked for under `data`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _as_in_the_topic(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        named = {"user" if name == "subject" else name: value for name, value in given.items() if name not in _ENVELOPE}
        if "time" not in cls.model_fields:
            named.pop("time", None)
        if not isinstance(named.get("data"), dict):
            return named
        data = {name: value for name, value in named.pop("data").items() if name not in _SAID_ELSEWHERE}
        return data | named


class Whose(_Body):
    """A reservation's source and user; together with its id they name it.

    Both may be left out where this console has granted it, and no other one of the same id.
    """

    source: Given | None = Field(None, examples=["chat-api"])
    """The service that reserves. Its usage events settle the reservation."""
    user: Given | None = Field(None, examples=["u-42"])


class ReservationBody(_Body):
    """What to set aside: `amount_usd`, `credits`, or both; and the names of the call, as its usage event has them."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    source: Given = Field(SOURCE, examples=["chat-api"])
    """The service that reserves. Its usage events settle the reservation."""
    user: Given = Field(examples=["u-42"])
    id: Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX, pattern=NAME_PATTERN)] | None = None
    """The same id again, while the reservation lives, gets the same decision. Made when it is left out."""
    amount_usd: UsdAmount | None = None
    """The most that the call is expected to cost."""
    credits: UsageAmount | None = None
    """The most credits that the call is expected to take."""
    ttl_seconds: int = Field(_TTL_SECONDS, ge=1, le=TTL_SECONDS_MAX, strict=True)
    """After this time the reservation ends by itself."""
    org: Name | None = None
    service: Name | None = None
    provider: Name | None = None
    model: Name | None = None
    agent: Name | None = None
    campaign: Name | None = None
    feature: Name | None = None
    product: Name | None = None


class ReservationAnswer(BaseModel):
    """What is set aside."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    reservation_id: str
    source: str
    user: str
    granted: bool
    amount_usd: Usd
    credits: Amount
    expires_at: Instant
    """When it ends by itself, if it is not settled or released before."""
    decided_at: Instant


class Denied(ProblemBody):
    """What stood in the way. The numbers are told to those who may see the scope."""

    granted: Literal[False] = False
    message: str = ""
    scope: str | None = None
    budget: str | None = None
    limit: Measure | None = None
    unit: str | None = None
    spent: Measure | None = None
    reserved: Measure | None = None
    available: Measure | None = None
    until: Instant | None = None
    reservation_id: str = ""


class SettleBody(Whose):
    """The usage event of the call: its data as for `POST /usage`, beside the reservation's source and user."""

    # The data of an event are checked by the worker's own reader.
    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "source": "chat-api",
                    "user": "u-42",
                    "provider": "openai",
                    "model": "gpt-4o",
                    "usage": {"input_tokens": 1200, "output_tokens": 300},
                }
            ]
        },
    )

    id: Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX, pattern=NAME_PATTERN)] | None = None
    """The id of the event; that of the reservation with `/settle` when it is left out, so that it counts once."""
    time: str | None = Field(None, max_length=64)
    """When the call happened, RFC 3339 with an offset; now when it is left out."""
    more: bool = Field(False, strict=True)
    """Whether further calls settle the same reservation."""


class Sent(BaseModel):
    """What Kafka has stored on all replicas."""

    reservation_id: str
    event_id: str | None = Field(description="the id under which the usage event counts once; null for a release")


_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    422: {"model": ProblemBody, "description": "What was sent is not valid; `detail` names the field."},
    503: {"model": Denied, "description": "Kafka is away, no worker decides, or all spending is stopped."},
}


@router.post(
    "/reservations",
    operation_id="reserve",
    status_code=201,
    summary="Set money or credits aside for a call",
    responses={
        **_ANSWERS,
        402: {"model": Denied, "description": "The user has too few credits: `insufficient_credits`."},
        409: {"model": Denied, "description": "A reservation of this id has ended or was denied: take another id."},
        429: {"model": Denied, "description": "A limit is in the way: `usage_limit_exceeded`; or too many requests."},
    },
)
async def reserve(
    asked: ReservationBody, parts: TheParts, caller: Service, idempotency_key: IdempotencyKey = None
) -> ReservationAnswer:
    """Granted when every budget, plan limit and the credits have room for it. Answered once a worker has decided.

    Without an answer, repeat the request with the same `id` or `Idempotency-Key`: it gets the same decision, and
    nothing is set aside twice.
    """
    data = asked.model_dump(exclude={"source", "user", "id"}, exclude_none=True)
    _own(data, caller)
    reservation_id = asked.id or _made_id(caller, idempotency_key)
    try:
        decision = await parts.deciding.ask(asked.source, reservation_id, asked.user, data)
    except InvalidEventError as error:
        raise _invalid(error.refusal) from None
    except UnavailableError as error:
        raise _away(error, reservation_id) from None
    except NoDecisionError:
        detail = "No worker has decided in time. Repeat the request with the same id to get the decision."
        retry = {"Retry-After": str(_RETRY_SECONDS)}
        raise Problem(503, "no_decision", detail, headers=retry, reservation_id=reservation_id) from None
    if not decision.granted:
        raise _denied(decision, Sight.of(caller))
    return ReservationAnswer.model_validate(decision.model_dump(include=set(ReservationAnswer.model_fields)))


@router.post(
    "/reservations/{id:path}/settle",
    operation_id="settle_reservation",
    status_code=202,
    summary="Settle a reservation with what the call used",
    responses=_ANSWERS,
)
async def settle(
    id: ReservationId,  # noqa: A002 # the contract's name
    asked: SettleBody,
    parts: TheParts,
    caller: Service,
) -> Sent:
    """Report the usage of the call. It takes its cost from what is set aside and, without `more`, frees the rest.

    Usage counts also when the reservation has ended meanwhile. The same event counts once, however often it is sent.
    """
    data = dict(asked.model_extra or {})
    _own(data, caller)
    source, user = _whose(parts, caller, id, asked)
    event_id = asked.id or (new_id() if asked.more else f"{id}/settle")
    now = format_instant(time.time_ns() // 1_000_000)
    event = {
        "specversion": SPEC_VERSION,
        "type": EntryType.USAGE.value,
        "source": source,
        "id": event_id,
        "subject": user,
        "time": asked.time or now,
        "data": {**data, "reservation_id": id, **({"more": True} if asked.more else {})},
    }
    value = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    refusal = decode_usage_event(value)
    if isinstance(refusal, Refusal):
        raise _invalid(refusal)
    await _publish(parts, user, value, id)
    return Sent(reservation_id=id, event_id=event_id)


@router.post(
    "/reservations/{id:path}/release",
    operation_id="release_reservation",
    status_code=202,
    summary="Release a reservation whose call is not made",
    responses=_ANSWERS,
)
async def release(
    id: ReservationId,  # noqa: A002 # the contract's name
    parts: TheParts,
    caller: Service,
    asked: Whose | None = None,
) -> Sent:
    """Free what is set aside. Once the reservation is settled, released or expired, this changes nothing."""
    source, user = _whose(parts, caller, id, asked or Whose())
    try:
        value = encode_release(source, id, user)
    except InvalidEventError as error:
        raise _invalid(error.refusal) from None
    await _publish(parts, user, value, id)
    return Sent(reservation_id=id, event_id=None)


def _whose(parts: Parts, caller: Caller, reservation_id: str, asked: Whose) -> tuple[str, str]:
    """Source and user of the reservation. Raises Problem 422 where neither the caller nor this console knows them.

    A caller of one org is not told whose reservation of another org has this id.
    """
    restriction = restriction_of(caller)
    if asked.source is not None and asked.user is not None:
        return asked.source, asked.user
    found = [
        whose
        for whose in parts.deciding.granted(reservation_id)
        if not restriction.org and asked.source in (None, whose[0]) and asked.user in (None, whose[1])
    ]
    if len(found) != 1:
        raise Problem(422, "invalid_request", "Name the source and the user of the reservation.")
    return found[0]


async def _publish(parts: TheParts, user: str, value: bytes, reservation_id: str) -> None:
    try:
        await parts.ingest.publish([(user, value)])
    except UnavailableError as error:
        raise _away(error, reservation_id) from None


def _own(data: dict[str, Any], caller: Caller) -> None:
    """Fill in the org of a token of one org. Raises Problem 403 for a call of another."""
    org = restriction_of(caller).org
    if org and data.setdefault("org", org) != org:
        raise Problem(403, "not_allowed", f"This token may make calls of the org {org} alone.")


def _made_id(caller: Caller, key: str | None) -> str:
    return new_id() if key is None else derived_id(caller.token_id or caller.name, key, 0)


def _invalid(refusal: Refusal) -> Problem:
    return Problem(422, "invalid_request", f"{refusal.error.removeprefix('data.')}.", reason=refusal.reason.value)


def _away(error: UnavailableError, reservation_id: str) -> Problem:
    text = str(error)
    detail = f"{text[0].upper()}{text[1:]}. Repeat the request with the same id; it counts once."
    retry = {"Retry-After": str(_RETRY_SECONDS)}
    return Problem(503, "kafka_unavailable", detail, headers=retry, reservation_id=reservation_id)


def _denied(decision: Decision, sight: Sight) -> Problem:
    is_seen = decision.scope is None or sight.sees(decision.scope)
    numbers = ("budget", "limit", "unit", "spent", "reserved", "available")
    message = decision.message if decision.message and is_seen else "The reservation is denied."
    headers = {}
    if decision.until is not None:
        until_ms = parse_instant(decision.until)
        if until_ms < LIFETIME_END_MS:
            headers["Retry-After"] = str(max(0, -((time.time_ns() // 1_000_000 - until_ms) // 1000)))
    return Problem(
        decision.http_status or 429,
        decision.error.value if decision.error is not None else "usage_limit_exceeded",
        message,
        headers=headers,
        granted=False,
        message=message,
        scope=decision.scope,
        until=decision.until,
        reservation_id=decision.reservation_id,
        **{name: getattr(decision, name) if is_seen else None for name in numbers},
    )


ROOM: Final = Room("reservations", api=router)
