"""What is published: events, reservations, credits, repeats, conflicts, what is refused, and what once stopped a worker
for good.
"""

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

_ENTRIES: Final = ("reservation", "release", "credit")

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
        # The latest entries of each type.
        self._sent: dict[str, deque[dict[str, Any]]] = {name: deque(maxlen=20) for name in _ENTRIES}
        self._entries = 0
        # Reservations whose call is there before them.
        self._late: list[dict[str, Any]] = []

    def publish(self, random: Random, now_ms: int, partitions: int, entries_partitions: int) -> None:
        """Send one record to a topic of usage or of entries that have so many partitions now."""
        self._random, self._now_ms = random, now_ms
        partition = random.randrange(partitions)
        # Drawn once for all that is rare: Hypothesis has entropy for a few thousand choices only.
        kind = random.randrange(640)
        if kind >= 400:
            self._publish_account(kind, partitions, entries_partitions)
            return
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

    def _publish_account(self, kind: int, partitions: int, entries_partitions: int) -> None:
        """Send a reservation, a release or credits, new or once more, as it was or otherwise."""
        random = self._random
        name = "reservation" if kind < 540 else "release" if kind < 580 else "credit"
        sent = self._sent[name]
        chance = random.randrange(8)
        if chance < 2 and sent:
            self._did(f"repeat a {name}")
            entry = dict(random.choice(sent))
            if chance == 0:
                entry["data"] = self._entry_data(name, random.choice(USERS))
        elif name == "reservation" and self._late and chance < 5:
            entry = self._late.pop(random.randrange(len(self._late)))
        else:
            self._did(name)
            entry = self._entry(name)
        sent.append(entry)
        topic, count = ("entries", entries_partitions) if name == "credit" else ("usage", partitions)
        user = str(entry["subject"])
        home = partition_of(user.encode(), count) if random.randrange(12) else random.randrange(count)
        self._broker.publish((topic, home), (user.encode(), json.dumps(entry).encode(), []))

    def _entry(self, name: str) -> dict[str, Any]:
        self._entries += 1
        user = self._random.choice(USERS[: self._random.choice((3, 10))])
        data = self._entry_data(name, user)
        if name == "release" and self._sent["reservation"]:
            # Most of the time for one that there is.
            user = self._random.choice(self._sent["reservation"])["subject"]
            data = self._entry_data(name, user)
        return {
            "specversion": "1.0", "type": f"tollgate.{name}.v1", "source": "sim", "id": f"{name[:3]}{self._entries}",
            "subject": user, "time": self._time(), "data": data,
        }  # fmt: skip

    def _entry_data(self, name: str, user: str) -> dict[str, Any]:
        random = self._random
        if name == "release":
            own = [sent["id"] for sent in self._sent["reservation"] if sent["subject"] == user]
            return {"reservation_id": random.choice(own or ["res0"])}
        if name == "credit":
            amount = random.choice((5, 20, 60, -8))
            data: dict[str, Any] = {"credits": amount, "kind": random.choice(("purchase", "bonus", "refund"))}
            if amount > 0 and random.randrange(2):
                expires_s = (self._now_ms + random.randrange(-600_000, 4 * 3_600_000)) // 1000
                data["expires_at"] = datetime.fromtimestamp(expires_s, UTC).isoformat().replace("+00:00", "Z")
            return data
        data = {"ttl_seconds": random.choice((1, 60, 900, 3600)), "provider": "openai", "model": "gpt-4o"}
        what = random.randrange(4)
        if what:
            data["amount_usd"] = random.choice(("0.001", "0.004", "0.02"))
        if what != 1:
            data["credits"] = random.choice((1, 4, 15))
        return data | self._call()

    def _call(self) -> dict[str, str]:
        """Names of a call that not every call has."""
        values = (
            ("agent", ("SEO", "")),
            ("service", ("chat", "image", "")),
            ("feature", ("video", "video", "chat", "")),
        )
        chosen = ((name, self._random.choice(given)) for name, given in values)
        return {name: value for name, value in chosen if value}

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
        data |= self._call()
        user = random.choice(USERS)
        if random.randrange(4) == 0:
            data["retail_tokens"] = random.choice((1, 3, 7))
        if random.randrange(5) == 0:
            reservation = self._of_reservation()
            user, data["reservation_id"] = reservation["subject"], reservation["id"]
            if random.randrange(3) == 0:
                data["more"] = True
        return {
            "specversion": "1.0", "type": "tollgate.usage.v1", "source": "sim", "id": f"e{len(self.identities)}",
            "subject": user, "time": self._time(), "data": data,
        }  # fmt: skip

    def _of_reservation(self) -> dict[str, Any]:
        """One that was sent, open or not; or one that will be sent, after its call."""
        sent = self._sent["reservation"]
        if sent and self._random.randrange(4):
            return self._random.choice(sent)
        self._did("call before its reservation")
        entry = self._entry("reservation")
        self._late.append(entry)
        return entry

    def _time(self) -> str:
        ago = self._random.choice((0, 0, 0, 3_600_000, 12 * 3_600_000))
        return datetime.fromtimestamp((self._now_ms - ago) // 1000, UTC).isoformat().replace("+00:00", "Z")
