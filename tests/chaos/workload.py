"""Seeded usage events and entries with everything that goes wrong on the way: repeats, wrong partitions, rubbish.

It knows neither prices nor sums; `truth` computes those from what Kafka has of it.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tests.chaos.callers import Callers, Entry

from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import USAGE_PARTITIONS, Topic

PROVIDER: Final = "chaos"

# How long ago an event happened, from and to, and how often that is. Hours are held for 72 hours, days for 62 days,
# weeks for 10, months for 25: all are far from those edges, so that no clock decides which windows an event is counted
# in.
_AGES: Final = (
    (timedelta(0), timedelta(minutes=50), 84),
    (timedelta(hours=1), timedelta(hours=5), 8),
    (timedelta(hours=100), timedelta(hours=110), 4),
    (timedelta(days=80), timedelta(days=85), 3),
    (timedelta(days=900), timedelta(days=905), 1),
)
_DIMENSIONS: Final = {
    "service": ("chat", "studio", "reports"),
    "agent": ("SEO", "EMAIL", "SUPPORT", ""),
    "campaign": ("winter", "spring", "", ""),
    "org": ("acme", "globex"),
    "feature": ("chat", "images", ""),
}
# What an entry of a type says otherwise when its sender makes a mistake.
_OTHERWISE: Final[dict[str, dict[str, Any]]] = {
    "tollgate.reservation.v1": {"amount_usd": "0.0123"},
    "tollgate.release.v1": {"reservation_id": "another"},
    "tollgate.credit.v1": {"credits": 11},
}
# Usage events to one thing that a caller does.
_CALLS_TO_ENTRIES: Final = 20


@dataclass(frozen=True, slots=True)
class Record:
    """A record to send. `event_id` is the id of its event or entry, and empty for rubbish. `packed`: it is sent
    compressed.
    """

    partition: int
    key: bytes
    value: bytes
    event_id: str = ""
    packed: bool = False
    topic: Topic = Topic.USAGE


@dataclass
class Workload:
    """Endless records from a seed. Per mille: repeats, records in a wrong partition, rubbish, conflicting data."""

    seed: int
    users: int = 300
    repeated: int = 20
    misrouted: int = 15
    rubbish: int = 2
    conflicting: int = 2
    partitions: int = USAGE_PARTITIONS
    start: datetime = field(default_factory=lambda: datetime.now(UTC))

    def records(self) -> Iterator[Record]:
        """Records in the order in which they are to be sent."""
        rnd = random.Random(self.seed)
        callers = Callers(self.seed, self.start, self.users)
        recent: list[tuple[Entry, Record]] = []
        number = 0
        while True:
            number += 1
            entries = [self._event(rnd, number)]
            if rnd.randrange(_CALLS_TO_ENTRIES) == 0:
                entries += callers.step(rnd)
            for entry in entries:
                record = self._record(rnd, entry)
                yield record
                recent.append((entry, record))
            if len(recent) > 4_000:
                recent = recent[2_000:]
            chance = rnd.randrange(1000)
            if chance < self.repeated:
                before, sent = rnd.choice(recent)
                yield self._repeat(rnd, before, sent)
            elif chance < self.repeated + self.conflicting:
                before, sent = rnd.choice(recent)
                # Which of the two counts is for the log to say.
                other = replace(before, data=before.data | _OTHERWISE.get(before.type, {"operation": "other"}))
                yield replace(sent, value=other.encoded())
            elif chance < self.repeated + self.conflicting + self.rubbish:
                key = entries[0].user.encode()
                yield self._rubbish(rnd, partition_of(key, self.partitions), key)

    def _record(self, rnd: random.Random, entry: Entry) -> Record:
        home = partition_of(entry.user.encode(), self.partitions)
        lost = rnd.randrange(1000) < self.misrouted
        partition = (home + rnd.randrange(1, self.partitions)) % self.partitions if lost else home
        key = rnd.choice([b"", b"elsewhere"]) if lost else entry.user.encode()
        topic = Topic.ENTRIES if entry.is_credit else Topic.USAGE
        return Record(partition, key, entry.encoded(), entry.id, topic=topic)

    def _rubbish(self, rnd: random.Random, home: int, key: bytes) -> Record:
        kind = rnd.randrange(20)
        if kind == 0:
            return Record(home, key, bytes(20 << 20), packed=True)
        if kind < 3:
            # The largest that aiokafka's producer sends with its defaults.
            return Record(home, key, b"x" * 1_048_440)
        if kind < 6:
            later = Entry("later", key.decode(), self.start, "tollgate.later.v1", {})
            value = later.encoded() if kind == 3 else b'{"specversion": "1.0", '
            return Record(home, key, value, topic=Topic.ENTRIES)
        return Record(home, key, b'{"specversion": "1.0", ')

    def _repeat(self, rnd: random.Random, event: Entry, sent: Record) -> Record:
        value = sent.value
        if rnd.random() < 0.3:
            # A client that serialises again: other order, other white space.
            value = json.dumps(dict(reversed(json.loads(value).items())), indent=1).encode()
        key = event.user.encode()
        partition = rnd.randrange(self.partitions) if rnd.random() < 0.2 else partition_of(key, self.partitions)
        return replace(sent, partition=partition, key=key, value=value)

    def _event(self, rnd: random.Random, number: int) -> Entry:
        newest, oldest, _ = rnd.choices(_AGES, [weight for _, _, weight in _AGES])[0]
        age = newest + (oldest - newest) * rnd.random()
        # Milliseconds, as the wire has them.
        time = (self.start - age).replace(microsecond=rnd.randrange(1000) * 1000)
        data: dict[str, Any] = {"provider": PROVIDER, **_usage(rnd)}
        data |= {name: value for name, values in _DIMENSIONS.items() if (value := rnd.choice(values))}
        if data["model"] == "gamma":
            data["feature"] = "video"
        elif data["model"] == "delta":
            # A combination does not tell which of too many usage keys it keeps apart.
            for name in ("service", "agent", "feature"):
                data.pop(name, None)
        if rnd.randrange(4) == 0:
            data["retail_tokens"] = rnd.choice((1, 3, "0.5"))
        if rnd.randrange(200) == 0:
            data["campaign"] = f"campaign-{number}"
        # A few users make most of the traffic, as everywhere.
        user = f"chaos-{int(self.users * rnd.random() ** 3)}"
        return Entry(f"{self.seed}-{number}", user, time, "tollgate.usage.v1", data)


def _usage(rnd: random.Random) -> dict[str, Any]:
    kind = rnd.randrange(100)
    if kind < 70:
        whole = rnd.randrange(1, 9_000)
        usage = {
            "input_tokens": whole,
            "cached_input_tokens": rnd.randrange(whole + 1),
            "output_tokens": rnd.randrange(900),
        }
        data: dict[str, Any] = {"model": "alpha", "usage": usage}
        if rnd.randrange(20) == 0:
            data["status"] = "error"
        return data
    if kind < 80:
        return {"model": "beta", "usage": {"images": rnd.randrange(1, 5)}}
    if kind < 92:
        return {"model": "gamma", "usage": {"video_seconds": f"{rnd.randrange(1, 60)}.{rnd.randrange(1, 10**9):09d}"}}
    if kind < 96:
        # Nobody knows its price.
        usage = {
            "input_tokens": rnd.randrange(1, 900),
            "output_tokens": rnd.randrange(90),
            "characters": rnd.randrange(9),
        }
        return {"model": "omega", "usage": usage}
    # Now and then with more usage keys than a scope keeps apart.
    wide = {f"k{rnd.randrange(400)}_".ljust(250, "x"): 1 for _ in range(63)} if rnd.randrange(30) == 0 else {}
    return {"model": "delta", "usage": {"requests": 1, **wide}, "cost_usd": f"0.{rnd.randrange(10**12):012d}"}
