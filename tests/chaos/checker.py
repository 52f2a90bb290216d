"""Compares every output with the truth. Each `check_…` returns what is wrong, in words; an empty list is the proof."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from tests.chaos.account_checks import AccountChecker
from tests.chaos.asking import ask_clickhouse
from tests.chaos.limits import People, level
from tests.chaos.log_reader import LogReader
from tests.chaos.truth import UNPRICED_ALERT, Sums, Truth, kept
from tests.simulation.rules import Limit

from tollgate.runtime.kafka import read_compacted
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic

STOP_ALERT: Final = "stop/global"
_INPUTS: Final = (Topic.USAGE, Topic.ENTRIES)
_KEY: Final = "concat(scope, '|', calendar, '|', formatDateTime(window_start, '%Y-%m-%dT%H:%i:%SZ'))"


@dataclass(slots=True)
class Stopped:
    """Whether all spending is stopped by hand, why it is or why it goes on, and how often that was changed."""

    is_in_force: bool = False
    reason: str = ""
    times: int = 0

    @property
    def sentence(self) -> str:
        """What flag and alert say."""
        return f"chaos {'stopped all spending' if self.is_in_force else 'let spending go on'}: {self.reason}"


class Checker:
    """Reads what grows on from where it was, and what is compacted whole. `people` know what limits apply."""

    def __init__(self, settings: Settings, truth: Truth, people: People, stop: Stopped) -> None:
        self.truth = truth
        self.people = people
        self.stop = stop
        self.accounts = AccountChecker(settings, truth, people)
        self._settings = settings
        partitions = settings.usage_partitions
        self._inputs = {topic: LogReader(settings, settings.topic(topic), partitions) for topic in _INPUTS}
        self._priced = LogReader(settings, settings.topic(Topic.PRICED), partitions)
        self._letters = LogReader(settings, settings.topic(Topic.DEAD_LETTERS), 1)
        self._seen: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._places: Counter[tuple[str, str, str]] = Counter()
        # See `Truth.kept_windows`.
        self._from_first: set[tuple[str, int]] = set()

    async def take_usage(self) -> None:
        """Take in what the topics of usage and entries have now."""
        for topic, reader in self._inputs.items():
            async for record in reader.read():
                self.truth.take(record.partition, record.value, topic, record.timestamp)

    async def check_usage(self) -> list[str]:
        """Nothing that was acknowledged may be missing. To be called before the other checks."""
        await self.take_usage()
        return self.truth.unlike_what_was_sent()

    async def check_written(self) -> list[str]:
        """What the worker writes once: priced events, dead letters and decisions."""
        return [
            *await self.check_priced(),
            *await self.check_dead_letters(),
            *await self.check_decisions(),
        ]

    async def check_standing(self) -> list[str]:
        """What it writes again and again, after `check_written`. Pasts of meters and ends of reservations follow."""
        return [
            *await self.check_meters(),
            *await self.check_spend(),
            *await self.check_flags(),
            *await self.accounts.check_balances(),
        ]

    async def check_decisions(self) -> list[str]:
        """See `AccountChecker.check_decisions`."""
        return await self.accounts.check_decisions(was_stopped=bool(self.stop.times))

    async def check_meters(self) -> list[str]:
        """Each has its past."""
        topic = await read_compacted(self._settings, self._settings.topic(Topic.METERS))
        meters = {key: json.loads(value) for key, value in topic.items()}
        self._from_first = {(said["meter"], said["partition"]) for said in meters.values() if not said["from_offset"]}
        return [f"the meter {key} has no past" for key, said in meters.items() if not said["filled"]]

    async def check_priced(self) -> list[str]:
        """Every event once, at its cost."""
        wrong = []
        async for record in self._priced.read():
            priced = json.loads(record.value)
            event_id = priced["event_id"]
            self._seen[event_id] += 1
            expected = self.truth.counted.get(event_id)
            if expected is None:
                wrong.append(f"event {event_id} was priced and does not count")
            elif (Decimal(priced["cost_usd"]), priced["price_status"]) != (expected.cost, expected.status):
                found = f"{priced['cost_usd']} USD and is {priced['price_status']}"
                wrong.append(f"priced event {event_id} costs {found}, not {expected.cost} and {expected.status}")
        wrong += [f"event {event_id} was priced {n} times" for event_id, n in self._seen.items() if n > 1]
        return wrong + [f"event {e} was never priced" for e in self.truth.counted.keys() - self._seen.keys()]

    async def check_dead_letters(self) -> list[str]:
        """As many of each reason as there are to be, and no record twice."""
        async for record in self._letters.read():
            headers = {name: value.decode() for name, value in record.headers}
            self._places[headers["source_topic"], headers["source_partition"], headers["source_offset"]] += 1
            self._reasons[headers["reason"]] += 1
        wrong = [f"record {place} has {n} dead letters" for place, n in self._places.items() if n > 1]
        if self._reasons != self.truth.refused:
            wrong.append(f"dead letters {dict(self._reasons)}, not {dict(self.truth.refused)}")
        return wrong

    async def check_spend(self) -> list[str]:
        """Every window of every scope, in both directions."""
        found: Sums = {}
        for key, value in (await read_compacted(self._settings, self._settings.topic(Topic.SPEND))).items():
            record = json.loads(value)
            usage = {name: Decimal(amount) for name, amount in record["usage"].items()}
            found[key] = (Decimal(record["spent_usd"]), record["events"], usage)
        return _differences("spend", self._kept_windows(), found)

    def _kept_windows(self) -> Sums:
        return self.truth.kept_windows(self.people.since_ms, self._from_first)

    async def check_flags(self) -> list[str]:
        """Every scope with a limit says what its spend demands and what is reserved, and `global` whether all is
        stopped by hand.
        """
        topic = await read_compacted(self._settings, self._settings.topic(Topic.FLAGS))
        flags = {scope: json.loads(value) for scope, value in topic.items()}
        demands = self._demands(flags)
        wrong = [f"{scope} has a flag and no budget" for scope in flags.keys() - demands.keys()]
        for scope, demanded in demands.items():
            flag = flags.get(scope, {"state": "ok", "blocked": False})
            note = self.stop.sentence if scope == "global" and self.stop.is_in_force else None
            if flag.get("note") != note and not (flag.get("budget") or "").startswith("plan/"):
                wrong.append(f"the flag of {scope} is {flag['state']} with the note {flag.get('note')}, not {note}")
            if note is None:
                wrong += self._unlike(scope, flag, demanded)
            elif (flag["state"], flag["blocked"], flag.get("until")) != ("stopped", True, None):
                wrong.append(f"the flag of {scope} is {flag['state']} and not stopped")
        return wrong

    def _unlike(self, scope: str, flag: dict[str, Any], demanded: "list[Demand]") -> list[str]:
        state, wrong = _state(demanded), []
        shown = next((demand for demand in demanded if demand.limit.name == flag.get("budget")), None)
        if (flag["state"], flag["blocked"]) != (state, state == "blocked"):
            spent = [f"{demand.spent} of {demand.limit}" for demand in demanded]
            wrong.append(f"the flag of {scope} is {flag['state']}, not {state} at {', '.join(spent)}")
        elif state != "ok":
            told = (_measure(flag), flag["window"]["start"])
            if shown is None or _STATES[shown.level] != state or told != (shown.spent, shown.start):
                wrong.append(f"the flag of {scope} says {told} of {flag.get('budget')}, not {shown}")
        if "incomplete" in flag:
            wrong.append(f"the flag of {scope} is still incomplete")
        now_ms = _now_ms()
        reserved = self.accounts.reserved(scope, flag.get("unit") or "", now_ms)
        if Decimal(flag.get("reserved", "0")) != reserved:
            wrong.append(f"the flag of {scope} says that {flag.get('reserved')} is reserved, not {reserved}")
        if "unit" not in flag and all(self.accounts.reserved(scope, d.limit.unit, now_ms) for d in demanded):
            wrong.append(f"something is reserved of {scope}, and no flag says so")
        return wrong

    def _demands(self, scopes: Iterable[str] = ()) -> "dict[str, list[Demand]]":
        """What limits these scopes and all that something was spent in, with what is spent of it now."""
        rules, now_ms = self.people.rules, _now_ms()
        exact = {limit.scope for limit in rules.limits.values() if "*" not in limit.scope}
        found = {}
        for scope in self.truth.scopes().union(exact, scopes):
            limits = rules.on(scope)
            if limits:
                found[scope] = [
                    Demand(limit, *self.truth.measured(scope, limit.calendar, now_ms, limit.unit)) for limit in limits
                ]
        return found

    async def check_alerts(self, messages: list[dict[str, Any]]) -> list[str]:
        """Each budget's alert says what the month's spend demands, and one message in the channel says the same.

        Both follow a moment behind: the numbers of an alert every five seconds. `messages` have the bodies as they are.
        """
        topic = await read_compacted(self._settings, self._settings.topic(Topic.ALERTS))
        alerts = {key: json.loads(value) for key, value in topic.items()}
        told = [message["metadata"]["event_payload"] for message in messages]
        shown = {payload["alert_key"]: payload for payload in told}
        # A stop has a message each time, so that nobody overlooks it.
        wrong = one_message_per_alert(payload["alert_key"] for payload in told if payload["alert_key"] != STOP_ALERT)
        wrong += self._wrong_levels(alerts)
        for key, alert in alerts.items():
            message = shown.pop(key, None)
            if message is None:
                # A warning that ended before it was delivered is not posted.
                if (alert["level"], alert["peak_level"]) != ("resolved", "warning"):
                    wrong.append(f"nobody was told of {key}, which is {alert['level']}")
            elif message["level"] != alert["level"] or (
                alert["kind"] in ("budget", "stop") and message["revision"] != alert["revision"]
            ):
                wrong.append(f"the message of {key} tells {message}, not {alert['level']!r} {alert['revision']}")
        return wrong + [f"a message is about {key}, which is no alert" for key in shown]

    def _wrong_levels(self, alerts: dict[str, Any]) -> list[str]:
        wrong, known = [], {UNPRICED_ALERT, STOP_ALERT}
        for scope, demanded in self._demands().items():
            for demand in demanded:
                limit, level = demand.limit, demand.level
                key = f"budget/{limit.name}|{scope}|{limit.calendar}|{demand.start}"
                known.add(key)
                alert = alerts.get(key)
                if level == "ok":
                    if alert is not None and alert["level"] != "resolved":
                        wrong.append(f"the alert of {key} is {alert['level']!r} at {demand.spent}")
                elif alert is None or alert["level"] != level or _measure(alert) != demand.spent:
                    found = alert and (alert["level"], alert["spent"])
                    wrong.append(f"the alert of {key} is {found}, not {level} at {demand.spent}")
        if any(counted.status == "unpriced" for counted in self.truth.counted.values()):
            found = alerts.get(UNPRICED_ALERT, {}).get("level")
            wrong += [] if found == "warning" else [f"the alert {UNPRICED_ALERT} is {found}, not warning"]
        wrong += self._wrong_stop(alerts.get(STOP_ALERT))
        return wrong + [f"{key} is an alert without a reason" for key in alerts.keys() - known]

    def _wrong_stop(self, alert: dict[str, Any] | None) -> list[str]:
        """The alert fires while all is stopped by hand, and then is resolved."""
        if not self.stop.times:
            return [] if alert is None else [f"{STOP_ALERT} is there, and nobody stopped anything"]
        found = alert and (alert["level"], alert["reason"])
        if self.stop.is_in_force:
            wanted = ("emergency", self.stop.sentence)
            return [] if found == wanted else [f"the alert {STOP_ALERT} is {found}, not {wanted}"]
        # Somebody may have stopped and resumed before a worker heard of it.
        return [] if not found or found[0] == "resolved" else [f"the alert {STOP_ALERT} is {found}, not resolved"]

    def check_clickhouse(self) -> list[str]:
        """The view `usage` in total and per user, spend, flags and dead letters. Blocks."""
        truth = self.truth
        wrong = []
        ((events, cost),) = ask_clickhouse(self._settings, "SELECT count(), toString(sum(cost_usd)) FROM usage")
        if (events, Decimal(cost)) != (len(truth.counted), truth.total):
            wrong.append(f"ClickHouse has {events} events of {cost} USD, not {len(truth.counted)} of {truth.total}")
        rows = ask_clickhouse(self._settings, "SELECT user, count(), toString(sum(cost_usd)) FROM usage GROUP BY user")
        users = {user: (events, Decimal(cost)) for user, events, cost in rows}
        wrong += [
            f"ClickHouse has {users.get(user)} of user {user}, not {truth.users.get(user)}"
            for user in users.keys() | truth.users.keys()
            if users.get(user) != truth.users.get(user)
        ]
        rows = ask_clickhouse(self._settings, f"SELECT {_KEY}, toString(spent_usd), events, usage FROM spend")
        spend: Sums = {key: (Decimal(spent), events, dict(usage)) for key, spent, events, usage in rows}
        wrong += _differences("ClickHouse spend", self._kept_windows(), spend)
        flags = ask_clickhouse(self._settings, "SELECT scope, state FROM flags_current")
        demands = self._demands(scope for scope, _ in flags)
        for scope, state in flags:
            expected = _state(demands[scope]) if scope in demands else "no flag"
            if scope == "global" and self.stop.is_in_force:
                expected = "stopped"
            if state != expected:
                wrong.append(f"ClickHouse says that {scope} is {state}, not {expected}")
        rows = ask_clickhouse(self._settings, "SELECT reason, count() FROM dead_letters GROUP BY reason")
        letters = {str(reason): int(number) for reason, number in rows}
        if letters != dict(truth.refused):
            wrong.append(f"ClickHouse has dead letters {letters}, not {dict(truth.refused)}")
        return wrong + self.accounts.check_clickhouse()

    def check_clickhouse_alerts(self) -> list[str]:
        """The latest revision of each alert as `check_alerts` has it, and no revision twice. Blocks.

        Those of an unpriced model are times, and two partitions may tell of it in the same millisecond.
        """
        rows = ask_clickhouse(self._settings, "SELECT key, level, toString(spent), unit, reason FROM alerts_current")
        names = ("level", "spent", "unit", "reason")
        wrong = self._wrong_levels({key: dict(zip(names, values, strict=True)) for key, *values in rows})
        repeated = (
            "SELECT key, revision, count() AS n FROM alerts WHERE kind IN ('budget', 'stop') "
            "GROUP BY key, revision HAVING n > 1"
        )
        wrong += [f"revision {r} of {key} is there {n} times" for key, r, n in ask_clickhouse(self._settings, repeated)]
        return [f"ClickHouse: {words}" for words in wrong]


_STATES: Final = {"ok": "ok", "warning": "warning", "critical": "blocked", "emergency": "blocked"}


@dataclass(frozen=True, slots=True)
class Demand:
    """A limit of a scope, what is spent of it (of USD in 10⁻¹²), and the start of its window."""

    limit: Limit
    spent: Decimal
    start: str

    @property
    def level(self) -> str:
        """The threshold that is reached."""
        return level(self.limit, self.spent)


def _state(demanded: list[Demand]) -> str:
    """Of the worst of them."""
    return max((_STATES[demand.level] for demand in demanded), key=("ok", "warning", "blocked").index)


def _measure(said: Mapping[str, Any]) -> Decimal:
    """What a flag or an alert says to be spent, of USD in 10⁻¹²."""
    return Decimal(said["spent"]) * (10**12 if said["unit"] == "usd" else 1)


def _now_ms() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


def one_message_per_alert(keys: Any) -> list[str]:
    """Keys of the alerts that messages were posted for: none may appear twice."""
    return [f"{n} messages were posted for {key}" for key, n in Counter(keys).items() if n > 1]


def _differences(what: str, expected: Sums, found: Sums) -> list[str]:
    expected = kept(expected, found)
    return [
        f"{what} {key} is {found.get(key)}, not {expected.get(key)}"
        for key in sorted(expected.keys() | found.keys())
        if expected.get(key) != found.get(key)
    ]
