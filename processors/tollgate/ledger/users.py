"""The first stage: refuse, forward, recognise, price and count usage events, user by user.

The order of the checks in one event: size and JSON, schema, partition, time, identity, price, windows. Only counted
events and dead letters are remembered as handled; everything is a function of the log and of the policy in force.
"""

from collections.abc import Sequence
from typing import Final

from aiokafka import ConsumerRecord

from tollgate.domain.pricing import UNPRICED
from tollgate.domain.windows import HOUR_MS, Horizon
from tollgate.ledger.counters import Counters
from tollgate.ledger.identities import IdentityIndex, Seen, pack
from tollgate.ledger.letters import FORWARDED_HEADER, dead_letter, forwarded
from tollgate.ledger.outbox import NO_HEADERS, Outbox, OutRecord
from tollgate.ledger.policy import Policy
from tollgate.ledger.scopes import Scopes
from tollgate.ledger.shared import Delta, DeltaBatch, encode_deltas
from tollgate.ledger.sums import BatchSums
from tollgate.ledger.unpriced import UnpricedModels
from tollgate.schemas.amounts import NANO, format_usd, parse_amount
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs_codec import PricedRecord, encode_priced
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.refusals import Refusal, RefusalReason
from tollgate.schemas.scopes import GLOBAL_SCOPE, Dimension
from tollgate.schemas.topics import DELTA_PARTITIONS, USAGE_PARTITIONS, Topic
from tollgate.schemas.usage_codec import EventRecord, decode_usage_event
from tollgate.schemas.usage_identity import fingerprint, identity_digest

# A producer's clock may run ahead of the broker's by this much.
FUTURE_MS_MAX: Final = 5 * 60 * 1000

# A record of identities or deltas stays far below the broker's limit for one record.
_ROWS_PER_RECORD: Final = 10_000

# Says on each record of deltas what it closes: `partition:next usage offset:records of the transaction to follow`. The
# sum of deltas says nothing of the events behind it; with this, whoever recounts knows up to where it must agree.
COUNTED_HEADER: Final = "tollgate-counted-to"

# So many events are decoded and then counted: few enough to be in the processor's cache when they are counted.
_CHUNK: Final = 256

# What a name is prefixed with to make a scope: users first, and `global` last, which is its own name.
_PREFIXES: Final = (*(f"{dimension.value}/" for dimension in Dimension), "")


