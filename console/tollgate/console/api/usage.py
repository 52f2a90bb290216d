"""`POST /usage`: usage events of services without Kafka."""

import time
from hashlib import blake2b
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Header, Request
from pydantic import BaseModel, Field

from tollgate.console.access.callers import Caller, Role, allow
from tollgate.console.access.restriction import restriction_of
from tollgate.console.ingest import UnavailableError
from tollgate.console.parts import TheParts
from tollgate.console.problems import Problem, ProblemBody
from tollgate.console.room import Room
from tollgate.console.usage_bodies import EVENTS_MAX, Event, NoJsonError, Reason, Refused, TooManyError, read_events
from tollgate.schemas.instants import format_instant
from tollgate.schemas.usage_event import UsageData
from tollgate.sdk.recording import new_id

router = APIRouter()

_RETRY_SECONDS: Final = 2
_EXAMPLE: Final = {
    "source": "chat-api",
    "subject": "u-42",
    "data": {"provider": "openai", "model": "gpt-4o", "usage": {"input_tokens": 1200, "output_tokens": 300}},
}


class RefusedEvent(BaseModel):
    """An event that was not taken: the worker would refuse it, or it is of another org than the token."""

    index: int = Field(description="its place in the list, from 0", examples=[3])
    reason: Reason = Field(description="as in a dead letter, or `not_allowed`; for programs")
    error: str = Field(
        description="the field and what is wrong with it, for people",
        examples=["data.usage.input_tokens: must not be negative"],
    )


class MadeEvent(BaseModel):
    """The id and time of an event that was sent without one of them."""

    index: int = Field(description="its place in the list, from 0", examples=[0])
    id: str = Field(description="repeat the event under this id, and it is counted once")
    time: str = Field(description="RFC 3339 in UTC", examples=["2026-11-21T10:00:00.123Z"])


class UsageAnswer(BaseModel):
    """What became of the events."""

    accepted: int = Field(description="how many Kafka has stored on all replicas", examples=[1])
    refused: list[RefusedEvent] = Field(description="those that were not taken; none of them need be repeated as it is")
    made: list[MadeEvent] = Field(description="ids and times that were made here")


class NoneTaken(ProblemBody):
    """No event was taken: the answer's `error` is `all_refused`, and `detail` names the first field that is wrong."""

    accepted: Literal[0] = Field(0, description="none")
    refused: list[RefusedEvent] = Field(description="every event, with what is wrong with it")
    made: list[MadeEvent] = Field(description="always empty")


class NotStored(ProblemBody):
    """Kafka did not acknowledge every event: `error` is `kafka_unavailable`. Some may be stored."""

    made: list[MadeEvent] = Field(description="repeat the events under these ids and times")


class UsageEventBody(BaseModel):
    """A CloudEvent as in the usage topic. `specversion`, `type`, `id` and `time` may be left out."""

    specversion: str = Field("1.0", pattern=r"^1\.0$")
    type: str = "tollgate.usage.v1"
    source: str = Field(description="the service that sends the event", min_length=1, max_length=256)
    id: str | None = Field(None, description="unique within the source; made when it is left out")
    subject: str = Field(description="the user who consumed", min_length=1, max_length=256)
    time: str | None = Field(None, description="when it happened, RFC 3339 with an offset; now when it is left out")
    data: UsageData


_REFERENCE: Final = "#/components/schemas/"
_EVENT: Final = {"$ref": f"{_REFERENCE}UsageEvent"}
_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "anyOf": [_EVENT, {"type": "array", "items": _EVENT, "maxItems": EVENTS_MAX}],
                    "examples": [_EXAMPLE, [_EXAMPLE]],
                }
            }
        },
    }
}


def _schemas() -> dict[str, Any]:
    """The schemas of the body, which the route reads by itself."""
    event = UsageEventBody.model_json_schema(ref_template=_REFERENCE + "{model}")
    return {**event.pop("$defs", {}), "UsageEvent": event}


@router.post(
    "/usage",
    operation_id="report_usage",
    status_code=202,
    summary="Report usage",
    openapi_extra=_BODY,
    responses={
        400: {"model": ProblemBody, "description": "The body is no JSON."},
        422: {
            "model": NoneTaken | ProblemBody,
            "description": "Every event was refused, as `refused` tells; or there are more than 1,000.",
        },
        503: {
            "model": NotStored | ProblemBody,
            "description": "Kafka did not acknowledge the events: repeat the request.",
        },
    },
)
async def report_usage(
    request: Request,
    parts: TheParts,
    caller: Annotated[Caller, Depends(allow(Role.SERVICE, Role.ADMIN))],
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            max_length=256,
            description="ids that are made follow from it, so that a repeat is counted once",
        ),
    ] = None,
) -> UsageAnswer:
    """Take one usage event or a list of at most 1,000, and answer when Kafka has stored them.

    A `tollgate.release.v1` as in the usage topic may be among them: it ends a reservation after the usage before it.
    Events that the worker would refuse are left out and told by their index; the others are counted. A token of an org
    reports usage of this org alone: events without `org` get it, and those of another org are refused. When not one
    event is left, the answer is 422 with the same `accepted` and `refused`. After a 503
    some events may be stored: send the same request again, with the ids that the answer tells or with the same
    `Idempotency-Key`, and each is counted once.
    """
    who = caller.token_id or caller.name
    ids: dict[int, str] = {}

    def made_id(index: int) -> str:
        if index not in ids:
            ids[index] = new_id() if idempotency_key is None else derived_id(who, idempotency_key, index)
        return ids[index]

    now = format_instant(time.time_ns() // 1_000_000)
    try:
        read = list(read_events(await request.body(), now, made_id, restriction_of(caller).org))
    except NoJsonError:
        raise Problem(400, "not_json", "The body must be a JSON object or a list of them.") from None
    except TooManyError:
        raise Problem(422, "too_many_events", f"At most {EVENTS_MAX:,} events in one request.") from None
    answer = _answer([found for found in read if isinstance(found, Event)], [r for r in read if isinstance(r, Refused)])
    if answer.refused and not answer.accepted:
        first = answer.refused[0]
        told = "The event was not taken" if len(read) == 1 else f"No event was taken; event {first.index}"
        raise Problem(422, "all_refused", f"{told}: {first.error}.", **answer.model_dump(mode="json"))
    try:
        await parts.ingest.publish((found.user, found.value) for found in read if isinstance(found, Event))
    except UnavailableError as error:
        detail = f"{error}. Repeat the request with the same ids; each event is counted once."
        made = [made.model_dump() for made in answer.made]
        retry = {"Retry-After": str(_RETRY_SECONDS)}
        raise Problem(503, "kafka_unavailable", detail[0].upper() + detail[1:], headers=retry, made=made) from None
    return answer


def derived_id(who: str, key: str, index: int) -> str:
    """The id of an event without one, in a request with an idempotency key: the same for the same caller and key."""
    return "key-" + blake2b(f"{len(who)}:{who}{index}:{key}".encode("utf-8", "replace"), digest_size=20).hexdigest()


def _answer(events: list[Event], refused: list[Refused]) -> UsageAnswer:
    return UsageAnswer(
        accepted=len(events),
        refused=[RefusedEvent(index=r.place, reason=r.reason, error=r.error) for r in refused],
        made=[MadeEvent(index=event.place, id=event.id, time=event.time) for event in events if event.made],
    )


ROOM = Room("usage", api=router, schemas=_schemas())
