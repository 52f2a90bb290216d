"""The events behind a difference: those that differ themselves, or else some events of the window."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Final

import msgspec

from tollgate.schemas.partitions import partition_of
from tollgate.schemas.record_reading import read_record
from tollgate.schemas.topics import Topic
from tollgate.schemas.usage_codec import EventRecord
from tollgate.verification.calendar import instant, milliseconds, text
from tollgate.verification.clickhouse import Place, Tables
from tollgate.verification.log import Log
from tollgate.verification.names import names_in, names_of, scope_in, shape_of, user_of, written
from tollgate.verification.report import EventFault, FirstDifference
from tollgate.verification.snapshot import Cut
from tollgate.verification.sums import USD_DECIMALS, plain, scaled
from tollgate.verification.zones import start_in

_EVENTS_SHOWN: Final = 5
# A user's month is compared event by event up to this number of events.
_EVENTS_COMPARED: Final = 100_000
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


async def explain(log: Log, cut: Cut, first: FirstDifference, faults: list[EventFault], tables: Tables | None) -> None:
    """Add the events behind the difference, and a sentence that says what they are."""
    own = [f for f in faults if f.event is not None and _counts(f.event, first.scope, first.window, first.start)]
    if own:
        first.events = [fault.as_json() for fault in own[:_EVENTS_SHOWN]]
        first.why = f"{len(own)} events of it differ themselves:"
        return
    if first.said_by == "ClickHouse usage" and tables is not None:
        await _explain_month(log, cut, first, tables)
        return
    if len(faults) >= EventFault.KEPT_MAX:
        first.why = f"none of the first {EventFault.KEPT_MAX} events that differ is one of it; some of its events are:"
    else:
        first.why = (
            "all its events agree with their priced records, so the sum itself is wrong; some of its events are:"
        )
    async for priced, place in _priced_of(log, cut, first):
        first.events.append({"id": priced["event_id"], "place": _written(place), "cost_usd": priced["cost_usd"]})
        if len(first.events) == _EVENTS_SHOWN:
            break
    if not first.events:
        first.why = "no event belongs to it"


def _counts(event: EventRecord, scope: str, kind: str, start: str) -> bool:
    if scope_in(shape_of(scope), names_in(event)) != scope:
        return False
    return text(start_in(kind, instant(event.time_ms))) == start


def _written(place: Place) -> str:
    return f"{place[0]}:{place[1]}"


async def _priced_of(log: Log, cut: Cut, first: FirstDifference) -> AsyncIterator[tuple[dict[str, Any], Place]]:
    """The priced records of the events in a window."""
    names = names_of(first.scope)
    partitions = list(range(cut.homes))
    if (user := user_of(first.scope)) is not None:
        partitions = [partition_of(user.encode(), cut.homes)]
    begins, ends = await log.begins(Topic.PRICED), await log.ends(Topic.PRICED)
    for partition in partitions:
        async for batch in log.read(Topic.PRICED, partition, begins[partition], ends[partition]):
            for record in batch:
                try:
                    priced = read_record(_decode, record.value)
                    place = (int(priced["source_partition"]), int(priced["source_offset"]))
                    if place[1] >= cut.usage[partition]:
                        break
                    if any(written(str(priced.get(dimension) or "")) != name for dimension, name in names):
                        continue
                    time_ms = milliseconds_of(priced["time"])
                    scaled(priced["cost_usd"], USD_DECIMALS), priced["event_id"]
                except (ValueError, KeyError, TypeError, AttributeError):
                    # The check of priced events tells it.
                    continue
                if text(start_in(first.window, instant(time_ms))) == first.start:
                    yield priced, place


def milliseconds_of(time: str) -> int:
    """RFC 3339 as milliseconds."""
    return milliseconds(datetime.fromisoformat(time))


async def _explain_month(log: Log, cut: Cut, first: FirstDifference, tables: Tables) -> None:
    """Compare a user's month in ClickHouse with the user's priced records, event by event."""
    user, month_ms = user_of(first.scope) or "", milliseconds_of(first.start)
    found = await asyncio.to_thread(tables.events, user, month_ms, cut.begins, cut.usage, _EVENTS_COMPARED)
    is_all = len(found) < _EVENTS_COMPARED
    different = 0

    def differs(event_id: str, place: Place, cost: int, expected: str, said: str) -> None:
        nonlocal different
        different += 1
        if len(first.events) < _EVENTS_SHOWN:
            money = plain(cost, USD_DECIMALS)
            first.events.append(EventFault(event_id, _written(place), expected, said, money).as_json())

    seen: set[tuple[Place, str]] = set()
    async for priced, place in _priced_of(log, cut, first):
        if not is_all and place > max(found)[0]:
            break
        cost = scaled(priced["cost_usd"], USD_DECIMALS)
        event_id = str(priced["event_id"])
        seen.add((place, event_id))
        row = found.get((place, event_id))
        if row is None:
            differs(event_id, place, cost, "a row in ClickHouse", "none")
        elif row != cost:
            differs(event_id, place, cost, priced["cost_usd"], plain(row, USD_DECIMALS))
    for place, event_id in sorted(found.keys() - seen):
        differs(event_id, place, found[place, event_id], "no row in ClickHouse", "one")
    among = "" if is_all else f" of its first {_EVENTS_COMPARED}"
    first.why = (
        f"{different} events{among} differ in ClickHouse:" if different else f"no event{among} differs by its cost"
    )
