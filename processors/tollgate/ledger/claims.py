"""Who owns a source partition when lanes change: a transactional id fences only its own former bearers.

With another number of lanes a partition's owner has another id, which a successor must fence by name. Two kinds of rows
in the state partition say the names: `a|<id>`, the id is about to own it; `a`, the id owns it. An owner under a new id
first writes its claim, then fences every name it reads, and only then takes the ownership and drops their claims.
Of two owners under different ids, the one that claims later reads the other's claim and fences it; so at most one goes
on. Claims have keys of their own, so that compaction keeps all of them.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from tollgate.ledger.link import Link
from tollgate.ledger.log import Reader, Writer
from tollgate.ledger.outbox import NO_HEADERS, Outbox
from tollgate.ledger.source import OFFSET_ROW, Source

OWNER_ROW: Final = "a"
CLAIM_ROW: Final = "a|"


async def take_over(lane_id: str, sources: Sequence[Source], writer: Writer, reader: Reader, link: Link) -> None:
    """Read each partition's state with every former owner fenced. `writer` bears `lane_id`. Raises what Kafka raises.

    Nothing is written when the id owned all of the partitions already and nobody else is about to.
    """
    if all([await _owners(source, reader) == {lane_id} for source in sources]):
        return
    await _write(writer, sources, {CLAIM_ROW + lane_id: lane_id}, link)
    others: set[str] = set()
    for source in sources:
        others |= await _owners(source, reader) - {lane_id}
    for other in sorted(others):
        await (await link.log.writer(other)).close()
    dropped = dict.fromkeys((CLAIM_ROW + name for name in sorted({lane_id, *others})), None)
    await _write(writer, sources, {**dropped, OWNER_ROW: lane_id}, link)
    # What the others wrote until they were fenced counts.
    for source in sources:
        await source.read_state(reader)


async def _owners(source: Source, reader: Reader) -> set[str]:
    """The owner of a partition and those that are about to be. Empty when nobody ever was."""
    rows = await source.read_state(reader)
    owner, offset_row = rows.get(OWNER_ROW), rows.get(OFFSET_ROW)
    names = {owner.decode()} if owner is not None else set()
    if owner is None and offset_row is not None:
        # A state that was written before there were claims names its writer in the offset row alone.
        writer = msgspec.json.decode(offset_row).get("writer")
        names = {writer} if writer is not None else set()
    return names | {key.removeprefix(CLAIM_ROW) for key in rows if key.startswith(CLAIM_ROW)}


async def _write(writer: Writer, sources: Iterable[Source], rows: dict[str, str | None], link: Link) -> None:
    outbox = Outbox()
    for source in sources:
        records = outbox.to(source.stage.state, source.partition)
        records += [(key.encode(), name.encode() if name else None, NO_HEADERS) for key, name in rows.items()]
    await writer.begin()
    sent = []
    for (topic, partition), written in outbox.records.items():
        sent += await writer.send(link.topic_name(topic), partition, written)
    await asyncio.gather(*sent)
    await writer.commit()
