"""The second stage: scopes that many users add to (agents, campaigns, services, models, …, and global)."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import msgspec
from aiokafka import ConsumerRecord

from tollgate.domain.spend import Spend
from tollgate.domain.stops import Stop
from tollgate.domain.windows import Horizon, Windows, windows_at
from tollgate.ledger.counters import Counters
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.policy import Policy
from tollgate.ledger.scopes import Scopes
from tollgate.ledger.shared_meters import Mark, SharedMeters
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.scopes import GLOBAL_SCOPE, is_combination
from tollgate.schemas.text_rules import NAME_CHARS_MAX
from tollgate.schemas.topics import BATCH_BYTES_MAX, DELTA_PARTITIONS, USAGE_PARTITIONS, Topic
from tollgate.schemas.vocabulary import DAY_MS, HOUR_MS, WindowKind

# Deltas come from partitions whose clocks differ by as much as their lag does. A window is therefore held this much
# longer than promised: only a partition that lags a week behind another could still find it gone.
CLOCK_SKEW_MS: Final = 7 * DAY_MS


class Delta(msgspec.Struct, array_like=True, gc=False):
    """What one batch of the first stage adds to one scope in one slot.

    The first seven fields are those of release 0.1, in which a sum was of a whole hour; a worker of that release beside
    this one reads nothing else. `held_kinds` is how many windows hold the slot; only its own records are read by that.
    `after_ms` is how long after the start of the hour the slot starts. `calendars` are those that it counts in beyond
    the base ones, sorted; of a combination all, so that it has some.
    """

    scope: str
    hour_start_ms: int
    held_kinds: int
    cost_picousd: int
    retail_picousd: int
    events: int
    usage_nano: dict[str, int]
    after_ms: int = 0
    calendars: tuple[str, ...] = ()

    @property
    def slot_start_ms(self) -> int:
        """Start of the slot."""
        return self.hour_start_ms + self.after_ms


def delta_of(scope: str, slot_start_ms: int, held_kinds: int, amount: Spend, calendars: tuple[str, ...] = ()) -> Delta:
    """What is added to the scope in the slot."""
    cost, retail, events, usage = amount.cost_picousd, amount.retail_picousd, amount.events, amount.usage_nano
    after_ms = slot_start_ms % HOUR_MS
    return Delta(scope, slot_start_ms - after_ms, held_kinds, cost, retail, events, usage, after_ms, calendars)


class PastDelta(msgspec.Struct, array_like=True, gc=False):
    """What a scope spent in a window before its meter began."""

    scope: str
    calendar: str
    start_ms: int
    amount: Spend


class DeltaBatch(msgspec.Struct, array_like=True, gc=False):
    """One record of the deltas topic: the clock of the partition it came from, and what it adds.

    `is_by_clock`: the deltas count in the windows that are held at `clock_ms`. A record of release 0.1 does not say so:
    its deltas were counted before its clock, and tell by `held_kinds` where.
    """

    clock_ms: int
    deltas: list[Delta]
    is_by_clock: bool = False


class MeteredBatch(DeltaBatch, array_like=True, gc=False):
    """The same with what it tells of meters; a release before this one does not read that."""

    past: list[PastDelta] = []
    marks: list[Mark] = []


# A record of deltas stays below this, with room for its own header and its batch's.
DELTAS_BYTES_MAX: Final = BATCH_BYTES_MAX - 1024
# Deltas are tried in records of so many: about half a megabyte of ordinary ones.
_DELTAS_MAX: Final = 4_000
# The usage of a scope may take 40 kB: twenty of them stay below the limit.
_PAST_MAX: Final = 20
_MARKS_MAX: Final = 400
# Usage of one dimension in a delta takes at most the longest name, an amount below 10^38, and quotes, colon and comma.
_USAGE_BYTES: Final = NAME_CHARS_MAX + 48

_decode = msgspec.json.Decoder(MeteredBatch).decode
_encode = msgspec.json.Encoder().encode


def in_records(clock_ms: int, deltas: list[Delta]) -> Iterator[bytes]:
    """Deltas that were counted at this clock, as the values of records that are small enough, in order.

    A delta with more usage than fits becomes several of the same scope and slot. The first has the money and the
    events, the others only usage, so that their sum is the delta.
    """
    for first in range(0, len(deltas), _DELTAS_MAX):
        yield from _halved(clock_ms, deltas[first : first + _DELTAS_MAX])


def metered_in_records(clock_ms: int, past: list[PastDelta], marks: list[Mark]) -> Iterator[bytes]:
    """The past of meters, and then the marks, as the values of records."""
    for first in range(0, len(past), _PAST_MAX):
        yield _encode(MeteredBatch(clock_ms, [], is_by_clock=True, past=past[first : first + _PAST_MAX]))
    for first in range(0, len(marks), _MARKS_MAX):
        yield _encode(MeteredBatch(clock_ms, [], is_by_clock=True, marks=marks[first : first + _MARKS_MAX]))


def _halved(clock_ms: int, deltas: list[Delta]) -> Iterator[bytes]:
    value = _encode(DeltaBatch(clock_ms, deltas, is_by_clock=True))
    if len(value) <= DELTAS_BYTES_MAX:
        yield value
    elif len(deltas) > 1:
        half = len(deltas) // 2
        yield from _halved(clock_ms, deltas[:half])
        yield from _halved(clock_ms, deltas[half:])
    else:
        yield from (_encode(DeltaBatch(clock_ms, [part], is_by_clock=True)) for part in _parts(deltas[0]))


def _parts(delta: Delta) -> Iterator[Delta]:
    usage = iter(delta.usage_nano.items())
    # A scope has far less than the 4 KiB that are left for it and the rest.
    most = (DELTAS_BYTES_MAX - 4096) // _USAGE_BYTES
    cost, retail, events = delta.cost_picousd, delta.retail_picousd, delta.events
    while part := dict(islice(usage, most)):
        amount = Spend(cost, retail, events, part)
        yield delta_of(delta.scope, delta.slot_start_ms, delta.held_kinds, amount, delta.calendars)
        cost = retail = events = 0


class SharedStage:
    """Counts deltas. Its input was written by our own transactions: each delta stands in the log exactly once."""

    source: Topic = Topic.DELTAS
    entries: Topic | None = None
    state: Topic = Topic.SHARED_STATE
    remembered: tuple[Topic, ...] = ()

    def __init__(
        self,
        partition: int,
        policy: Policy,
        counters: Counters | None = None,
        delta_partitions: int = DELTA_PARTITIONS,
        usage_partitions: int = USAGE_PARTITIONS,
        spend_apart_ms: int = 0,
    ) -> None:
        self._has_global = partition_of(GLOBAL_SCOPE.encode(), delta_partitions) == partition
        horizon = Horizon(slack_ms=CLOCK_SKEW_MS)
        self.meters = SharedMeters(partition, self.state, usage_partitions)
        self.scopes = Scopes(
            partition, self.state, horizon, policy.budgets, counters, self._stop_of(policy),
            meters=self.meters, spend_apart_ms=spend_apart_ms,
        )  # fmt: skip
        self._policy = policy
        self._applied = 0

    def _stop_of(self, policy: Policy) -> Stop | None:
        """Only the owner of `global` decides about the stop, as about all else of that scope."""
        return policy.stop if self._has_global else None

    def restore(self, rows: dict[str, bytes], offsets: dict[str, int] | None) -> None:
        if offsets is not None:
            self.meters.restore(rows)
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
            sender = Horizon(batch.clock_ms)
            for d in batch.deltas:
                if d.calendars:
                    held = _windows_of_calendars(d, sender)
                else:
                    held = sender.windows_of(d.slot_start_ms) if batch.is_by_clock else _windows_of_0_1(d)
                if held:
                    scopes.add(d.scope, held, Spend(d.cost_picousd, d.retail_picousd, d.events, d.usage_nano))
            for p in batch.past:
                scopes.add(p.scope, ((p.calendar, p.start_ms),), p.amount)
            if batch.marks:
                self._take(batch.marks)
        self._applied += len(records)

    def _take(self, marks: list[Mark]) -> None:
        whole, has_gone = self.meters.take(marks)
        self.scopes.look_again(whole)
        if has_gone:
            self.scopes.compare()

    def apply_entries(self, records: Sequence[ConsumerRecord]) -> None:
        raise AssertionError(f"the second stage has no entries, yet got {len(records)} records")

    def set_policy(self, policy: Policy) -> None:
        before, self._policy = self._policy, policy
        if policy.budgets is not before.budgets or policy.stop != before.stop:
            self.scopes.set_budgets(policy.budgets, self._stop_of(policy))

    def tick(self, now_ms: int) -> None:
        self.scopes.tick(now_ms)

    def pending(self) -> int:
        return self._applied or int(self.scopes.has_pending() or self.meters.has_pending())

    def write(self, outbox: Outbox, now_ms: int) -> dict[str, int]:
        applied, self._applied = self._applied, 0
        self.meters.write(outbox)
        return self.scopes.write(outbox, applied, now_ms)


def _windows_of_calendars(delta: Delta, sender: Horizon) -> Windows:
    """The windows of a delta that names calendars: of a combination none but theirs, and none where all are past."""
    if is_combination(delta.scope):
        return sender.windows_in(delta.slot_start_ms, delta.calendars)
    return sender.windows_with(delta.slot_start_ms, delta.calendars)


def _windows_of_0_1(delta: Delta) -> Windows:
    """The windows that a delta of release 0.1 counts in: 4 of them are all, 3 are without the hour, 1 is lifetime."""
    lost = (WindowKind.HOUR, WindowKind.DAY, WindowKind.MONTH)[: 4 - delta.held_kinds]
    return tuple(window for window in windows_at(delta.slot_start_ms) if window[0] not in lost)
