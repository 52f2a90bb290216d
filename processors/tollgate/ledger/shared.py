"""The second stage: scopes that many users add to (agents, campaigns, services, models, …, and global)."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

import msgspec
from aiokafka import ConsumerRecord

from tollgate.domain.spend import Spend
from tollgate.domain.windows import DAY_MS, Horizon
from tollgate.ledger.counters import Counters
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.policy import Policy
from tollgate.ledger.scopes import Scopes
from tollgate.schemas.text_rules import NAME_CHARS_MAX
from tollgate.schemas.topics import BATCH_BYTES_MAX, Topic

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


# A record of deltas stays below this, with room for its own header and its batch's, and has at most so many.
DELTAS_BYTES_MAX: Final = BATCH_BYTES_MAX - 1024
DELTAS_MAX: Final = 10_000

# At most: brackets, commas and quotes of a delta, two sums of money below 10^38, and the start of an hour.
_DELTA_BYTES: Final = 192
# At most: quotes, colon, comma and an amount below 10^38.
_USAGE_BYTES: Final = 48

_decode = msgspec.json.Decoder(DeltaBatch).decode
encode_deltas = msgspec.json.Encoder().encode


def in_records(deltas: Iterable[Delta]) -> list[list[Delta]]:
    """Deltas in groups that each fit into a record, in order.

    A delta with more usage than fits becomes several of the same scope and hour. The first has the money and the
    events, the others only usage, so that their sum is the delta.
    """
    records: list[list[Delta]] = []
    room = 0
    for delta in deltas:
        for part in _parts(delta):
            size = _bytes_at_most(part)
            if size > room or len(records[-1]) >= DELTAS_MAX:
                records.append([])
                room = DELTAS_BYTES_MAX
            records[-1].append(part)
            room -= size
    return records


def _parts(delta: Delta) -> Iterator[Delta]:
    if _bytes_at_most(delta) <= DELTAS_BYTES_MAX:
        yield delta
        return
    usage = iter(delta.usage_nano.items())
    # Of the longest names as many as fit.
    most = (DELTAS_BYTES_MAX - _DELTA_BYTES - 4 * len(delta.scope)) // (_USAGE_BYTES + NAME_CHARS_MAX)
    cost, retail, events = delta.cost_picousd, delta.retail_picousd, delta.events
    while part := dict(islice(usage, most)):
        yield Delta(delta.scope, delta.hour_start_ms, delta.held_kinds, cost, retail, events, part)
        cost = retail = events = 0


def _bytes_at_most(delta: Delta) -> int:
    """No fewer bytes than the delta has as JSON. A character of a scope takes four at most, one of a usage key one."""
    usage = delta.usage_nano
    return _DELTA_BYTES + 4 * len(delta.scope) + _USAGE_BYTES * len(usage) + sum(map(len, usage))


class SharedStage:
    """Counts deltas. Its input was written by our own transactions: each delta stands in the log exactly once."""

    source: Topic = Topic.DELTAS
    state: Topic = Topic.SHARED_STATE
    remembered: tuple[Topic, ...] = ()

    def __init__(self, partition: int, policy: Policy, counters: Counters | None = None) -> None:
        self.scopes = Scopes(partition, self.state, Horizon(slack_ms=CLOCK_SKEW_MS), policy.budgets, counters)
        self._applied = 0

    def restore(self, rows: dict[str, bytes], offsets: dict[str, int] | None) -> None:
        if offsets is not None:
            self.scopes.restore(rows, offsets)

    def remember(self, value: bytes) -> None:
        raise AssertionError(f"the second stage has no remembered topic, yet got {len(value)} bytes")

    def bound_clock(self, now_ms: int) -> None:
        self.scopes.horizon.bound(now_ms)

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
