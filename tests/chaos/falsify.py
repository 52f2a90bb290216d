"""Checks the checker: one output at a time is falsified, and the checker must see each."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import AIOKafkaProducer
from tests.chaos.checker import STOP_ALERT, Checker
from tests.chaos.world import Say, World

from tollgate.runtime.kafka import client_options, read_to_end
from tollgate.schemas.topics import LETTER_BYTES_MAX, Topic
from tollgate.sinks.clickhouse import connect

_PICO = "toDecimal128('0.000000000001', 12)"


async def unseen_falsifications(world: World, say: Say) -> list[str]:
    """What the checker should have seen and did not. Leaves everything stopped and wrong."""
    checker = world.checker
    assert checker is not None
    wrong = await world.stop_roles()
    falsifier = _Falsifier(world, checker)
    for name, falsify, look, words in falsifier.cases():
        before = set(await look())
        await falsify()
        if any(words in found for found in set(await look()) - before):
            say(f"falsified: {name}: seen")
        else:
            wrong.append(f"the checker does not see {name}")
    return wrong


Case = tuple[str, Callable[[], Awaitable[None]], Callable[[], Awaitable[list[str]]], str]


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
                lambda: self._copy(Topic.FLAGS, state="stopped", blocked=True, note="?"),
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
            ("an event that nobody sent", lambda: self._copy(Topic.USAGE, id="!"), self._check_usage, "was never sent"),
        ]

    async def _copy(self, topic: Topic, **changes: Any) -> None:
        """Write the topic's last whole record again, with other values."""
        last = None
        async for record in read_to_end(self._world.settings, self._world.settings.topic(topic)):
            if record.value and (topic is not Topic.USAGE or record.key) and (not changes or record.value[-1:] == b"}"):
                last = record
        assert last is not None, f"{topic} is empty"
        value = json.dumps(json.loads(last.value) | changes).encode() if changes else last.value
        # The record copied may be the largest that the topic takes: a dead letter holds what was refused.
        producer = AIOKafkaProducer(**client_options(self._world.settings), max_request_size=LETTER_BYTES_MAX)
        async with producer:
            await producer.send_and_wait(
                last.topic, value, key=last.key, partition=last.partition, headers=list(last.headers)
            )

    async def _in_clickhouse(self, table: str, replaced: str, where: str = "true") -> None:
        statement = f"INSERT INTO {table} SELECT * REPLACE ({replaced}) FROM {table} FINAL WHERE {where} LIMIT 1"
        await asyncio.to_thread(lambda: connect(self._world.settings).command(statement))

    async def _double_message(self) -> None:
        named = ((body["metadata"]["event_payload"]["alert_key"], body) for body in self._messages)
        self._messages.append(next(body for key, body in named if key != STOP_ALERT))

    async def _uncounted_event(self) -> None:
        """One that the usage topic has and the worker, which has ended, cannot count."""
        await self._copy(Topic.USAGE, id="?")
        await self._checker.take_usage()

    async def _check_alerts(self) -> list[str]:
        return await self._checker.check_alerts(self._messages)

    async def _check_usage(self) -> list[str]:
        return await self._checker.check_usage()

    async def _check_clickhouse_alerts(self) -> list[str]:
        return await asyncio.to_thread(self._checker.check_clickhouse_alerts)

    async def _check_clickhouse(self) -> list[str]:
        return await asyncio.to_thread(self._checker.check_clickhouse)
