"""What is published: events, repeats, conflicts, entries, what is refused, and what once stopped a worker for good."""

import json
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

from tests.simulation.broker import POISON_TO_WRITE, Broker
from tests.simulation.poison import HEADER

from tollgate.ledger.outbox import OutRecord
from tollgate.schemas.partitions import partition_of

PARTITIONS: Final = 4
USERS: Final = tuple(f"u{n}" for n in range(10))
HOMES: Final = {user: partition_of(user.encode(), PARTITIONS) for user in USERS}

# Poison ends three workers each time and large records take long to copy: a run with more would do little else.
RARE_MAX: Final = 3


class Services:
    """All producers. `did` hears of each kind of record that is not ordinary. `identities`: what must be counted."""

    def __init__(self, broker: Broker, did: Callable[[str], None]) -> None:
        self._broker = broker
        self._did = did
        self._random = Random(0)
        self._now_ms = 0
        # How often what may happen a few times only was chosen.
        self._rare: dict[str, int] = {}
        self._published: deque[dict[str, Any]] = deque(maxlen=40)
        self.identities: set[tuple[str, str]] = set()

    def publish(self, random: Random, now_ms: int, partitions: int, entries_partitions: int) -> None:
        """Send one record to a topic of usage or of entries that have so many partitions now."""
        self._random, self._now_ms = random, now_ms
        partition = random.randrange(partitions)
        # Drawn once for all that is rare: Hypothesis has entropy for a few thousand choices only.
        kind = random.randrange(400)
        if 340 <= kind < 400:
            self._publish_entry(partition % entries_partitions, kind)
            return
        if kind < 20:
            self._publish_refused(partition, kind)
            return
        if kind < 100 and self._published:
            event = dict(random.choice(self._published))
            if kind < 40:
                event["data"] = event["data"] | {"usage": {"input_tokens": random.randrange(5)}}
            elif kind < 60:
                event["time"] = self._time()
        else:
            event = self._event()
        if 100 <= kind < 104:
            self._did("wide")
            first, length = random.randrange(400), (5, 5, 5, 250)[kind - 100]
            names = (f"k{first + n}_".ljust(length, "x") for n in range(64))
            event["data"] |= {"usage": dict.fromkeys(names, 1), "cost_usd": "0.001"}
        self._published.append(event)
        self.identities.add((event["source"], event["id"]))
        user = str(event["subject"])
        home = partition_of(user.encode(), partitions) if random.randrange(12) else partition
        ahead_ms = 0
        if 104 <= kind < 108:
            self._did("clock jump")
            ahead_ms = 100 * 86_400_000
        self._broker.publish(("usage", home), (user.encode(), json.dumps(event).encode(), []), ahead_ms)

    def _publish_refused(self, partition: int, kind: int) -> None:
        """Send something that becomes a dead letter: no JSON, too large, or poison."""
        if kind < 3:
            rare = "poison" if kind < 2 else "large"
            self._rare[rare] = self._rare.get(rare, 0) + 1
            if self._rare[rare] > RARE_MAX:
                kind = 3
        if kind == 0:
            self._did("poison to read")
            self._broker.publish(("usage", partition), (None, b"{}", [HEADER]))
        elif kind == 1:
            self._did("poison to write")
            event = self._event()
            event["data"]["request_id"] = POISON_TO_WRITE.decode()
            event["id"] = f"poison-{self._rare[rare]}"
            key = str(event["subject"]).encode()
            self._broker.publish(("usage", partition), (key, json.dumps(event).encode(), []))
        elif kind == 2:
            self._did("large")
            size = self._random.choice((65_537, 1_048_440, 6 << 20))
            self._broker.publish(("usage", partition), (None, b"x" * size, []))
        else:
            self._broker.publish(("usage", partition), (None, b"{", []))

    def _publish_entry(self, partition: int, kind: int) -> None:
        """Send something to the entries topic: of a type that no worker knows, no JSON, or poison."""
        self._did("entry")
        user = self._random.choice(USERS)
        entry = {"specversion": "1.0", "type": "tollgate.later.v1", "source": "sim", "id": f"n{kind}", "subject": user}
        out: OutRecord = (user.encode(), json.dumps(entry | {"time": self._time(), "data": {}}).encode(), [])
        if kind == 340:
            self._rare["entry"] = self._rare.get("entry", 0) + 1
            if self._rare["entry"] <= RARE_MAX:
                self._did("poison entry")
                out = (None, b"{}", [HEADER])
        elif kind < 350:
            out = (None, b"{", [])
        self._broker.publish(("entries", partition), out)

    def _event(self) -> dict[str, Any]:
        random = self._random
        data: dict[str, Any] = {
            "provider": "openai", "model": "gpt-4o",
            "usage": {"input_tokens": random.randrange(2_000), "output_tokens": random.randrange(300)},
        }  # fmt: skip
        for name, values in (("agent", ("SEO", "")), ("service", ("chat", "image", ""))):
            value = random.choice(values)
            if value:
                data[name] = value
        return {
            "specversion": "1.0", "type": "tollgate.usage.v1", "source": "sim", "id": f"e{len(self.identities)}",
            "subject": random.choice(USERS), "time": self._time(), "data": data,
        }  # fmt: skip

    def _time(self) -> str:
        ago = self._random.choice((0, 0, 0, 3_600_000, 12 * 3_600_000))
        return datetime.fromtimestamp((self._now_ms - ago) // 1000, UTC).isoformat().replace("+00:00", "Z")
