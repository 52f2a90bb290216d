"""Records that the sink has read and not yet written, and when they are written."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import attrgetter

from aiokafka import ConsumerRecord, TopicPartition

from tollgate.schemas.topics import Topic

_VALUE_BYTES = attrgetter("serialized_value_size")


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """When a batch is written.

    At once when it is full. Otherwise `linger_seconds` after its first record, yet no sooner than `interval_seconds`
    after the batch before: a lone record is visible in a fifth of a second, and a steady stream makes one insert per
    table and second, which is what ClickHouse's merges like. A full batch is what a backlog is written in: fewer and
    larger inserts cost less per row, up to about this size.
    """

    rows_max: int = 50_000
    bytes_max: int = 32 * 1024 * 1024
    linger_seconds: float = 0.2
    interval_seconds: float = 1.0

    def due_at(self, first_at: float, previous_at: float) -> float:
        """The instant at which a batch that is not full is written; all instants are of one monotonic clock."""
        return max(first_at + self.linger_seconds, previous_at + self.interval_seconds)


@dataclass(slots=True)
class Batch:
    """Records by topic, in the order of each partition, and where to read on once they are written."""

    records: dict[Topic, list[ConsumerRecord]] = field(default_factory=dict)
    offsets: dict[TopicPartition, int] = field(default_factory=dict)
    rows: int = 0
    value_bytes: int = 0
    first_at: float | None = None

    def add(self, topic: Topic, records: list[ConsumerRecord], now: float) -> None:
        """Take records of one partition."""
        self.records.setdefault(topic, []).extend(records)
        self.rows += len(records)
        self.value_bytes += sum(map(_VALUE_BYTES, records))
        self.touch(now)

    def reached(self, offsets: Iterable[tuple[TopicPartition, int]], now: float) -> None:
        """Note where to read on, also past what holds no record (transaction markers, aborted records)."""
        self.offsets.update(offsets)
        self.touch(now)

    def touch(self, now: float) -> None:
        """Start the wait of a batch that was empty."""
        if self.first_at is None:
            self.first_at = now

    def is_full(self, policy: BatchPolicy) -> bool:
        """Whether it is to be written without waiting for more."""
        return self.rows >= policy.rows_max or self.value_bytes >= policy.bytes_max
