"""Checks the checker: one output at a time is falsified, and the checker must see each."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiokafka import AIOKafkaProducer, ConsumerRecord
from tests.chaos.checker import STOP_ALERT, Checker
from tests.chaos.world import Say, World

from tollgate.runtime.kafka import client_options, read_to_end
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import LETTER_BYTES_MAX, Topic
from tollgate.sinks.clickhouse import connect

_PICO = "toDecimal128('0.000000000001', 12)"


async def unseen_falsifications(world: World, say: Say) -> list[str]:
    """What the checker should have seen and did not. Leaves everything stopped and wrong."""
    checker = world.checker
    assert checker is not None
    wrong = await world.stop_roles()
    falsifier = _Falsifier(world, checker)
    for name, falsify, look, words in (*falsifier.account_cases(), *falsifier.cases()):
        before = set(await look())
        await falsify()
        if any(words in found for found in set(await look()) - before):
            say(f"falsified: {name}: seen")
        else:
            wrong.append(f"the checker does not see {name}")
    return wrong


_RESERVATION: Final = "tollgate.reservation.v1"
_CREDIT: Final = "tollgate.credit.v1"

Case = tuple[str, Callable[[], Awaitable[None]], Callable[[], Awaitable[list[str]]], str]


def _is_of_meter(record: ConsumerRecord) -> bool:
    scope, calendar, _ = record.key.decode().rsplit("|", 2)
    return "+" in scope or "@" in calendar


def _is_of_user(record: ConsumerRecord) -> bool:
    """Of any: one who reserves has no flag where all spending was stopped before their first grant."""
    return bool(record.key.startswith(b"user/"))


def _is_granted(record: ConsumerRecord) -> bool:
    return bool(json.loads(record.value)["granted"])


class _Falsifier:
    def __init__(self, world: World, checker: Checker) -> None:
        self._world = world
        self._checker = checker
        self._messages = [message.body for message in world.slack.messages]

    def cases(self) -> list[Case]:
        checker = self._checker
        return [
            ("an event that is priced twice", lambda: self._copy(Topic.PRICED), checker.check_priced, "priced 2 times"),
            (
                "a cost that is a picodollar too high",
                lambda: self._copy(Topic.PRICED, cost_usd="0.000000000001"),
                checker.check_priced,
                "costs 0.000000000001 USD",
            ),
            ("a sum of another amount", lambda: self._copy(Topic.SPEND, spent_usd="1"), checker.check_spend, "spend"),
            (
                "a sum of another count",
                lambda: self._copy(Topic.SPEND, events=1_000_000),
                checker.check_spend,
                "1000000",
            ),
            (
                "a flag that says something else",
                lambda: self._copy(Topic.FLAGS, _is_of_user, state="stopped", blocked=True, note="?"),
                checker.check_flags,
                "is stopped",
            ),
            ("a dead letter too many", lambda: self._copy(Topic.DEAD_LETTERS), checker.check_dead_letters, "2 dead"),
            ("an alert of another level", lambda: self._copy(Topic.ALERTS, level="?"), self._check_alerts, "'?'"),
            ("a message too many", self._double_message, self._check_alerts, "2 messages"),
            (
                "a row too many in ClickHouse",
                lambda: self._in_clickhouse("usage_events", "concat(event_id, '?') AS event_id"),
                self._check_clickhouse,
                "ClickHouse has",
            ),
            (
                "a cost of another amount in ClickHouse",
                lambda: self._in_clickhouse("usage_events", f"cost_usd + {_PICO} AS cost_usd, version + 1 AS version"),
                self._check_clickhouse,
                "of user",
            ),
            (
                "a sum of another amount in ClickHouse",
                lambda: self._in_clickhouse(
                    "spend_records", f"spent_usd + {_PICO} AS spent_usd, source_offset + 1000000 AS source_offset"
                ),
                self._check_clickhouse,
                "ClickHouse spend",
            ),
            (
                "an alert of another level in ClickHouse",
                # A revision that the alert cannot have by itself: else it is there twice, which is the next case.
                lambda: self._in_clickhouse(
                    "alert_records",
                    "'?' AS level, revision + 1000000 AS revision, source_offset + 1000000 AS source_offset",
                ),
                self._check_clickhouse_alerts,
                "ClickHouse: the alert",
            ),
            (
                "a revision of an alert that is twice in ClickHouse",
                lambda: self._in_clickhouse(
                    "alert_records", "source_offset + 2000000 AS source_offset", "kind = 'budget'"
                ),
                self._check_clickhouse_alerts,
                "is there 2 times",
            ),
            (
                "a flag that says something else in ClickHouse",
                lambda: self._in_clickhouse(
                    "flag_records", "concat(state, '?') AS state, source_offset + 1000000 AS source_offset"
                ),
                self._check_clickhouse,
                "?, not",
            ),
            ("an event that was never priced", self._uncounted_event, checker.check_priced, "was never priced"),
            (
                "an event that nobody sent",
                lambda: self._copy(Topic.USAGE, self._is_home("tollgate.usage.v1"), id="!!"),
                self._check_usage,
                "!! was never sent",
            ),
        ]

    def account_cases(self) -> list[Case]:
        """Meters, reservations, credits, and what ClickHouse has of them."""
        decisions, balances = self._checker.check_decisions, self._checker.accounts.check_balances
        check_clickhouse = self._check_clickhouse
        return [
            (
                "a meter's sum of another amount",
                lambda: self._copy(Topic.SPEND, _is_of_meter, spent_usd="0.000000000001"),
                self._checker.check_spend,
                "(Decimal('1E-12')",
            ),
            (
                "a meter without its past",
                lambda: self._copy(Topic.METERS, filled=False),
                self._checker.check_meters,
                "has no past",
            ),
            (
                "a flag without a budget",
                lambda: self._copy(Topic.FLAGS, key=b"agent/NOBODY", scope="agent/NOBODY"),
                self._checker.check_flags,
                "has a flag and no budget",
            ),
            (
                "something that stays reserved",
                lambda: self._copy(Topic.FLAGS, _is_of_user, reserved="7"),
                self._checker.check_flags,
                "says that 7 is reserved",
            ),
            (
                "a flag that stays incomplete",
                lambda: self._copy(Topic.FLAGS, _is_of_user, incomplete=True),
                self._checker.check_flags,
                "is still incomplete",
            ),
            (
                "a reservation that is answered once more",
                lambda: self._copy(Topic.DECISIONS, _is_granted),
                decisions,
                "was answered",
            ),
            (
                "a reservation that nobody asked for",
                lambda: self._copy(Topic.DECISIONS, _is_granted, reservation_id="?"),
                decisions,
                "did not ask",
            ),
            ("a reservation without an answer", self._unanswered_reservation, decisions, "was not answered"),
            ("a grant beyond the limit", self._granted_beyond, decisions, "beyond of keep-0 is granted"),
            (
                "a balance of another amount",
                lambda: self._copy(Topic.BALANCES, available="0.123456789"),
                balances,
                "'available': 123456789,",
            ),
            (
                "credits that are made",
                lambda: self._copy(Topic.BALANCES, granted="1000000000"),
                balances,
                "were made or lost",
            ),
            ("credits that were never granted", self._uncounted_credits, balances, "the balance of lapse-0"),
            (
                "an entry that nobody sent",
                lambda: self._copy(Topic.ENTRIES, self._is_home(_CREDIT), id="!"),
                self._check_usage,
                "event ! was never sent",
            ),
            (
                "a balance of another amount in ClickHouse",
                lambda: self._in_clickhouse(
                    "balance_records",
                    "burned + toDecimal128('0.5', 9) AS burned, source_offset + 1000000 AS source_offset",
                ),
                check_clickhouse,
                "ClickHouse: credits of",
            ),
            (
                "an entry too many in ClickHouse",
                lambda: self._in_clickhouse("entry_records", "concat(id, '?') AS id"),
                check_clickhouse,
                "ClickHouse has entries",
            ),
            (
                "a decision too many in ClickHouse",
                lambda: self._in_clickhouse("decision_records", "concat(reservation_id, '?') AS reservation_id"),
                check_clickhouse,
                "ClickHouse has the decision",
            ),
            (
                "a meter's sum of another amount in ClickHouse",
                lambda: self._in_clickhouse(
                    "spend_records",
                    f"spent_usd + {_PICO} AS spent_usd, source_offset + 3000000 AS source_offset",
                    "position(calendar, '@') > 0",
                ),
                check_clickhouse,
                "@",
            ),
        ]

    async def _copy(
        self,
        topic: Topic,
        chosen: Callable[[ConsumerRecord], bool] = lambda _: True,
        key: bytes | None = None,
        **changes: Any,
    ) -> None:
        """Write the topic's last whole record that is chosen again, with other values."""
        last = None
        async for record in read_to_end(self._world.settings, self._world.settings.topic(topic)):
            is_whole = record.value and (not changes or record.value[-1:] == b"}")
            if is_whole and (topic is not Topic.USAGE or record.key) and chosen(record):
                last = record
        assert last is not None, f"{topic} is empty"
        value = json.dumps(json.loads(last.value) | changes).encode() if changes else last.value
        # The record copied may be the largest that the topic takes: a dead letter holds what was refused.
        producer = AIOKafkaProducer(**client_options(self._world.settings), max_request_size=LETTER_BYTES_MAX)
        async with producer:
            await producer.send_and_wait(
                last.topic, value, key=key or last.key, partition=last.partition, headers=list(last.headers)
            )

    async def _in_clickhouse(self, table: str, replaced: str, where: str = "true") -> None:
        statement = f"INSERT INTO {table} SELECT * REPLACE ({replaced}) FROM {table} FINAL WHERE {where} LIMIT 1"
        await asyncio.to_thread(lambda: connect(self._world.settings).command(statement))

    async def _double_message(self) -> None:
        named = ((body["metadata"]["event_payload"]["alert_key"], body) for body in self._messages)
        self._messages.append(next(body for key, body in named if key != STOP_ALERT))

    async def _uncounted_event(self) -> None:
        """One that the usage topic has and the worker, which has ended, cannot count."""
        await self._copy(Topic.USAGE, self._is_home("tollgate.usage.v1"), id="?")
        await self._checker.take_usage()

    async def _uncounted_credits(self) -> None:
        await self._copy(Topic.ENTRIES, self._is_home(_CREDIT, b"lapse-0"), id="ungranted")
        await self._checker.take_usage()

    async def _unanswered_reservation(self) -> None:
        await self._copy(Topic.USAGE, self._is_home(_RESERVATION), id="unanswered")
        await self._checker.take_usage()

    async def _granted_beyond(self) -> None:
        """A reservation of more than a limit is, and a worker that grants it."""
        data = {"amount_usd": "1000", "ttl_seconds": 3600, "provider": "chaos", "model": "alpha"}
        await self._copy(Topic.USAGE, self._is_home(_RESERVATION, b"keep-0"), id="beyond", data=data)
        await self._checker.take_usage()
        await self._copy(
            Topic.DECISIONS, _is_granted, reservation_id="beyond", user="keep-0", amount_usd="1000", credits="0"
        )

    def _is_home(self, kind: str, user: bytes = b"") -> Callable[[ConsumerRecord], bool]:
        """Tells whether a record is an entry of the type in the partition of its user, of any user if none is given."""

        def is_one(record: ConsumerRecord) -> bool:
            if record.value[-1:] != b"}":
                return False
            entry = json.loads(record.value)
            subject = str(entry.get("subject", "")).encode()
            home = partition_of(subject, self._world.settings.usage_partitions)
            return bool(entry["type"] == kind and home == record.partition and user in (b"", subject))

        return is_one

    async def _check_alerts(self) -> list[str]:
        return await self._checker.check_alerts(self._messages)

    async def _check_usage(self) -> list[str]:
        return await self._checker.check_usage()

    async def _check_clickhouse_alerts(self) -> list[str]:
        return await asyncio.to_thread(self._checker.check_clickhouse_alerts)

    async def _check_clickhouse(self) -> list[str]:
        return await asyncio.to_thread(self._checker.check_clickhouse)
