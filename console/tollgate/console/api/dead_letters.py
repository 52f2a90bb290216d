"""`GET /dead-letters` and `POST /dead-letters/replay`: what was refused, why, and sending it again."""

from typing import Annotated, Final, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tollgate.console.api.asking import ANSWERS, Admin, Analyst, MaybeRange
from tollgate.console.api.audit import for_the_whole_company
from tollgate.console.api.sums import Answer
from tollgate.console.letters import NoLetterError, Place, replay
from tollgate.console.paging import Cursor, Limit, Page
from tollgate.console.parts import TheParts
from tollgate.console.problems import Problem, ProblemBody
from tollgate.console.room import Room
from tollgate.runtime.errors import KafkaUnreachableError
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import Instant
from tollgate.schemas.refusals import RefusalReason

router = APIRouter(responses=ANSWERS)


class RefusedRecord(Answer):
    """One refused record, without its content: `tollgate dead-letters show PLACE` shows that."""

    time: Instant
    place: str
    """Where it is in the dead-letters topic, `0:17`; empty when the ClickHouse sink refused it."""
    reason: str
    error: str
    """One sentence with the field's path. It never quotes the record."""
    source_topic: str
    source_partition: int
    source_offset: int
    key: str
    """The record's key as text, cut after 300 bytes."""
    bytes: int
    """Length of the record's value."""


class RefusedPage(Page[RefusedRecord]):
    """Refused records, the newest first."""

    as_of: Instant


class ReplayBody(BaseModel):
    """What to send again: one record by its place, or all with a reason."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    place: str | None = Field(None, max_length=31, pattern=r"^[0-9]{1,9}:[0-9]{1,18}$", examples=["0:17"])
    """`place` of a refused record."""
    reason: RefusalReason | None = Field(None, examples=["future"])
    force: bool = Field(False, strict=True)
    """Send also what will be refused again."""
    dry_run: bool = Field(False, strict=True)
    """Only say what would be sent."""

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.place is None) == (self.reason is None):
            raise ValueError("give place or reason, and not both")
        return self


class KeptBack(Answer):
    """A record that was not sent, and why."""

    place: str
    why: str


class ReplayAnswer(Answer):
    """What was sent again. `places` and `kept_back` hold the first hundred."""

    replayed: int
    """How many Kafka has; 0 in a dry run."""
    would_replay: int
    places: list[str]
    kept_back_total: int
    kept_back: list[KeptBack]
    dry_run: bool


_TOLD_MAX: Final = 100


@router.get("/dead-letters", operation_id="list_dead_letters", summary="List refused records")
async def list_letters(
    parts: TheParts,
    caller: Analyst,
    within: MaybeRange,
    reason: Annotated[RefusalReason | None, Query(description="only those refused for this reason")] = None,
    limit: Limit = 50,
    cursor: Cursor = "",
) -> RefusedPage:
    """Records that were refused, the newest first, without their content."""
    for_the_whole_company(caller)
    page = await parts.numbers.dead_letters(reason.value if reason else "", within, limit, cursor)
    items = []
    for row in page.items:
        values = row._asdict()
        items.append(RefusedRecord(time=format_instant(values.pop("time_ms")), **values))
    return RefusedPage(items=items, next_cursor=page.cursor or None, as_of=format_instant(page.as_of_ms))


@router.post(
    "/dead-letters/replay",
    operation_id="replay_dead_letters",
    summary="Send refused records again",
    responses={404: {"model": ProblemBody, "description": "There is no dead letter at this place."}},
)
async def replay_letters(asked: ReplayBody, parts: TheParts, caller: Admin) -> ReplayAnswer:
    """Send refused records to the usage topic again: the same bytes, key and headers.

    An event that was counted meanwhile is not counted again, so that a request may be repeated. Records that would be
    refused again are kept back.
    """
    for_the_whole_company(caller)
    try:
        done = await replay(
            parts.settings,
            place=Place.parse(asked.place) if asked.place is not None else None,
            reason=asked.reason,
            force=asked.force,
            dry_run=asked.dry_run,
        )
    except NoLetterError as error:
        detail = str(error)
        raise Problem(404, "not_found", detail[0].upper() + detail[1:]) from None
    except KafkaUnreachableError as error:
        raise Problem(503, "kafka_unreachable", str(error), headers={"Retry-After": "5"}) from None
    return ReplayAnswer(
        replayed=0 if asked.dry_run else len(done.sent),
        would_replay=len(done.sent),
        places=done.sent[:_TOLD_MAX],
        kept_back_total=done.kept,
        kept_back=[KeptBack(place=place, why=why) for place, why in done.reasons],
        dry_run=asked.dry_run,
    )


ROOM: Final = Room("dead-letters", api=router)
