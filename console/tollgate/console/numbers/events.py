"""Single events, the newest first, page by page."""

import base64
import binascii
import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Final

from tollgate.console.numbers.answers import CountedEvent, Page
from tollgate.console.numbers.errors import BadQuestionError
from tollgate.console.numbers.questions import Questions, Row
from tollgate.console.numbers.ranges import Range
from tollgate.console.numbers.restriction import Names, Restriction, narrowed
from tollgate.console.numbers.sums import conditions
from tollgate.domain.windows import DAY_MS, HOUR_MS
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.outputs import EventKind, EventStatus, PriceStatus
from tollgate.schemas.scopes import Dimension

PAGE_MAX: Final = 1000
# The newest events are looked for in stretches that grow, so that few days of ten million events are read.
_STRETCHES_MS: Final = (HOUR_MS // 12, 6 * HOUR_MS, 2 * DAY_MS, 16 * DAY_MS, 62 * DAY_MS)
# The table is sorted by user, so that theirs are found in many days at once.
_STRETCHES_OF_A_USER_MS: Final = (8 * DAY_MS, 62 * DAY_MS)
_CURSOR_CHARS_MAX: Final = 2000

# In the order of the fields of CountedEvent.
_COLUMNS: Final = """
toUnixTimestamp64Milli(time), event_id, source, kind, user, org, service, provider, model, agent, campaign, feature,
product, operation, status, latency_ms, resource_type, resource_id, request_id,
mapApply((name, amount) -> (toString(name), toString(amount)), usage),
CAST(options, 'Map(String, String)'), toString(cost_usd), toString(retail_usd), price_id, price_status,
source_partition, source_offset, metadata
"""
# The place of an event in the list. No two events of `usage` have the same.
_PLACE: Final = "(toUnixTimestamp64Milli(time), event_id, source, source_partition, source_offset)"


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are listed. `by` are names they must have; None and "" restrict nothing."""

    by: Mapping[Dimension, str] = field(default_factory=dict)
    within: Range | None = None
    source: str = ""
    event_id: str = ""
    status: EventStatus | None = None
    price_status: PriceStatus | None = None
    kind: EventKind | None = None

    def key(self) -> Hashable:
        """The same for equal filters."""
        return (
            frozenset(self.by.items()),
            self.within,
            self.source,
            self.event_id,
            self.status,
            self.price_status,
            self.kind,
        )


class Place(tuple[int, str, str, int, int]):
    """Where a page ended: time, id, source, and the place in the usage topic of its last event."""

    __slots__ = ()

    @classmethod
    def of(cls, event: CountedEvent) -> "Place":
        """The event's own."""
        return cls(
            (parse_instant(event.time), event.event_id, event.source, event.source_partition, event.source_offset)
        )

    @classmethod
    def parse(cls, cursor: str) -> "Place":
        """BadQuestionError unless it is a cursor that `str()` made."""
        try:
            if len(cursor) > _CURSOR_CHARS_MAX:
                raise ValueError
            padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
            found = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
            kinds = (int, str, str, int, int)
            if not isinstance(found, list) or [type(part) for part in found] != list(kinds):
                raise ValueError
            if not all(abs(part) < 2**62 for part in found if isinstance(part, int)):
                raise ValueError
            for part in found:
                str(part).encode()
        except (ValueError, binascii.Error, RecursionError):
            raise BadQuestionError("The cursor is not of this list: begin without one.") from None
        return cls(found)

    def __str__(self) -> str:
        text = json.dumps(list(self), separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(text).rstrip(b"=").decode("ascii")


async def events(
    questions: Questions, restriction: Restriction, wanted: EventFilter, limit: int, cursor: str = ""
) -> Page[CountedEvent]:
    """Up to `limit` events, the newest first. The next page goes on where this one ends, whatever arrived meanwhile.

    BadQuestionError for a limit that is not from 1 to 1,000 and a cursor of another list.
    """
    if not 1 <= limit <= PAGE_MAX:
        raise BadQuestionError(f"limit is from 1 to {PAGE_MAX}.")
    after = Place.parse(cursor) if cursor else None
    asked_at = questions.now_ms()
    names = narrowed(restriction, by=wanted.by)
    found: list[CountedEvent] = []
    for stretch in _stretches(names, wanted, after, asked_at):
        rows = await _events_of(questions, names, wanted, after, stretch, limit + 1 - len(found))
        found += [CountedEvent.of_row(row) for row in rows]
        if len(found) > limit:
            break
    items = found[:limit]
    return Page(items, str(Place.of(items[-1])) if len(found) > limit else "", asked_at)


def _stretches(names: Names, wanted: EventFilter, after: Place | None, at_ms: int) -> list[Range | None]:
    """Parts of the time to look in, one after another; None is all of it."""
    within = wanted.within or Range(0, at_ms + DAY_MS)
    end = within.to_ms if after is None else min(within.to_ms, after[0] + 1)
    if wanted.event_id or end <= within.from_ms:
        # An index finds an id in all days at once.
        return [wanted.within]
    found: list[Range | None] = []
    # What is ahead of now belongs to the first stretch.
    begin = min(end, at_ms)
    for length in _STRETCHES_OF_A_USER_MS if Dimension.USER in names.by else _STRETCHES_MS:
        begin = max(begin - length, within.from_ms)
        if begin < end:
            found.append(Range(begin, end))
        end = begin
        if begin == within.from_ms:
            return found
    return [*found, Range(within.from_ms, end)]


async def _events_of(
    questions: Questions, names: Names, wanted: EventFilter, after: Place | None, within: Range | None, limit: int
) -> list[Row]:
    where, parameters = conditions(names)
    parts = [where]
    parameters["limit"] = limit
    for column, value in (
        ("source", wanted.source),
        ("event_id", wanted.event_id),
        ("status", wanted.status),
        ("price_status", wanted.price_status),
        ("kind", wanted.kind),
    ):
        if value:
            parts.append(f"{column} = {{{column}:String}}")
            parameters[column] = str(value)
    if within is not None:
        parts.append("time >= fromUnixTimestamp64Milli({from_ms:Int64})")
        parts.append("time < fromUnixTimestamp64Milli({to_ms:Int64})")
        parameters |= {"from_ms": within.from_ms, "to_ms": within.to_ms}
    if after is not None:
        parts.append(f"{_PLACE} < ({{a:Int64}}, {{b:String}}, {{c:String}}, {{d:Int64}}, {{e:Int64}})")
        parameters |= dict(zip("abcde", after, strict=True))
    return await questions.rows(
        f"SELECT {_COLUMNS} FROM usage WHERE {' AND '.join(parts)} ORDER BY {_PLACE} DESC"  # noqa: S608 # our own text
        " LIMIT {limit:UInt32}",
        parameters,
    )
