"""One partition of a topic that is read: how far it is counted, and which of its records need care."""

from collections.abc import Sequence

import structlog
from aiokafka import ConsumerRecord, TopicPartition

from tollgate.ledger.endings import Ending
from tollgate.ledger.letters import write_poison
from tollgate.ledger.link import Link
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.stage import Stage
from tollgate.schemas.topics import Topic

log = structlog.get_logger("tollgate.ledger")


class Source:
    """Belongs to one `Partition`, whose stage counts what is read and whose offset row says how far.

    `apply` never waits.
    """

    def __init__(self, topic: Topic, partition: int, stage: Stage, link: Link) -> None:
        self.tp = TopicPartition(link.topic_name(topic), partition)
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
        self._stage = stage
        self._count = stage.apply if topic is stage.source else stage.apply_entries
        self._link = link

    def restore(self, offset: int | None) -> None:
        """Go on at the offset, or from the beginning when none was ever written."""
        if offset is not None:
            self.next_offset = self.committed_offset = offset
        self.suspect = self._link.endings.of(self.tp)
        self.clear_suspect()

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
        self._stage.bound_clock(self._link.now_ms())
        self._count(records)
        self.next_offset = records[-1].offset + 1

    def put_aside(self, record: ConsumerRecord, ending: Ending) -> None:
        """Do not count a record: it becomes a dead letter, and an alert."""
        log.critical(
            "a record is put aside without being counted, because it has ended this worker again and again",
            topic=self.tp.topic,
            partition=self.tp.partition,
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

    def has_aside(self) -> bool:
        """Whether a record was put aside and is not yet written."""
        return bool(self._aside)

    def write_aside(self, outbox: Outbox, now_ms: int) -> None:
        """What was put aside goes into the outbox; all that was applied is about to."""
        for record, ending in self._aside:
            write_poison(outbox, record, ending, now_ms)
        self._aside = []
        self.pending_from = None
