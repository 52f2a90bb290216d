"""What is right, worked out from the usage topic as Kafka has it, in Decimal, one record after the other.

It shares nothing with the product but the partition of a key: prices, windows, refusals and the rule that the first of
an identity counts are written down once more, by hand.
"""

import json
from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from hashlib import blake2b
from typing import Any, Final

from tests.chaos.workload import Record

from tollgate.schemas.partitions import partition_of

_EXACT: Final = Context(prec=60, rounding=ROUND_HALF_EVEN)
_PICO: Final = Decimal("0.000000000001")
_SHARED: Final = ("org", "service", "provider", "model", "agent", "campaign")

# As they are put into the control topic: rates per dimension in USD and per how many units.
PRICES: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "alpha": {
        "input_tokens": ("2.5", "1000000"),
        "cached_input_tokens": ("1.25", "1000000"),
        "output_tokens": ("10", "1000000"),
    },
    "beta": {"images": ("0.04", "1")},
    "gamma": {"video_seconds": ("0.1", "3")},
}
# A model without a price is charged the dearest of its provider, and what the provider has no price for at the shipped
# default, which is that of ElevenLabs for characters.
FALLBACK: Final = {
    "input_tokens": ("2.5", "1000000"),
    "output_tokens": ("10", "1000000"),
    "characters": ("0.0003", "1"),
}
UNPRICED_ALERT: Final = "unpriced/chaos/omega"

# How long windows of a kind are held after their end, with all of the workload's events far from these edges.
_HELD: Final = (
    ("hour", timedelta(hours=72)),
    ("day", timedelta(days=62)),
    ("month", timedelta(days=760)),
    ("lifetime", timedelta(days=36500)),
)

Sums = dict[str, tuple[Decimal, int, dict[str, Decimal]]]

# A scope keeps so many usage dimensions apart, beside the common ones; the rest is added up as `other`.
_DIMENSIONS_MAX: Final = 128
_LIFETIME: Final = "|lifetime|1970-01-01T00:00:00Z"


def kept(expected: Sums, found: Sums) -> Sums:
    """The expected sums with their usage by the dimensions that each scope keeps: those of its lifetime as found.

    Which ones these are depends on which came first, and in shared scopes on the order in which partitions came.
    """
    names = {
        key.removesuffix(_LIFETIME): sums[2].keys() - {"other"}
        for key, sums in found.items()
        if key.endswith(_LIFETIME) and "other" in sums[2] and len(sums[2]) > _DIMENSIONS_MAX
    }
    kept: Sums = {}
    for key, (cost, events, usage) in expected.items():
        own = names.get(key.rsplit("|", 2)[0])
        kept[key] = (cost, events, usage if own is None else _folded(usage, own))
    return kept


def _folded(usage: dict[str, Decimal], own: Set[str]) -> dict[str, Decimal]:
    folded: dict[str, Decimal] = {}
    for dimension, amount in usage.items():
        name = dimension if dimension in own else "other"
        folded[name] = folded.get(name, Decimal(0)) + amount
    return folded


def cost_of(data: dict[str, Any]) -> tuple[Decimal, str]:
    """What an event costs in USD, rounded half to even to 10⁻¹² once, and by which kind of price."""
    status = "reported" if "cost_usd" in data else "priced" if data["model"] in PRICES else "unpriced"
    if data.get("status", "success") != "success":
        return Decimal(0), status
    if "cost_usd" in data:
        return Decimal(data["cost_usd"]), status
    usage = {name: Decimal(amount) for name, amount in data["usage"].items()}
    if "cached_input_tokens" in usage:
        usage["input_tokens"] -= usage["cached_input_tokens"]
    cost = Decimal(0)
    for name, amount in usage.items():
        usd, per = PRICES.get(data["model"], FALLBACK)[name]
        cost = _EXACT.add(cost, _EXACT.divide(_EXACT.multiply(amount, Decimal(usd)), Decimal(per)))
    return cost.quantize(_PICO, context=_EXACT), status


@dataclass(frozen=True, slots=True)
class Counted:
    """An event that counts: `digest` stands for its data."""

    cost: Decimal
    status: str
    digest: int


