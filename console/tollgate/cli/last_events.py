"""The last events of a scope: from ClickHouse, or from the end of the priced topic when ClickHouse is away."""

import asyncio
import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tollgate.runtime.settings import Settings
from tollgate.runtime.topic_reading import read_batches
from tollgate.schemas.instants import format_instant, parse_instant, to_ms
from tollgate.schemas.outputs_codec import PricedRecord
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.scopes import NAMES_MAX, Dimension, parse_names
from tollgate.schemas.topics import Topic

# Records read per partition when ClickHouse cannot be asked.
_TAIL_RECORDS: Final = 5000
_decode: Final = msgspec.json.Decoder(PricedRecord).decode

# The columns of a scope's names are parameters too, of ClickHouse's type Identifier.
_QUERY: Final = """
SELECT time, event_id, source, user, provider, model, agent, toString(cost_usd) AS cost_usd, price_status
FROM usage
WHERE {column_0:Identifier} = {name_0:String}
  AND {column_1:Identifier} = {name_1:String}
  AND {column_2:Identifier} = {name_2:String}
  AND time >= fromUnixTimestamp64Milli({start_ms:Int64}) AND time < fromUnixTimestamp64Milli({end_ms:Int64})
ORDER BY time DESC, event_id
LIMIT {limit:UInt32}
"""


@dataclass(frozen=True, slots=True)
class LastEvent:
    """One counted event, with what it cost."""

    time: str
    event_id: str
    source: str
    user: str
    provider: str
    model: str
    agent: str
    cost_usd: str
    price_status: str


async def last_events(
    settings: Settings, scope: str, start_ms: int, end_ms: int, limit: int
) -> tuple[Sequence[LastEvent], str]:
    """The newest events of the scope with `start <= time < end`, newest first, and where they were read."""
    try:
        if found := await asyncio.to_thread(_from_clickhouse, settings, scope, start_ms, end_ms, limit):
            return found, "ClickHouse"
    except (ImportError, OSError):
        # Without the extra `clickhouse`, or without an answer, the topic has the newest events too.
        pass
    return await _from_topic(settings, scope, start_ms, end_ms, limit), "the priced topic"


def _from_clickhouse(settings: Settings, scope: str, start_ms: int, end_ms: int, limit: int) -> list[LastEvent]:
    from tollgate.sinks.clickhouse import SinkError, connect

    # The company has no column; all that it counts are usage events.
    columns = [(dimension.value, name) for dimension, name in parse_names(scope)] + [("kind", "usage")] * NAMES_MAX
    parameters: dict[str, Any] = {"start_ms": start_ms, "end_ms": end_ms, "limit": limit}
    for place, (column, name) in enumerate(columns[:NAMES_MAX]):
        parameters |= {f"column_{place}": column, f"name_{place}": name}
    try:
        client = connect(settings)
        try:
            rows: list[dict[str, Any]] = list(client.query(_QUERY, parameters=parameters).named_results())
        finally:
            client.close()
    except SinkError as error:
        raise OSError(str(error)) from error
    return [LastEvent(**row | {"time": format_instant(to_ms(row["time"]))}) for row in rows]


async def _from_topic(settings: Settings, scope: str, start_ms: int, end_ms: int, limit: int) -> list[LastEvent]:
    names = parse_names(scope)
    partitions = None
    if names and names[0][0] is Dimension.USER:
        partitions = [partition_of(names[0][1].encode(), settings.usage_partitions)]
    found: list[tuple[int, int, int, LastEvent]] = []
    async for batch in read_batches(settings, Topic.PRICED, partitions=partitions, last=_TAIL_RECORDS):
        for record in batch:
            try:
                priced, time_ms = read_record(_timed, record.value)
            except UnreadableError:
                # `tollgate verify` complains about it.
                continue
            if start_ms <= time_ms < end_ms and all(getattr(priced, column.value) == name for column, name in names):
                heapq.heappush(found, (time_ms, record.partition, record.offset, _event(priced)))
                if len(found) > limit:
                    heapq.heappop(found)
    return [event for *_, event in sorted(found, key=lambda item: item[:3], reverse=True)]


def _timed(value: bytes) -> tuple[PricedRecord, int]:
    priced = _decode(value)
    return priced, parse_instant(priced.time)


def _event(priced: PricedRecord) -> LastEvent:
    return LastEvent(
        priced.time,
        priced.event_id,
        priced.source,
        priced.user,
        priced.provider,
        priced.model,
        priced.agent,
        priced.cost_usd,
        priced.price_status,
    )
