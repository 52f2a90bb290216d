"""The first stage: refuse, forward, recognise, price and count usage events, user by user.

The order of the checks in one event: size and JSON, schema, partition, time, identity, price, windows. Only counted
events and dead letters are remembered as handled; everything is a function of the log and of the policy in force.
"""

from collections.abc import Sequence
from typing import Final

from aiokafka import ConsumerRecord

from tollgate.domain.pricing import Pricer, Quote
from tollgate.domain.spend import Spend
from tollgate.domain.windows import HOUR_MS, Horizon
from tollgate.ledger.counters import Counters
from tollgate.ledger.identities import IdentityIndex, Seen, pack
from tollgate.ledger.outbox import NO_HEADERS, OutRecord, Outbox
from tollgate.ledger.policy import Policy
from tollgate.ledger.scopes import Scopes
from tollgate.ledger.shared import Delta, DeltaBatch, encode_deltas
from tollgate.ledger.letters import FORWARDED_HEADER, dead_letter, forwarded
from tollgate.ledger.unpriced import UnpricedModels
from tollgate.schemas.amounts import NANO, format_usd, parse_amount
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs_codec import PricedRecord, encode_priced
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.refusals import Refusal, RefusalReason
from tollgate.schemas.scopes import GLOBAL_SCOPE, SHARED_DIMENSIONS
from tollgate.schemas.topics import DELTA_PARTITIONS, USAGE_PARTITIONS, Topic
from tollgate.schemas.usage_codec import EventData, EventRecord, decode_usage_event
from tollgate.schemas.usage_identity import fingerprint, identity_digest

# A producer's clock may run ahead of the broker's by this much.
FUTURE_MS_MAX: Final = 5 * 60 * 1000

# A record of identities or deltas stays far below the broker's limit for one record.
_ROWS_PER_RECORD: Final = 10_000

