"""The first stage: reads one partition of `tollgate.usage` and `tollgate.entries`, and counts per user.

Each event is checked in this order: size and JSON, schema, partition, time, identity. It ends as a dead letter, is
forwarded to its user's partition, is dropped as a repeat, or is priced and counted. The result depends only on the log
and on the budgets and prices in force, so that reading the log again gives the same result.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from aiokafka import ConsumerRecord

from tollgate.domain.pricing import UNPRICED
from tollgate.domain.windows import Horizon
from tollgate.ledger.clock import ClockWatch
from tollgate.ledger.core import Core, HandedOver, choose_core
from tollgate.ledger.counters import Counters
from tollgate.ledger.identities import IdentityIndex, IdentityMemory, Seen
from tollgate.ledger.letters import FORWARDED_TWICE, dead_letter, forwarded, is_forwarded, is_unreadable
from tollgate.ledger.outbox import NO_HEADERS, Outbox, OutRecord
from tollgate.ledger.policy import Policy
from tollgate.ledger.scopes import Scopes
from tollgate.ledger.spread import Spread
from tollgate.ledger.sums import NO_COMBINATIONS, combinations_of, names_of, usage_of
from tollgate.ledger.tally import PythonTally, Tally
from tollgate.ledger.unpriced import UnpricedModels
from tollgate.schemas.amounts import format_usd
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs_codec import PricedRecord, encode_priced
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.refusals import Refusal, RefusalReason
from tollgate.schemas.topics import DEDUPE_HORIZON_MS, DELTA_PARTITIONS, USAGE_PARTITIONS, Topic
from tollgate.schemas.usage_codec import EventRecord, decode_usage_event
from tollgate.schemas.usage_identity import fingerprint, fingerprint_as_sent, identity_digest
from tollgate.schemas.vocabulary import DAY_MS, SLOT_MS

if TYPE_CHECKING:
    from tollgate.ledger.compiled import CompiledTally

# A producer's clock may run ahead of the broker's by this much.
FUTURE_MS_MAX: Final = 5 * 60 * 1000

# Events are decoded in chunks of this size and then counted, while they are still in the processor's cache.
_CHUNK: Final = 256

# A batch of records that is too large when it is unpacked.
_UNREADABLE: Final = Refusal(RefusalReason.TOO_LARGE, "value: a compressed batch that is over 128 MiB when unpacked")

# No kind of entry is counted yet.
_NO_ENTRY: Final = Refusal(RefusalReason.INVALID, "type: not an entry")


class UserStage:
    """Counts one partition of usage events and entries.

    It has all of its users, so it alone decides about their spend.
    """

    source: Topic = Topic.USAGE
    entries: Topic | None = Topic.ENTRIES
    state: Topic = Topic.USER_STATE
    remembered: tuple[Topic, ...] = (Topic.IDENTITIES,)

    def __init__(
        self,
        partition: int,
        policy: Policy,
        counters: Counters,
        partitions: int = USAGE_PARTITIONS,
        delta_partitions: int = DELTA_PARTITIONS,
        core: Core | None = None,
    ) -> None:
        self._partition = partition
        self._partitions = partitions
        self._counters = counters
        self._policy = policy
        self._pricer = policy.new_pricer()
        self.horizon = Horizon()
        self.scopes = Scopes(partition, self.state, self.horizon, policy.budgets, counters)
        self._unpriced = UnpricedModels(partition, self.state)
        self._clock = ClockWatch(partition, self.state)
        self._identities: IdentityMemory
        self._tally: Tally
        self._combinations = NO_COMBINATIONS
        self._compiled: CompiledTally | None = None
        if (core or choose_core()) == "compiled":
            self._tally = self._compiled = _compiled(partition, partitions)
            self._identities = self._compiled.identities
        else:
            self._identities = IdentityIndex()
            self._tally = PythonTally(self._identities)
        self._set_combinations(policy)
        self._spread = Spread(partition, delta_partitions, self.horizon, self.scopes)
        self._routed: set[str] = set()
        self._next_offset = 0
        self._clear()

    def _clear(self) -> None:
        """Start a new batch: nothing applied since the last write."""
        self._applied = self._applied_entries = 0
        self._letters: list[OutRecord] = []
        self._forwards: list[tuple[int, OutRecord]] = []

    def restore(self, rows: dict[str, bytes], offsets: dict[str, int] | None) -> None:
        if offsets is None:
            return
        self._unpriced.restore(rows)
        self._clock.restore(rows)
        self.scopes.restore(rows, offsets)

    def remember(self, value: bytes) -> None:
        self._identities.restore(value, self.horizon.clock_ms // 1000)

    def set_policy(self, policy: Policy) -> None:
        before = self._policy
        if policy.budgets is not before.budgets:
            # A combination or a calendar counts from the first event after the policy on, and not from the batch's.
            self._spread_sums()
            self._set_combinations(policy)
            self.scopes.set_budgets(policy.budgets)
        self._policy = policy
        if policy.new_pricer is not before.new_pricer:
            self._pricer = policy.new_pricer()
            self._unpriced.is_stale = True
            if self._compiled is not None:
                self._compiled.forget_prices()

    def _set_combinations(self, policy: Policy) -> None:
        combinations = combinations_of(policy.budgets.shapes, policy.budgets.meters())
        if combinations is not self._combinations:
            self._combinations = combinations
            self._tally.set_combinations(combinations)

    def tick(self, now_ms: int) -> None:
        self.scopes.tick(now_ms)

    def pending(self) -> int:
        return self._applied + self._applied_entries or int(self.scopes.has_pending() or self._unpriced.is_stale)

    def bound_clock(self, now_ms: int) -> None:
        self.horizon.bound(now_ms)

    def apply(self, records: Sequence[ConsumerRecord]) -> None:
        self._applied += len(records)
        last = records[-1]
        self._next_offset = last.offset + 1
        if self._compiled is not None:
            self._apply_compiled(self._compiled, records)
        else:
            for first in range(0, len(records), _CHUNK):
                self._apply_chunk(records[first : first + _CHUNK])
        self._clock.note(last.timestamp, self.horizon.limit_ms)
        self._identities.compact(self.horizon.clock_ms // 1000)

    def apply_entries(self, records: Sequence[ConsumerRecord]) -> None:
        self._applied_entries += len(records)
        for record in records:
            self._refuse(record, decoded_entry(record))

    def _apply_compiled(self, tally: "CompiledTally", records: Sequence[ConsumerRecord]) -> None:
        """Let the core count what it can; each record that it hands over is judged here, in its place."""
        batch = tally.batch(records)
        at = 0
        while True:
            at, why = tally.count(batch, at, self.horizon, self._policy.event_age_ms_max)
            if at == len(batch):
                break
            record = batch[at]
            if why is HandedOver.WINDOW_BEGINS and record.timestamp <= self.horizon.limit_ms:
                self.horizon.advance(record.timestamp)
                continue
            event = decoded(record)
            if isinstance(event, Refusal):
                self._refuse(record, event)
            else:
                digest = identity_digest(event.source, event.id)
                self._judge(record, event, digest, tally.identities.get(digest))
                if why is HandedOver.PRICE_UNKNOWN:
                    self._teach(tally, event)
            at += 1
        duplicates, late = tally.take_counts()
        self._counters.duplicates += duplicates
        self._counters.late += late

    def _teach(self, tally: "CompiledTally", event: EventRecord) -> None:
        """Tell the core the price of events like this one."""
        price = self._pricer.held(event.data, event.time_ms)
        # The first event of an unknown model raises an alert. Only the Python code knows whether it is the first.
        if price.status != UNPRICED or self._unpriced.is_noted(event.data):
            tally.teach(event.data, price)

    def _apply_chunk(self, records: Sequence[ConsumerRecord]) -> None:
        events = [decoded(record) for record in records]
        digests = [identity_digest(event.source, event.id) for event in events if isinstance(event, EventRecord)]
        identities = self._identities
        assert isinstance(identities, IdentityIndex)
        frozen, recent = identities.frozen(digests), identities.recent
        next_digest = iter(digests).__next__
        for record, event in zip(records, events, strict=True):
            if isinstance(event, Refusal):
                self._refuse(record, event)
            else:
                digest = next_digest()
                self._judge(record, event, digest, recent.get(digest) or frozen.get(digest))

    def _judge(self, record: ConsumerRecord, event: EventRecord, digest: bytes, seen: Seen | None) -> None:
        """Count a readable event, unless something forbids it. `seen` is what is known of its identity."""
        now_ms, time_ms = record.timestamp, event.time_ms
        if now_ms > self.horizon.clock_ms:
            self.horizon.advance(now_ms)
            self._clock.note(now_ms, self.horizon.limit_ms)
        if event.subject not in self._routed and not self._belongs_here(record, event.subject):
            return
        if time_ms > now_ms + FUTURE_MS_MAX:
            self._refuse_future(record, time_ms - now_ms)
            return
        # By a clock that does not jump ahead: else today's event could be too old, or an identity of yesterday past the
        # horizon.
        now_ms = min(now_ms, self.horizon.limit_ms)
        if time_ms < now_ms - self._policy.event_age_ms_max:
            self._refuse_old(record, now_ms - time_ms)
            return
        now_s = now_ms // 1000
        said = fingerprint(event)
        if seen is not None and self._identities.is_remembered(seen, now_s):
            # An identity of an earlier release is kept with the fingerprint of what was sent.
            self._repeated(record, said == seen[0] or fingerprint_as_sent(event) == seen[0])
            return
        self._tally.add_identity(digest, said, now_s)
        self._count(record, event, time_ms)

    def _count(self, record: ConsumerRecord, event: EventRecord, time_ms: int) -> None:
        """Price the event, add it to the sums, and make its priced record."""
        data = event.data
        quote = self._pricer.price(data, time_ms)
        cost, retail, status = quote.cost_picousd, quote.retail_picousd, quote.status
        if status == UNPRICED:
            self._unpriced.note(data, quote.price_id, self._pricer, time_ms)
        slot_ms = time_ms - time_ms % SLOT_MS
        if slot_ms < self.horizon.punctual_from_ms:
            self._counters.late += 1
        user, names = event.subject, names_of(event)
        self._tally.add(names, (slot_ms, self.horizon.since_ms), cost, retail, usage_of(data))
        time = event.time
        # A time in UTC with whole seconds or milliseconds is written as it came.
        if not (time[-1] == "Z" and time[10] == "T" and len(time) in (20, 24)):
            time = format_instant(time_ms)
        # By position, in the order of the contract's columns as `PricedRecord` declares them: names cost a microsecond.
        priced = PricedRecord(  # type: ignore[call-arg] # the dimensions but the user are fields that stand together
            event.id, event.source, time, "usage", user,
            format_usd(cost), format_usd(retail) if retail else "0", quote.price_id, status,
            record.partition, record.offset, 1, data.usage, data.status, *names[1:-1],  # type: ignore[arg-type]
            data.operation, data.latency_ms, data.resource_type, data.resource_id, data.request_id,
            data.options, data.metadata,
        )  # fmt: skip
        self._tally.add_priced(user.encode(), encode_priced(priced))

    def _refuse_future(self, record: ConsumerRecord, ahead_ms: int) -> None:
        text = f"time: {ahead_ms // 1000} s ahead of the broker's clock; {FUTURE_MS_MAX // 1000} s are allowed"
        self._refuse(record, Refusal(RefusalReason.FUTURE, text))

    def _refuse_old(self, record: ConsumerRecord, age_ms: int) -> None:
        days = self._policy.event_age_ms_max // DAY_MS
        text = f"time: {age_ms // DAY_MS} days before the broker's clock; {days} are allowed"
        self._refuse(record, Refusal(RefusalReason.TOO_OLD, text))

    def _belongs_here(self, record: ConsumerRecord, user: str) -> bool:
        """Whether the user's events live in this partition; else the record is forwarded to where they do."""
        key = user.encode()
        home = partition_of(key, self._partitions)
        if home == self._partition:
            self._routed.add(user)
            return True
        if is_forwarded(record):
            self._refuse(record, FORWARDED_TWICE)
        else:
            self._counters.forwarded += 1
            self._forwards.append((home, forwarded(record, key)))
        return False

    def _repeated(self, record: ConsumerRecord, same: bool) -> None:
        if same:
            self._counters.duplicates += 1
        else:
            text = "id: this source and id were counted before with other data or for another user"
            self._refuse(record, Refusal(RefusalReason.CONFLICT, text))

    def _refuse(self, record: ConsumerRecord, refusal: Refusal) -> None:
        self._counters.refuse(refusal.reason)
        self._letters.append(dead_letter(record, refusal))

    def write(self, outbox: Outbox, now_ms: int) -> dict[str, int]:
        applied = self._applied
        self._counters.applied += applied
        self._counters.applied_entries += self._applied_entries
        self._counters.counted += len(self._tally)
        self._counters.options_ignored += self._pricer.take_options_ignored()
        if priced := self._tally.take_priced():
            outbox.put(Topic.PRICED, self._partition, priced)
        if self._letters:
            outbox.to(Topic.DEAD_LETTERS, 0).extend(self._letters)
        for home, record in self._forwards:
            outbox.to(Topic.USAGE, home).append(record)
        for rows in self._tally.take_identities():
            outbox.to(Topic.IDENTITIES, self._partition).append((None, rows, NO_HEADERS))
        self._spread_sums()
        self._spread.write(outbox, self._next_offset)
        if self._unpriced.is_stale and self._compiled is not None:
            # When an alert has ended, the model's next event without a price must come to Python, to raise it again.
            self._compiled.forget_prices()
        self._unpriced.write(outbox, now_ms, self._pricer)
        self._clock.write(outbox, now_ms)
        self._clear()
        return self.scopes.write(outbox, applied, now_ms)

    def _spread_sums(self) -> None:
        """Add up what was counted since the last time, by the budgets that were in force meanwhile."""
        self._spread.add(self._tally.take_sums(), self._policy.budgets)


def decoded(record: ConsumerRecord) -> EventRecord | Refusal:
    """The event in a record of usage, or why there is none."""
    return _UNREADABLE if is_unreadable(record) else decode_usage_event(record.value, record.headers)


def decoded_entry(record: ConsumerRecord) -> Refusal:
    """Why there is no entry in a record of the entries topic."""
    return _UNREADABLE if is_unreadable(record) else _NO_ENTRY


def _compiled(partition: int, partitions: int) -> "CompiledTally":
    """A tally of the compiled core. ImportError where it was not built."""
    from tollgate.ledger.compiled import CompiledTally

    return CompiledTally(partition, partitions, FUTURE_MS_MAX, DEDUPE_HORIZON_MS)
