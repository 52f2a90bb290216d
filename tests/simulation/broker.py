"""Kafka as a state machine: transactions, fencing, markers, the last stable offset, compaction. No I/O, no clock.

What it copies from Kafka 4: `InitProducerId` raises the epoch and aborts what was open. The decision of a transaction
is taken at once; its markers are written later, partition by partition, and take an offset each. Until they are written
the id can neither start anew nor be initialised. What lies behind the first open transaction cannot be read.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from aiokafka import ConsumerRecord
from aiokafka.errors import MessageSizeTooLargeError, ProducerFenced

from tollgate.ledger.outbox import OutRecord
from tollgate.schemas.topics import TOPIC_SPECS

LIMITS = {spec.topic.value: int(spec.configs["max.message.bytes"]) for spec in TOPIC_SPECS}

# A priced event with this in it is refused, as if something of it were too large.
POISON_TO_WRITE = b"poison-to-write"

Place = tuple[str, int]
# A writer and a partition it sends to, or None for all: what is sent along a line arrives in order.
Line = tuple[object, Place | None]


class BusyError(Exception):
    """Not now: ask again when a marker was written."""


@dataclass(slots=True)
class Transaction:
    """`decided` is None while open. `places` are partitions without their marker yet, with the first offset in each."""

    id: str
    epoch: int
    owner: object
    places: dict[Place, int] = field(default_factory=dict)
    decided: bool | None = None
    # What became visible, partition by partition.
    written: dict[Place, list[ConsumerRecord]] = field(default_factory=dict)


@dataclass(slots=True)
class Entry:
    """One offset of a partition. A marker has no record."""

    offset: int
    record: ConsumerRecord | None
    transaction: Transaction | None = None


@dataclass(slots=True)
class Partition:
    """`entries` ascend in offset, with holes where compaction was."""

    entries: list[Entry] = field(default_factory=list)
    next_offset: int = 0
    open: list[Transaction] = field(default_factory=list)


# Called when a committed transaction has all its markers: its id, who wrote it, what it made visible.
Committed = Callable[[str, object, dict[Place, list[ConsumerRecord]]], None]


class Broker:
    """`now_ms` is the broker's clock; `committed` hears of each transaction."""

    def __init__(self, now_ms: Callable[[], int], committed: Committed = lambda *_: None) -> None:
        self._now_ms = now_ms
        self._committed = committed
        self._partitions: dict[Place, Partition] = defaultdict(Partition)
        self._epochs: dict[str, int] = {}
        self._transactions: dict[str, Transaction] = {}
        # Markers of decided transactions, to be written in any order.
        self.markers: list[tuple[Transaction, Place]] = []
        # While somebody reads, deleted keys stay: Kafka keeps them a day, which no recovery takes.
        self.readers = 0

    def init(self, transactional_id: str) -> int:
        """A new epoch, once what the former one left is aborted. BusyError until then."""
        left = self._transactions.get(transactional_id)
        if left is not None:
            if left.decided is None:
                # The former owner is fenced from now on, though the new one has to wait.
                self._epochs[transactional_id] += 1
                self._decide(left, commit=False)
            if left.places:
                raise BusyError
        self._epochs[transactional_id] = self._epochs.get(transactional_id, -1) + 1
        self._transactions.pop(transactional_id, None)
        return self._epochs[transactional_id]

    def is_current(self, transactional_id: str, epoch: int) -> bool:
        """Whether nobody was given a later epoch."""
        return self._epochs[transactional_id] == epoch

    def _current(self, transactional_id: str, epoch: int) -> None:
        if self._epochs[transactional_id] != epoch:
            raise ProducerFenced

    def append(self, transactional_id: str, epoch: int, owner: object, place: Place, out: Sequence[OutRecord]) -> None:
        """Add records to the id's transaction. ProducerFenced for an old epoch, BusyError while markers are missing,
        MessageSizeTooLargeError for a record over its topic's limit.
        """
        self._current(transactional_id, epoch)
        for record in out:
            self._refuse_large(place[0], record)
        transaction = self._transactions.get(transactional_id)
        if transaction is not None and transaction.decided is not None:
            if transaction.places:
                raise BusyError
            transaction = None
        if transaction is None:
            transaction = self._transactions[transactional_id] = Transaction(transactional_id, epoch, owner)
        partition = self._partitions[place]
        if place not in transaction.places:
            transaction.places[place] = partition.next_offset
            partition.open.append(transaction)
        for record in out:
            self._write(place, record, transaction)

    @staticmethod
    def _refuse_large(topic: str, out: OutRecord) -> None:
        key, value, headers = out
        size = len(key or b"") + len(value or b"") + sum(len(name) + len(text) for name, text in headers)
        if size > LIMITS.get(topic, size) or (topic == "priced" and POISON_TO_WRITE in (value or b"")):
            raise MessageSizeTooLargeError(f"{size} bytes for {topic}")

    def end(self, transactional_id: str, epoch: int) -> None:
        """Commit the id's transaction. ProducerFenced for an old epoch."""
        self._current(transactional_id, epoch)
        transaction = self._transactions.get(transactional_id)
        if transaction is not None and transaction.decided is None:
            self._decide(transaction, commit=True)

    def _decide(self, transaction: Transaction, *, commit: bool) -> None:
        transaction.decided = commit
        self.markers += [(transaction, place) for place in transaction.places]

    def write_marker(self, number: int) -> None:
        """Write one of the `markers`; with the last of a transaction its id is free again."""
        transaction, place = self.markers.pop(number)
        partition = self._partitions[place]
        first = transaction.places.pop(place)
        partition.open.remove(transaction)
        partition.entries.append(Entry(partition.next_offset, None))
        partition.next_offset += 1
        if transaction.decided:
            written = []
            for entry in reversed(partition.entries):
                if entry.offset < first:
                    break
                if entry.transaction is transaction and entry.record is not None:
                    written.append(entry.record)
            transaction.written[place] = written[::-1]
            if not transaction.places:
                self._committed(transaction.id, transaction.owner, transaction.written)

    def publish(self, place: Place, record: OutRecord, ahead_ms: int = 0) -> None:
        """One record without a transaction. `ahead_ms`: by how much the broker's clock jumps for this one."""
        self._write(place, record, None, ahead_ms)

    def load(self, record: ConsumerRecord) -> None:
        """A committed record of a saved log, at its own offset and with its own time."""
        partition = self._partitions[record.topic, record.partition]
        partition.entries.append(Entry(record.offset, record))
        partition.next_offset = record.offset + 1

    def _write(self, place: Place, out: OutRecord, transaction: Transaction | None, ahead_ms: int = 0) -> None:
        key, value, headers = out
        partition = self._partitions[place]
        record: ConsumerRecord = ConsumerRecord(
            place[0], place[1], partition.next_offset, self._now_ms() + ahead_ms, 1, key, value, None,
            len(key or b""), len(value or b""), tuple(headers),
        )  # fmt: skip
        partition.entries.append(Entry(partition.next_offset, record, transaction))
        partition.next_offset += 1

    def stable_end(self, place: Place) -> int:
        """The last stable offset: nothing before it is undecided, or decided without its marker."""
        partition = self._partitions[place]
        return min((t.places[place] for t in partition.open), default=partition.next_offset)

    def high_watermark(self, place: Place) -> int:
        """The offset that the next record gets."""
        return self._partitions[place].next_offset

    def reached(self, place: Place, high: int) -> int:
        """The last stable offset once it is at least `high`, else BusyError."""
        if self.stable_end(place) < high:
            raise BusyError
        return self.stable_end(place)

    def expire(self, number: int) -> None:
        """Abort one of the `undecided` transactions, as the coordinator does after the transaction time-out."""
        transaction = self.undecided()[number]
        self._epochs[transaction.id] += 1
        self._decide(transaction, commit=False)

    def undecided(self) -> list[Transaction]:
        """Transactions that nobody has ended."""
        return [t for t in self._transactions.values() if t.decided is None]

    def fetch(self, place: Place, start: int, most: int) -> tuple[list[ConsumerRecord], int]:
        """At most `most` committed records from `start` on, and the position after the last one looked at."""
        end = self.stable_end(place)
        entries = self._partitions[place].entries
        first = len(entries)
        while first and entries[first - 1].offset >= start:
            first -= 1
        records: list[ConsumerRecord] = []
        for entry in entries[first:]:
            if entry.offset >= end:
                break
            if len(records) == most:
                return records, entry.offset
            if entry.record is not None and (entry.transaction is None or entry.transaction.decided):
                records.append(entry.record)
        return records, end

    def committed(self, place: Place) -> Iterator[ConsumerRecord]:
        """All that a reader of committed records can see now."""
        return iter(self.fetch(place, 0, 1 << 60)[0])

    def compact(self, place: Place, limit: int) -> None:
        """Before the offset `limit`, or the last stable one, keep of each key its newest committed record only."""
        limit = min(limit, self.stable_end(place))
        partition = self._partitions[place]
        newest: dict[bytes | None, int] = {}
        for entry in partition.entries:
            decided = entry.transaction is None or entry.transaction.decided
            if entry.offset < limit and entry.record is not None and decided:
                newest[entry.record.key] = entry.offset
        kept = []
        for entry in partition.entries:
            record = entry.record
            if entry.offset < limit:
                if record is None or newest.get(record.key) != entry.offset:
                    continue
                if record.value is None and not self.readers:
                    continue
            kept.append(entry)
        partition.entries = kept
