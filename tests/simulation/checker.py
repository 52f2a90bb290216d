"""The right answer, worked out again in Decimal from the inputs alone, and compared after every transaction.

Shares no code with the ledger: it reads the bytes of topics and knows what the state rows mean.
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from aiokafka import ConsumerRecord
from tests.simulation.broker import Broker, Place
from tests.simulation.poison import is_poison_to_read, is_poison_to_write

Key = tuple[str, str, int]  # scope, kind of window, its start in milliseconds

# openai/gpt-4o: 2.50 USD per million input tokens, 10 USD per million output tokens; in 10⁻¹² USD per token.
PICOUSD = {"input_tokens": 2_500_000, "output_tokens": 10_000_000}
IDENTITY_BYTES = 28
# What the contract promises.
EVENT_BYTES_MAX = 64 * 1024
DIMENSIONS_MAX = 128
FORWARDED_FROM = "tollgate-forwarded-from"


def windows(time_ms: int) -> Iterable[tuple[str, int]]:
    """Every window that an instant lies in."""
    at = datetime.fromtimestamp(time_ms / 1000, UTC).replace(minute=0, second=0, microsecond=0)
    yield "lifetime", 0
    yield "hour", int(at.timestamp()) * 1000
    yield "day", int(at.replace(hour=0).timestamp()) * 1000
    yield "month", int(at.replace(hour=0, day=1).timestamp()) * 1000


@dataclass
class Sum:
    """Cost in 10⁻¹² USD, events, tokens by dimension."""

    cost: Decimal = Decimal(0)
    events: int = 0
    tokens: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def is_row(self, row: list[Any], names: Iterable[str]) -> bool:
        """Whether a sum as the state topic has it says the same. `names`: the dimensions that its scope has."""
        usage = {dimension: amount * 10**9 for dimension, amount in folded(self.tokens, names).items()}
        return [self.cost, 0, self.events, usage] == row


def folded(tokens: dict[str, int], names: Iterable[str]) -> dict[str, int]:
    """What a scope with these dimensions keeps: of a full one, all others are one."""
    kept = set(names) - {"other"}
    if len(kept) < DIMENSIONS_MAX:
        return dict(tokens)
    found: dict[str, int] = defaultdict(int)
    for dimension, amount in tokens.items():
        found[dimension if dimension in kept else "other"] += amount
    return dict(found)


class Fold:
    """Counted from one partition of usage up to `next`, and of entries up to `next_entries`."""

    def __init__(self) -> None:
        self.next = self.next_entries = 0
        self.events: dict[tuple[str, str], dict[str, Any]] = {}
        self.costs: dict[tuple[str, str], Decimal] = {}
        self.sums: dict[Key, Sum] = defaultdict(Sum)
        self.letters = 0


class Wrong(AssertionError):  # noqa: N818 # what it says
    """The ledger and the checker differ."""


def expect(truth: bool, what: str, *facts: object) -> None:
    """Raise Wrong with the facts."""
    if not truth:
        raise Wrong(f"{what}: {', '.join(map(str, facts))}")


def cost_of(data: dict[str, Any]) -> Decimal:
    """What an event costs, in 10⁻¹² USD."""
    if "cost_usd" in data:
        return Decimal(data["cost_usd"]) * 10**12
    return sum((Decimal(PICOUSD[d] * n) for d, n in data["usage"].items()), Decimal(0))


def _said(data: dict[str, Any]) -> dict[str, Any]:
    """The data without amounts of 0, which say nothing: with or without them it is the same event."""
    return data | {"usage": {dimension: amount for dimension, amount in data["usage"].items() if amount}}


def scopes_of(data: dict[str, Any]) -> Iterable[str]:
    """The shared scopes that an event adds to."""
    yield "global"
    for name in ("service", "agent", "provider", "model"):
        if name in data:
            yield f"{name}/{data[name]}"


def _is_event(value: bytes) -> bool:
    try:
        return len(value) <= EVENT_BYTES_MAX and "subject" in json.loads(value)
    except ValueError:
        return False


class Checker:
    """Hears of every transaction. `homes` says in which partition a user's events are counted."""

    def __init__(self, homes: dict[str, int], partitions: int, delta_partitions: int) -> None:
        self.broker: Broker | None = None
        self._homes = homes
        self.folds = [Fold() for _ in range(partitions)]
        self.shared = [Fold() for _ in range(delta_partitions)]
        self.priced: dict[tuple[str, str], Decimal] = {}
        self._priced_of = [0] * partitions
        self._identities_of = [0] * partitions
        # Partitions in which no user lives, and where each forwarded record came from.
        self.forwarders: dict[int, Fold] = defaultdict(Fold)
        self.forwarded: set[bytes] = set()
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
            elif topic == "usage":
                for record in records:
                    origin = dict(record.headers)[FORWARDED_FROM]
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
                    self._forward(source, row["next"])
                    self._count_entries(self.forwarders[source], source, row["next_entries"])
            if not any(r.key == b"o" for r in records):
                continue
            if topic == "internal.user-state":
                expect(self._is_owner(("usage", partition), owner), "a former owner committed", transactional_id)
                self._user_state(partition, records)
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

    def _user_state(self, partition: int, records: list[ConsumerRecord]) -> None:
        fold = self.folds[partition]
        for record in records:
            if record.key == b"o":
                row = json.loads(record.value)
                self._count(partition, row["next"])
                self._count_entries(fold, partition, row["next_entries"])
        self._rows(fold, records)
        counted = len(fold.events)
        expect(self._priced_of[partition] == counted, "priced events", partition, self._priced_of[partition], counted)
        expect(self._identities_of[partition] == counted, "identities", partition, self._identities_of, counted)

    def _count(self, partition: int, end: int) -> None:
        assert self.broker is not None
        fold = self.folds[partition]
        expect(end >= fold.next, "the offset row went back", partition, end, fold.next)
        expect(end <= self.broker.stable_end(("usage", partition)), "the offset row is ahead of the log", end)
        for record in self._between("usage", partition, fold.next, end):
            if is_poison_to_read(record):
                fold.letters += 1
                continue
            try:
                event = json.loads(record.value)
            except ValueError:
                fold.letters += 1
                continue
            if len(record.value) > EVENT_BYTES_MAX:
                fold.letters += 1
                continue
            if self._homes[event["subject"]] != partition:
                continue
            if is_poison_to_write(record):
                fold.letters += 1
                continue
            identity = event["source"], event["id"]
            known = fold.events.get(identity)
            if known is not None:
                fold.letters += _said(known["data"]) != _said(event["data"])
                continue
            fold.events[identity] = event
            usage = event["data"]["usage"]
            cost = fold.costs[identity] = cost_of(event["data"])
            if identity in self.priced:
                expect(self.priced[identity] == cost, "cost", identity, self.priced[identity], cost)
            time_ms = int(datetime.fromisoformat(event["time"]).timestamp()) * 1000
            for kind, start in windows(time_ms):
                _add(fold.sums[f"user/{event['subject']}", kind, start], cost, 1, usage)
        fold.next = end

    def _count_entries(self, fold: Fold, partition: int, end: int) -> None:
        """Every entry is refused: each is one dead letter."""
        assert self.broker is not None
        expect(end >= fold.next_entries, "the offset of entries went back", partition, end, fold.next_entries)
        expect(end <= self.broker.stable_end(("entries", partition)), "it is ahead of the log", partition, end)
        fold.letters += sum(1 for _ in self._between("entries", partition, fold.next_entries, end))
        fold.next_entries = end

    def _forward(self, partition: int, end: int) -> None:
        fold = self.forwarders[partition]
        expect(end >= fold.next, "the offset row of a forwarder went back", partition, end, fold.next)
        for record in self._between("usage", partition, fold.next, end):
            if is_poison_to_read(record) or not _is_event(record.value):
                fold.letters += 1
                continue
            expect(f"{partition}:{record.offset}".encode() in self.forwarded, "not forwarded", partition, record.offset)
        fold.next = end

    def _between(self, topic: str, partition: int, start: int, end: int) -> Iterable[ConsumerRecord]:
        assert self.broker is not None
        return (r for r in self.broker.fetch((topic, partition), start, 1 << 60)[0] if r.offset < end)

    def _rows(self, fold: Fold, records: Iterable[ConsumerRecord]) -> None:
        for record in records:
            key = record.key.decode()
            if key[0] == "s":
                row = json.loads(record.value)
                scope = key[2:]
                names = self._names[scope] = list(row[1][3])
                for kind, start, found in (
                    ("lifetime", 0, row[1]),
                    ("hour", row[2], row[3]), ("day", row[4], row[5]), ("month", row[6], row[7]),
                ):  # fmt: skip
                    expect(
                        fold.sums[scope, kind, start].is_row(found, names),
                        "row",
                        key,
                        kind,
                        found,
                        fold.sums[scope, kind, start],
                    )
            elif key[0] == "w" and record.value is not None:
                _, kind, start, scope = key.split("|", 3)
                found = json.loads(record.value)[1:]
                right = fold.sums[scope, kind, int(start)]
                expect(right.is_row(found, self._names[scope]), "closed window", key, found, right)

    def _shared_state(self, partition: int, records: list[ConsumerRecord]) -> None:
        fold = self.shared[partition]
        for record in records:
            if record.key == b"o":
                end = json.loads(record.value)["next"]
                for source in self._between("internal.deltas", partition, fold.next, end):
                    for scope, hour, _, cost, _, events, usage, *_ in json.loads(source.value)[1]:
                        tokens = {dimension: nano // 10**9 for dimension, nano in usage.items()}
                        for kind, start in windows(hour):
                            _add(fold.sums[scope, kind, start], Decimal(cost), events, tokens)
                fold.next = end
        self._rows(fold, records)

    def finish(self, identities: set[tuple[str, str]], limits: dict[str, Decimal], stopped: str | None) -> None:
        """When nothing is left to do: everything published is counted, and readers see the right numbers.

        `limits` are monthly budgets in 10⁻¹² USD by pattern: `user/*` or a scope. `stopped`: why all spending is
        stopped by hand, None when it is not.
        """
        assert self.broker is not None
        expect(set(self.priced) == identities, "not counted", len(identities), identities ^ set(self.priced))
        right: dict[Key, Sum] = defaultdict(Sum)
        for fold in self.folds:
            for identity, event in fold.events.items():
                expect(fold.costs[identity] == self.priced[identity], "cost", identity)
                time_ms = int(datetime.fromisoformat(event["time"]).timestamp()) * 1000
                for scope in (f"user/{event['subject']}", *scopes_of(event["data"])):
                    for kind, start in windows(time_ms):
                        _add(right[scope, kind, start], fold.costs[identity], 1, event["data"]["usage"])
        for partition in range(2 * len(self.folds)):
            fold = self.folds[partition] if partition < len(self.folds) else self.forwarders[partition]
            end = self.broker.stable_end(("entries", partition))
            expect(fold.next_entries == end, "entries are not counted", partition, fold.next_entries, end)
        letters = sum(1 for _ in self.broker.committed(("dead-letters", 0)))
        refused = sum(fold.letters for fold in (*self.folds, *self.forwarders.values()))
        expect(letters == refused, "dead letters", letters, refused)
        self._said(right)
        self._flags(right, limits, stopped)

    def _newest(self, topic: str) -> dict[str, Any]:
        assert self.broker is not None
        return {
            r.key.decode(): json.loads(r.value)
            for partition in range(len(self.folds))
            for r in self.broker.committed((topic, partition))
        }

    def _said(self, right: dict[Key, Sum]) -> None:
        said = {}
        for value in self._newest("spend").values():
            window = value["window"]
            start = int(datetime.fromisoformat(window["start"]).timestamp()) * 1000
            usage = {dimension: int(amount) for dimension, amount in value["usage"].items()}
            said[value["scope"], window["kind"], start] = (Decimal(value["spent_usd"]) * 10**12, value["events"], usage)
        wanted = {key: (s.cost, s.events, folded(s.tokens, self._names.get(key[0], ()))) for key, s in right.items()}
        wrong = {
            key: (said.get(key), wanted.get(key))
            for key in said.keys() | wanted.keys()
            if said.get(key) != wanted.get(key)
        }
        expect(not wrong, "spend", wrong)

    def _flags(self, right: dict[Key, Sum], limits: dict[str, Decimal], stopped: str | None) -> None:
        flags = self._newest("flags")
        note = None if stopped is None else f"ada stopped all spending: {stopped}"
        said = flags.get("global", {"state": "ok"})
        expect(said.get("note") == note, "the stop", said, note)
        if note is not None:
            expect((said["state"], said["blocked"], said["until"]) == ("stopped", True, None), "the stop's flag", said)
        for (scope, kind, _), spent in right.items():
            limit = limits.get("user/*" if scope.startswith("user/") else scope)
            if scope == "global" and note is not None:
                continue
            if kind == "month" and limit is not None:
                blocked = scope in flags and flags[scope]["blocked"]
                expect(blocked == (spent.cost >= limit), "flag", scope, spent.cost, limit, flags.get(scope))


def _newer(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """The next record under a key: of a higher revision, and with other words."""
    expect(now["revision"] > before["revision"], "a revision is repeated", before, now)
    changing = {"revision", "updated_at", "since"}
    same = {name: value for name, value in now.items() if name not in changing}
    expect(same != {name: value for name, value in before.items() if name not in changing}, "written twice", now)
    return now


def _add(total: Sum, cost: Decimal, events: int, tokens: dict[str, int]) -> None:
    total.cost += cost
    total.events += events
    for dimension, amount in tokens.items():
        total.tokens[dimension] += amount