class Truth:
    """The sums of everything that was taken in. `started` is the workload's start, `partitions` those of the topic."""

    def __init__(self, partitions: int, started: datetime) -> None:
        self.counted: dict[str, Counted] = {}
        self.total = Decimal(0)
        self.users: dict[str, tuple[int, Decimal]] = {}
        self.refused: Counter[str] = Counter()
        self.windows: Sums = {}
        self._partitions = partitions
        self._started = started
        # What was handed to Kafka, by the data it may have: and what Kafka has acknowledged of it.
        self._offered: dict[str, tuple[int, ...]] = {}
        self._acknowledged: set[str] = set()

    def offer(self, record: Record) -> None:
        """A record is about to be sent."""
        if record.event_id:
            digest = digest_of(json.loads(record.value)["data"])
            known = self._offered.get(record.event_id, ())
            if digest not in known:
                self._offered[record.event_id] = (*known, digest)

    def acknowledge(self, records: Iterable[Record]) -> None:
        """Kafka has said that it has these records."""
        self._acknowledged.update(record.event_id for record in records if record.event_id)

    def take(self, partition: int, value: bytes) -> None:
        """A record of the usage topic, in the order of its partition."""
        if len(value) > 64 * 1024:
            self.refused["too_large"] += 1
            return
        try:
            event = json.loads(value)
        except ValueError:
            self.refused["not_json"] += 1
            return
        user: str = event["subject"]
        if partition_of(user.encode(), self._partitions) != partition:
            # It is to be forwarded, and comes again where it belongs.
            return
        digest = digest_of(event["data"])
        first = self.counted.get(event["id"])
        if first is not None:
            if first.digest != digest:
                self.refused["conflict"] += 1
            return
        cost, status = cost_of(event["data"])
        self.counted[event["id"]] = Counted(cost, status, digest)
        self.total += cost
        events, spent = self.users.get(user, (0, Decimal(0)))
        self.users[user] = (events + 1, spent + cost)
        self._count(user, datetime.fromisoformat(event["time"]).astimezone(UTC), event["data"], cost)

    def _count(self, user: str, time: datetime, data: dict[str, Any], cost: Decimal) -> None:
        kinds = [(kind, window_start(kind, time)) for kind, held in _HELD if self._started - time < held]
        usage = {name: Decimal(amount) for name, amount in data["usage"].items()}
        named = [f"{name}/{data[name]}" for name in _SHARED if data.get(name)]
        for scope in ("global", f"user/{user}", *named):
            for kind, start in kinds:
                key = f"{scope}|{kind}|{start}"
                spent, events, used = self.windows.get(key) or (Decimal(0), 0, {})
                for name, amount in usage.items():
                    used[name] = used.get(name, Decimal(0)) + amount
                self.windows[key] = (spent + cost, events + 1, used)

    def spent(self, scope: str, kind: str, start: str) -> Decimal:
        """The spend of a window in USD."""
        return self.windows.get(f"{scope}|{kind}|{start}", (Decimal(0), 0, {}))[0]

    def unlike_what_was_sent(self) -> list[str]:
        """What Kafka has lost, or holds and was never sent."""
        wrong = [
            f"event {e} was acknowledged and is not in its partition" for e in self._acknowledged - set(self.counted)
        ]
        return wrong + [
            f"event {event_id} was never sent with the data it is counted with"
            for event_id, counted in self.counted.items()
            if counted.digest not in self._offered.get(event_id, ())
        ]


def digest_of(data: dict[str, Any]) -> int:
    """Stands for the data, whatever its order and white space."""
    return int.from_bytes(blake2b(json.dumps(data, sort_keys=True).encode(), digest_size=8).digest())


def window_start(kind: str, time: datetime) -> str:
    """First instant of the window, as text."""
    if kind == "lifetime":
        return "1970-01-01T00:00:00Z"
    time -= timedelta(minutes=time.minute, seconds=time.second, microseconds=time.microsecond)
    if kind != "hour":
        time -= timedelta(hours=time.hour)
    if kind == "month":
        time -= timedelta(days=time.day - 1)
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
