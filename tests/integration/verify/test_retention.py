"""What the verification still proves when retention has removed the beginning of the usage topic."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from tests.support.usage import event
from tests.support.worker import send, working

from tollgate.runtime.kafka import client_options, read_compacted, read_to_end
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic
from tollgate.verification import Report, verify

pytestmark = pytest.mark.integration


async def check(settings: Settings, wait_seconds: float = 20) -> Report:
    return await verify(settings, wait_seconds, clickhouse=False, progress=lambda _what, _done, _total: None)


def wrong(report: Report) -> dict[str, str]:
    return {found.name: found.difference for found in report.checks if not found.ok}


async def forget(settings: Settings, topic: Topic, partition: int, before: int) -> None:
    """Remove the records before an offset, as retention does."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(settings.topic(topic), partition): RecordsToDelete(before)})
    finally:
        await admin.close()


async def test_later_windows_are_compared_in_full_and_earlier_ones_from_below(
    settings: Settings, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    time = now.isoformat(timespec="milliseconds")
    with working(settings, tmp_path / "worker.log"):
        await send(settings, [event(f"e{n}", time=time) for n in range(6)])
        # A repeat of what will be gone, and another that says something else.
        other = event("e1", time=(now - timedelta(days=1)).isoformat(), data={"agent": "SEO"})
        await send(settings, [event("e0", time=time), other])
        await send(settings, [event(f"late{n}", time=time) for n in range(4)])
        assert not wrong(await check(settings))
        usage = [r async for r in read_to_end(settings, settings.topic(Topic.USAGE))]
        priced = [r async for r in read_to_end(settings, settings.topic(Topic.PRICED))]
        partition = usage[0].partition
        await forget(settings, Topic.USAGE, partition, usage[2].offset)
        # Segments end where they please: of two events that are left, nothing is priced any more.
        await forget(settings, Topic.PRICED, partition, priced[4].offset)
        report = await check(settings)
        assert not wrong(report), (wrong(report), report.as_json())
        # Of twelve records ten are left: eight of them counted, the repeat and the conflict may be either.
        assert (report.events, report.begins[partition]) == (8, usage[2].offset)
        note = next(found.note for found in report.checks if found.name == "priced events")
        assert "8 counted, 0 duplicate, 0 refused, 0 forwarded, 2 that may repeat events past the retention" in note
        assert "2 events are older than the priced topic" in note
        # What was counted is no less than what is left of it.
        key = "s|user/u1"
        row = json.loads((await read_compacted(settings, settings.topic(Topic.USER_STATE)))[key])
        row[1][2] = 7
        async with AIOKafkaProducer(**client_options(settings)) as producer:
            value = json.dumps(row).encode()
            await producer.send_and_wait(settings.topic(Topic.USER_STATE), value, key=key.encode(), partition=partition)
        found = wrong(await check(settings, 0))
        assert "state user/u1|lifetime|1970-01-01T00:00:00Z: expected 0.028 USD, 8 events" in found["state"]
