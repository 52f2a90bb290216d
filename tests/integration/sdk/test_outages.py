"""Nothing that reached the spool is lost: the broker is killed, started again and frozen, and the service is killed.

`TOLLGATE_TEST_SDK_EVENTS` is how many events are recorded.
"""

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from tests.chaos.services import Broker, cluster
from tests.chaos.victim import is_ready
from tests.waiting import wait_until

from tollgate.runtime.settings import Settings
from tollgate.runtime.topics_admin import apply_topics
from tollgate.schemas.partitions import partition_of

EVENTS = int(os.environ.get("TOLLGATE_TEST_SDK_EVENTS", "100000"))
RATE = 12_000
SECONDS_MAX = 120 + EVENTS / 1_000
TOPIC = "tollgate.usage"


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    (broker,) = cluster(1, tmp_path, own_disks=False)
    broker.start()
    try:
        assert await is_ready(broker, 60), broker.last_words()
        await apply_topics(Settings(kafka_bootstrap_servers=broker.address))
        yield broker
    finally:
        broker.stop()


class Service:
    """The service, and what it said last."""

    def __init__(self, broker: Broker, directory: Path, first: int) -> None:
        self.first = first
        self._said = directory / f"service-{first}.log"
        argv = [sys.executable, "-W", "error", "-m", "tests.support.recording_service", broker.address]
        argv += [str(directory / "spool"), str(first), str(EVENTS - first), str(RATE)]
        with self._said.open("wb") as output:
            self._process = subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT)

    @property
    def spooled(self) -> int:
        """How many events of all are in the spool, or further, for certain."""
        said = re.findall(rb"^spooled ([0-9]+)\n", self._said.read_bytes(), re.MULTILINE)
        return self.first + (int(said[-1]) if said else 0)

    def reaches(self, part: float) -> None:
        wait_until(lambda: self.spooled >= part * EVENTS or self._process.poll() is not None, SECONDS_MAX)
        assert self._process.poll() is None, self._said.read_text()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def ends(self) -> None:
        try:
            assert self._process.wait(SECONDS_MAX) == 0, self._said.read_text()
        finally:
            self.kill()
        assert self._said.read_bytes().endswith(b"done\n")


async def stored(broker: Broker) -> list[tuple[int, bytes, bytes]]:
    """Partition, key and value of every record, in order."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.address, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(TOPIC, number) for number in consumer.partitions_for_topic(TOPIC) or ()]
        partitions = partitions or [TopicPartition(TOPIC, number) for number in range(8)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found = []
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for tp, records in (await consumer.getmany(timeout_ms=500)).items():
                found += [(tp.partition, bytes(record.key), bytes(record.value)) for record in records]
        return found
    finally:
        await consumer.stop()


async def test_everything_in_the_spool_is_stored_whatever_dies(broker: Broker, tmp_path: Path) -> None:
    service = Service(broker, tmp_path, 0)
    service.reaches(0.15)
    broker.kill()
    service.reaches(0.35)
    service.kill()
    certain = service.spooled
    second = Service(broker, tmp_path, certain)
    second.reaches(0.5)
    broker.start()
    second.reaches(0.6)
    assert await is_ready(broker, 60), broker.last_words()
    broker.freeze()
    second.reaches(0.8)
    broker.thaw()
    second.ends()

    records = await stored(broker)
    first_seen: dict[str, int] = {}
    for place, (partition, key, value) in enumerate(records):
        event_id = value.split(b'"id":"', 1)[1].split(b'"', 1)[0].decode()
        first_seen.setdefault(event_id, place)
        assert partition == partition_of(key, 8)
        assert f'"subject":"{key.decode()}"'.encode() in value
    assert first_seen.keys() == {f"e{number}" for number in range(EVENTS)}
    for user in range(997):
        places = [first_seen[f"e{number}"] for number in range(user, EVENTS, 997)]
        assert places == sorted(places), f"u{user}'s events are out of order"
    print(f"{EVENTS} events, {len(records) - EVENTS} of them stored twice, {certain} in the spool at the kill")
    assert not list((tmp_path / "spool").rglob("*.seg"))