class UserStage:
    """Counts one partition of usage events. All of a user's events are in it, so his spend is decided in one place."""

    source: Topic = Topic.USAGE
    state: Topic = Topic.USER_STATE
    remembered: tuple[Topic, ...] = (Topic.IDENTITIES,)

    def __init__(
        self,
        partition: int,
        policy: Policy,
        counters: Counters,
        partitions: int = USAGE_PARTITIONS,
        delta_partitions: int = DELTA_PARTITIONS,
    ) -> None:
        self._partition = partition
        self._partitions = partitions
        self._delta_partitions = delta_partitions
        self._counters = counters
        self._price = policy.new_pricer().price
        self.horizon = Horizon()
        self.scopes = Scopes(partition, self.state, self.horizon, policy.budgets)
        self._unpriced = UnpricedModels(partition, self.state)
        self._identities = IdentityIndex()
        self._routed: set[str] = set()
        self._delta_partition: dict[str, int] = {}
        self._next_offset = 0
        self._clear()

    def _clear(self) -> None:
        """Start a new batch: nothing applied since the last write."""
        self._applied = 0
        self._priced: list[OutRecord] = []
        self._letters: list[OutRecord] = []
        self._forwards: list[tuple[int, OutRecord]] = []
        self._new_identities: list[tuple[bytes, Seen]] = []
        self._sums = BatchSums()

    def restore(self, rows: dict[str, bytes], offsets: dict[str, int] | None) -> None:
        if offsets is None:
            return
        self._unpriced.restore(rows)
        self.scopes.restore(rows, offsets)

    def remember(self, value: bytes) -> None:
        self._identities.restore(value, self.horizon.clock_ms // 1000)

    def set_policy(self, policy: Policy) -> None:
        self._price = policy.new_pricer().price
        self._unpriced.is_stale = True
        self.scopes.set_budgets(policy.budgets)

    def tick(self, now_ms: int) -> None:
        self.scopes.tick(now_ms)

    def pending(self) -> int:
        return self._applied or int(self.scopes.has_pending() or self._unpriced.is_stale)

    def apply(self, records: Sequence[ConsumerRecord]) -> None:
        self._applied += len(records)
        self._next_offset = records[-1].offset + 1
        for first in range(0, len(records), _CHUNK):
            self._apply_chunk(records[first : first + _CHUNK])
        self._identities.compact(self.horizon.clock_ms // 1000)

    def _apply_chunk(self, records: Sequence[ConsumerRecord]) -> None:
        read: list[tuple[ConsumerRecord, EventRecord]] = []
        digests: list[bytes] = []
        for record in records:
            event = decode_usage_event(record.value, record.headers)
            if isinstance(event, Refusal):
                self._refuse(record, event)
            else:
                read.append((record, event))
                digests.append(identity_digest(event.source, event.id))
        frozen = self._identities.frozen(digests)
        recent, routed, horizon = self._identities.recent, self._routed, self.horizon
        new_identities, count = self._new_identities, self._count
        for (record, event), digest in zip(read, digests, strict=True):
            now_ms = record.timestamp
            if now_ms > horizon.clock_ms:
                horizon.advance(now_ms)
            if event.subject not in routed and not self._belongs_here(record, event.subject):
                continue
            time_ms = event.time_ms
            if time_ms > now_ms + FUTURE_MS_MAX:
                self._refuse_future(record, time_ms - now_ms)
                continue
            seen = recent.get(digest) or frozen.get(digest)
            if seen is not None and self._identities.is_remembered(seen, now_ms // 1000):
                self._repeated(record, fingerprint(event) == seen[0])
                continue
            seen = (fingerprint(event), now_ms // 1000)
            recent[digest] = seen
            new_identities.append((digest, seen))
            count(record, event, time_ms)

    def _count(self, record: ConsumerRecord, event: EventRecord, time_ms: int) -> None:
        """Price the event, put it into the columns to be summed, and make its priced record."""
        data = event.data
        quote = self._price(data, time_ms)
        cost, retail, status = quote.cost_picousd, quote.retail_picousd, quote.status
        if status == UNPRICED:
            self._unpriced.note(data, quote.price_id)
        hour = time_ms - time_ms % HOUR_MS
        held = 4
        if hour < self.horizon.hours_from:
            held = self.horizon.held_kinds(hour)
            self._counters.late += 1
        user = event.subject
        sums = self._sums
        number = len(sums.names)
        # In the order of Dimension, and then the scope that every event adds to.
        names = (
            user, data.org, data.service, data.provider, data.model, data.agent, data.campaign, data.feature,
            data.product, GLOBAL_SCOPE,
        )  # fmt: skip
        sums.names.append(names)
        sums.times.append((hour, held))
        sums.costs_picousd.append(cost)
        sums.retails_picousd.append(retail)
        for dimension, given in data.usage.items():
            column = sums.usage.get(dimension)
            if column is None:
                column = sums.usage[dimension] = ([], [])
            column[0].append(number)
            column[1].append(given * NANO if isinstance(given, int) else parse_amount(given))
        time = event.time
        # A time in UTC with whole seconds or milliseconds is written as it came.
        if not (time[-1] == "Z" and time[10] == "T" and len(time) in (20, 24)):
            time = format_instant(time_ms)
        # By position, in the order of the contract's columns as `PricedRecord` declares them: names cost a microsecond.
        priced = PricedRecord(
            event.id, event.source, time, "usage", user,
            format_usd(cost), format_usd(retail) if retail else "0", quote.price_id, status,
            record.partition, record.offset, 1, data.usage, data.status,
            data.org, data.service, data.provider, data.model, data.agent, data.campaign, data.feature, data.product,
            data.operation, data.latency_ms, data.resource_type, data.resource_id, data.request_id,
            data.options, data.metadata,
        )  # fmt: skip
        self._priced.append((user.encode(), encode_priced(priced), NO_HEADERS))

    def _refuse_future(self, record: ConsumerRecord, ahead_ms: int) -> None:
        text = f"time: {ahead_ms // 1000} s ahead of the broker's clock; {FUTURE_MS_MAX // 1000} s are allowed"
        self._refuse(record, Refusal(RefusalReason.FUTURE, text))

    def _belongs_here(self, record: ConsumerRecord, user: str) -> bool:
        """Whether the user's events live in this partition; else the record is forwarded to where they do."""
        key = user.encode()
        home = partition_of(key, self._partitions)
        if home == self._partition:
            self._routed.add(user)
            return True
        if any(name == FORWARDED_HEADER for name, _ in record.headers):
            self._refuse(
                record, Refusal(RefusalReason.MISROUTED, "subject: forwarded once and again in a wrong partition")
            )
        else:
            self._counters.forwarded += 1
            self._forwards.append((home, forwarded(record, key)))
        return False

    def _repeated(self, record: ConsumerRecord, same: bool) -> None:
        if same:
            self._counters.duplicates += 1
        else:
            text = "id: this source and id were counted before with other data"
            self._refuse(record, Refusal(RefusalReason.CONFLICT, text))

    def _refuse(self, record: ConsumerRecord, refusal: Refusal) -> None:
        self._counters.refuse(refusal.reason)
        self._letters.append(dead_letter(record, refusal))

    def write(self, outbox: Outbox, now_ms: int) -> dict[str, int]:
        applied = self._applied
        self._counters.applied += applied
        self._counters.counted += len(self._priced)
        if self._priced:
            outbox.to(Topic.PRICED, self._partition).extend(self._priced)
        if self._letters:
            outbox.to(Topic.DEAD_LETTERS, 0).extend(self._letters)
        for home, record in self._forwards:
            outbox.to(Topic.USAGE, home).append(record)
        for first in range(0, len(self._new_identities), _ROWS_PER_RECORD):
            rows = pack(self._new_identities[first : first + _ROWS_PER_RECORD])
            outbox.to(Topic.IDENTITIES, self._partition).append((None, rows, NO_HEADERS))
        self._write_sums(outbox)
        self._unpriced.write(outbox, now_ms, self._price)
        self._clear()
        return self.scopes.write(outbox, applied, now_ms)

    def _write_sums(self, outbox: Outbox) -> None:
        """Add the batch to its users, and address its sums for shared scopes to the partitions that own them."""
        batches: dict[int, list[Delta]] = {}
        for position, name, hour, held, spend in self._sums.by_name():
            scope = _PREFIXES[position] + name
            if position == 0:
                self.scopes.add(scope, hour, held, spend)
                continue
            delta = Delta(scope, hour, held, spend.cost_picousd, spend.retail_picousd, spend.events, spend.usage_nano)
            batches.setdefault(self._owner(scope), []).append(delta)
        for partition, deltas in batches.items():
            records = outbox.to(Topic.DELTAS, partition)
            for first in range(0, len(deltas), _ROWS_PER_RECORD):
                batch = DeltaBatch(self.horizon.clock_ms, deltas[first : first + _ROWS_PER_RECORD])
                to_follow = (len(deltas) - first - 1) // _ROWS_PER_RECORD
                counted = f"{self._partition}:{self._next_offset}:{to_follow}".encode()
                records.append((None, encode_deltas(batch), [(COUNTED_HEADER, counted)]))

    def _owner(self, scope: str) -> int:
        owner = self._delta_partition.get(scope)
        if owner is None:
            if len(self._delta_partition) >= 100_000:
                self._delta_partition.clear()
            owner = self._delta_partition[scope] = partition_of(scope.encode(), self._delta_partitions)
        return owner
