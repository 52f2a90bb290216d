"""The interface of a stage: a state machine over one partition of its topics, without I/O. A lane drives it."""

from collections.abc import Sequence
from typing import Protocol

from aiokafka import ConsumerRecord

from tollgate.ledger.outbox import Outbox
from tollgate.ledger.policy import Policy
from tollgate.schemas.topics import Topic


class Stage(Protocol):
    """`apply` counts records in memory; `write` moves everything pending into an outbox, for one transaction.

    The lane commits that outbox together with the offset after the last applied record, so that memory never has to
    be reconciled with the log: a process whose transaction fails ends, and its successor starts from `restore`.

    `entries` is the topic that is counted beside `source`, if there is one. Between the records of the two there is no
    order: after a restart they may come in another one.
    """

    source: Topic
    entries: Topic | None
    state: Topic
    remembered: tuple[Topic, ...]

    def restore(self, rows: dict[str, bytes], offsets: dict[str, int] | None) -> None:
        """Restore from the latest value of each state row and the numbers that `write` returned (None: first start)."""

    def remember(self, value: bytes) -> None:
        """Restore one record of a remembered topic (the identities). Called in offset order."""

    def bound_clock(self, now_ms: int) -> None:
        """Take the machine's time as the bound of a broker's. Called before records are restored or applied."""

    def apply(self, records: Sequence[ConsumerRecord]) -> None:
        """Count these records of `source`. They follow what was applied before, in offset order."""

    def apply_entries(self, records: Sequence[ConsumerRecord]) -> None:
        """Count these records of `entries`. They follow the entries that were applied before, in offset order."""

    def set_policy(self, policy: Policy) -> None:
        """Use these budgets and prices from the next record on; what did not change is kept as it is."""

    def tick(self, now_ms: int) -> None:
        """Notice that time has passed."""

    def pending(self) -> int:
        """How much waits to be written, in records; 0 when a transaction would write nothing."""

    def write(self, outbox: Outbox, now_ms: int) -> dict[str, int]:
        """Move everything pending into the outbox; returns the numbers for the offset row."""
