"""Entries beside usage: one transaction and one offset row for both, whatever is assigned."""

import json
from typing import Any, NoReturn

import pytest
from aiokafka import TopicPartition
from tests.simulation.broker import Broker
from tests.simulation.immediately import Immediately
from tests.simulation.log import SimulatedLog
from tests.simulation.people import POLICY
from tests.support.usage import TIME_MS, event

from tollgate.ledger.core import Core
from tollgate.ledger.decoding import decoded_entry
from tollgate.ledger.endings import MemoryEndings
from tollgate.ledger.engine import Engine
from tollgate.ledger.lane import Lane
from tollgate.ledger.link import Later, Link
from tollgate.schemas.topics import Topic

USAGE = TopicPartition("usage", 0)
ENTRIES = TopicPartition("entries", 0)


class DiedError(Exception):
    """The worker ended."""


def died(why: str, error: BaseException | None = None) -> NoReturn:
    raise DiedError(why) from error


async def seen(_: Lane) -> None:
    """A worker would start to fetch here."""


class Installation:
    """Workers on one broker with one partition of usage."""

    def __init__(self, core: Core = "python") -> None:
        self.broker = Broker(lambda: TIME_MS)
        self._endings = MemoryEndings()
        self._core = core
        self.later: Later = lambda _, call: call()

    async def worker(self, *assigned: TopicPartition, lanes: int = 1) -> Engine:
        log = SimulatedLog(self.broker, Immediately(self.broker))
        link = Link(
            log, lambda topic: topic.value, "unit", lambda: TIME_MS, usage_partitions=1, delta_partitions=1,
            lanes=lanes, core=self._core, endings=self._endings, later=self.later, fatal=died,
        )  # fmt: skip
        engine = Engine(link, POLICY)
        await engine.acquire(assigned, seen)
        await engine.recovered()
        return engine

    def publish(self, event_id: str, user: str = "u1") -> None:
        self.broker.publish(("usage", 0), (user.encode(), json.dumps(event(event_id, user)).encode(), []))

    def enter(self, value: bytes = b'{"type":"tollgate.later.v1"}', partition: int = 0) -> None:
        self.broker.publish(("entries", partition), (b"u1", value, []))

    def count(self, engine: Engine, place: TopicPartition) -> None:
        """Count what there is of it, without a transaction."""
        source, lane = engine.sources[place]
        records, _ = self.broker.fetch((place.topic, place.partition), source.next_offset, 100)
        lane.count(source, records)

    async def commit(self, engine: Engine) -> None:
        for lane in engine.recovered_lanes:
            lane.checkpoint()
        for _, lane in list(engine.sources.values()):
            await lane.settle()

    def offset_rows(self) -> list[dict[str, Any]]:
        rows = self.broker.committed(("internal.user-state", 0))
        return [json.loads(row.value) for row in rows if row.key == b"o"]

    def letters(self) -> list[dict[str, bytes]]:
        return [dict(letter.headers) for letter in self.broker.committed(("dead-letters", 0))]

    def priced(self) -> list[str]:
        return [json.loads(record.value)["event_id"] for record in self.broker.committed(("priced", 0))]


def offsets(engine: Engine) -> dict[str, tuple[int, int]]:
    return {tp.topic: (s.next_offset, s.committed_offset) for tp, (s, _) in engine.sources.items()}


@pytest.mark.parametrize("core", ["python", "compiled"])
async def test_one_transaction_moves_usage_and_entries(core: Core) -> None:
    world = Installation(core)
    world.publish("e1")
    world.publish("e2")
    world.enter()
    engine = await world.worker(USAGE, ENTRIES)
    world.count(engine, ENTRIES)
    world.count(engine, USAGE)
    assert engine.counters.transactions == 0
    await world.commit(engine)
    assert engine.counters.transactions == 1
    assert (engine.counters.applied, engine.counters.applied_entries, engine.counters.counted) == (2, 1, 2)
    (row,) = world.offset_rows()
    assert (row["next"], row["next_entries"]) == (2, 1)
    (letter,) = world.letters()
    assert (letter["reason"], letter["error"]) == (b"invalid", b"type: not an entry")
    assert (letter["source_topic"], letter["source_partition"], letter["source_offset"]) == (b"entries", b"0", b"0")
    assert offsets(await world.worker(USAGE, ENTRIES)) == {"usage": (2, 2), "entries": (1, 1)}