SharedKey = tuple[str, str, str, str, str, str, str, str, int, int]


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
        self._pricer: Pricer = policy.new_pricer()
        self.horizon = Horizon()
        self.scopes = Scopes(partition, self.state, self.horizon, policy.budgets)
        self._unpriced = UnpricedModels(partition, self.state)
        self._identities = IdentityIndex()
        self._routed: set[str] = set()
        self._delta_partition: dict[str, int] = {}
        self._clear()

    def _clear(self) -> None:
        """Start a new batch: nothing applied since the last write."""
        self._applied = 0
        self._priced: list[OutRecord] = []
        self._letters: list[OutRecord] = []
        self._forwards: list[tuple[int, OutRecord]] = []
        self._new_identities: list[tuple[bytes, Seen]] = []
        self._user_cells: dict[tuple[str, int, int], Spend] = {}
        self._shared_cells: dict[SharedKey, Spend] = {}

    def restore(self, rows: dict[str, bytes], offsets: dict[str, int] | None) -> None:
        if offsets is None:
            return
        self._unpriced.restore(rows)
        self.scopes.restore(rows, offsets)
        self._routed.update(scope.removeprefix("user/") for scope in self.scopes.spend)

    def remember(self, value: bytes) -> None:
        self._identities.restore(value, self.horizon.clock_ms // 1000)

    def set_policy(self, policy: Policy) -> None:
        self._pricer = policy.new_pricer()
        self.scopes.set_budgets(policy.budgets)

    def tick(self, now_ms: int) -> None:
        self.scopes.tick(now_ms)

    def pending(self) -> int:
        return self._applied or int(self.scopes.has_pending())

    def apply(self, records: Sequence[ConsumerRecord]) -> None:
        self._applied += len(records)
        read: list[tuple[ConsumerRecord, EventRecord, bytes]] = []
        for record in records:
            event = decode_usage_event(record.value, record.headers)
            if event.__class__ is Refusal:
                self._refuse(record, event)
            else:
                read.append((record, event, identity_digest(event.source, event.id)))
        frozen = self._identities.frozen([digest for _, _, digest in read])
        for record, event, digest in read:
            self._apply_event(record, event, digest, frozen)
        self._identities.compact(self.horizon.clock_ms // 1000)

    def _apply_event(
        self, record: ConsumerRecord, event: EventRecord, digest: bytes, frozen: dict[bytes, Seen]
    ) -> None:
        now_ms = record.timestamp
        horizon = self.horizon
        if now_ms > horizon.clock_ms:
            horizon.advance(now_ms)
        user = event.subject
        if user not in self._routed and not self._belongs_here(record, user):
            return
        time_ms = event.time_ms
        if time_ms > now_ms + FUTURE_MS_MAX:
            ahead_s = (time_ms - now_ms) // 1000
            self._refuse(record, Refusal(RefusalReason.FUTURE, f"time: {ahead_s} s ahead of the broker's clock"))
            return
        now_s = now_ms // 1000
        print_ = fingerprint(event)
        seen = self._identities.recent.get(digest) or frozen.get(digest)
        if seen is not None and self._identities.is_remembered(seen, now_s):
            self._repeated(record, seen[0] == print_)
            return
        self._identities.add(digest, print_, now_s)
        self._new_identities.append((digest, (print_, now_s)))
        self._count(record, event, time_ms)

    def _count(self, record: ConsumerRecord, event: EventRecord, time_ms: int) -> None:
        data = event.data
        quote = self._pricer.price(data, time_ms)
        if quote.status == "unpriced":
            self._unpriced.note(data.provider, data.model, quote.price_id)
        hour = time_ms - time_ms % HOUR_MS
        if hour >= self.horizon.hours_from:
            held = 4
        else:
            held = self.horizon.held_kinds(hour)
            self._counters.late += 1
        user = event.subject
        user_key = (user, hour, held)
        mine = self._user_cells.get(user_key)
        if mine is None:
            mine = self._user_cells[user_key] = Spend()
        shared_key = (
            data.org, data.service, data.provider, data.model, data.agent, data.campaign, data.feature, data.product,
            hour, held,
        )  # fmt: skip # in the order of SHARED_DIMENSIONS
        shared = self._shared_cells.get(shared_key)
        if shared is None:
            shared = self._shared_cells[shared_key] = Spend()
        cost, retail = quote.cost_picousd, quote.retail_picousd
        mine.cost_picousd += cost
        mine.events += 1
        shared.cost_picousd += cost
        shared.events += 1
        if retail:
            mine.retail_picousd += retail
            shared.retail_picousd += retail
        my_usage, shared_usage = mine.usage_nano, shared.usage_nano
        for dimension, given in data.usage.items():
            amount = given * NANO if given.__class__ is int else parse_amount(given)
            my_usage[dimension] = my_usage.get(dimension, 0) + amount
            shared_usage[dimension] = shared_usage.get(dimension, 0) + amount
        self._priced.append((user.encode(), _priced_value(record, event, data, time_ms, quote), NO_HEADERS))

    def _belongs_here(self, record: ConsumerRecord, user: str) -> bool:
        """Whether the user's events live in this partition; else the record is forwarded to where they do."""
        key = user.encode()
        home = partition_of(key, self._partitions)
        if home == self._partition:
            self._routed.add(user)
            return True
        if any(name == FORWARDED_HEADER for name, _ in record.headers):
            self._refuse(record, Refusal(RefusalReason.MISROUTED, "subject: forwarded once and again in a wrong partition"))
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
        for (user, hour, held), spend in self._user_cells.items():
            self.scopes.add(f"user/{user}", hour, held, spend)
        self._write_deltas(outbox)
        self._unpriced.write(outbox, now_ms)
        self._clear()
        return self.scopes.write(outbox, applied, now_ms)

    def _write_deltas(self, outbox: Outbox) -> None:
        """Sum what the batch adds to each shared scope, and address it to the partition that owns the scope."""
        sums: dict[tuple[str, int, int], Spend] = {}
        for (*names, hour, held), spend in self._shared_cells.items():
            scopes = [f"{d.value}/{name}" for d, name in zip(SHARED_DIMENSIONS, names, strict=True) if name]
            for scope in (GLOBAL_SCOPE, *scopes):
                key = (scope, hour, held)
                total = sums.get(key)
                if total is None:
                    total = sums[key] = Spend()
                total.add(spend)
        batches: dict[int, list[Delta]] = {}
        for (scope, hour, held), s in sums.items():
            delta = Delta(scope, hour, held, s.cost_picousd, s.retail_picousd, s.events, s.usage_nano)
            batches.setdefault(self._owner(scope), []).append(delta)
        for partition, deltas in batches.items():
            records = outbox.to(Topic.DELTAS, partition)
            for first in range(0, len(deltas), _ROWS_PER_RECORD):
                batch = DeltaBatch(self.horizon.clock_ms, deltas[first : first + _ROWS_PER_RECORD])
                records.append((None, encode_deltas(batch), NO_HEADERS))

    def _owner(self, scope: str) -> int:
        owner = self._delta_partition.get(scope)
        if owner is None:
            if len(self._delta_partition) >= 100_000:
                self._delta_partition.clear()
            owner = self._delta_partition[scope] = partition_of(scope.encode(), self._delta_partitions)
        return owner


def _priced_value(record: ConsumerRecord, event: EventRecord, data: EventData, time_ms: int, quote: Quote) -> bytes:
    """The value of the priced record: contract.md's columns, absent names left out."""
    return encode_priced(
        PricedRecord(
            event_id=event.id,
            source=event.source,
            time=format_instant(time_ms),
            kind="usage",
            user=event.subject,
            org=data.org,
            service=data.service,
            provider=data.provider,
            model=data.model,
            agent=data.agent,
            campaign=data.campaign,
            feature=data.feature,
            product=data.product,
            operation=data.operation,
            status=data.status,
            latency_ms=data.latency_ms,
            resource_type=data.resource_type,
            resource_id=data.resource_id,
            request_id=data.request_id,
            usage=data.usage,
            options=data.options,
            cost_usd=format_usd(quote.cost_picousd),
            retail_usd=format_usd(quote.retail_picousd),
            price_id=quote.price_id,
            price_status=quote.status,
            source_partition=record.partition,
            source_offset=record.offset,
            version=1,
            metadata=data.metadata,
        )
    )
