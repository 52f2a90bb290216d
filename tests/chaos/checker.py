"""The truth about a workload, in Decimal, and the comparison of every output with it.

It shares nothing with the product but the names of topics and the readers of Kafka: prices, windows and budgets are
written down once more, by hand.
"""

import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any, Final

from tests.chaos.workload import Event, Record

from tollgate.runtime.kafka import read_compacted, read_to_end
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic
from tollgate.sinks.clickhouse import connect

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
# Scope → limit in USD per month. Thresholds are 80, 100 and 150 %, and blocking starts at 100 %.
BUDGETS: Final = {
    "user/chaos-0": "3",
    "user/chaos-1": "100000",
    "agent/SEO": "5",
    "campaign/winter": "40",
    "global": "1000000",
}

Found = dict[str, tuple[Decimal, int, dict[str, Decimal]]]


def cost_of(event: Event) -> Decimal:
    """What the event costs in USD, rounded half to even to 10⁻¹² once."""
    data = event.data
    if data.get("status", "success") != "success":
        return Decimal(0)
    if "cost_usd" in data:
        return Decimal(data["cost_usd"])
    usage = {name: Decimal(amount) for name, amount in data["usage"].items()}
    if "cached_input_tokens" in usage:
        usage["input_tokens"] -= usage["cached_input_tokens"]
    cost = Decimal(0)
    for name, amount in usage.items():
        usd, per = PRICES[data["model"]][name]
        cost = _EXACT.add(cost, _EXACT.divide(_EXACT.multiply(amount, Decimal(usd)), Decimal(per)))
    return cost.quantize(_PICO, context=_EXACT)


