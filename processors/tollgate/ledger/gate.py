"""The gate of a partition: which records are its own, and what becomes of those that are not counted."""

from typing import Final

from aiokafka import ConsumerRecord

from tollgate.ledger.counters import Counters
from tollgate.ledger.letters import FORWARDED_TWICE, dead_letter, forwarded, is_forwarded
from tollgate.ledger.outbox import Outbox, OutRecord
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.refusals import Refusal, RefusalReason
from tollgate.schemas.topics import Topic
from tollgate.schemas.vocabulary import DAY_MS

# A producer's clock may run ahead of the broker's by this much.
FUTURE_MS_MAX: Final = 5 * 60 * 1000


class Gate:
    """Collects dead letters and records to forward; `write` moves them into an outbox."""

    def __init__(self, partition: int, partitions: int, counters: Counters) -> None:
        self._partition = partition
        self._partitions = partitions
        self._counters = counters
        # Users who are known to belong here.
        self._routed: set[str] = set()
        self._letters: list[OutRecord] = []
        self._forwards: list[tuple[Topic, int, OutRecord]] = []

    def admits(self, record: ConsumerRecord, user: str, time_ms: int, topic: Topic) -> bool:
        """Whether an entry is in its user's partition and not in the future; else it is forwarded or refused."""
        if user not in self._routed and not self._belongs_here(record, user, topic):
            return False
        ahead_ms = time_ms - record.timestamp
        if ahead_ms > FUTURE_MS_MAX:
            text = f"time: {ahead_ms // 1000} s ahead of the broker's clock; {FUTURE_MS_MAX // 1000} s are allowed"
            self.refuse(record, Refusal(RefusalReason.FUTURE, text))
            return False
        return True

    def _belongs_here(self, record: ConsumerRecord, user: str, topic: Topic) -> bool:
        """Whether the user's entries live in this partition; else the record is forwarded to where they do."""
        key = user.encode()
        home = partition_of(key, self._partitions)
        if home == self._partition:
            self._routed.add(user)
            return True
        if is_forwarded(record):
            self.refuse(record, FORWARDED_TWICE)
        else:
            self._counters.forwarded += 1
            self._forwards.append((topic, home, forwarded(record, key)))
        return False

    def refuse_old(self, record: ConsumerRecord, age_ms: int, age_ms_max: int) -> None:
        """The event's time is further in the past than the installation allows."""
        text = f"time: {age_ms // DAY_MS} days before the broker's clock; {age_ms_max // DAY_MS} are allowed"
        self.refuse(record, Refusal(RefusalReason.TOO_OLD, text))

    def repeated(self, record: ConsumerRecord, *, same: bool) -> None:
        """The entry's identity was counted before, with the same content or with other."""
        if same:
            self._counters.duplicates += 1
        else:
            text = "id: this source and id were counted before with other data or for another user"
            self.refuse(record, Refusal(RefusalReason.CONFLICT, text))

    def refuse(self, record: ConsumerRecord, refusal: Refusal) -> None:
        """Make it a dead letter."""
        self._counters.refuse(refusal.reason)
        self._letters.append(dead_letter(record, refusal))

    def write(self, outbox: Outbox) -> None:
        """Move what was collected into the outbox."""
        if self._letters:
            outbox.to(Topic.DEAD_LETTERS, 0).extend(self._letters)
        for topic, home, record in self._forwards:
            outbox.to(topic, home).append(record)
        self._letters, self._forwards = [], []
