"""The worker as a process on a real broker: exact through kills, joins, forwards and fencing."""

import asyncio
import json
import signal
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import UnknownTopicOrPartitionError
from tests.support.usage import event
from tests.support.worker import latest, send, spent, start_worker, values, working
from tests.waiting import eventually

from tollgate.embedded.children import stop_child
from tollgate.runtime.kafka import client_options
from tollgate.runtime.settings import Settings
from tollgate.runtime.topics_admin import apply_topics, delete_topics
from tollgate.schemas.outputs import Alert, Flag, PricedEvent, SpendRecord
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import TOPIC_SPECS, Topic

pytestmark = pytest.mark.integration


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def events(count: int, prefix: str = "e", users: int = 50) -> list[dict[str, Any]]:
    """Each costs 0.0035 USD."""
    return [event(f"{prefix}{n}", f"user-{n % users}", time=now(), data={"agent": "SEO"}) for n in range(count)]


async def past(moment: float) -> bool:
    return time.monotonic() > moment


async def counted(settings: Settings, wanted: tuple[str, int]) -> None:
    """Wait until global spend says so."""

    async def there() -> bool:
        return await spent(settings, "global") == wanted

    await eventually(there, 90, f"a global spend of {wanted}")


async def set_budget(settings: Settings, scope: str, limit: str) -> None:
    record = {"scope": scope, "id": f"{scope}:month:usd", "limit": limit, "updated_at": "2026-11-01T00:00:00Z"}
    producer = AIOKafkaProducer(**client_options(settings))
    await producer.start()
    try:
        key = f"budget/{record['id']}".encode()
        await producer.send_and_wait(settings.topic(Topic.CONTROL), json.dumps(record).encode(), key=key, partition=0)
    finally:
        await producer.stop()


async def test_every_output_is_what_the_contract_says(settings: Settings, tmp_path: Path) -> None:
    await set_budget(settings, "user/user-1", "0.02")
    with working(settings, tmp_path / "worker.log"):
        unknown = event("x", "user-2", time=now(), data={"model": "gpt-99-nobody-knows"})
        await send(settings, [*events(300), unknown, event("bad", "user-3", time="yesterday")])

        async def there() -> bool:
            return (await spent(settings, "global"))[1] == 301

        await eventually(there, 60, "301 counted events")
        priced = [PricedEvent.model_validate(v) for v in await values(settings, Topic.PRICED)]
        spend = [SpendRecord.model_validate(v) for v in (await latest(settings, Topic.SPEND)).values()]
        flags = {k: Flag.model_validate(v) for k, v in (await latest(settings, Topic.FLAGS)).items()}
        alerts = {k: Alert.model_validate(v) for k, v in (await latest(settings, Topic.ALERTS)).items()}
    assert len({p.event_id for p in priced}) == len(priced) == 301
    assert {s.scope for s in spend} >= {"global", "user/user-0", "agent/SEO", "provider/openai", "model/gpt-4o"}
    # Six events of 0.0035 USD each.
    flag = flags["user/user-1"]
    assert (flag.state, flag.spent, flag.percent) == ("blocked", "0.021", "105.00")
    assert {(a.kind, a.level) for a in alerts.values()} == {("budget", "critical"), ("unpriced", "warning")}


async def test_totals_stay_exact_when_the_worker_is_killed_again_and_again(settings: Settings, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    process = start_worker(settings, log)
    try:
        for round_ in range(3):
            await send(settings, events(2_000, f"r{round_}-"))
            await asyncio.to_thread(process.send_signal, signal.SIGKILL)
            process.wait()
            process = start_worker(settings, log)
        await send(settings, events(2_000, "r0-"))
        await counted(settings, ("21", 6_000))
    finally:
        stop_child(process)
    priced = await values(settings, Topic.PRICED)
    assert len(priced) == len({p["event_id"] for p in priced}) == 6_000


async def test_a_misrouted_event_is_counted_once_under_its_user(settings: Settings, tmp_path: Path) -> None:
    home = partition_of(b"user-7", 8)
    lost = event("lost", "user-7", time=now())
    with working(settings, tmp_path / "worker.log"):
        await send(settings, [lost, lost], partition=(home + 1) % 8)
        await send(settings, [lost], partition=(home + 2) % 8)
        await send(settings, [lost])
        await counted(settings, ("0.0035", 1))
        assert await spent(settings, "user/user-7") == ("0.0035", 1)
        assert await values(settings, Topic.DEAD_LETTERS) == []


async def test_a_second_worker_shares_the_work_and_its_end_loses_nothing(settings: Settings, tmp_path: Path) -> None:
    with working(settings, tmp_path / "one.log", "one"):
        await send(settings, events(1_000, "a"))
        await counted(settings, ("3.5", 1_000))
        with working(settings, tmp_path / "two.log", "two") as second:
            await send(settings, events(1_000, "b"))

            async def shared() -> bool:
                return b"acquired" in (tmp_path / "two.log").read_bytes()

            await eventually(shared, 60, "the second worker's share")
            await send(settings, events(1_000, "c"))
            await counted(settings, ("10.5", 3_000))
            second.kill()
        await send(settings, events(1_000, "d"))
        await counted(settings, ("14", 4_000))


async def test_a_topic_with_another_number_of_partitions_is_refused_at_start(
    settings: Settings, tmp_path: Path
) -> None:
    await delete_topics(settings)
    other = [replace(s, partitions=4) if s.topic is Topic.USAGE else s for s in TOPIC_SPECS]

    async def recreated() -> bool:
        try:
            report = await apply_topics(settings, specs=other)
            # The topic that is not yet deleted has more partitions than the new one.
            return report.ok and not report.named("grown")
        except UnknownTopicOrPartitionError:
            # Half deleted: there when topics are listed, gone when one is described.
            return False

    await eventually(recreated, 30, "the topics")
    with working(settings, tmp_path / "worker.log") as process:
        assert await asyncio.to_thread(process.wait, 30) == 2
    assert "partitions" in (tmp_path / "worker.log").read_text()


async def test_an_orderly_end_leaves_exit_status_0(settings: Settings, tmp_path: Path) -> None:
    with working(settings, tmp_path / "worker.log") as process:
        await send(settings, events(100))
        await counted(settings, ("0.35", 100))
        process.terminate()
        assert await asyncio.to_thread(process.wait, 30) == 0


async def test_the_former_owner_of_a_partition_ends_when_another_takes_over(settings: Settings, tmp_path: Path) -> None:
    """A zombie: it was replaced while it slept, and wakes up with events it has counted but not committed."""
    with working(settings, tmp_path / "zombie.log", "same") as zombie:
        await send(settings, events(500, "a"))
        await counted(settings, ("1.75", 500))
        zombie.send_signal(signal.SIGSTOP)
        stopped_at = time.monotonic()
        with working(settings, tmp_path / "heir.log", "same") as heir:
            await send(settings, events(500, "b"))
            await counted(settings, ("3.5", 1_000))
            # Longer than a session: the group has forgotten the sleeper.
            await eventually(lambda: past(stopped_at + 12), 30, "the end of the session")
            zombie.send_signal(signal.SIGCONT)
            await asyncio.to_thread(zombie.wait, 60)
            await send(settings, events(500, "c"))
            await counted(settings, ("5.25", 1_500))
            assert heir.poll() is None
    assert zombie.returncode == 70
