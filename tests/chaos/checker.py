"""Compares every output with the truth. Each `check_…` returns what is wrong, in words; an empty list is the proof."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from tests.chaos.log_reader import LogReader
from tests.chaos.truth import UNPRICED_ALERT, Sums, Truth, kept, window_start

from tollgate.runtime.kafka import read_compacted
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic
from tollgate.sinks.clickhouse import connect

STOP_ALERT: Final = "stop/global"
_KEY: Final = "concat(scope, '|', window, '|', formatDateTime(window_start, '%Y-%m-%dT%H:%i:%SZ'))"


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
    """Reads what grows on from where it was, and what is compacted whole. `budgets` has the month's limit by scope."""

    def __init__(self, settings: Settings, truth: Truth, budgets: Mapping[str, str], stop: Stopped) -> None:
        self.truth = truth
        self.budgets = budgets
        self.stop = stop
        self._settings = settings
        partitions = settings.usage_partitions
        self._usage = LogReader(settings, settings.topic(Topic.USAGE), partitions)
        self._priced = LogReader(settings, settings.topic(Topic.PRICED), partitions)
        self._letters = LogReader(settings, settings.topic(Topic.DEAD_LETTERS), 1)
        self._seen: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._places: Counter[tuple[str, str]] = Counter()

    async def take_usage(self) -> None:
        """Take in what the usage topic has now."""
        async for record in self._usage.read():
            self.truth.take(record.partition, record.value)

    async def check_usage(self) -> list[str]:
        """Nothing that was acknowledged may be missing. To be called before the other checks."""
        await self.take_usage()
        return self.truth.unlike_what_was_sent()

    async def check_kafka(self) -> list[str]:
        """All that the worker wrote."""
        return [
            *await self.check_priced(),
            *await self.check_dead_letters(),
            *await self.check_spend(),
            *await self.check_flags(),
        ]

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
            self._places[headers["source_partition"], headers["source_offset"]] += 1
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
        return _differences("spend", self.truth.windows, found)

    async def check_flags(self) -> list[str]:
        """Every budget's scope says what its month's spend demands, and `global` whether all is stopped by hand."""
        topic = await read_compacted(self._settings, self._settings.topic(Topic.FLAGS))
        flags = {scope: json.loads(value) for scope, value in topic.items()}
        wrong = [f"{scope} has a flag and no budget" for scope in flags.keys() - self.budgets.keys()]
        month = window_start("month", datetime.now(UTC))
        for scope in self.budgets:
            flag = flags.get(scope, {"state": "ok", "blocked": False})
            note = self.stop.sentence if scope == "global" and self.stop.is_in_force else None
            if flag.get("note") != note:
                wrong.append(f"the flag of {scope} is {flag['state']} with the note {flag.get('note')}, not {note}")
            if note is not None:
                if (flag["state"], flag["blocked"], flag.get("until")) != ("stopped", True, None):
                    wrong.append(f"the flag of {scope} is {flag['state']} and not stopped")
                continue
            spent, level = self._level(scope, month)
            state = _STATES[level]
            if (flag["state"], flag["blocked"]) != (state, state == "blocked"):
                wrong.append(f"the flag of {scope} is {flag['state']}, not {state} at {spent} USD")
            elif state != "ok" and (Decimal(flag["spent"]) != spent or flag["window"]["start"] != month):
                wrong.append(f"the flag of {scope} says {flag['spent']} since {flag['window']['start']}, not {spent}")
        return wrong

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
                wrong.append(f"the message of {key} tells {message}, not {alert['level']} {alert['revision']}")
        return wrong + [f"a message is about {key}, which is no alert" for key in shown]

    def _wrong_levels(self, alerts: dict[str, Any]) -> list[str]:
        month = window_start("month", datetime.now(UTC))
        wrong = []
        for scope in self.budgets:
            spent, level = self._level(scope, month)
            key = f"budget/{scope}:month:usd|{scope}|month|{month}"
            alert = alerts.get(key)
            if level == "ok":
                if alert is not None and alert["level"] != "resolved":
                    wrong.append(f"the alert of {scope} is {alert['level']} at {spent} USD")
            elif alert is None or alert["level"] != level or Decimal(alert["spent"]) != spent:
                found = alert and (alert["level"], alert["spent"])
                wrong.append(f"the alert of {scope} is {found}, not {level} at {spent} USD")
        if any(counted.status == "unpriced" for counted in self.truth.counted.values()):
            found = alerts.get(UNPRICED_ALERT, {}).get("level")
            wrong += [] if found == "warning" else [f"the alert {UNPRICED_ALERT} is {found}, not warning"]
        wrong += self._wrong_stop(alerts.get(STOP_ALERT))
        budgets = {f"budget/{scope}:month:usd|{scope}|month|{month}" for scope in self.budgets}
        return wrong + [
            f"{key} is an alert without a reason" for key in alerts.keys() - budgets - {UNPRICED_ALERT, STOP_ALERT}
        ]

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

    def _level(self, scope: str, month: str) -> tuple[Decimal, str]:
        """The month's spend and the threshold it has reached: 80, 100 and 150 % of the limit."""
        spent = self.truth.spent(scope, "month", month)
        percent = spent * 100 / Decimal(self.budgets[scope])
        level = (
            "emergency" if percent >= 150 else "critical" if percent >= 100 else "warning" if percent >= 80 else "ok"
        )
        return spent, level

    def check_clickhouse(self) -> list[str]:
        """The view `usage` in total and per user, spend, flags and dead letters. Blocks."""
        client = connect(self._settings)
        truth = self.truth
        wrong = []
        ((events, cost),) = client.query("SELECT count(), toString(sum(cost_usd)) FROM usage").result_rows
        if (events, Decimal(cost)) != (len(truth.counted), truth.total):
            wrong.append(f"ClickHouse has {events} events of {cost} USD, not {len(truth.counted)} of {truth.total}")
        rows = client.query("SELECT user, count(), toString(sum(cost_usd)) FROM usage GROUP BY user").result_rows
        users = {user: (events, Decimal(cost)) for user, events, cost in rows}
        wrong += [
            f"ClickHouse has {users.get(user)} of user {user}, not {truth.users.get(user)}"
            for user in users.keys() | truth.users.keys()
            if users.get(user) != truth.users.get(user)
        ]
        rows = client.query(f"SELECT {_KEY}, toString(spent_usd), events, usage FROM spend").result_rows
        spend: Sums = {key: (Decimal(spent), events, dict(usage)) for key, spent, events, usage in rows}
        wrong += _differences("ClickHouse spend", truth.windows, spend)
        month = window_start("month", datetime.now(UTC))
        for scope, state in client.query("SELECT scope, state FROM flags_current").result_rows:
            expected = _STATES[self._level(scope, month)[1]] if scope in self.budgets else "no flag"
            if scope == "global" and self.stop.is_in_force:
                expected = "stopped"
            if state != expected:
                wrong.append(f"ClickHouse says that {scope} is {state}, not {expected}")
        rows = client.query("SELECT reason, count() FROM dead_letters GROUP BY reason").result_rows
        letters = {str(reason): int(number) for reason, number in rows}
        if letters != dict(truth.refused):
            wrong.append(f"ClickHouse has dead letters {letters}, not {dict(truth.refused)}")
        return wrong

    def check_clickhouse_alerts(self) -> list[str]:
        """The latest revision of each alert as `check_alerts` has it, and no revision twice. Blocks.

        Those of an unpriced model are times, and two partitions may tell of it in the same millisecond.
        """
        client = connect(self._settings)
        rows = client.query("SELECT key, level, toString(spent), reason FROM alerts_current").result_rows
        names = ("level", "spent", "reason")
        wrong = self._wrong_levels({key: dict(zip(names, values, strict=True)) for key, *values in rows})
        repeated = (
            "SELECT key, revision, count() AS n FROM alerts WHERE kind IN ('budget', 'stop') "
            "GROUP BY key, revision HAVING n > 1"
        )
        wrong += [f"revision {r} of {key} is there {n} times" for key, r, n in client.query(repeated).result_rows]
        return [f"ClickHouse: {words}" for words in wrong]


_STATES: Final = {"ok": "ok", "warning": "warning", "critical": "blocked", "emergency": "blocked"}


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
