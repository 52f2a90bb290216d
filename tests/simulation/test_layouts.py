"""Two ways in which a worker with another number of lanes could count twice, step by step."""

import asyncio
import json
from typing import Any, NoReturn

import pytest
from aiokafka import TopicPartition
from tests.simulation.broker import Broker
from tests.simulation.immediately import Immediately
from tests.simulation.log import SimulatedLog
from tests.simulation.people import POLICY
from tests.simulation.services import HOMES, PARTITIONS
from tests.support.usage import TIME_MS, event

from tollgate.ledger.engine import Engine
from tollgate.ledger.lane import Lane
from tollgate.ledger.link import Link

PARTITION = 2
USER = next(user for user, home in HOMES.items() if home == PARTITION)
TP = TopicPartition("usage", PARTITION)


class DiedError(Exception):
    """The worker ended."""


def died(why: str, error: BaseException | None = None) -> NoReturn:
    raise DiedError(why)


async def seen(_: Lane) -> None:
    """A worker would start to fetch here."""


class Installation:
    """Workers with any number of lanes on one broker; they do what a test says, when it says it."""

    def __init__(self) -> None:
        self.broker = Broker(lambda: TIME_MS)

    async def worker(self, lanes: int) -> Engine:
        """One that owns all partitions of the lane of `PARTITION`."""
        log = SimulatedLog(self.broker, Immediately(self.broker))
        engine = Engine(
            Link(
                log, lambda topic: topic.value, "sim", lambda: TIME_MS,
                usage_partitions=PARTITIONS, lanes=lanes, core="python", fatal=died,
            ),
            POLICY,
        )  # fmt: skip
        theirs = range(PARTITION % lanes, PARTITIONS, lanes)
        await engine.acquire([TopicPartition("usage", p) for p in theirs], seen)
        await engine.recovered()
        return engine

    def publish(self, event_id: str) -> None:
        self.broker.publish(("usage", PARTITION), (USER.encode(), json.dumps(event(event_id, USER)).encode(), []))

    async def count(self, engine: Engine) -> None:
        source, lane = engine.sources[TP]
        records, _ = self.broker.fetch(("usage", PARTITION), source.next_offset, 100)
        if records:
            source.apply(records)
        lane.checkpoint()
        await lane.settle()

    def counted(self) -> list[Any]:
        return [json.loads(r.value)["event_id"] for r in self.broker.committed(("priced", PARTITION))]


async def test_a_sleeper_of_another_layout_that_never_committed_is_fenced() -> None:
    world = Installation()
    world.publish("e1")
    await world.count(await world.worker(lanes=2))
    sleeper = await world.worker(lanes=4)
    heir = await world.worker(lanes=2)
    world.publish("e2")
    await world.count(heir)
    with pytest.raises(DiedError):
        await world.count(sleeper)
    assert world.counted() == ["e1", "e2"]


async def test_what_was_committed_behind_an_open_transaction_of_another_id_is_read_at_the_next_start() -> None:
    world = Installation()
    owner = await world.worker(lanes=2)
    stray = await SimulatedLog(world.broker, Immediately(world.broker)).writer("sim.usage.3")
    await stray.begin()
    await asyncio.gather(*await stray.send("internal.user-state", PARTITION, [(b"a|sim.usage.3", b"sim.usage.3", [])]))
    world.publish("e1")
    await world.count(owner)
    successor = asyncio.ensure_future(world.worker(lanes=2))
    for _ in range(200):
        await asyncio.sleep(0)
    assert not successor.done()
    # As the transaction's time-out does.
    world.broker.expire(0)
    await world.count(await successor)
    assert world.counted() == ["e1"]
