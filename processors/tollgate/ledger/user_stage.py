"""The first stage: reads one partition of `tollgate.usage` and `tollgate.entries`, and counts per user.

Each event is checked in this order: size and JSON, schema, partition, time, identity. It ends as a dead letter, is
forwarded to its user's partition, is dropped as a repeat, or is priced and counted. The result depends only on the log
and on the budgets and prices in force, so that reading the log again gives the same result.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final

from aiokafka import ConsumerRecord

from tollgate.domain.pricing import UNPRICED
from tollgate.domain.spend import ScopeSpend
from tollgate.domain.windows import CLOCK_AHEAD_MS_MAX, Horizon
from tollgate.ledger.accounts import Accounts
from tollgate.ledger.clock import ClockWatch
from tollgate.ledger.core import Core, HandedOver, choose_core
from tollgate.ledger.counters import Counters
from tollgate.ledger.decoding import decoded, decoded_entry
from tollgate.ledger.entry_judge import EntryJudge
from tollgate.ledger.gate import FUTURE_MS_MAX, Gate
from tollgate.ledger.identities import IdentityIndex, IdentityMemory, Seen
from tollgate.ledger.idle import Idle
from tollgate.ledger.meters import Meter
from tollgate.ledger.outbox import NO_HEADERS, Outbox
from tollgate.ledger.own_meters import OwnMeters
from tollgate.ledger.policy import Policy
from tollgate.ledger.scopes import Scopes
from tollgate.ledger.spread import Spread
from tollgate.ledger.sums import NO_COMBINATIONS, NamedSum, names_of, usage_of
from tollgate.ledger.tally import PythonTally, Tally
from tollgate.ledger.unpriced import UnpricedModels
from tollgate.ledger.user_limits import UserLimits
from tollgate.ledger.user_sums import UserSums
from tollgate.schemas.amounts import format_amount, format_usd
from tollgate.schemas.instants import format_instant
from tollgate.schemas.meters import Past
from tollgate.schemas.outputs_codec import PricedRecord, encode_priced
from tollgate.schemas.refusals import Refusal
from tollgate.schemas.topics import DEDUPE_HORIZON_MS, DELTA_PARTITIONS, USAGE_PARTITIONS, Topic
from tollgate.schemas.usage_codec import EventRecord
from tollgate.schemas.usage_identity import (
    fingerprint,
    fingerprint_as_sent,
    identity_digest,
)
from tollgate.schemas.vocabulary import CREDITS, SLOT_MS

if TYPE_CHECKING:
    from tollgate.ledger.compiled import CompiledTally

# Events are decoded in chunks of this size and then counted, while they are still in the processor's cache.
_CHUNK: Final = 256


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
        spend_apart_ms: int = 0,
    ) -> None:
        self._partition = partition
        self._counters = counters
        self._gate = Gate(partition, partitions, counters)
        self._policy = policy
        self._pricer = policy.new_pricer()
        self.horizon = Horizon()
        self._limits = UserLimits(policy, self._spend_of)
        self.accounts = Accounts(partition, self.state, self._limits)
        self.meters = OwnMeters(partition, partitions, self.state)
        self.scopes = Scopes(
            partition, self.state, self.horizon, policy.budgets, counters,
            reserved=self.accounts.reserved, meters=self.meters, spend_apart_ms=spend_apart_ms,
        )  # fmt: skip
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
        self._spread = Spread(partition, delta_partitions, self.horizon, self.scopes, self.meters)
        self._user_sums = UserSums()
        self._entries = EntryJudge(
            self._gate, self.accounts, self._identities, self._tally, self.horizon, self._spread_user_sums
        )
        self._idle = Idle()
        self._next_offset = 0
        # From this usage offset on, sums have the credits that events burned: a release before this one left them out.
        self._credits_from = 0
        # Meters whose past was added since the last write.
        self._filled: list[str] = []
        self._want_meters()
        self._clear()

    def _clear(self) -> None:
        """Start a new batch: nothing applied since the last write."""
        self._applied = self._applied_entries = 0
        # How many priced records there were when `_spread_user_sums` was last called.
        self._spread_to = 0

    def _spend_of(self, scope: str) -> ScopeSpend | None:
        return self.scopes.spend.find(scope)

    def restore(self, rows: dict[str, bytes], offsets: dict[str, int] | None) -> None:
        if offsets is None:
            return
        self._unpriced.restore(rows)
        self._clock.restore(rows)
        self.accounts.restore(rows)
        self.meters.restore(rows)
        self.scopes.restore(rows, offsets)
        self._next_offset = offsets.get("next", 0)
        self._credits_from = offsets.get("credits_from", self._next_offset)
        self._want_meters()
        self._touch_reserved()

    def _touch_reserved(self) -> None:
        """Decide about every scope of which something is reserved: its flag says so, however little was spent."""
        for scope in self.accounts.reservations.reserved_scopes():
            self.scopes.touch(scope)

    def remember(self, value: bytes) -> None:
        self._identities.restore(value, self.horizon.clock_ms // 1000)

    def set_policy(self, policy: Policy) -> None:
        before = self._policy
        if policy.budgets is not before.budgets:
            # A combination or a calendar counts from the first event after the policy on, and not from the batch's.
            self._spread_sums()
            self._policy = policy
            self._want_meters()
            self.scopes.set_budgets(policy.budgets)
            if policy.budgets.scopes_since(before.budgets) is None:
                self._touch_reserved()
        self._policy = policy
        are_other_shapes = policy.budgets.shapes != self._limits.shapes
        self._limits.set_policy(policy)
        if are_other_shapes:
            self.accounts.reservations.count_anew()
        if policy.new_pricer is not before.new_pricer:
            self._pricer = policy.new_pricer()
            self._unpriced.is_stale = True
            if self._compiled is not None:
                self._compiled.forget_prices()

    def _want_meters(self) -> None:
        """Keep the sums that the policy needs, from the next event on."""
        self.meters.want(self._policy.budgets.meters(), self._next_offset, self.horizon.clock_ms)
        self._set_combinations()

    def _set_combinations(self) -> None:
        combinations = self.meters.combinations()
        if combinations is not self._combinations:
            self._combinations = combinations
            self._tally.set_combinations(combinations)

    def tick(self, now_ms: int) -> None:
        self.scopes.tick(now_ms)
        if self._idle.is_idle(now_ms):
            # Else the records' time is the clock: a backlog is decided as it would have been decided in time.
            self.accounts.tick(now_ms)

    def pending(self) -> int:
        late = (
            self.scopes.has_pending()
            or self.accounts.has_pending()
            or self.meters.has_pending()
            or self._unpriced.is_stale
        )
        return self._applied + self._applied_entries or int(late)

    def bound_clock(self, now_ms: int) -> None:
        self.horizon.bound(now_ms)

    def apply(self, records: Sequence[ConsumerRecord]) -> None:
        self._applied += len(records)
        last = records[-1]
        self._idle.arrived(last.timestamp, self.horizon.limit_ms - CLOCK_AHEAD_MS_MAX)
        self._next_offset = last.offset + 1
        if self._compiled is not None:
            self._apply_compiled(self._compiled, records)
        else:
            for first in range(0, len(records), _CHUNK):
                self._apply_chunk(records[first : first + _CHUNK])
        self._clock.note(last.timestamp, self.horizon.limit_ms)
        # Usage without reservations ends those whose time is over, too.
        self.accounts.tick(self.horizon.clock_ms)
        self._identities.compact(self.horizon.clock_ms // 1000)

    def apply_entries(self, records: Sequence[ConsumerRecord]) -> None:
        self._applied_entries += len(records)
        self._idle.arrived(records[-1].timestamp, self.horizon.limit_ms - CLOCK_AHEAD_MS_MAX)
        for record in records:
            entry = decoded_entry(record)
            if isinstance(entry, Refusal):
                self._gate.refuse(record, entry)
            elif isinstance(entry, Past):
                self._spread.add_past(self.meters.take_past(entry))
                if entry.part == entry.parts - 1:
                    self._filled.append(Meter.of(entry.meter).scope)
            else:
                # Their clock is not the usage's, by which windows are held: there is no order between the two topics.
                self._entries.judge(record, entry, Topic.ENTRIES)

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
                self._gate.refuse(record, event)
            elif not isinstance(event, EventRecord):
                self._note_time(record.timestamp)
                self._entries.judge(record, event, Topic.USAGE)
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
                self._gate.refuse(record, event)
            elif not isinstance(event, EventRecord):
                self._note_time(record.timestamp)
                self._entries.judge(record, event, Topic.USAGE)
            else:
                digest = next_digest()
                self._judge(record, event, digest, recent.get(digest) or frozen.get(digest))

    def _judge(self, record: ConsumerRecord, event: EventRecord, digest: bytes, seen: Seen | None) -> None:
        """Count a readable event, unless something forbids it. `seen` is what is known of its identity."""
        now_ms, time_ms = record.timestamp, event.time_ms
        self._note_time(now_ms)
        if not self._gate.admits(record, event.subject, time_ms, Topic.USAGE):
            return
        # By a clock that does not jump ahead: else today's event could be too old, or an identity of yesterday past the
        # horizon.
        now_ms = min(now_ms, self.horizon.limit_ms)
        if time_ms < now_ms - self._policy.event_age_ms_max:
            self._gate.refuse_old(record, now_ms - time_ms, self._policy.event_age_ms_max)
            return
        now_s = now_ms // 1000
        said = fingerprint(event)
        if seen is not None and self._identities.is_remembered(seen, now_s):
            # An identity of an earlier release is kept with the fingerprint of what was sent.
            self._gate.repeated(record, same=said == seen[0] or fingerprint_as_sent(event) == seen[0])
            return
        self._tally.add_identity(digest, said, now_s)
        self._count(record, event, time_ms)

    def _note_time(self, now_ms: int) -> None:
        """The broker stamped a record of usage with this instant."""
        if now_ms > self.horizon.clock_ms:
            self.horizon.advance(now_ms)
            self._clock.note(now_ms, self.horizon.limit_ms)

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
        usage = usage_of(data)
        self._tally.add(names, (slot_ms, self.horizon.since_ms), cost, retail, usage)
        burned = dict(usage).get(CREDITS, 0) if data.retail_tokens is not None else 0
        if data.retail_tokens is not None or data.reservation_id:
            self._entries.account_for(event, cost, burned)
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
            data.options, data.metadata, format_amount(burned) if burned else "0",
        )  # fmt: skip
        self._tally.add_priced(user.encode(), encode_priced(priced))

    def write(self, outbox: Outbox, now_ms: int) -> dict[str, int]:
        applied = self._applied
        self._counters.applied += applied
        self._counters.applied_entries += self._applied_entries
        self._counters.counted += len(self._tally)
        self._counters.options_ignored += self._pricer.take_options_ignored()
        if priced := self._tally.take_priced():
            outbox.put(Topic.PRICED, self._partition, priced)
        self._gate.write(outbox)
        for rows in self._tally.take_identities():
            outbox.to(Topic.IDENTITIES, self._partition).append((None, rows, NO_HEADERS))
        self._spread_sums()
        self._write_meters(outbox)
        if self._unpriced.is_stale and self._compiled is not None:
            # When an alert has ended, the model's next event without a price must come to Python, to raise it again.
            self._compiled.forget_prices()
        self._unpriced.write(outbox, now_ms, self._pricer)
        self._clock.write(outbox, now_ms)
        self.accounts.write(outbox, now_ms)
        for scope, is_money in self.accounts.reservations.take_touched().items():
            if is_money:
                self.scopes.note_reserved(scope)
            self.scopes.touch(scope)
        self._clear()
        return self.scopes.write(outbox, applied, now_ms) | {"credits_from": self._credits_from}

    def _write_meters(self, outbox: Outbox) -> None:
        """Write the deltas of the batch, and what changed of the meters by which it was counted."""
        has_gone = self.meters.pass_time(self._next_offset, self.horizon.clock_ms)
        self._spread.write(outbox, self._next_offset, self.meters.write(outbox))
        if has_gone:
            self._set_combinations()
            self.scopes.compare()
        self.scopes.look_again(self._filled)
        self._filled = []

    def _spread_sums(self) -> None:
        """Add up what was counted since the last time, by the meters that were kept meanwhile."""
        self._spread.add(self._sums_since(), self._combinations)

    def _sums_since(self) -> Iterator[NamedSum]:
        return chain(self._user_sums.take_others(), self._tally.take_sums())

    def _spread_user_sums(self) -> None:
        """Add what was counted to its users now, so that a decision knows all that they have spent.

        Sums of scopes without a user wait, so that many decisions in a batch do not make as many deltas.
        """
        counted = len(self._tally)
        if counted != self._spread_to:
            self._spread_to = counted
            sums = self._user_sums.of_users(self._tally.take_sums(), self._combinations.shapes)
            self._spread.add(sums, self._combinations)


def _compiled(partition: int, partitions: int) -> "CompiledTally":
    """A tally of the compiled core. ImportError where it was not built."""
    from tollgate.ledger.compiled import CompiledTally

    return CompiledTally(partition, partitions, FUTURE_MS_MAX, DEDUPE_HORIZON_MS)
