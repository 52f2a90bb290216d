"""Budgets of every kind are set while 2,000 events a second come: sums are exact once flags say that they are whole.

Each event of the organisation costs 1 picodollar in one partition, a million in another, and 10¹² in a third. So a sum
of dollars tells how many events of each of them it has, and what is missing or counted twice is seen.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from tests.integration.clickhouse.door import Door, Way
from tests.integration.clickhouse.test_faults import sink_process, through
from tests.support.usage import event
from tests.support.worker import latest, spent, start_worker, working
from tests.waiting import eventually

from tollgate.embedded.children import stop_child
from tollgate.embedded.ports import free_ports
from tollgate.runtime.kafka import client_options
from tollgate.runtime.settings import Settings
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import USAGE_PARTITIONS, Topic

pytestmark = pytest.mark.integration

RATE: Final = 2_000
# How long ClickHouse is away while budgets are set. `make test-long` has a minute of it.
AWAY_SECONDS: Final = float(os.environ.get("TOLLGATE_TEST_AWAY_SECONDS", "5"))
# More than there are events in a partition.
BASE: Final = 10**6
# The partitions of the organisation; the others have users of another one.
OURS: Final = (1, 4, 6)
COSTS: Final = {p: f"{Decimal(BASE**place) / 10**12:f}" for place, p in enumerate(OURS)}
USERS: Final = {
    p: [u for u in (f"u{n}" for n in range(400)) if partition_of(u.encode(), USAGE_PARTITIONS) == p][:20]
    for p in range(USAGE_PARTITIONS)
}
MODELS: Final = ("gpt-4o", "o3")

ONE, WEEKLY, DAILY, PLANNED = USERS[1][0], USERS[4][0], USERS[6][0], USERS[4][1]
BUDGETS: Final[dict[str, dict[str, Any]]] = {
    f"user/{ONE}+model/gpt-4o": {},
    "org/acme+model/gpt-4o": {},
    f"user/{WEEKLY}": {"window": "week"},
    f"user/{DAILY}": {"window": "day", "timezone": "Asia/Tokyo"},
    "org/acme": {"timezone": "Europe/Amsterdam", "month_starts_on": 15},
}
LIMITED: Final = f"user/{PLANNED}+feature/chat"
SCOPES: Final = (*BUDGETS, LIMITED)


@dataclass
class Stream:
    """What is published, by partition in order, and what the flags of each scope said and when."""

    settings: Settings
    sent: dict[int, list[dict[str, str]]] = field(default_factory=lambda: {p: [] for p in range(USAGE_PARTITIONS)})
    flags: dict[str, list[tuple[float, dict[str, Any]]]] = field(default_factory=lambda: {s: [] for s in SCOPES})
    # How many events there were of each scope and partition when a flag was read.
    at_flag: dict[str, list[dict[int, int]]] = field(default_factory=lambda: {s: [] for s in SCOPES})
    is_over: bool = False
    began_at: float = 0
    ended_at: float = 0

    def __post_init__(self) -> None:
        # How many events each scope has of each partition of the organisation.
        self.counts = {scope: dict.fromkeys(OURS, 0) for scope in SCOPES}
        self._names = [(scope, dict(part.split("/") for part in scope.split("+"))) for scope in SCOPES]

    def note(self, partition: int, names: dict[str, str]) -> None:
        """An event is sent."""
        self.sent[partition].append(names)
        for scope, wanted in self._names if partition in OURS else ():
            if wanted.items() <= names.items():
                self.counts[scope][partition] += 1

    def before(self, scope: str, offsets: dict[int, int]) -> dict[int, int]:
        """How many events of the scope each partition of the organisation has below these offsets."""
        wanted = dict(self._names)[scope].items()
        logs = ((p, self.sent[p][: offsets.get(p, 0)]) for p in OURS)
        return {p: sum(wanted <= names.items() for names in log) for p, log in logs}

    async def publish(self) -> None:
        """2,000 events a second, until it is over."""
        producer = AIOKafkaProducer(**client_options(self.settings), acks="all", linger_ms=5)
        await producer.start()
        topic, number = self.settings.topic(Topic.USAGE), 0
        began = self.began_at = time.monotonic()
        try:
            while not self.is_over:
                while not self.is_over and number < (time.monotonic() - began) * RATE:
                    p = number % USAGE_PARTITIONS
                    user = USERS[p][number // USAGE_PARTITIONS % 20]
                    names = {
                        "org": "acme" if p in OURS else "other",
                        "model": MODELS[number // 160 % 2],
                        "feature": "chat",
                    }
                    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
                    made = event(f"e{number}", user, time=now, data={"cost_usd": COSTS.get(p, "0.01"), **names})
                    self.note(p, {"user": user, **names})
                    await producer.send(topic, json.dumps(made).encode(), key=user.encode(), partition=p)
                    number += 1
                await asyncio.sleep(0.01)
            self.ended_at = time.monotonic()
            await producer.flush()
        finally:
            await producer.stop()

    async def follow(self) -> None:
        """Read the flags as they are committed."""
        consumer = AIOKafkaConsumer(
            self.settings.topic(Topic.FLAGS),
            **client_options(self.settings),
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            fetch_max_wait_ms=50,
        )
        await consumer.start()
        try:
            async for record in consumer:
                scope = record.key.decode()
                if scope in self.flags:
                    self.flags[scope].append((time.monotonic(), json.loads(record.value)))
                    self.at_flag[scope].append(dict(self.counts[scope]))
        finally:
            await consumer.stop()

    def first_whole(self, scope: str) -> int | None:
        """Which of the scope's flags is the first that is not marked as incomplete."""
        return next((n for n, (_, flag) in enumerate(self.flags[scope]) if not flag.get("incomplete")), None)

    def counted(self, scope: str, spent: str) -> dict[int, int]:
        """How many events of each partition a sum has."""
        if scope == LIMITED:
            return {4: int(spent)}
        value = int(Decimal(spent) * 10**12)
        return {p: value // BASE**place % BASE for place, p in enumerate(OURS)}

    async def all_whole(self) -> bool:
        return all(self.first_whole(scope) is not None for scope in SCOPES)


@asynccontextmanager
async def streaming(settings: Settings) -> AsyncIterator[Stream]:
    """A stream that runs until the block ends, or `is_over` says so."""
    stream = Stream(settings)
    tasks = [asyncio.create_task(stream.publish()), asyncio.create_task(stream.follow())]
    try:
        yield stream
    finally:
        stream.is_over = True
        await tasks[0]
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def set_budgets(settings: Settings) -> None:
    """A budget of each kind that blocks at once, and a plan with a limit."""
    now = {"updated_at": "2026-11-01T00:00:00Z"}
    records: dict[str, dict[str, Any]] = {
        f"budget/{scope}": {"id": scope, "scope": scope, "limit": "0.000000000001", **now, **more}
        for scope, more in BUDGETS.items()
    }
    limit = {"feature": "chat", "unit": "events", "limit": "1", "window": "month"}
    records["plan/small"] = {"id": "small", "name": "Small", "limits": [limit], **now}
    records[f"assignment/user/{PLANNED}"] = {"plan": "small", **now}
    producer = AIOKafkaProducer(**client_options(settings))
    await producer.start()
    try:
        topic = settings.topic(Topic.CONTROL)
        for key, value in records.items():
            await producer.send_and_wait(topic, json.dumps(value).encode(), key=key.encode(), partition=0)
    finally:
        await producer.stop()


async def begun(settings: Settings) -> dict[str, dict[int, int]]:
    """By scope the offset from which each partition counts it."""
    found: dict[str, dict[int, int]] = {}
    for question in (await latest(settings, Topic.METERS)).values():
        found.setdefault(question["scope"], {})[question["partition"]] = question["from_offset"]
    return found


async def check_first_whole(stream: Stream) -> None:
    """The first flag that is whole has all of the past, and nothing twice."""
    offsets = await begun(stream.settings)
    for scope in SCOPES:
        number = stream.first_whole(scope)
        assert number is not None
        flag = stream.flags[scope][number][1]
        # A plan's meter is of all users.
        past = stream.before(scope, offsets.get(scope) or offsets["user/*+feature/chat"])
        assert sum(past.values()) > 20, f"nothing was spent before {scope}"
        for p, events in stream.counted(scope, flag["spent"]).items():
            # An event of the past that is counted twice or not at all is more than come meanwhile.
            assert past[p] <= events <= stream.at_flag[scope][number][p], (scope, p, past, flag)


async def check_sums(stream: Stream) -> None:
    """Once all is counted, flag and spend record are what was published."""

    async def exact() -> bool:
        said = {scope: stream.flags[scope][-1][1] for scope in SCOPES}
        for scope, flag in said.items():
            counted = stream.counted(scope, flag["spent"])
            if counted != {p: events for p, events in stream.counts[scope].items() if p in counted}:
                return False
        return True

    await eventually(exact, 60, "flags that say what was published")

    # Spend records are written at most twice a second, so they may come after the flags.
    async def recorded() -> bool:
        spend = (await latest(stream.settings, Topic.SPEND)).values()
        events = {(v["scope"], *sorted(v["window"].items())): v["events"] for v in spend}
        windows = {scope: sorted(stream.flags[scope][-1][1]["window"].items()) for scope in SCOPES}
        return all(events[scope, *windows[scope]] == sum(stream.counts[scope].values()) for scope in SCOPES)

    await eventually(recorded, 10, "spend records that say what was published")


async def counting(stream: Stream, events: int) -> None:
    """Wait until the worker has counted so many."""

    async def has_counted() -> bool:
        return (await spent(stream.settings, "global"))[1] >= events

    await eventually(has_counted, 60, "a worker that counts")


async def more_seconds(stream: Stream, seconds: float) -> None:
    """Let the stream run on for so long."""
    end = time.monotonic() + seconds

    async def is_past() -> bool:
        return time.monotonic() >= end

    await eventually(is_past, seconds + 5)


async def test_the_first_sum_that_is_whole_is_exact_ten_seconds_after_a_budget_is_set(
    tables: Settings, tmp_path: Path
) -> None:
    with working(tables, tmp_path / "worker.log"), sink_process(tables):
        async with streaming(tables) as stream:
            await counting(stream, 8_000)
            set_at = time.monotonic()
            await set_budgets(tables)
            await eventually(stream.all_whole, 60, "flags that are whole")
            await more_seconds(stream, 1)
            await check_first_whole(stream)
            stream.is_over = True
            await check_sums(stream)
    took = {}
    for scope in SCOPES:
        number = stream.first_whole(scope)
        assert number is not None
        took[scope] = round(stream.flags[scope][number][0] - set_at, 2)
    rate = sum(map(len, stream.sent.values())) / (stream.ended_at - stream.began_at)
    print(f"{rate:.0f} events/s; seconds until a sum was whole:", took)
    assert max(took.values()) < 10, took


async def test_sums_are_exact_after_clickhouse_was_away_and_a_worker_was_killed(
    tables: Settings, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    log = tmp_path / "worker.log"
    with Door(tables.clickhouse_url, port) as door, sink_process(through(tables, door.url)):
        worker = start_worker(tables, log)
        try:
            async with streaming(tables) as stream:
                await counting(stream, 8_000)
                door.way = Way.SHUT
                await set_budgets(tables)

                async def all_told() -> bool:
                    return all(stream.flags.values())

                await eventually(all_told, 60, "flags of every budget")
                worker.kill()
                worker.wait()
                worker = start_worker(tables, log)
                await more_seconds(stream, AWAY_SECONDS)
                assert not any(stream.first_whole(scope) is not None for scope in SCOPES)
                door.way = Way.OPEN
                await eventually(stream.all_whole, 90, "flags that are whole")
                stream.is_over = True
                await check_sums(stream)
        finally:
            stop_child(worker)
