"""What is right, worked out from the topics of usage and entries as Kafka has them, in Decimal, one record after the
other.

It shares nothing with the product but the partition of a key: prices, windows, refusals and the rule that the first of
an identity counts are written down once more, by hand.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from hashlib import blake2b
from typing import Any, Final

from tests.chaos.accounts import Accounts, Step, nano
from tests.chaos.workload import Record
from tests.simulation.rules import ORDER, covers, parts, scope_in, window

from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import Topic

_EXACT: Final = Context(prec=60, rounding=ROUND_HALF_EVEN)
_PICO: Final = Decimal("0.000000000001")
_SHARED: Final = ("org", "service", "provider", "model", "agent", "campaign", "feature")
_USAGE: Final = "tollgate.usage.v1"
_TYPES: Final = {
    Topic.USAGE: (_USAGE, "tollgate.reservation.v1", "tollgate.release.v1"),
    Topic.ENTRIES: ("tollgate.credit.v1",),
}
# What a sink tells the worker stands on the same topic.
_INTERNAL: Final = b'{"specversion":"1.0","type":"tollgate.internal.'

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
_HELD: Final = {
    "hour": timedelta(hours=72),
    "day": timedelta(days=62),
    "week": timedelta(days=70),
    "month": timedelta(days=760),
    "lifetime": timedelta(days=36500),
}
_BASE: Final = ("hour", "day", "month", "lifetime")

Sums = dict[str, tuple[Decimal, int, dict[str, Decimal]]]
_ByPartition = dict[int, tuple[Decimal, int, dict[str, Decimal]]]
_NOTHING: Final[tuple[Decimal, int, dict[str, Decimal]]] = (Decimal(0), 0, {})

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
    """The sums of everything that was taken in. `started` is the workload's start, `partitions` those of the topics,
    `meters` what has to be counted beyond the base windows at any time of the run, as `scope or pattern|calendar`.
    """

    def __init__(self, partitions: int, started: datetime, meters: Iterable[str] = ()) -> None:
        self.counted: dict[str, Counted] = {}
        self.total = Decimal(0)
        self.users: dict[str, tuple[int, Decimal]] = {}
        self.refused: Counter[str] = Counter()
        self.windows: Sums = {}
        # By scope, calendar and start: what each partition has.
        self.metered: dict[tuple[str, str, int], _ByPartition] = {}
        self.accounts = Accounts()
        self._meters = [(scope, calendar) for scope, _, calendar in (meter.rpartition("|") for meter in sorted(meters))]
        self._partitions = partitions
        self._started = started
        # What was read first under an id, as its digest: usage events and entries.
        self._taken: dict[str, int] = {}
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

    def take(self, partition: int, value: bytes, topic: Topic = Topic.USAGE, at_ms: int = 0) -> None:
        """A record of the topic, in the order of its partition; Kafka took it at that instant."""
        if value.startswith(_INTERNAL):
            return
        if len(value) > 64 * 1024:
            self.refused["too_large"] += 1
            return
        try:
            entry = json.loads(value)
        except ValueError:
            self.refused["not_json"] += 1
            return
        if entry["type"] not in _TYPES[topic]:
            self.refused["invalid"] += 1
            return
        if partition_of(entry["subject"].encode(), self._partitions) != partition:
            # It is to be forwarded, and comes again where it belongs.
            return
        digest = digest_of(entry["data"])
        first = self._taken.get(entry["id"])
        is_asked = entry["type"] == "tollgate.reservation.v1"
        if first is None:
            self._taken[entry["id"]] = digest
            self._take_first(entry, digest, at_ms)
        elif first != digest:
            self.refused["conflict"] += 1
            if is_asked:
                self.accounts.count(entry["subject"], _step(entry, at_ms, is_in_conflict=True))
        elif is_asked:
            self.accounts.count(entry["subject"], _step(entry, at_ms, is_repeated=True))

    def _take_first(self, entry: dict[str, Any], digest: int, at_ms: int) -> None:
        user, data = entry["subject"], entry["data"]
        if entry["type"] == "tollgate.credit.v1":
            self.accounts.grant(user, data)
            return
        if entry["type"] != _USAGE:
            self.accounts.count(user, _step(entry, at_ms))
            return
        cost, status = cost_of(data)
        self.counted[entry["id"]] = Counted(cost, status, digest)
        self.total += cost
        events, spent = self.users.get(user, (0, Decimal(0)))
        self.users[user] = (events + 1, spent + cost)
        burned = nano(data.get("retail_tokens", 0)) if data.get("status", "success") == "success" else 0
        usage = {name: Decimal(amount) for name, amount in data["usage"].items()}
        usage |= {"credits": Decimal(burned) / 10**9} if burned else {}
        time = datetime.fromisoformat(entry["time"]).astimezone(UTC)
        self._count(user, time, data, cost, usage)
        self._meter(user, time, data, cost, usage)
        self.accounts.count(user, _step(entry, at_ms, cost=cost, burned_nano=burned))

    def _count(
        self, user: str, time: datetime, data: dict[str, Any], cost: Decimal, usage: Mapping[str, Decimal]
    ) -> None:
        kinds = [(kind, window_start(kind, time)) for kind in _BASE if self._started - time < _HELD[kind]]
        named = [f"{name}/{data[name]}" for name in _SHARED if data.get(name)]
        for scope in ("global", f"user/{user}", *named):
            for kind, start in kinds:
                _add(self.windows, f"{scope}|{kind}|{start}", cost, usage)

    def _meter(
        self, user: str, time: datetime, data: dict[str, Any], cost: Decimal, usage: Mapping[str, Decimal]
    ) -> None:
        names = {name: data[name] for name in ORDER if data.get(name)} | {"user": user}
        keys = set()
        for pattern, calendar in self._meters:
            scope = scope_in(pattern, names)
            if scope is not None and self._started - time < _HELD[calendar.partition("@")[0]]:
                keys.add((scope, calendar, window(calendar, int(time.timestamp()) * 1000)[0]))
        home = partition_of(user.encode(), self._partitions)
        for key in keys:
            _add(self.metered.setdefault(key, {}), home, cost, usage)

    def kept_windows(self, since_ms: Mapping[str, int], from_first: Set[tuple[str, int]] = frozenset()) -> Sums:
        """All windows that there are while these meters are kept, each since its first window.

        `from_first` are meters, with a partition, that had no event there when they began: of that partition they have
        earlier windows too.
        """
        kept = dict(self.windows)
        begun: dict[str, list[tuple[str, int]]] = {}
        for meter, first_ms in since_ms.items():
            pattern, _, calendar = meter.rpartition("|")
            begun.setdefault(calendar, []).append((pattern, first_ms))
        for (scope, calendar, start_ms), by_partition in self.metered.items():
            covering = [(meter, first_ms) for meter, first_ms in begun.get(calendar, ()) if covers(meter, scope)]
            is_kept = any(start_ms >= first_ms for _, first_ms in covering)
            found = {
                number: sums
                for number, sums in by_partition.items()
                if is_kept or any((f"{meter}|{calendar}", number) in from_first for meter, _ in covering)
            }
            if found:
                kept[f"{scope}|{calendar}|{_text(start_ms)}"] = _together(found)
        return kept

    def spent(self, scope: str, kind: str, start: str) -> Decimal:
        """The spend of a base window in USD."""
        return self.windows.get(f"{scope}|{kind}|{start}", _NOTHING)[0]

    def measured(self, scope: str, calendar: str, at_ms: int, unit: str) -> tuple[Decimal, str]:
        """What is spent in the window of an instant, of USD in 10⁻¹²; and the window's start as text."""
        start_ms = window(calendar, at_ms)[0]
        if calendar in _BASE and len(parts(scope)) < 2:
            sums = self.windows.get(f"{scope}|{calendar}|{_text(start_ms)}", _NOTHING)
        else:
            sums = _together(self.metered.get((scope, calendar, start_ms), {}))
        cost, events, usage = sums
        amount = (
            cost * 10**12 if unit == "usd" else Decimal(events) if unit == "events" else usage.get(unit, Decimal(0))
        )
        return amount, _text(start_ms)

    def scopes(self) -> set[str]:
        """All that something was spent in."""
        return {key.split("|", 1)[0] for key in self.windows} | {scope for scope, _, _ in self.metered}

    def unlike_what_was_sent(self) -> list[str]:
        """What Kafka has lost, or holds and was never sent."""
        wrong = [
            f"event {e} was acknowledged and is not in its partition" for e in self._acknowledged - set(self._taken)
        ]
        return wrong + [
            f"event {event_id} was never sent with the data it is counted with"
            for event_id, digest in self._taken.items()
            if digest not in self._offered.get(event_id, ())
        ]


def _add(sums: dict[Any, Any], key: Any, cost: Decimal, usage: Mapping[str, Decimal]) -> None:
    nothing: dict[str, Decimal] = {}
    spent, events, used = sums.get(key) or (Decimal(0), 0, nothing)
    for name, amount in usage.items():
        used[name] = used.get(name, Decimal(0)) + amount
    sums[key] = (spent + cost, events + 1, used)


def _together(parts: _ByPartition) -> tuple[Decimal, int, dict[str, Decimal]]:
    whole: dict[str, Decimal] = {}
    for _, _, usage in parts.values():
        for name, amount in usage.items():
            whole[name] = whole.get(name, Decimal(0)) + amount
    spent = sum((cost for cost, _, _ in parts.values()), Decimal(0))
    return spent, sum(events for _, events, _ in parts.values()), whole


def _step(entry: dict[str, Any], at_ms: int, **more: Any) -> Step:
    time_ms = int(datetime.fromisoformat(entry["time"]).timestamp()) * 1000
    return Step(at_ms, entry["type"], entry["id"], entry["data"], time_ms, **more)


def _text(start_ms: int) -> str:
    return datetime.fromtimestamp(start_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


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
