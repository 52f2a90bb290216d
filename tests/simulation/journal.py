"""In which order a worker's partitions heard what has no order of its own: usage, entries, what people set, and time.

Nothing of the ledger is replaced here: its methods are called as ever, and who called them is written down. A segment
is what one transaction of a partition holds.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, NamedTuple
from unittest.mock import patch

import msgspec
from aiokafka import ConsumerRecord

from tollgate.ledger.accounts import Accounts
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.partition import Partition
from tollgate.ledger.policy import Policy
from tollgate.ledger.user_stage import UserStage
from tollgate.schemas.topics import Topic


class Heard(NamedTuple):
    """`what` is `begin`, `policy`, `usage`, `entries` or `idle`. Records are the offsets from `first` up to `end`."""

    what: str
    at_ms: int = 0
    first: int = 0
    end: int = 0
    policy: Policy | None = None


class Journal:
    """`now_ms` is the machine's time."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.now_ms = now_ms
        self._open: dict[int, list[Heard]] = {}
        # Kept, so that no other stage gets its number.
        self._stages: list[UserStage] = []
        self._ticking: UserStage | None = None
        # By process, partition and the number of the transaction.
        self._sealed: dict[tuple[object, int, int], list[Heard]] = {}

    def take(self, process: object, partition: int, sequence: int) -> list[Heard] | None:
        """What this transaction holds."""
        return self._sealed.pop((process, partition, sequence), None)

    def note(self, stage: UserStage, heard: Heard) -> None:
        """The stage is told this now."""
        if heard.what == "begin" or id(stage) not in self._open:
            self._stages.append(stage)
            self._open[id(stage)] = [Heard("begin"), Heard("policy", policy=stage._policy)]
        self._ticking = None
        if heard.what != "begin":
            self._open[id(stage)].append(heard)

    def _seal(self, partition: Partition, outbox: Outbox) -> None:
        stage = partition.stage
        if isinstance(stage, UserStage):
            process = asyncio.get_running_loop().process  # type: ignore[attr-defined] # see `Process`
            rows = outbox.records[Topic.USER_STATE, partition.number]
            row = msgspec.json.decode(next(value or b"" for key, value, _ in reversed(rows) if key == b"o"))
            self._sealed[process, partition.number, row["sequence"]] = self._open[id(stage)]
            self._open[id(stage)] = []

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Within it, everything is written down."""
        hooks: tuple[tuple[type, str, Callable[..., Any]], ...] = (
            (UserStage, "restore", lambda stage, *_: self.note(stage, Heard("begin"))),
            (UserStage, "set_policy", lambda stage, policy: self.note(stage, Heard("policy", policy=policy))),
            (UserStage, "apply", lambda stage, records: self.note(stage, self._records("usage", records))),
            (UserStage, "apply_entries", lambda stage, records: self.note(stage, self._records("entries", records))),
            (UserStage, "tick", self._tick),
            (Accounts, "tick", self._idle),
        )
        with ExitStack() as stack:
            for owner, name, told in hooks:
                stack.enter_context(patch.object(owner, name, _telling(getattr(owner, name), told)))
            stack.enter_context(patch.object(Partition, "write", self._writing(Partition.write)))
            yield

    def _records(self, what: str, records: Sequence[ConsumerRecord]) -> Heard:
        return Heard(what, self.now_ms(), records[0].offset, records[-1].offset + 1)

    def _tick(self, stage: UserStage, _now_ms: int) -> None:
        self._ticking = stage

    def _idle(self, accounts: Accounts, now_ms: int) -> None:
        # A stage may also end reservations by its records' time, which the checker works out itself.
        if self._ticking is not None and self._ticking.accounts is accounts:
            self.note(self._ticking, Heard("idle", now_ms))
            self._ticking = None

    def _writing(self, write: Callable[..., bool]) -> Callable[..., bool]:
        @wraps(write)
        def writing(partition: Partition, outbox: Outbox, writer: str) -> bool:
            written = write(partition, outbox, writer)
            if written:
                self._seal(partition, outbox)
            return written

        return writing


def _telling(method: Callable[..., Any], told: Callable[..., None]) -> Callable[..., Any]:
    @wraps(method)
    def telling(*args: Any, **named: Any) -> Any:
        told(*args)
        return method(*args, **named)

    return telling
