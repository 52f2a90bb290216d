"""Seeded usage events with everything that goes wrong on the way to Kafka: repeats, wrong partitions, rubbish.

It knows neither prices nor sums; `truth` computes those from what Kafka has of it.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import USAGE_PARTITIONS

PROVIDER: Final = "chaos"

# How long ago an event happened, from and to, and how often that is. Hours are held for 72 hours, days for 62 days,
# months for 25: all are far from those edges, so that no clock decides which windows an event is counted in.
_AGES: Final = (
    (timedelta(0), timedelta(minutes=50), 84),
    (timedelta(hours=1), timedelta(hours=5), 8),
    (timedelta(hours=100), timedelta(hours=110), 4),
    (timedelta(days=70), timedelta(days=75), 3),
    (timedelta(days=900), timedelta(days=905), 1),
)
_DIMENSIONS: Final = {
    "service": ("chat", "studio", "reports"),
    "agent": ("SEO", "EMAIL", "SUPPORT", ""),
    "campaign": ("winter", "spring", "", ""),
    "org": ("acme", "globex"),
}


@dataclass(frozen=True, slots=True)
class Event:
    """A usage event that must be counted exactly once."""

    id: str
    user: str
    time: datetime
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """A record to send. `event_id` is the id of its event, and empty for rubbish. `packed`: it is sent compressed."""

    partition: int
    key: bytes
    value: bytes
    event_id: str = ""
    packed: bool = False


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
        recent: list[tuple[Event, Record]] = []
        number = 0
        while True:
            number += 1
            event = self._event(rnd, number)
            value = encoded(event)
            home = partition_of(event.user.encode(), self.partitions)
            lost = rnd.randrange(1000) < self.misrouted
            partition = (home + rnd.randrange(1, self.partitions)) % self.partitions if lost else home
            key = rnd.choice([b"", b"elsewhere"]) if lost else event.user.encode()
            record = Record(partition, key, value, event.id)
            yield record
            recent.append((event, record))
            if len(recent) > 4_000:
                recent = recent[2_000:]
            chance = rnd.randrange(1000)
            if chance < self.repeated:
                before, sent = rnd.choice(recent)
                yield self._repeat(rnd, before, sent)
            elif chance < self.repeated + self.conflicting:
                before, sent = rnd.choice(recent)
                # Which of the two counts is for the log to say.
                other = replace(before, data=before.data | {"operation": "other"})
                yield Record(sent.partition, sent.key, encoded(other), before.id)
            elif chance < self.repeated + self.conflicting + self.rubbish:
                yield self._rubbish(rnd, home, event.user.encode())

    def _rubbish(self, rnd: random.Random, home: int, key: bytes) -> Record:
        kind = rnd.randrange(20)
        if kind == 0:
            return Record(home, key, bytes(20 << 20), packed=True)
        if kind < 3:
            # The largest that aiokafka's producer sends with its defaults.
            return Record(home, key, b"x" * 1_048_440)
        return Record(home, key, b'{"specversion": "1.0", ')

    def _repeat(self, rnd: random.Random, event: Event, sent: Record) -> Record:
        value = sent.value
        if rnd.random() < 0.3:
            # A client that serialises again: other order, other white space.
            value = json.dumps(dict(reversed(json.loads(value).items())), indent=1).encode()
        if rnd.random() < 0.2:
            return Record(rnd.randrange(self.partitions), event.user.encode(), value, event.id)
        return Record(partition_of(event.user.encode(), self.partitions), event.user.encode(), value, event.id)

    def _event(self, rnd: random.Random, number: int) -> Event:
        newest, oldest, _ = rnd.choices(_AGES, [weight for _, _, weight in _AGES])[0]
        age = newest + (oldest - newest) * rnd.random()
        # Milliseconds, as the wire has them.
        time = (self.start - age).replace(microsecond=rnd.randrange(1000) * 1000)
        data: dict[str, Any] = {"provider": PROVIDER, **_usage(rnd)}
        data |= {name: value for name, values in _DIMENSIONS.items() if (value := rnd.choice(values))}
        if rnd.randrange(200) == 0:
            data["campaign"] = f"campaign-{number}"
        # A few users make most of the traffic, as everywhere.
        user = f"chaos-{int(self.users * rnd.random() ** 3)}"
        return Event(f"{self.seed}-{number}", user, time, data)


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


def encoded(event: Event) -> bytes:
    """The event as a CloudEvent in structured mode."""
    envelope = {
        "specversion": "1.0",
        "type": "tollgate.usage.v1",
        "source": "chaos",
        "id": event.id,
        "subject": event.user,
        "time": event.time.isoformat(timespec="milliseconds"),
        "data": event.data,
    }
    return json.dumps(envelope).encode()
