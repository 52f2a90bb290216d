"""One source partition: its stage, how far it is counted, and how its state comes back from the log."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec
import structlog
from aiokafka import ConsumerRecord, TopicPartition

from tollgate.ledger.endings import Ending
from tollgate.ledger.letters import write_poison
from tollgate.ledger.link import Link
from tollgate.ledger.log import Reader
from tollgate.ledger.outbox import NO_HEADERS, Outbox
from tollgate.ledger.stage import Stage
from tollgate.schemas.topics import Topic

OFFSET_ROW: Final = "o"

log = structlog.get_logger("tollgate.ledger")

# The keys of the rows of a partition that is not counted begin with this and its number, for they stand among those of
# a partition that is: `f|9|o`.
FORWARDER_ROWS: Final = "f|"

_encode = msgspec.json.Encoder().encode


class Source:
    """Belongs to one lane, which commits what it applied. `apply` never waits."""

    def __init__(self, stage: Stage, partition: int, link: Link) -> None:
        self.stage = stage
        self.partition = partition
        self.tp = TopicPartition(link.topic_name(stage.source), partition)
        counted = link.counted_partitions(stage.source)
        # State has as many partitions as are counted.
        self._state_partition = partition % counted
        self._prefix = "" if partition < counted else f"{FORWARDER_ROWS}{partition}|"
        self.next_offset = 0
        # The offset at which a new owner would continue, -1 when nothing was ever committed. Never ahead of the log.
        self.committed_offset = -1
        # Set when records were fetched but not applied: without a seek, the next records would leave a gap.
        self.must_seek = False
        # Records that may be why this worker ended before; see `endings.py`.
        self.suspect: Ending | None = None
        # The first record that was applied and not yet written.
        self.pending_from: int | None = None
        self._aside: list[tuple[ConsumerRecord, Ending]] = []
        self._link = link
        self._rows: dict[str, bytes] = {}

    async def read_state(self, reader: Reader) -> dict[str, bytes]:
        """Read the rows of the state partition and keep them until `restore`; may be called again before."""
        rows: dict[str, bytes] = {}
        async for records in self._committed(reader, self.stage.state):
            for record in records:
                key = self._own(record.key.decode())
                if key is None:
                    continue
                if record.value is None:
                    rows.pop(key, None)
                else:
                    rows[key] = record.value
        self._rows = rows
        return rows

    def _own(self, key: str) -> str | None:
        """The key without the prefix of this source's rows; None for a row of another that shares the partition."""
        if self._prefix:
            return key.removeprefix(self._prefix) if key.startswith(self._prefix) else None
        return None if key.startswith(FORWARDER_ROWS) else key

    def put_row(self, outbox: Outbox, key: str, value: bytes | None) -> None:
        """Write a row of this source's own, which is none of its stage's."""
        outbox.to(self.stage.state, self._state_partition).append(((self._prefix + key).encode(), value, NO_HEADERS))

    async def restore(self, reader: Reader) -> None:
        """Take back the state that was read, and read what else the stage remembers."""
        kept, self._rows = self._rows, {}
        rows = {key: value for key, value in kept.items() if key[0] != "a"}
        offset_row = rows.pop(OFFSET_ROW, None)
        numbers = msgspec.json.decode(offset_row) if offset_row is not None else None
        if numbers is not None:
            self.next_offset = self.committed_offset = numbers["next"]
        self.stage.bound_clock(self._link.now_ms())
        self.stage.restore(rows, numbers)
        self._link.reached("acquire.state_read")
        for topic in self.stage.remembered:
            async for records in self._committed(reader, topic):
                for record in records:
                    self.stage.remember(record.value)
        self.suspect = self._link.endings.of(self.tp)
        self.clear_suspect()

    async def _committed(self, reader: Reader, topic: Topic) -> AsyncIterator[Sequence[ConsumerRecord]]:
        name = self._link.topic_name(topic)
        end = await reader.end(name, self._state_partition)
        async for records in reader.read(name, self._state_partition, end):
            yield records

    def apply(self, records: Sequence[ConsumerRecord]) -> None:
        """Count what was fetched, in memory. Records before the offset row were counted already and are skipped."""
        if self.must_seek:
            self._link.fatal(f"records of {self.tp} were fetched and dropped, and no seek followed", None)
        if records[0].offset < self.next_offset:
            records = [record for record in records if record.offset >= self.next_offset]
            if not records:
                return
        if self.pending_from is None:
            self.pending_from = records[0].offset
        self.stage.bound_clock(self._link.now_ms())
        self.stage.apply(records)
        self.next_offset = records[-1].offset + 1

    def put_aside(self, record: ConsumerRecord, ending: Ending) -> None:
        """Do not count a record: it becomes a dead letter, and an alert."""
        log.critical(
            "a record is put aside without being counted, because it has ended this worker again and again",
            topic=self.tp.topic,
            partition=self.partition,
            offset=record.offset,
            times=ending.times,
            error=ending.error,
            next_step="tollgate dead-letters list --reason poison",
        )
        self._aside.append((record, ending))
        self.next_offset = record.offset + 1

    def clear_suspect(self) -> None:
        """Forget the suspect records when they are behind."""
        if self.suspect is not None and self.next_offset >= self.suspect.end:
            self.suspect = None
            self._link.endings.forget(self.tp)

    def write(self, outbox: Outbox, writer: str) -> bool:
        """Move everything pending into the outbox, with the offset row; False when there was nothing to write."""
        if not self.stage.pending() and not self._aside:
            return False
        before = outbox.count()
        now_ms = self._link.now_ms()
        for record, ending in self._aside:
            write_poison(outbox, record, ending, now_ms)
        self._aside = []
        self.pending_from = None
        numbers = self.stage.write(outbox, now_ms)
        if outbox.count() == before and self.next_offset == self.committed_offset:
            return False
        row = _encode({"next": self.next_offset, **numbers, "writer": writer})
        self.put_row(outbox, OFFSET_ROW, row)
        return True
