"""The second stage: scopes that many users add to (agents, campaigns, services, models, …, and global)."""

from collections.abc import Sequence
from typing import Final

import msgspec
from aiokafka import ConsumerRecord

from tollgate.domain.spend import Spend
from tollgate.domain.windows import DAY_MS, Horizon
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.policy import Policy
from tollgate.ledger.scopes import Scopes
from tollgate.schemas.topics import Topic

# Deltas come from partitions whose clocks differ by as much as their lag does. A window is therefore held this much
# longer than promised: only a partition that lags a week behind another could still find it gone.
CLOCK_SKEW_MS: Final = 7 * DAY_MS


class Delta(msgspec.Struct, array_like=True, gc=False):
    """What one batch of the first stage adds to one scope in one hour. `held_kinds` as in `Horizon.held_kinds`."""

    scope: str
    hour_start_ms: int
    held_kinds: int
    cost_picousd: int
    retail_picousd: int
    events: int
    usage_nano: dict[str, int]


class DeltaBatch(msgspec.Struct, array_like=True, gc=False):
    """One record of the deltas topic: the clock of the partition it came from, and what it adds."""

    clock_ms: int
    deltas: list[Delta]


_decode = msgspec.json.Decoder(DeltaBatch).decode
encode_deltas = msgspec.json.Encoder().encode


class SharedStage:
    """Counts deltas. Its input was written by our own transactions: each delta stands in the log exactly once."""

    source: Topic = Topic.DELTAS
    state: Topic = Topic.SHARED_STATE
    remembered: tuple[Topic, ...] = ()

    def __init__(self, partition: int, policy: Policy) -> None:
        self.scopes = Scopes(partition, self.state, Horizon(slack_ms=CLOCK_SKEW_MS), policy.budgets)
        self._applied = 0

    def restore(self, rows: dict[str, bytes], offsets: dict[str, int] | None) -> None:
        if offsets is not None:
            self.scopes.restore(rows, offsets)

    def remember(self, value: bytes) -> None:
        raise AssertionError(f"the second stage has no remembered topic, yet got {len(value)} bytes")

    def apply(self, records: Sequence[ConsumerRecord]) -> None:
        scopes = self.scopes
        for record in records:
            batch = _decode(record.value)
            scopes.horizon.advance(batch.clock_ms)
            for d in batch.deltas:
                amount = Spend(d.cost_picousd, d.retail_picousd, d.events, d.usage_nano)
                scopes.add(d.scope, d.hour_start_ms, d.held_kinds, amount)
        self._applied += len(records)

    def set_policy(self, policy: Policy) -> None:
        self.scopes.set_budgets(policy.budgets)

    def tick(self, now_ms: int) -> None:
        self.scopes.tick(now_ms)

    def pending(self) -> int:
        return self._applied or int(self.scopes.has_pending())

    def write(self, outbox: Outbox, now_ms: int) -> dict[str, int]:
        applied, self._applied = self._applied, 0
        return self.scopes.write(outbox, applied, now_ms)
