"""The entries topic is read beside usage by the same worker: through a kill, an upgrade and a missing topic."""

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord
from tests.integration.ledger.test_worker import counted, events
from tests.support.worker import environment, latest, send, start_worker, working
from tests.waiting import eventually

from tollgate.embedded.children import start_child, stop_child
from tollgate.runtime.kafka import client_options, read_to_end
from tollgate.runtime.lag import consumer_lag
from tollgate.runtime.settings import Settings
from tollgate.runtime.topics_admin import apply_topics, delete_topics
from tollgate.schemas.topics import TOPIC_SPECS, Topic

pytestmark = pytest.mark.integration

# A worker that reads and says what release 0.1 does: one protocol, and no entries.
WORKER_OF_0_1 = """
from tollgate.runtime.settings import load_settings
from tollgate.schemas.topics import Topic
from tollgate.worker import app, assignor, run, transport
lane_assignor = assignor.lane_assignor
app._READ = (Topic.USAGE, Topic.DELTAS)
app.lane_assignor = lambda lanes, beside: lane_assignor(lanes)
assignor.LaneAssignor.name = assignor.LaneAssignor.name_of_0_1
transport.speak_0_1 = lambda consumer, assignor: None
raise SystemExit(run(load_settings()))
"""


@contextmanager
def working_of_0_1(settings: Settings, log: Path, worker_id: str) -> Iterator["Popen[bytes]"]:
    with log.open("ab") as output:
        given = environment(settings, TOLLGATE_WORKER_ID=worker_id)
        process = start_child([sys.executable, "-c", WORKER_OF_0_1], output, given)
    try:
        yield process
    finally:
        stop_child(process)


async def enter(settings: Settings, first: int, count: int) -> None:
    """Publish entries of a type that no worker knows, as any client would: by the key."""
    producer = AIOKafkaProducer(**client_options(settings), acks="all")
    await producer.start()
    try:
        for number in range(first, first + count):
            user = f"user-{number % 50}"
            entry = {"specversion": "1.0", "type": "tollgate.later.v1", "source": "t", "id": f"n{number}"}
            value = json.dumps(entry | {"subject": user, "time": "2026-11-21T10:00:00Z", "data": {}}).encode()
            await producer.send_and_wait(settings.topic(Topic.ENTRIES), value, key=user.encode())
    finally:
        await producer.stop()


async def letters(settings: Settings) -> list[ConsumerRecord]:
    return [record async for record in read_to_end(settings, settings.topic(Topic.DEAD_LETTERS))]


async def refused(settings: Settings, count: int) -> None:
    """Wait for so many dead letters; no entry may have two."""

    async def there() -> bool:
        return len(await letters(settings)) >= count

    # A loaded machine takes its time over a rebalance.
    await eventually(there, 120, f"{count} dead letters")
    found = [dict(letter.headers) for letter in await letters(settings)]
    places = {(h["source_topic"], h["source_partition"], h["source_offset"]) for h in found}
    assert len(places) == len(found) == count
    assert {(h["source_topic"], h["reason"], h["error"]) for h in found} == {
        (settings.topic(Topic.ENTRIES).encode(), b"invalid", b"type: not an entry")
    }


async def caught_up(settings: Settings) -> bool:
    return not any((await consumer_lag(settings))[settings.application].values())


async def test_entries_are_read_once_through_a_kill(settings: Settings, tmp_path: Path) -> None:
    first = start_worker(settings, tmp_path / "first.log")
    try:
        await send(settings, events(100, "a"))
        await enter(settings, 0, 30)
        await refused(settings, 30)
        await counted(settings, ("0.35", 100))
    finally:
        first.kill()
        first.wait()
    await enter(settings, 30, 10)
    await send(settings, events(100, "b"))
    with working(settings, tmp_path / "second.log"):
        await counted(settings, ("0.7", 200))
        await refused(settings, 40)
        await eventually(lambda: caught_up(settings), 30, "no lag of usage, entries and deltas")
    rows = [json.loads(r.value) async for r in read_to_end(settings, settings.topic(Topic.USER_STATE)) if r.key == b"o"]
    assert max(row["next_entries"] for row in rows) > 0
    assert "entries" in (tmp_path / "second.log").read_text()


@pytest.mark.long
async def test_entries_wait_for_the_last_worker_of_0_1_and_usage_does_not(settings: Settings, tmp_path: Path) -> None:
    entries = settings.topic(Topic.ENTRIES)
    with working_of_0_1(settings, tmp_path / "a-old.log", "a"):
        await send(settings, events(200, "a"))
        await counted(settings, ("0.7", 200))
        await enter(settings, 0, 20)
        with working(settings, tmp_path / "b-new.log", "b"):
            await eventually(
                lambda: _says(tmp_path / "b-new.log", "acquired"), 60, "the new worker's share beside the old one"
            )
            await send(settings, events(200, "b"))
            await counted(settings, ("1.4", 400))
            # The offset rows that are written now are of both.
            assert await letters(settings) == []
            assert (await consumer_lag(settings))[settings.application][entries] == 20
    # Each is replaced in its turn, under its own name.
    with (
        working(settings, tmp_path / "a-new.log", "a"),
        working(settings, tmp_path / "b-again.log", "b"),
    ):
        await refused(settings, 20)
        await send(settings, events(200, "c"))
        await counted(settings, ("2.1", 600))
        await eventually(lambda: caught_up(settings), 30, "no lag of usage, entries and deltas")
    assert "does not accept this worker" not in (tmp_path / "b-new.log").read_text()


async def _says(log: Path, text: str) -> bool:
    return text in await asyncio.to_thread(log.read_text)


@pytest.mark.long
async def test_entries_are_read_as_soon_as_the_last_worker_of_0_1_is_gone(settings: Settings, tmp_path: Path) -> None:
    with working(settings, tmp_path / "b.log", "b"):
        with working_of_0_1(settings, tmp_path / "a-old.log", "a"):
            await eventually(lambda: _says(tmp_path / "a-old.log", "acquired"), 60, "the old worker's share")
            await send(settings, events(200, "a"))
            await counted(settings, ("0.7", 200))
            await enter(settings, 0, 20)
        with working(settings, tmp_path / "a-new.log", "a"):
            await refused(settings, 20)
            await send(settings, events(200, "b"))
            await counted(settings, ("1.4", 400))
    assert len(await latest(settings, Topic.SPEND)) > 0


async def test_a_worker_without_the_entries_topic_says_what_to_run_and_goes_on_when_it_is_there(
    settings: Settings, tmp_path: Path
) -> None:
    await delete_topics(settings, [spec for spec in TOPIC_SPECS if spec.topic is Topic.ENTRIES])
    log = tmp_path / "worker.log"
    wanted = f"topics are missing: {settings.topic(Topic.ENTRIES)}; run `tollgate topics apply`"
    with working(settings, log):
        await eventually(lambda: _says(log, wanted), 60, wanted)
        await apply_topics(settings)
        await send(settings, events(10, "a"))
        await counted(settings, ("0.035", 10))
