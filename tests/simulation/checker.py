"""The right answer, worked out again in Decimal from the inputs alone, and compared after every transaction.

Shares no code with the ledger: it reads the bytes of topics and knows what the state rows mean.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from aiokafka import ConsumerRecord
from tests.simulation.answers import compare_accounts
from tests.simulation.broker import Broker, Place
from tests.simulation.journal import Journal
from tests.simulation.poison import is_poison_to_read
from tests.simulation.rules import BASE, Rules, parts, window
from tests.simulation.sums import Sum, SumKey, expect
from tests.simulation.user_fold import EVENT_BYTES_MAX, UserFold

from tollgate.ledger.policy import Policy

IDENTITY_BYTES = 28
FORWARDED_FROM = "tollgate-forwarded-from"


class Fold:
    """Counted from one partition up to `next`, and of entries up to `next_entries`."""

    def __init__(self) -> None:
        self.next = self.next_entries = 0
        self.sums: dict[SumKey, Sum] = defaultdict(Sum)
        self.letters = 0


def scopes_of(data: dict[str, Any]) -> Iterable[str]:
    """The shared scopes that an event adds to."""
    yield "global"
    for name in ("service", "agent", "provider", "model"):
        if name in data:
            yield f"{name}/{data[name]}"


def _is_entry(topic: str, value: bytes) -> bool:
    """Whether a record can be read by those who send it to its home."""
    try:
        entry = json.loads(value) if len(value) <= EVENT_BYTES_MAX else {}
    except ValueError:
        return False
    return "subject" in entry and (topic == "usage" or entry["type"] == "tollgate.credit.v1")


class Checker:
    """Hears of every transaction. `homes` says in which partition a user's events are counted, `rules_of` what a
    policy was made of.
    """

    def __init__(
        self, homes: dict[str, int], partitions: int, delta_partitions: int, journal: Journal,
        rules_of: Callable[[Policy], Rules],
    ) -> None:  # fmt: skip
        self.broker: Broker | None = None
        self._journal = journal
        self.folds = [UserFold(p, homes, self.between, rules_of) for p in range(partitions)]
        # The first answer to each reservation, and the latest balance of each user.
        self.answers: dict[tuple[str, str], bytes] = {}
        self.balances: dict[str, dict[str, Any]] = {}
        self.shared = [Fold() for _ in range(delta_partitions)]
        self.priced: dict[tuple[str, str], Decimal] = {}
        self._priced_of = [0] * partitions
        self._identities_of = [0] * partitions
        # Partitions in which no user lives, and where each forwarded record came from.
        self.forwarders: dict[int, Fold] = defaultdict(Fold)
        self.forwarded: set[tuple[str, bytes]] = set()
        # Per partition of usage or of deltas who recovered it last, and its writer.
        self.owners: dict[Place, tuple[Any, object]] = {}
        self.transactions = 0
        # What the flag of `global` and the stop's alert said last.
        self._flag: dict[str, Any] = {"revision": 0}
        self._alert: dict[str, Any] = {"revision": 0, "level": "resolved"}
        # By scope the usage dimensions of its latest row.
        self._names: dict[str, list[str]] = {}

    def transaction(self, transactional_id: str, owner: object, written: dict[Place, list[ConsumerRecord]]) -> None:
        """Compare what a transaction made visible with what it should be."""
        self.transactions += 1
        cost = sum((self._priced(r) for place, rs in written.items() if place[0] == "priced" for r in rs), Decimal(0))
        added = Decimal(0)
        for (topic, partition), records in written.items():
            if topic == "internal.identities":
                self._identities_of[partition] += sum(len(r.value) for r in records) // IDENTITY_BYTES
            elif topic == "internal.deltas":
                deltas = (delta for r in records for delta in json.loads(r.value)[1])
                added += sum((delta[3] for delta in deltas if delta[0] == "global"), Decimal(0))
            elif topic in ("usage", "entries"):
                for record in records:
                    origin = topic, dict(record.headers)[FORWARDED_FROM]
                    expect(origin not in self.forwarded, "forwarded twice", origin)
                    self.forwarded.add(origin)
        self._stop(written)
        expect(added == cost, "global's deltas are not the sum of the priced events", added, cost)
        for (topic, partition), records in written.items():
            for record in records:
                if topic == "internal.user-state" and record.key[:2] == b"f|" and record.key[-2:] == b"|o":
                    source = int(record.key.split(b"|")[1])
                    expect(self._is_owner(("usage", source), owner), "a former owner forwarded", transactional_id)
                    row = json.loads(record.value)
                    self._forward(source, row["next"], row["next_entries"])
            if not any(r.key == b"o" for r in records):
                continue
            if topic == "internal.user-state":
                expect(self._is_owner(("usage", partition), owner), "a former owner committed", transactional_id)
                self._user_state(partition, records, owner)
                compare_accounts(self, partition, written)
            elif topic == "internal.shared-state":
                expect(
                    self._is_owner(("internal.deltas", partition), owner), "a former owner committed", transactional_id
                )
                self._shared_state(partition, records)

    def _stop(self, written: dict[Place, list[ConsumerRecord]]) -> None:
        """A flag of `global` is never written twice, and the stop's alert fires exactly while the flag shows a stop."""
        told = [(place[0], r) for place, rs in written.items() if place[0] in ("flags", "alerts") for r in rs]
        for topic, record in told:
            if topic == "flags" and record.key == b"global":
                before, self._flag = self._flag, _newer(self._flag, json.loads(record.value))
                expect(self._flag["revision"] == before["revision"] + 1, "a flag is missing", before, self._flag)
            elif topic == "alerts" and record.key == b"stop/global" and record.value is not None:
                self._alert = _newer(self._alert, json.loads(record.value))
        fires = self._alert["reason"] if self._alert["level"] == "emergency" else None
        expect(self._flag.get("note") == fires, "flag and alert of the stop", self._flag, self._alert)

    def _is_owner(self, place: Place, owner: object) -> bool:
        return self.owners[place][1] is owner

    def _priced(self, record: ConsumerRecord) -> Decimal:
        value = json.loads(record.value)
        identity = value["source"], value["event_id"]
        expect(identity not in self.priced, "counted twice", identity, value["source_partition"])
        self.priced[identity] = cost = Decimal(value["cost_usd"]) * 10**12
        self._priced_of[record.partition] += 1
        return cost

    def _user_state(self, partition: int, records: list[ConsumerRecord], owner: object) -> None:
        assert self.broker is not None
        fold = self.folds[partition]
        offsets = json.loads(next(r.value for r in reversed(records) if r.key == b"o"))
        ends = offsets["next"], offsets["next_entries"]
        for topic, end in zip(("usage", "entries"), ends, strict=True):
            expect(end <= self.broker.stable_end((topic, partition)), "it is ahead of the log", topic, partition, end)
        segment = self._journal.take(owner, partition, offsets["sequence"])
        assert segment is not None, f"nobody wrote {offsets} of {partition}"
        meters = {
            r.key[2:].decode(): None if r.value is None else json.loads(r.value) for r in records if r.key[:2] == b"m|"
        }
        fold.play(segment, ends, meters)
        expect(offsets["clock_ms"] == fold.clock_ms, "the clock", partition, offsets, fold.clock_ms)
        for identity, cost in fold.take_costs():
            expect(self.priced.get(identity) == cost, "cost", identity, self.priced.get(identity), cost)
        self._rows(fold, records)
        counted = len(fold.events)
        expect(self._priced_of[partition] == counted, "priced events", partition, self._priced_of[partition], counted)
        found, right_number = self._identities_of[partition], fold.identities
        expect(found == right_number, "identities", partition, found, right_number)

    def _forward(self, partition: int, *ends: int) -> None:
        fold = self.forwarders[partition]
        starts = fold.next, fold.next_entries
        for topic, start, end in zip(("usage", "entries"), starts, ends, strict=True):
            expect(end >= start, "the offset row of a forwarder went back", topic, partition, end, start)
            for record in self.between(topic, partition, start, end):
                if is_poison_to_read(record) or not _is_entry(topic, record.value):
                    fold.letters += 1
                    continue
                origin = topic, f"{partition}:{record.offset}".encode()
                expect(origin in self.forwarded, "not forwarded", topic, partition, record.offset)
        fold.next, fold.next_entries = ends

    def between(self, topic: str, partition: int, start: int, end: int) -> Iterable[ConsumerRecord]:
        """The committed records of these offsets."""
        assert self.broker is not None
        return (r for r in self.broker.fetch((topic, partition), start, 1 << 60)[0] if r.offset < end)

    def _rows(self, fold: Fold | UserFold, records: Iterable[ConsumerRecord]) -> None:
        for record in records:
            key = record.key.decode()
            if record.value is None:
                continue
            if key[0] == "s":
                row = json.loads(record.value)
                scope, more = key[2:], row.pop() if isinstance(row[-1], dict) else {}
                found = {calendar: (start, numbers) for calendar, (start, numbers) in more.items()}
                if len(row) > 1:
                    self._names[scope] = list(row[1][3])
                    found |= dict(zip(BASE, zip((0, *row[2::2]), (row[1], *row[3::2]), strict=True), strict=True))
                for calendar, (start, numbers) in found.items():
                    self._row(fold, (scope, calendar, start), numbers)
            elif key[0] == "w":
                _, calendar, start, scope = key.split("|", 3)
                self._row(fold, (scope, calendar, int(start)), json.loads(record.value)[1:])

    def _row(self, fold: Fold | UserFold, key: SumKey, numbers: list[Any]) -> None:
        right = fold.sums.get(key, Sum())
        expect(right.is_row(numbers, self.names_in(key)), "row", key, numbers, right)

    def names_in(self, key: SumKey) -> list[str] | None:
        """The dimensions that a sum has names for; None where they depend on what was restored when."""
        scope, calendar, _ = key
        return self._names.get(scope, []) if calendar in BASE and len(parts(scope)) < 2 else None

    def _shared_state(self, partition: int, records: list[ConsumerRecord]) -> None:
        fold = self.shared[partition]
        for record in records:
            if record.key == b"o":
                end = json.loads(record.value)["next"]
                for source in self.between("internal.deltas", partition, fold.next, end):
                    _, deltas, _, *metered = json.loads(source.value)
                    for scope, hour, _, cost, retail, events, usage, after, more in deltas:
                        at_ms, base = hour + after, BASE if len(parts(scope)) < 2 else ()
                        for calendar in (*base, *more):
                            key = (scope, calendar, window(calendar, at_ms)[0])
                            fold.sums[key].add(Decimal(cost), retail, events, _whole(usage))
                    for scope, calendar, start, (cost, retail, events, usage) in metered[0] if metered else ():
                        fold.sums[scope, calendar, start].add(Decimal(cost), retail, events, _whole(usage))
                fold.next = end
        self._rows(fold, records)

    def newest(self, topic: str) -> dict[str, Any]:
        """The latest record of each key."""
        assert self.broker is not None
        found = {
            r.key.decode(): r.value
            for partition in range(len(self.folds))
            for r in self.broker.committed((topic, partition))
        }
        return {key: json.loads(value) for key, value in found.items() if value is not None}


def _newer(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """The next record under a key: of a higher revision, and with other words."""
    expect(now["revision"] > before["revision"], "a revision is repeated", before, now)
    changing = {"revision", "updated_at", "since"}
    same = {name: value for name, value in now.items() if name not in changing}
    expect(same != {name: value for name, value in before.items() if name not in changing}, "written twice", now)
    return now


def _whole(usage: dict[str, int]) -> dict[str, int]:
    return {dimension: nano // 10**9 for dimension, nano in usage.items()}