class Checker:
    """Adds up what was sent. Every `check_…` returns what is wrong, in words; an empty list is the proof."""

    def __init__(self) -> None:
        self.costs: dict[str, Decimal] = {}
        self.total = Decimal(0)
        self.users: dict[str, list[Any]] = {}
        self.refused: Counter[str] = Counter()
        self._windows: Found = {}

    def add(self, record: Record) -> None:
        """A record that Kafka has acknowledged."""
        if record.refused is not None:
            self.refused[record.refused] += 1
        if record.counts is None:
            return
        event = record.counts
        cost = cost_of(event)
        self.costs[event.id] = cost
        self.total += cost
        of_user = self.users.setdefault(event.user, [0, Decimal(0)])
        of_user[0] += 1
        of_user[1] += cost
        named = [f"{name}/{event.data[name]}" for name in _SHARED if event.data.get(name)]
        for scope in ("global", f"user/{event.user}", *named):
            for kind in event.kinds:
                key = f"{scope}|{kind}|{window_start(kind, event.time)}"
                spent, events, usage = self._windows.get(key) or (Decimal(0), 0, {})
                for name, amount in event.data["usage"].items():
                    usage[name] = usage.get(name, Decimal(0)) + Decimal(amount)
                self._windows[key] = (spent + cost, events + 1, usage)

    async def check_priced(self, settings: Settings) -> list[str]:
        """Every event once, at its cost."""
        seen: Counter[str] = Counter()
        wrong = []
        async for record in read_to_end(settings, settings.topic(Topic.PRICED)):
            priced = json.loads(record.value)
            event_id = priced["event_id"]
            seen[event_id] += 1
            expected = self.costs.get(event_id)
            if expected is None or Decimal(priced["cost_usd"]) != expected:
                wrong.append(f"priced event {event_id} costs {priced['cost_usd']}, not {expected}")
        wrong += [f"event {event_id} was priced {n} times" for event_id, n in seen.items() if n > 1]
        wrong += [f"event {event_id} was never priced" for event_id in self.costs.keys() - seen.keys()]
        return wrong

    async def check_dead_letters(self, settings: Settings) -> list[str]:
        """As many of each reason as were sent, and none twice."""
        places: Counter[tuple[str, str]] = Counter()
        reasons: Counter[str] = Counter()
        async for record in read_to_end(settings, settings.topic(Topic.DEAD_LETTERS)):
            headers = {name: value.decode() for name, value in record.headers}
            places[headers["source_partition"], headers["source_offset"]] += 1
            reasons[headers["reason"]] += 1
        wrong = [f"record {place} has {n} dead letters" for place, n in places.items() if n > 1]
        return wrong if reasons == self.refused else [*wrong, f"dead letters {reasons}, expected {self.refused}"]

    async def check_spend(self, settings: Settings) -> list[str]:
        """Every window, in both directions."""
        found: Found = {}
        for key, value in (await read_compacted(settings, settings.topic(Topic.SPEND))).items():
            record = json.loads(value)
            usage = {name: Decimal(amount) for name, amount in record["usage"].items()}
            found[key] = (Decimal(record["spent_usd"]), record["events"], usage)
        return _differences("spend", self._windows, found)

    async def check_flags(self, settings: Settings) -> list[str]:
        """Every budget's scope says what its month's spend demands."""
        flags = {k: json.loads(v) for k, v in (await read_compacted(settings, settings.topic(Topic.FLAGS))).items()}
        wrong = [f"{scope} has a flag and no budget" for scope in flags.keys() - BUDGETS.keys()]
        month = window_start("month", datetime.now(UTC))
        for scope, limit in BUDGETS.items():
            spent = self._windows.get(f"{scope}|month|{month}", (Decimal(0), 0, {}))[0]
            percent = spent * 100 / Decimal(limit)
            state = "blocked" if percent >= 100 else "warning" if percent >= 80 else "ok"
            flag = flags.get(scope, {"state": "ok", "blocked": False})
            if (flag["state"], flag["blocked"]) != (state, state == "blocked"):
                wrong.append(f"the flag of {scope} is {flag['state']}, not {state} at {spent} of {limit} USD")
            elif state != "ok" and (Decimal(flag["spent"]) != spent or flag["window"]["start"] != month):
                wrong.append(f"the flag of {scope} says {flag['spent']} since {flag['window']['start']}, not {spent}")
        return wrong

    def check_clickhouse(self, settings: Settings) -> list[str]:
        """The view `usage` in total and per user, and the table `spend`. Blocks."""
        client = connect(settings)
        wrong = []
        ((events, cost),) = client.query("SELECT count(), toString(sum(cost_usd)) FROM usage").result_rows
        if (events, Decimal(cost)) != (len(self.costs), self.total):
            wrong.append(f"ClickHouse has {events} events of {cost} USD, not {len(self.costs)} of {self.total}")
        rows = client.query("SELECT user, count(), toString(sum(cost_usd)) FROM usage GROUP BY user").result_rows
        found = {user: [events, Decimal(cost)] for user, events, cost in rows}
        if found != self.users:
            user = next(u for u in found.keys() | self.users.keys() if found.get(u) != self.users.get(u))
            wrong.append(f"ClickHouse has {found.get(user)} of user {user}, not {self.users.get(user)}")
        columns = (
            "concat(scope, '|', window, '|', formatDateTime(window_start, '%Y-%m-%dT%H:%i:%SZ')), toString(spent_usd)"
        )
        rows = client.query(f"SELECT {columns}, events, usage FROM spend").result_rows
        spend: Found = {key: (Decimal(spent), events, dict(usage)) for key, spent, events, usage in rows}
        return wrong + _differences("ClickHouse spend", self._windows, spend)


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


def one_message_per_alert(keys: Iterable[str]) -> list[str]:
    """Keys of the alerts that messages were posted for: none may appear twice."""
    return [f"{n} messages were posted for {key}" for key, n in Counter(keys).items() if n > 1]


def _differences(what: str, expected: Found, found: Found) -> list[str]:
    return [
        f"{what} {key} is {found.get(key)}, not {expected.get(key)}"
        for key in sorted(expected.keys() | found.keys())
        if expected.get(key) != found.get(key)
    ]
