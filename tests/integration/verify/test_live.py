"""The verification beside traffic that never pauses: equal as of its cut, and no less able to find what is false."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from tests.support.usage import event
from tests.support.worker import send, working

from tollgate.runtime.kafka import client_options, read_compacted, read_to_end
from tollgate.runtime.settings import Settings
from tollgate.schemas.control import BudgetRecord
from tollgate.schemas.topics import Topic
from tollgate.verification import Report, verify

pytestmark = pytest.mark.integration

# Spends nothing while the others do, so what is falsified about it stays false.
STILL = "still"
LIFETIME = f"user/{STILL}|lifetime|1970-01-01T00:00:00Z"


@contextlib.asynccontextmanager
async def traffic(settings: Settings) -> AsyncIterator[None]:
    """Some 1,000 events a second of 40 users who share an agent, for as long as the block runs."""
    published = 0

    async def publish() -> None:
        nonlocal published
        async with AIOKafkaProducer(**client_options(settings), linger_ms=5) as producer:
            while True:
                now = datetime.now(UTC).isoformat(timespec="milliseconds")
                sent = []
                for number in range(published, published + 50):
                    user = f"u{number % 40}"
                    value = json.dumps(event(f"live-{number}", user, time=now, data={"agent": "SEO"})).encode()
                    sent.append(await producer.send(settings.topic(Topic.USAGE), value, key=user.encode()))
                await asyncio.gather(*sent, asyncio.sleep(0.05))
                published += 50

    publishing = asyncio.create_task(publish())
    try:
        yield
        # It was live indeed.
        assert not publishing.done(), publishing.exception()
        assert published > 200
    finally:
        publishing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await publishing


async def check(settings: Settings, wait_seconds: float = 30) -> Report:
    return await verify(settings, wait_seconds, clickhouse=False, progress=lambda _what, _done, _total: None)


def wrong(report: Report) -> dict[str, str]:
    return {found.name: found.difference for found in report.checks if not found.ok}


async def latest(settings: Settings, topic: Topic, key: str) -> tuple[bytes, int]:
    """The latest value of a key and its partition."""
    value = (await read_compacted(settings, settings.topic(topic)))[key]
    partition = 0
    async for record in read_to_end(settings, settings.topic(topic)):
        if record.key == key.encode():
            partition = record.partition
    return value, partition


@contextlib.asynccontextmanager
async def falsified(settings: Settings, topic: Topic, key: str, value: bytes) -> AsyncIterator[None]:
    """The latest value of the key is another while the block runs."""
    right, partition = await latest(settings, topic, key)
    async with AIOKafkaProducer(**client_options(settings)) as producer:
        await producer.send_and_wait(settings.topic(topic), value, key=key.encode(), partition=partition)
        yield
        await producer.send_and_wait(settings.topic(topic), right, key=key.encode(), partition=partition)


async def test_live_traffic_hides_nothing_and_disturbs_nothing(settings: Settings, tmp_path: Path) -> None:
    budgets = [
        {"scope": "user/*", "limit": "0.05", "updated_at": "2026-01-01T00:00:00Z"},
        {"scope": "agent/SEO", "limit": "1000000", "updated_at": "2026-01-01T00:00:00Z"},
    ]
    async with AIOKafkaProducer(**client_options(settings)) as producer:
        for given in budgets:
            budget = BudgetRecord.model_validate(given)
            key, value = f"budget/{budget.id}".encode(), budget.model_dump_json().encode()
            await producer.send_and_wait(settings.topic(Topic.CONTROL), value, key=key)
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    with working(settings, tmp_path / "worker.log"):
        # 12 events of 0.0035 USD are 0.042 USD, 84 % of the budget.
        await send(settings, [event(f"e{n}", STILL, time=now) for n in range(12)])
        # A record that is not at home is forwarded, and its copy counted, while others arrive.
        await send(settings, [event("e11", STILL, time=now)], partition=0)
        async with traffic(settings):
            reports = [await check(settings) for _ in range(2)]
            for report in reports:
                assert not wrong(report), (wrong(report), report.as_json())
            assert reports[0].events < reports[1].events
            spend, _ = await latest(settings, Topic.SPEND, LIFETIME)
            off = json.dumps(json.loads(spend) | {"spent_usd": "0.042000000001"}).encode()
            async with falsified(settings, Topic.SPEND, LIFETIME, off):
                report = await check(settings, 1)
                assert set(wrong(report)) == {"spend windows"}
                assert report.first is not None
                assert (report.first.scope, report.first.expected[:10]) == (f"user/{STILL}", "0.042 USD,")
            flag, _ = await latest(settings, Topic.FLAGS, f"user/{STILL}")
            free = json.dumps(json.loads(flag) | {"state": "ok", "blocked": False}).encode()
            async with falsified(settings, Topic.FLAGS, f"user/{STILL}", free):
                assert set(wrong(await check(settings, 1))) == {"flags"}
            state, _ = await latest(settings, Topic.USER_STATE, f"s|user/{STILL}")
            row = json.loads(state)
            row[1][2] += 1
            async with falsified(settings, Topic.USER_STATE, f"s|user/{STILL}", json.dumps(row).encode()):
                assert "state" in wrong(await check(settings, 1))
            report = await check(settings)
            assert not wrong(report), (wrong(report), report.as_json())
