"""A partition in which no user lives: a topic of usage or entries that was given more partitions has such.

Producers hash over all partitions, so a part of every user's events arrives here. Each is sent home in the transaction
that writes how far this partition was read, so it goes home once; all else is decided there, as for any other event.
"""

from collections.abc import Sequence

from aiokafka import ConsumerRecord

from tollgate.ledger.counters import Counters
from tollgate.ledger.decoding import decoded, decoded_entry
from tollgate.ledger.letters import FORWARDED_TWICE, dead_letter, forwarded, is_forwarded
from tollgate.ledger.outbox import Outbox, OutRecord
from tollgate.ledger.policy import Policy
from tollgate.schemas.meters import Past
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.refusals import Refusal, RefusalReason
from tollgate.schemas.topics import Topic


class ForwardStage:
    """Remembers nothing but how far it is. `homes` is how many partitions are counted."""

    source: Topic = Topic.USAGE
    entries: Topic | None = Topic.ENTRIES
    state: Topic = Topic.USER_STATE
    remembered: tuple[Topic, ...] = ()

    def __init__(self, homes: int, counters: Counters) -> None:
        self._homes = homes
        self._counters = counters
        self._applied = self._applied_entries = 0
        self._letters: list[OutRecord] = []
        self._forwards: list[tuple[Topic, int, OutRecord]] = []

    def restore(self, rows: dict[str, bytes], offsets: dict[str, int] | None) -> None:  # noqa: ARG002 # a stage's signature
        assert not rows, f"a partition that forwards has no rows, yet got {sorted(rows)[:3]}"

    def remember(self, value: bytes) -> None:
        raise AssertionError(f"a partition that forwards has no remembered topic, yet got {len(value)} bytes")

    def apply(self, records: Sequence[ConsumerRecord]) -> None:
        self._applied += len(records)
        for record in records:
            event = decoded(record)
            self._send_home(record, event if isinstance(event, Refusal) else event.subject, Topic.USAGE)

    def apply_entries(self, records: Sequence[ConsumerRecord]) -> None:
        self._applied_entries += len(records)
        for record in records:
            entry = decoded_entry(record)
            if isinstance(entry, Past):
                entry = Refusal(RefusalReason.INVALID, "the past of a meter, of which this partition has none")
            self._send_home(record, entry if isinstance(entry, Refusal) else entry.subject, Topic.ENTRIES)

    def _send_home(self, record: ConsumerRecord, user: str | Refusal, topic: Topic) -> None:
        if isinstance(user, Refusal):
            self._refuse(record, user)
        elif is_forwarded(record):
            self._refuse(record, FORWARDED_TWICE)
        else:
            key = user.encode()
            self._counters.forwarded += 1
            self._forwards.append((topic, partition_of(key, self._homes), forwarded(record, key)))

    def _refuse(self, record: ConsumerRecord, refusal: Refusal) -> None:
        self._counters.refuse(refusal.reason)
        self._letters.append(dead_letter(record, refusal))

    def bound_clock(self, now_ms: int) -> None:
        """No clock is kept: a record's time is judged where it is counted."""

    def set_policy(self, policy: Policy) -> None:
        """Budgets and prices are for those who count."""

    def tick(self, now_ms: int) -> None:
        """Windows are for those who count."""

    def pending(self) -> int:
        return self._applied + self._applied_entries

    def write(self, outbox: Outbox, now_ms: int) -> dict[str, int]:  # noqa: ARG002 # a stage's signature
        self._counters.applied += self._applied
        self._counters.applied_entries += self._applied_entries
        if self._letters:
            outbox.to(Topic.DEAD_LETTERS, 0).extend(self._letters)
        for topic, home, record in self._forwards:
            outbox.to(topic, home).append(record)
        self._applied, self._applied_entries, self._letters, self._forwards = 0, 0, [], []
        return {}
