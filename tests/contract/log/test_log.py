"""What the ledger relies on, of the real Kafka and of the simulated one alike."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from tests.simulation.broker import Broker
from tests.simulation.immediately import Immediately
from tests.simulation.log import SimulatedLog

from tollgate.ledger.kafka_log import KafkaLog
from tollgate.ledger.log import Log, Writer
from tollgate.ledger.outbox import OutRecord


@dataclass
class Bench:
    """A log with an empty topic of one partition. `compact` may remove records that have a newer one of their key."""

    log: Log
    topic: str
    id: str
    compact: Callable[[], Awaitable[None]]

    async def write(self, writer: Writer, *records: OutRecord) -> None:
        await asyncio.gather(*await writer.send(self.topic, 0, list(records)))

    async def committed(self, *records: OutRecord, transactional_id: str = "") -> None:
        writer = await self.log.writer(transactional_id or self.id)
        await writer.begin()
        await self.write(writer, *records)
        await writer.commit()
        await writer.close()

    async def read(self) -> list[Any]:
        async with self.log.reader() as reader:
            end = await reader.end(self.topic, 0)
            return [(r.offset, r.value) async for batch in reader.read(self.topic, 0, end) for r in batch]


@pytest.fixture(params=["simulated", pytest.param("kafka", marks=pytest.mark.integration)])
def address(request: pytest.FixtureRequest) -> str | None:
    """Of a broker, which is started first; None for the simulated one."""
    return request.getfixturevalue("kafka") if request.param == "kafka" else None


@pytest.fixture
async def bench(address: str | None) -> AsyncIterator[Bench]:
    name = f"log-{uuid.uuid4().hex[:10]}"
    if address is None:
        broker = Broker(lambda: 0)

        async def compact() -> None:
            broker.compact((name, 0), broker.stable_end((name, 0)))

        yield Bench(SimulatedLog(broker, Immediately(broker)), name, name, compact)
        return
    options = {"bootstrap_servers": address}
    admin = AIOKafkaAdminClient(**options)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1, topic_configs={"cleanup.policy": "compact"})])

    async def in_its_own_time() -> None:
        """The broker's cleaner comes when it likes; what a test expects must hold before and after."""

    try:
        yield Bench(KafkaLog(options), name, name, in_its_own_time)
    finally:
        await admin.delete_topics([name])
        await admin.close()


async def end(fenced: Writer) -> None:
    """Close a writer that failed: its client's own task holds the error and must be asked for it."""
    with suppress(KafkaError):
        await fenced.close()


def row(value: str, key: str = "k") -> OutRecord:
    return key.encode(), value.encode(), []


async def test_what_was_committed_is_read_in_order(bench: Bench) -> None:
    await bench.committed(row("1"), row("2"))
    assert await bench.read() == [(0, b"1"), (1, b"2")]


async def test_a_marker_takes_an_offset_and_the_end_is_behind_it(bench: Bench) -> None:
    await bench.committed(row("1"))
    await bench.committed(row("2"))
    assert await bench.read() == [(0, b"1"), (2, b"2")]
    async with bench.log.reader() as reader:
        assert await reader.end(bench.topic, 0) == 4


async def test_an_empty_partition_ends_at_zero(bench: Bench) -> None:
    assert await bench.read() == []
    async with bench.log.reader() as reader:
        assert await reader.end(bench.topic, 0) == 0


async def test_what_its_writer_left_open_is_aborted_by_the_next_of_the_id_and_never_seen(bench: Bench) -> None:
    left = await bench.log.writer(bench.id)
    await left.begin()
    await bench.write(left, row("never"))
    await bench.committed(row("2"))
    assert await bench.read() == [(2, b"2")]
    with pytest.raises(KafkaError):
        await left.commit()
    await end(left)
    assert await bench.read() == [(2, b"2")]


async def test_a_fenced_writer_can_neither_send_nor_commit(bench: Bench) -> None:
    former = await bench.log.writer(bench.id)
    await former.begin()
    await bench.committed(row("1"))

    async def go_on() -> None:
        await bench.write(former, row("never"))
        await former.commit()

    with pytest.raises(KafkaError):
        await go_on()
    await end(former)
    assert await bench.read() == [(0, b"1")]


async def test_another_id_is_not_fenced(bench: Bench) -> None:
    other = await bench.log.writer(f"{bench.id}.other")
    await other.begin()
    await bench.committed(row("1"))
    await bench.write(other, row("2"))
    await other.commit()
    await other.close()
    assert [value for _, value in await bench.read()] == [b"1", b"2"]


async def test_the_end_waits_for_what_another_id_has_open(bench: Bench) -> None:
    other = await bench.log.writer(f"{bench.id}.other")
    await other.begin()
    await bench.write(other, row("open"))
    await bench.committed(row("behind"))
    reading = asyncio.ensure_future(bench.read())
    done, _ = await asyncio.wait([reading], timeout=0.3)
    assert not done
    await other.commit()
    await other.close()
    assert [value for _, value in await reading] == [b"open", b"behind"]


async def test_a_key_keeps_its_newest_value_when_others_are_removed(bench: Bench) -> None:
    await bench.committed(row("1"), row("2"), row("a", "other"))
    await bench.committed(row("3"))
    await bench.compact()
    newest: dict[bytes | None, bytes | None] = {}
    async with bench.log.reader() as reader:
        end = await reader.end(bench.topic, 0)
        assert end == 6
        async for batch in reader.read(bench.topic, 0, end):
            newest |= {r.key: r.value for r in batch}
    assert newest == {b"k": b"3", b"other": b"a"}