async def test_a_worker_that_is_given_no_entries_keeps_their_offset() -> None:
    world = Installation()
    world.enter()
    both = await world.worker(USAGE, ENTRIES)
    world.count(both, ENTRIES)
    await world.commit(both)
    world.enter()
    alone = await world.worker(USAGE)
    assert list(alone.sources) == [USAGE]
    world.publish("e1")
    world.count(alone, USAGE)
    await world.commit(alone)
    assert [(row["next"], row["next_entries"]) for row in world.offset_rows()] == [(0, 1), (1, 1)]
    again = await world.worker(USAGE, ENTRIES)
    world.count(again, ENTRIES)
    await world.commit(again)
    assert [letter["source_offset"] for letter in world.letters()] == [b"0", b"1"]
    assert world.priced() == ["e1"]


async def test_entries_that_are_assigned_later_make_the_lane_anew() -> None:
    world = Installation()
    engine = await world.worker(USAGE)
    ((former, _),) = engine.sources.values()
    await engine.park([USAGE])
    await engine.acquire([USAGE, ENTRIES], seen)
    await engine.recovered()
    assert set(engine.sources) == {USAGE, ENTRIES}
    assert engine.sources[USAGE][0] is not former
    assert len(engine.partitions) == 1


async def test_dropped_entries_must_be_sought_and_usage_goes_on() -> None:
    world = Installation()
    world.publish("e1")
    world.enter()
    engine = await world.worker(USAGE, ENTRIES)
    engine.sources[ENTRIES][0].must_seek = True
    world.count(engine, USAGE)
    with pytest.raises(DiedError, match="no seek followed"):
        world.count(engine, ENTRIES)


async def test_an_entry_that_ends_the_worker_is_put_aside_and_usage_is_not_suspected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = Installation()
    world.publish("e1")
    world.enter(b"fatal")
    world.enter()

    def failing(record: Any) -> Any:
        if record.value == b"fatal":
            raise ValueError("a defect")
        return decoded_entry(record)

    monkeypatch.setattr("tollgate.ledger.user_stage.decoded_entry", failing)
    for tried in range(3):
        engine = await world.worker(USAGE, ENTRIES)
        source, lane = engine.sources[ENTRIES]
        assert engine.sources[USAGE][0].suspect is None
        records, _ = world.broker.fetch(("entries", 0), source.next_offset, 100)
        with pytest.raises(ValueError, match="a defect"):
            await (lane.count_carefully(source, records) if tried else _counted(lane, source, records))
    engine = await world.worker(USAGE, ENTRIES)
    source, lane = engine.sources[ENTRIES]
    assert source.suspect is not None
    assert source.suspect.is_poison
    records, _ = world.broker.fetch(("entries", 0), source.next_offset, 100)
    await lane.count_carefully(source, records)
    world.count(engine, USAGE)
    await world.commit(engine)
    assert [(letter["reason"], letter["source_offset"]) for letter in world.letters()] == [
        (b"poison", b"0"), (b"invalid", b"1"),
    ]  # fmt: skip
    assert world.priced() == ["e1"]


async def _counted(lane: Lane, source: Any, records: Any) -> None:
    lane.count(source, records)


async def test_an_added_partition_of_entries_alone_is_read_to_its_end_once() -> None:
    world = Installation()
    world.enter(partition=2)
    added = TopicPartition("entries", 2)
    assigned = (USAGE, *(TopicPartition("entries", p) for p in range(3)))
    engine = await world.worker(*assigned)
    assert len(engine.partitions) == 3
    world.count(engine, added)
    await world.commit(engine)
    assert [(h["source_partition"], h["source_offset"]) for h in world.letters()] == [(b"2", b"0")]
    again = await world.worker(*assigned)
    assert again.sources[added][0].next_offset == 1
    assert again.sources[ENTRIES][0].next_offset == 0


@pytest.mark.parametrize("assigned", [[ENTRIES], [TopicPartition("entries", 1), USAGE]])
async def test_entries_without_the_rest_of_their_lane_end_the_process(assigned: list[TopicPartition]) -> None:
    with pytest.raises(DiedError, match="without the rest of lane 0"):
        await Installation().worker(*assigned)


async def test_a_worker_reads_the_topics_of_usage_entries_and_deltas() -> None:
    engine = await Installation().worker(USAGE, ENTRIES)
    assert engine.topics == {Topic.USAGE.value, Topic.ENTRIES.value, Topic.DELTAS.value}
