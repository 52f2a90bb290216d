"""Reads topics that change meanwhile: each record is stored on disk by its scope, and reading can continue later."""

import asyncio
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from tollgate.schemas.topics import Topic
from tollgate.verification.log import Log, Offsets
from tollgate.verification.spill import Spill
from tollgate.verification.state import OFFSET_ROW, Counted, forwarder_of, read_counted, read_forwarded

_READERS_MAX: Final = 8

_HEAD: Final = struct.Struct("<BHqI?")

Step = Callable[[int], None]


class Kind(IntEnum):
    """Where a row comes from."""

    USER_STATE = 0
    SHARED_STATE = 1
    SPEND = 2
    FLAG = 3
    SPEND_TABLE = 4
    USER_MONTH = 5
    BALANCE = 6
    BALANCE_TABLE = 7


@dataclass(frozen=True, slots=True)
class Row:
    """A record as it was read, with its place."""

    kind: Kind
    partition: int
    offset: int
    key: bytes
    value: bytes | None

    @property
    def name(self) -> str:
        """The key as text."""
        return self.key.decode("utf-8", "replace")


def add_row(spill: Spill, scope: str, row: Row) -> None:
    """Put a row to those of its scope."""
    head = _HEAD.pack(row.kind, row.partition, row.offset, len(row.key), row.value is not None)
    spill.add(spill.bucket_of(scope), head + row.key + (row.value or b""))


def rows_of(spill: Spill, bucket: int) -> Iterator[Row]:
    """The rows of a bucket of scopes; those of one partition and topic in offset order."""
    for raw in spill.rows(bucket):
        kind, partition, offset, length, has_value = _HEAD.unpack_from(raw)
        start = _HEAD.size + length
        yield Row(Kind(kind), partition, offset, raw[_HEAD.size : start], raw[start:] if has_value else None)


class Follower:
    """One topic. `next` is where each partition is read on; `counted` the latest offset row of each source partition,
    for topics of state.

    `scope_of` names the scope of a key, None for records that are not looked at.
    """

    def __init__(
        self, log: Log, topic: Topic, kind: Kind, spill: Spill, scope_of: Callable[[bytes], str | None], step: Step
    ) -> None:
        self._log = log
        self.topic = topic
        self._kind = kind
        self._spill = spill
        self._scope_of = scope_of
        self._step = step
        self.next: Offsets = {}
        self.counted: dict[int, Counted] = {}
        self.faults: list[str] = []

    async def advance(self, ends: Offsets) -> None:
        """Read on to these ends."""
        if not self.next:
            self.next = await self._log.begins(self.topic)
        # Each has a connection and its fetched records, so there are not as many as partitions.
        few = asyncio.Semaphore(_READERS_MAX)

        async def one(partition: int, end: int) -> None:
            async with few:
                await self._advance(partition, end)

        await asyncio.gather(*(one(partition, end) for partition, end in ends.items()))

    async def advance_to_end(self) -> None:
        """Read on to where the committed records end now."""
        await self.advance(await self._log.ends(self.topic))

    async def advance_to_tip(self) -> None:
        """Read on to where all records end now, waiting for the transactions that are under way."""
        await self.advance(await self._log.tips(self.topic))

    async def _advance(self, partition: int, end: int) -> None:
        async for batch in self._log.read(self.topic, partition, self.next[partition], end):
            for record in batch:
                key = bytes(record.key or b"")
                try:
                    if key == OFFSET_ROW and self._kind in (Kind.USER_STATE, Kind.SHARED_STATE):
                        self.counted[partition] = read_counted(record.value)
                        continue
                    if self._kind is Kind.USER_STATE and (forwarder := forwarder_of(key)) is not None:
                        self.counted[forwarder] = read_forwarded(record.value)
                        continue
                    scope = self._scope_of(key)
                except (ValueError, KeyError, TypeError, IndexError) as error:
                    self.faults.append(f"{key[:80]!r}: {type(error).__name__}")
                    continue
                if scope is not None:
                    add_row(self._spill, scope, Row(self._kind, partition, record.offset, key, record.value))
            self._step(len(batch))
        self.next[partition] = max(end, self.next[partition])
