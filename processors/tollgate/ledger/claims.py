"""Who owns a partition when the number of lanes changes.

Kafka fences a producer when a new one starts under the same transactional id. With another number of lanes a
partition's owner has another id, so the new owner must fence the old ids itself, by name. Two kinds of rows in the
state partition keep the names: `a|<id>` is a claim (this id is about to own the partition), `a` is the owner's id.
A new owner first writes its claim, then fences every id it reads, then writes itself as owner and deletes the claims.
Of two new owners under different ids, the one that claims later reads the other's claim and fences it; so at most one
continues. Each claim has its own key, so that compaction keeps all of them.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from tollgate.ledger.link import Link
from tollgate.ledger.log import Reader, Writer
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.partition import OFFSET_ROW, Partition

OWNER_ROW: Final = "a"
CLAIM_ROW: Final = "a|"


async def take_over(lane_id: str, partitions: Sequence[Partition], writer: Writer, reader: Reader, link: Link) -> None:
    """Fence every former owner, then read each partition's state. `writer` has the id `lane_id`. Raises Kafka's errors.

    Nothing is written when the id owned all of the partitions already and nobody else is about to.
    """
    if all([await _owners(partition, reader) == {lane_id} for partition in partitions]):
        return
    await _write(writer, partitions, {CLAIM_ROW + lane_id: lane_id}, link)
    others: set[str] = set()
    for partition in partitions:
        others |= await _owners(partition, reader) - {lane_id}
    for other in sorted(others):
        await (await link.log.writer(other)).close()
    dropped = dict.fromkeys((CLAIM_ROW + name for name in sorted({lane_id, *others})), None)
    await _write(writer, partitions, {**dropped, OWNER_ROW: lane_id}, link)
    # Read again: the former owners may have committed more before they were fenced.
    for partition in partitions:
        await partition.read_state(reader)


async def _owners(partition: Partition, reader: Reader) -> set[str]:
    """The owner of a partition and those that are about to be. Empty when nobody ever was."""
    rows = await partition.read_state(reader)
    owner, offset_row = rows.get(OWNER_ROW), rows.get(OFFSET_ROW)
    names = {owner.decode()} if owner is not None else set()
    if owner is None and offset_row is not None:
        # A state that was written before there were claims names its writer in the offset row alone.
        writer = msgspec.json.decode(offset_row).get("writer")
        names = {writer} if writer is not None else set()
    return names | {key.removeprefix(CLAIM_ROW) for key in rows if key.startswith(CLAIM_ROW)}


async def _write(writer: Writer, partitions: Iterable[Partition], rows: dict[str, str | None], link: Link) -> None:
    outbox = Outbox()
    for partition in partitions:
        for key, name in rows.items():
            partition.put_row(outbox, key, name.encode() if name else None)
    await writer.begin()
    sent = []
    for (topic, number), written in outbox.records.items():
        sent += await writer.send(link.topic_name(topic), number, written)
    await asyncio.gather(*sent)
    await writer.commit()
