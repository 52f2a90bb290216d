"""One partition that is counted: its stage, the sources it reads, and how its state comes back from the log.

Users' partitions have two sources, `tollgate.usage` and `tollgate.entries` of the same number. One offset row holds how
far each is counted, so that one transaction moves both.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Final

import msgspec
from aiokafka import ConsumerRecord

from tollgate.ledger.link import Link
from tollgate.ledger.log import Reader
from tollgate.ledger.outbox import NO_HEADERS, Outbox
from tollgate.ledger.rows import StateRows
from tollgate.ledger.source import Source
from tollgate.ledger.stage import Stage
from tollgate.schemas.topics import Topic

OFFSET_ROW: Final = "o"

# In the offset row the next offset of a stage's first source, and of the entries beside it. A row of release 0.1 has no
# entries: they begin at 0.
NEXT: Final = "next"
NEXT_ENTRIES: Final = "next_entries"

# The keys of the rows of a partition that is not counted begin with this and its number, for they stand among those of
# a partition that is: `f|9|o`.
FORWARDER_ROWS: Final = "f|"

_encode = msgspec.json.Encoder().encode


class Partition:
    """Belongs to one lane, which commits what its sources applied. `read` are the topics whose partition of this number
    is assigned; of the others only the offset is kept.
    """

    def __init__(self, stage: Stage, number: int, link: Link, read: Collection[Topic]) -> None:
        self.stage = stage
        self.number = number
        counted = link.counted_partitions(stage.source)
        # State has as many partitions as are counted.
        self._state_partition = number % counted
        self._prefix = "" if number < counted else f"{FORWARDER_ROWS}{number}|"
        # By their names in the offset row.
        topics = {NEXT: stage.source} | ({NEXT_ENTRIES: stage.entries} if stage.entries is not None else {})
        self._all = {name: Source(topic, number, stage, link) for name, topic in topics.items()}
        self.sources = tuple(self._all[name] for name, topic in topics.items() if topic in read)
        self._link = link
        self._rows = StateRows()

    async def read_state(self, reader: Reader) -> StateRows:
        """Read the rows of the state partition and keep them until `restore`; may be called again before."""
        rows = self._rows = StateRows()
        async for records in self._committed(reader, self.stage.state):
            for record in records:
                key = self._own(record.key.decode())
                if key is not None:
                    rows.take(key, record.value)
        return rows

    def _own(self, key: str) -> str | None:
        """The key without the prefix of these rows; None for a row of another that shares the state's partition."""
        if self._prefix:
            return key.removeprefix(self._prefix) if key.startswith(self._prefix) else None
        return None if key.startswith(FORWARDER_ROWS) else key

    def put_row(self, outbox: Outbox, key: str, value: bytes | None) -> None:
        """Write a row that is none of the stage's."""
        outbox.to(self.stage.state, self._state_partition).append(((self._prefix + key).encode(), value, NO_HEADERS))

    async def restore(self, reader: Reader) -> None:
        """Take back the state that was read, and read what else the stage remembers."""
        rows, self._rows = self._rows, StateRows()
        for key in [key for key in rows if key[0] == "a"]:
            del rows[key]
        offset_row = rows.pop(OFFSET_ROW, None)
        numbers = msgspec.json.decode(offset_row) if offset_row is not None else None
        self.stage.bound_clock(self._link.now_ms())
        self.stage.restore(rows, numbers)
        self._link.reached("acquire.state_read")
        for topic in self.stage.remembered:
            async for records in self._committed(reader, topic):
                for record in records:
                    self.stage.remember(record.value)
        for name, source in self._all.items():
            source.restore(numbers.get(name) if numbers is not None else None)

    async def _committed(self, reader: Reader, topic: Topic) -> AsyncIterator[Sequence[ConsumerRecord]]:
        name = self._link.topic_name(topic)
        end = await reader.end(name, self._state_partition)
        async for records in reader.read(name, self._state_partition, end):
            yield records

    def write(self, outbox: Outbox, writer: str) -> bool:
        """Move everything pending into the outbox, with the offset row; False when there was nothing to write."""
        if not self.stage.pending() and not any(source.has_aside() for source in self.sources):
            return False
        before = outbox.count()
        now_ms = self._link.now_ms()
        for source in self.sources:
            source.write_aside(outbox, now_ms)
        numbers = self.stage.write(outbox, now_ms)
        moved = any(source.next_offset != source.committed_offset for source in self.sources)
        if outbox.count() == before and not moved:
            return False
        offsets = {name: source.next_offset for name, source in self._all.items()}
        self.put_row(outbox, OFFSET_ROW, _encode({**offsets, **numbers, "writer": writer}))
        return True
