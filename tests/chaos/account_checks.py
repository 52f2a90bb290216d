"""Compares decisions about reservations and balances of credits with the truth, in Kafka and in ClickHouse."""

import json
from collections import Counter, defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tests.chaos.accounts import Replay, nano
from tests.chaos.asking import ask_clickhouse
from tests.chaos.limits import People
from tests.chaos.log_reader import LogReader
from tests.chaos.truth import Truth

from tollgate.runtime.kafka import read_compacted
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import DECISION_PARTITIONS, Topic

_PARTS = ("granted", "burned", "expired", "available", "reserved")
# A decision is told by user, id and time; of one at the same millisecond ClickHouse may keep either.
_Told = tuple[str, str, int]


class AccountChecker:
    """Reads decisions on from where it was, and balances whole."""

    def __init__(self, settings: Settings, truth: Truth, people: People) -> None:
        self._settings = settings
        self._truth = truth
        self._people = people
        self._reader = LogReader(settings, settings.topic(Topic.DECISIONS), DECISION_PARTITIONS)
        self._decisions: dict[tuple[str, str], list[bytes]] = defaultdict(list)
        self._replays: dict[str, Replay] = {}

    async def check_decisions(self, *, was_stopped: bool) -> list[str]:
        """Each reservation has one decision, the same each time it is told, and one that may be granted or denied.

        `was_stopped`: all spending was stopped by hand at some time, and decisions may say so.
        """
        async for record in self._reader.read():
            said = json.loads(record.value)
            self._decisions[said["user"], said["reservation_id"]].append(record.value)
        replayed = self._truth.accounts.replayed(self._people.rules, self._decisions, was_stopped=was_stopped)
        self._replays = {replay.user: replay for replay in replayed}
        wrong = [words for replay in self._replays.values() for words in replay.wrong]
        asked = {
            (user, step.id)
            for user, steps in self._truth.accounts.steps.items()
            for step in steps
            if step.type == "tollgate.reservation.v1"
        }
        return wrong + [
            f"{who} got a decision about {what} and did not ask"
            for who, what in self._decisions
            if (who, what) not in asked
        ]

    def answers(self) -> dict[str, int]:
        """How many decisions there are of each kind: `granted`, or the error."""
        said = (json.loads(value) for values in self._decisions.values() for value in values)
        return dict(Counter("granted" if one["granted"] else one["error"] for one in said))

    def reserved(self, scope: str, unit: str, now_ms: int) -> Decimal:
        """What decisions and log leave reserved of a scope, in USD, credits or reservations."""
        user = scope.partition("+")[0].removeprefix("user/")
        replay = self._replays.get(user) if scope.startswith("user/") else None
        return replay.reserved(scope, unit, now_ms) if replay is not None else Decimal(0)

    async def check_balances(self) -> list[str]:
        """Each balance is what was granted, burned, expired and reserved, and nothing is made or lost."""
        topic = await read_compacted(self._settings, self._settings.topic(Topic.BALANCES))
        found = {user: {part: nano(json.loads(value)[part]) for part in _PARTS} for user, value in topic.items()}
        return self._unlike(found, "")

    def _unlike(self, found: dict[str, dict[str, int]], where: str) -> list[str]:
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        own, wrong = self._truth.accounts.credits, []
        for user in sorted(own.keys() | found.keys()):
            reserved = nano(str(self.reserved(f"user/{user}", "credits", now_ms)))
            per_day = self._people.rules.free_of(user)[0]
            right, said = own[user].said(per_day, reserved, now_ms), found.get(user)
            if said != right:
                wrong.append(f"{where}the balance of {user} is {said}, not {right}")
            if said is not None and said["granted"] != sum(said[part] for part in _PARTS[1:]):
                wrong.append(f"{where}credits of {user} were made or lost: {said}")
        return wrong

    def check_clickhouse(self) -> list[str]:
        """Balances, entries and decisions. Blocks."""
        columns = ", ".join(f"toString({part})" for part in _PARTS)
        rows = ask_clickhouse(self._settings, f"SELECT user, {columns} FROM balances")
        found = {user: dict(zip(_PARTS, map(nano, parts), strict=True)) for user, *parts in rows}
        wrong = self._unlike(found, "ClickHouse: ")
        rows = ask_clickhouse(self._settings, "SELECT user, count(), toString(sum(credits)) FROM entries GROUP BY user")
        granted = {user: (entries, nano(amount)) for user, entries, amount in rows}
        own = self._truth.accounts.credits.items()
        right = {user: (given.entries, given.granted) for user, given in own if given.entries}
        wrong += [
            f"ClickHouse has entries {granted.get(user)} of {user}, not {right.get(user)}"
            for user in sorted(granted.keys() | right.keys())
            if granted.get(user) != right.get(user)
        ]
        return wrong + self._unlike_decisions(
            ask_clickhouse(
                self._settings,
                "SELECT user, reservation_id, toUnixTimestamp64Milli(decided_at), granted, error FROM decisions",
            )
        )

    def _unlike_decisions(self, rows: Any) -> list[str]:
        told: dict[_Told, set[tuple[bool, str]]] = defaultdict(set)
        for (user, name), values in self._decisions.items():
            for said in map(json.loads, values):
                at_ms = round(datetime.fromisoformat(said["decided_at"]).timestamp() * 1000)
                told[user, name, at_ms].add((said["granted"], said.get("error") or ""))
        found = {(user, name, at_ms): (bool(granted), str(error)) for user, name, at_ms, granted, error in rows}
        wrong = [f"ClickHouse lacks the decision {key}" for key in told.keys() - found.keys()]
        return wrong + [
            f"ClickHouse has the decision {key} as {said}, not {told.get(key)}"
            for key, said in found.items()
            if said not in told.get(key, ())
        ]
