"""The load: a workload's records at an even pace, each sent until Kafka acknowledges it; and what
people set: prices, budgets, plans and the stop.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from tests.chaos.limits import written
from tests.chaos.truth import PRICES, Truth
from tests.chaos.workload import PROVIDER, Record
from tests.simulation.rules import Limit, Rules

from tollgate.runtime.kafka import client_options
from tollgate.runtime.settings import Settings
from tollgate.schemas.control import AssignmentRecord, BudgetRecord, PlanRecord, PriceRecord
from tollgate.schemas.topics import Topic

# After a time without a broker the load catches up in pieces of this size, and no faster than Kafka takes them.
_BATCH_MAX = 500
# Longer than any fault lasts: what is sent into one is acknowledged after it.
_SEND_SECONDS_MAX = 120
_SINCE: Final = "2026-01-01T00:00:00Z"


class Load:
    """Sends from `start` until `stop`, again and again from where it was."""

    def __init__(self, settings: Settings, records: Iterator[Record], truth: Truth, events_per_second: int) -> None:
        self.sent = 0
        self.resent = 0
        self._settings = settings
        self._records = records
        self._truth = truth
        self._pace = events_per_second
        self._task: asyncio.Task[None] | None = None
        self._enough = asyncio.Event()

    def start(self) -> None:
        """Begin to send."""
        self._enough.clear()
        self._task = asyncio.create_task(self._send_all())

    async def stop(self) -> None:
        """Send no more, and return when all that was sent is acknowledged. Raises what went wrong with it."""
        self._enough.set()
        if self._task is not None:
            await self._task
            self._task = None

    async def _send_all(self) -> None:
        started, sent_before = time.monotonic(), self.sent
        producer = await self._producer()
        try:
            while not self._enough.is_set():
                due = int((time.monotonic() - started) * self._pace) - (self.sent - sent_before)
                batch = list(itertools.islice(self._records, min(max(due, 0), _BATCH_MAX)))
                for record in batch:
                    self._truth.offer(record)
                while not await self._acknowledged(producer, batch):
                    # Whether any of it arrived is unknown, so all of it is sent again, as services do.
                    self.resent += len(batch)
                    await producer.stop()
                    producer = await self._producer()
                self._truth.acknowledge(batch)
                self.sent += len(batch)
                await asyncio.sleep(0.01)
        finally:
            await producer.stop()

    async def _producer(self) -> AIOKafkaProducer:
        while True:
            producer = AIOKafkaProducer(
                **client_options(self._settings),
                acks="all",
                enable_idempotence=True,
                linger_ms=5,
                request_timeout_ms=_SEND_SECONDS_MAX * 1000,
            )
            try:
                await producer.start()
            except (KafkaError, OSError):
                await producer.stop()
                await asyncio.sleep(0.5)
            else:
                return producer

    async def _acknowledged(self, producer: AIOKafkaProducer, batch: list[Record]) -> bool:
        topic = self._settings.topic
        try:
            await self._send_packed([r for r in batch if r.packed])
            sent = [
                await producer.send(topic(r.topic), r.value, key=r.key, partition=r.partition)
                for r in batch
                if not r.packed
            ]
        except (KafkaError, OSError):
            return False
        answers = await asyncio.gather(*sent, return_exceptions=True)
        failed = [answer for answer in answers if isinstance(answer, BaseException)]
        for error in failed:
            if not isinstance(error, KafkaError):
                raise error
        return not failed

    async def _send_packed(self, records: list[Record]) -> None:
        """Send records that only fit into their topic when they are compressed."""
        if not records:
            return
        size = 64 << 20
        async with AIOKafkaProducer(
            **client_options(self._settings),
            acks="all",
            compression_type="gzip",
            max_request_size=size,
            max_batch_size=size,
        ) as producer:
            for r in records:
                topic = self._settings.topic(r.topic)
                await producer.send_and_wait(topic, r.value, key=r.key, partition=r.partition)


async def set_prices(settings: Settings) -> None:
    """Put the prices of the workload's models into the control topic."""
    for model, rates in PRICES.items():
        price = PriceRecord.model_validate(
            {
                "provider": PROVIDER,
                "model": model,
                "rates": [{"dimension": name, "usd": usd, "per": per} for name, (usd, per) in rates.items()],
                "effective_from": "2020-01-01T00:00:00Z",
            }
        )
        await write_control(settings, f"price/{price.id}", price.model_dump_json().encode())


async def set_budget(settings: Settings, limit: Limit) -> None:
    """Set a budget."""
    kind, _, rest = limit.calendar.partition("@")
    zone, _, first = rest.partition("~")
    given: dict[str, Any] = {"scope": limit.scope, "window": kind, "timezone": zone or "UTC"}
    if first:
        given |= {"week_starts_on": first} if kind == "week" else {"month_starts_on": int(first)}
    given |= {"limit": written(limit.unit, limit.most), "unit": limit.unit, "updated_at": _SINCE}
    budget = BudgetRecord.model_validate(given)
    assert budget.id == limit.name, f"{budget.id} is not {limit.name}"
    await write_control(settings, f"budget/{budget.id}", budget.model_dump_json(exclude_none=True).encode())


async def set_plans(settings: Settings, rules: Rules) -> None:
    """Set the plans, and who has which."""
    for name, plan in rules.plans.items():
        limits = [
            {"feature": feature, "unit": unit, "limit": written(unit, most), "window": kind}
            for feature, unit, kind, most in plan.limits
        ]
        given = {"id": name, "name": name, "limits": limits, "credits_per_day": str(plan.free), "updated_at": _SINCE}
        record = PlanRecord.model_validate(given)
        await write_control(settings, f"plan/{name}", record.model_dump_json(exclude_none=True).encode())
    having = {f"user/{user}": has for user, has in rules.having.items()}
    having |= {"default": rules.default} if rules.default is not None else {}
    for whose, has in having.items():
        cut = {"timezone": has.zone, "month_starts_on": has.first}
        assigned = AssignmentRecord.model_validate({"plan": has.plan, "updated_at": _SINCE, **cut})
        await write_control(settings, f"assignment/{whose}", assigned.model_dump_json(exclude_none=True).encode())


async def set_stop(settings: Settings, *, stopped: bool, reason: str) -> None:
    """Stop all spending by hand, or let it go on."""
    record = {"name": "stop", "value": {"stopped": stopped}, "actor": "chaos", "reason": reason}
    await write_control(settings, "setting/stop", json.dumps(record).encode())


async def write_control(settings: Settings, key: str, value: bytes) -> None:
    """Write one control record, however long Kafka is away; the same record again changes nothing."""
    while True:
        try:
            async with AIOKafkaProducer(**client_options(settings), acks="all") as producer:
                await producer.send_and_wait(settings.topic(Topic.CONTROL), value, key=key.encode())
        except (KafkaError, OSError):
            await asyncio.sleep(0.5)
        else:
            return
