"""What one partition of users should have counted, in the order in which its worker heard usage and entries."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from aiokafka import ConsumerRecord
from tests.simulation.journal import Heard
from tests.simulation.poison import is_poison_to_read, is_poison_to_write
from tests.simulation.purse import NEVER_MS, Early, Held, Key, Purse, Purses
from tests.simulation.rules import BASE, ORDER, Rules, covers, parts, scope_in, scopes_with_user, window
from tests.simulation.sums import RETAIL_PICOUSD, Sum, SumKey, cost_of, expect

from tollgate.ledger.policy import Policy

# What the contract promises.
EVENT_BYTES_MAX = 64 * 1024
AHEAD_MS_MAX = 3_600_000
# Times of events may be so much ahead of the broker's clock.
AHEAD_OF_BROKER_MS = 300_000

USAGE, RESERVATION, RELEASE, CREDIT, PAST = (
    "tollgate.usage.v1", "tollgate.reservation.v1", "tollgate.release.v1", "tollgate.credit.v1",
    "tollgate.internal.past.v1",
)  # fmt: skip

Between = Callable[[str, int, int, int], Iterable[ConsumerRecord]]


@dataclass
class Meter:
    """A scope or pattern that is counted in a calendar from an offset on, as its row in the state says."""

    scope: str
    calendar: str
    first: int
    start_ms: int
    is_filled: bool
    parts: int
    ends_ms: int
    # Windows that start earlier have been counted by an older meter, which has gone.
    past_from_ms: int = 0

    def counts(self, start_ms: int) -> bool:
        """Whether the window that starts then is one of its windows."""
        return self.start_ms <= start_ms < self.ends_ms


@dataclass
class Counted:
    """An event that counts."""

    offset: int
    names: dict[str, str]
    time_ms: int
    cost: Decimal
    retail: int
    tokens: dict[str, int]


@dataclass
class UserFold:
    """Counted up to `next` of usage and `next_entries` of entries. `rules_of` gives what a policy was made of."""

    partition: int
    homes: dict[str, int]
    between: Between
    rules_of: Callable[[Policy], Rules]
    next: int = 0
    next_entries: int = 0
    clock_ms: int = 0
    letters: int = 0
    identities: int = 0
    events: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    costs: list[tuple[tuple[str, str], Decimal]] = field(default_factory=list)
    counted: list[Counted] = field(default_factory=list)
    sums: dict[SumKey, Sum] = field(default_factory=lambda: defaultdict(Sum))
    meters: dict[str, Meter] = field(default_factory=dict)
    purses: Purses = field(default_factory=Purses)
    # Reservations that have a row in the state.
    held: set[tuple[str, Key]] = field(default_factory=set)
    rules: Rules = field(default_factory=Rules)
    is_stopped: bool = False
    # The offset after the last record that was counted or refused by the stage: poison is put aside without it.
    _applied: int = 0
    # Entries by type, source and id: what they said.
    said: dict[tuple[str, str, str], Any] = field(default_factory=dict)

    def play(self, segment: list[Heard], ends: tuple[int, int], rows: dict[str, list[Any] | None]) -> None:
        """Count what one transaction holds; `rows` are those of meters that it wrote. `ends`: its offsets."""
        for heard in segment:
            if heard.what == "begin":
                self.purses.clock_ms, self._applied = 0, self.next
            elif heard.policy is not None:
                stop = heard.policy.stop
                self.rules, self.is_stopped = self.rules_of(heard.policy), stop is not None and stop.stopped
                self._begin(rows)
            elif heard.what == "idle":
                self.purses.end(heard.at_ms)
            elif heard.what == "usage":
                self._skip("usage", self.next, heard.first)
                for record in self.between("usage", self.partition, heard.first, heard.end):
                    self._usage(record, heard.at_ms + AHEAD_MS_MAX)
                    self.next = self._applied = record.offset + 1
                self.purses.end(self.clock_ms)
            else:
                self._skip("entries", self.next_entries, heard.first)
                for record in self.between("entries", self.partition, heard.first, heard.end):
                    self._entry(record, heard.at_ms + AHEAD_MS_MAX)
                self.next_entries = heard.end
        self._skip("usage", self.next, ends[0])
        self._skip("entries", self.next_entries, ends[1])
        self.next, self.next_entries = ends
        self._compare_meters(rows)

    def take_costs(self) -> list[tuple[tuple[str, str], Decimal]]:
        """What the events cost that were counted since this was last called."""
        costs, self.costs = self.costs, []
        return costs

    def _skip(self, topic: str, start: int, end: int) -> None:
        """Nothing is left out but what ends a worker whenever it meets it."""
        expect(start <= end, "counted twice, or the offset row went back", topic, self.partition, start, end)
        for record in self.between(topic, self.partition, start, end):
            is_poison = is_poison_to_read(record) or is_poison_to_write(record)
            expect(is_poison, "skipped", topic, self.partition, record.offset)
            self.letters += 1

    # Usage, reservations and releases.

    def _usage(self, record: ConsumerRecord, limit_ms: int) -> None:
        try:
            entry = json.loads(record.value) if len(record.value) <= EVENT_BYTES_MAX else None
        except ValueError:
            entry = None
        if entry is None:
            self.letters += 1
            return
        self.clock_ms = max(self.clock_ms, min(record.timestamp, limit_ms))
        if self.homes[entry["subject"]] != self.partition:
            return
        if entry["type"] == USAGE:
            self._event(record.offset, entry)
        else:
            self._request(entry, max(self.clock_ms, min(record.timestamp, limit_ms)))

    def _event(self, offset: int, event: dict[str, Any]) -> None:
        identity = event["source"], event["id"]
        known = self.events.get(identity)
        if known is not None:
            self.letters += _said(known["data"]) != _said(event["data"])
            return
        self.events[identity] = event
        self.identities += 1
        data, user = event["data"], event["subject"]
        cost = cost_of(data)
        self.costs.append((identity, cost))
        burned = data.get("retail_tokens", 0)
        tokens = data["usage"] | ({"credits": burned} if burned else {})
        time_ms = int(datetime.fromisoformat(event["time"]).timestamp()) * 1000
        names = {name: data[name] for name in ORDER if name in data} | {"user": user}
        counted = Counted(offset, names, time_ms, cost, burned * RETAIL_PICOUSD, tokens)
        self.counted.append(counted)
        for key in self._keys(counted):
            self.sums[key].add(cost, counted.retail, 1, tokens)
        if burned:
            purse = self.purses.purse(user, self.rules, self.clock_ms)
            if purse is not None:
                purse.burn(burned, self.rules.free_of(user), self.purses.clock_ms)
        if "reservation_id" in data:
            reservation = (event["source"], data["reservation_id"])
            more = data.get("more", False)
            self.purses.settle(user, reservation, int(cost), burned, more=more, now_ms=self.clock_ms)

    def _keys(self, event: Counted) -> set[SumKey]:
        """Where an event counts: the user's base windows, and whatever is metered from an earlier offset on."""
        user = f"user/{event.names['user']}"
        keys = {(user, calendar, window(calendar, event.time_ms)[0]) for calendar in BASE}
        for meter in self.meters.values():
            scope = scope_in(meter.scope, event.names) if event.offset >= meter.first else None
            if scope is not None and meter.counts(start := window(meter.calendar, event.time_ms)[0]):
                keys.add((scope, meter.calendar, start))
        return keys

    def _is_news(self, entry: dict[str, Any], kind: str, data: dict[str, Any]) -> bool:
        """Whether an entry is read for the first time; one that says something else is refused."""
        key = kind, entry["source"], entry["id"]
        said = entry["subject"], data
        if key not in self.said:
            self.said[key] = said
            self.identities += 1
            return True
        self.letters += self.said[key] != said
        return False

    def _request(self, entry: dict[str, Any], now_ms: int) -> None:
        kind, user, data = entry["type"], entry["subject"], entry["data"]
        key: Key = (entry["source"], entry["id"])
        is_known = (kind, *key) in self.said
        is_same = self.said.get((kind, *key)) in (None, (user, data))
        is_news = self._is_news(entry, kind, data)
        if not is_same:
            if kind != RELEASE:
                self.purses.end(now_ms)
                self.purses.expected.setdefault(user, []).append((entry["id"], "reservation_conflict"))
            return
        if kind == RELEASE:
            if is_news:
                self.purses.settle(user, (key[0], data["reservation_id"]), 0, 0, more=False, now_ms=now_ms)
            return
        self.purses.end(now_ms)
        if is_known:
            answer = "same" if (user, key) in self.purses.open else "reservation_ended"
        else:
            self.purses.read.add(key)
            answer = self._decide(user, key, data, now_ms)
        self.purses.expected.setdefault(user, []).append((entry["id"], answer))

    def _decide(self, user: str, key: Key, data: dict[str, Any], now_ms: int) -> str:
        early = self.purses.early.pop((user, key), Early())
        if early.is_closed:
            return "granted"
        picousd = max(0, int(Decimal(data.get("amount_usd", 0)) * 10**12) - early.picousd)
        asked_credits = max(0, data.get("credits", 0) - early.credits)
        names = {name: data[name] for name in ORDER if name in data} | {"user": user}
        errors = ["spending_stopped"] * self.is_stopped
        for scope in scopes_with_user(names):
            held = dict(zip(("usd", "credits", "events"), self.purses.reserved(parts(scope)), strict=True))
            asked = {"usd": picousd, "credits": asked_credits, "events": 1}
            for limit in self.rules.on(scope):
                spent = self.spent(scope, limit.calendar, now_ms).measure(limit.unit)
                if spent >= limit.most or spent + held[limit.unit] + asked[limit.unit] > limit.most:
                    errors.append("usage_limit_exceeded")
        purse = self.purses.purse(user, self.rules, now_ms)
        free = self.rules.free_of(user)[0]
        left = (purse or Purse()).left(free if purse else 0) - self.purses.reserved_credits(user)
        if (purse is not None or asked_credits) and (left < 0 or asked_credits > left):
            errors.append("insufficient_credits")
        order = ("spending_stopped", "usage_limit_exceeded", "insufficient_credits")
        if errors:
            return min(errors, key=order.index)
        until_ms = now_ms + data.get("ttl_seconds", 60) * 1000
        self.purses.open[user, key] = Held(picousd, asked_credits, until_ms, names)
        return "granted"

    def spent(self, scope: str, calendar: str, at_ms: int) -> Sum:
        """In the window of an instant."""
        return self.sums.get((scope, calendar, window(calendar, at_ms)[0]), Sum())

    # Entries.

    def _entry(self, record: ConsumerRecord, limit_ms: int) -> None:
        try:
            entry = json.loads(record.value)
        except ValueError:
            entry = {}
        kind = entry.get("type")
        if kind == PAST:
            self._past(entry["data"])
        elif kind != CREDIT:
            self.letters += 1
        elif self.homes[entry["subject"]] == self.partition and self._is_news(entry, kind, entry["data"]):
            user, data = entry["subject"], entry["data"]
            now_ms = max(self.clock_ms, min(record.timestamp, limit_ms))
            purse = self.purses.purse(user, self.rules, now_ms) or self.purses.purses.setdefault(user, Purse())
            expires = data.get("expires_at")
            expires_ms = NEVER_MS if expires is None else int(datetime.fromisoformat(expires).timestamp()) * 1000
            purse.change(data["credits"], expires_ms, self.rules.free_of(user), self.purses.clock_ms)

    # Meters.

    def first_of(self, scope: str, calendar: str, start_ms: int | None = None) -> Meter | None:
        """Of the meters that count a scope in a window, the one whose past is added: the oldest, then the widest.

        Without a window of those that are needed.
        """
        found = [
            meter
            for meter in self.meters.values()
            if meter.calendar == calendar
            and covers(meter.scope, scope)
            and (meter.ends_ms == NEVER_MS if start_ms is None else meter.counts(start_ms))
        ]
        return min(found, key=lambda meter: (meter.first, -meter.scope.count("*"), meter.scope), default=None)

    def _begin(self, rows: dict[str, list[Any] | None]) -> None:
        """Begin the meters that this policy needs, at the next offset or as a wider one; the others end."""
        wanted = self.rules.meters()
        soon_ms = self.clock_ms + AHEAD_OF_BROKER_MS
        for name, meter in self.meters.items():
            # So near its end it has missed events already, and begins again after it.
            if name in wanted and soon_ms < meter.ends_ms:
                meter.ends_ms = NEVER_MS
        for name, row in rows.items():
            if row is not None and name not in self.meters and name in wanted:
                self._add_meter(name, row)
        for name, meter in self.meters.items():
            if name not in wanted and meter.ends_ms == NEVER_MS:
                meter.ends_ms = window(meter.calendar, soon_ms)[1]

    def _add_meter(self, name: str, row: list[Any]) -> None:
        scope, calendar = name.rsplit("|", 1)
        wider = self.first_of(scope, calendar)
        if wider is not None and row[0] == wider.first:
            self.meters[name] = Meter(scope, calendar, wider.first, wider.start_ms, wider.is_filled, 0, NEVER_MS)
        elif row[0] in (self._applied, 0):
            # Nothing is missing when there was nothing before.
            self.meters[name] = Meter(scope, calendar, row[0], row[1], row[0] == 0, 0, NEVER_MS)

    def _past(self, past: dict[str, Any]) -> None:
        meter = self.meters.get(past["meter"])
        if meter is None or meter.is_filled or past["from_offset"] != meter.first or past["part"] != meter.parts:
            return
        meter.parts += 1
        meter.is_filled = meter.parts == past["parts"]
        for scope, start, cost, retail, events, usage in past["rows"]:
            if self.first_of(scope, meter.calendar, start) is meter and start >= meter.past_from_ms:
                tokens = {name: nano // 10**9 for name, nano in usage.items()}
                self.sums[scope, meter.calendar, start].add(Decimal(cost), retail, events, tokens)
        if meter.is_filled:
            self._compare_whole(meter)

    def _compare_whole(self, meter: Meter) -> None:
        """With its past a meter has all that was ever counted in its windows, once."""
        whole: dict[SumKey, Sum] = defaultdict(Sum)
        for event in self.counted:
            scope = scope_in(meter.scope, event.names)
            start = window(meter.calendar, event.time_ms)[0]
            if scope is None or start < meter.past_from_ms:
                continue
            if self.first_of(scope, meter.calendar, start) is meter:
                whole[scope, meter.calendar, start].add(event.cost, event.retail, 1, event.tokens)
        for key, right in whole.items():
            expect(self.sums[key] == right, "a past was added wrongly", self.partition, key, self.sums[key], right)

    def _compare_meters(self, rows: dict[str, list[Any] | None]) -> None:
        for name, row in rows.items():
            meter = self.meters.get(name)
            if meter is not None and (row is None or row[0] != meter.first) and meter.ends_ms <= self.clock_ms:
                del self.meters[name]
            if row is None:
                expect(name not in self.meters, "a meter has gone that is needed", self.partition, name)
                continue
            if name not in self.meters:
                self._add_meter(name, row)
            meter = self.meters.get(name)
            expect(meter is not None, "a meter began at no offset at which people set anything", name, row, self.next)
            assert meter is not None
            found = (row[0], row[1], row[4], row[5], NEVER_MS if row[6] is None else row[6])
            right = (meter.first, meter.start_ms, meter.is_filled, meter.parts, meter.ends_ms)
            expect(found == right, "meter", self.partition, name, found, right)
            meter.past_from_ms = row[7]


def _said(data: dict[str, Any]) -> dict[str, Any]:
    """The data without amounts of 0, which say nothing: with or without them it is the same event."""
    return data | {"usage": {dimension: amount for dimension, amount in data["usage"].items() if amount}}
