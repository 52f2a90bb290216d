"""A partition in which no user lives: a usage topic that was given more partitions than are counted has such.

Producers hash over all partitions, so a part of every user's events arrives here. Each is sent home in the transaction
that writes how far this partition was read, so it goes home once; all else is decided there, as for any other event.
"""

from collections.abc import Sequence

from aiokafka import ConsumerRecord

from tollgate.ledger.counters import Counters
from tollgate.ledger.decoding import decoded
from tollgate.ledger.letters import FORWARDED_TWICE, dead_letter, forwarded, is_forwarded
from tollgate.ledger.outbox import Outbox, OutRecord
from tollgate.ledger.policy import Policy
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.refusals import Refusal
from tollgate.schemas.topics import Topic


class ForwardStage:
    """Remembers nothing but how far it is. `homes` is how many partitions are counted."""

    source: Topic = Topic.USAGE
    state: Topic = Topic.USER_STATE
    remembered: tuple[Topic, ...] = ()

    def __init__(self, homes: int, counters: Counters) -> None:
        self._homes = homes
        self._counters = counters
        self._applied = 0
        self._letters: list[OutRecord] = []
        self._forwards: list[tuple[int, OutRecord]] = []

    def restore(self, rows: dict[str, bytes], offsets: dict[str, int] | None) -> None:  # noqa: ARG002 # a stage's signature
        assert not rows, f"a partition that forwards has no rows, yet got {sorted(rows)[:3]}"

    def remember(self, value: bytes) -> None:
        raise AssertionError(f"a partition that forwards has no remembered topic, yet got {len(value)} bytes")

    def apply(self, records: Sequence[ConsumerRecord]) -> None:
        self._applied += len(records)
        for record in records:
            event = decoded(record)
            if isinstance(event, Refusal):
                self._refuse(record, event)
            elif is_forwarded(record):
                self._refuse(record, FORWARDED_TWICE)
            else:
                key = event.subject.encode()
                self._counters.forwarded += 1
                self._forwards.append((partition_of(key, self._homes), forwarded(record, key)))

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
        return self._applied

    def write(self, outbox: Outbox, now_ms: int) -> dict[str, int]:  # noqa: ARG002 # a stage's signature
        self._counters.applied += self._applied
        if self._letters:
            outbox.to(Topic.DEAD_LETTERS, 0).extend(self._letters)
        for home, record in self._forwards:
            outbox.to(Topic.USAGE, home).append(record)
        self._applied, self._letters, self._forwards = 0, [], []
        return {}
