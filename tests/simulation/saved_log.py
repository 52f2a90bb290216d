"""A saved log: every record of every topic that a release wrote in a small story, for later releases to go on from.

`python -m tests.simulation.saved_log FILE` plays the story with the present code and writes what the topics hold then,
one record a line. The committed file is of the release that its name says, and is never made again by a later one.
"""

import asyncio
import base64
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

from aiokafka import ConsumerRecord, TopicPartition
from tests.simulation.broker import Broker
from tests.simulation.immediately import Immediately
from tests.simulation.log import SimulatedLog
from tests.support.usage import event

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget
from tollgate.domain.pricing import Pricer, load_price_book
from tollgate.ledger.core import Core
from tollgate.ledger.engine import Engine
from tollgate.ledger.lane import Lane
from tollgate.ledger.link import Link
from tollgate.ledger.policy import Policy
from tollgate.schemas.control import BudgetRecord
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.topics import Topic

# With the count of held windows in deltas, and hours as the unit of time of a sum.
RELEASE_0_1: Final = Path(__file__).with_name("log_of_0.1.ndjson")

USAGE: Final = TopicPartition("usage", 0)
DELTAS: Final = tuple(TopicPartition(Topic.DELTAS.value, partition) for partition in (0, 1))
_TOPICS: Final = (
    Topic.USAGE, Topic.PRICED, Topic.FLAGS, Topic.SPEND, Topic.ALERTS, Topic.DEAD_LETTERS,
    Topic.DELTAS, Topic.USER_STATE, Topic.SHARED_STATE, Topic.IDENTITIES,
)  # fmt: skip


class DiedError(Exception):
    """The worker ended."""


def _died(why: str, error: BaseException | None = None) -> NoReturn:
    raise DiedError(why) from error


async def _recovered(_: Lane) -> None:
    """A worker would start to fetch here."""


def policy() -> Policy:
    """A month's budget of 10 USD for each user."""
    budget = {"scope": "user/*", "limit": "10", "window": "month", "updated_at": "2026-01-01T00:00:00Z"}
    prices = load_price_book("default")
    return Policy(BudgetBook([Budget.from_record(BudgetRecord.model_validate(budget))]), lambda: Pricer(prices))


def _at_once(_nanoseconds: int, call: Callable[[], None]) -> None:
    """Each transaction follows the one before: time stands still here."""
    call()


class Installation:
    """One worker on one partition of usage and two of deltas. `at` is everybody's clock."""

    def __init__(self, at: str, core: Core | None = None) -> None:
        self._now_ms = parse_instant(at)
        self._core = core
        self.broker = Broker(lambda: self._now_ms)

    def wait_until(self, at: str) -> None:
        """Set the clock."""
        self._now_ms = parse_instant(at)

    def publish(self, *events: dict[str, Any]) -> None:
        """Events reach the broker now."""
        for sent in events:
            self.broker.publish(("usage", 0), (sent["subject"].encode(), json.dumps(sent).encode(), []))

    async def worker(self) -> Engine:
        """A worker that has recovered."""
        log = SimulatedLog(self.broker, Immediately(self.broker))
        link = Link(
            log, lambda topic: topic.value, "saved", lambda: self._now_ms,
            usage_partitions=1, delta_partitions=2, lanes=1, core=self._core, later=_at_once, fatal=_died,
        )  # fmt: skip
        engine = Engine(link, policy())
        await engine.acquire([USAGE, *DELTAS], _recovered)
        await engine.recovered()
        return engine

    async def count(self, engine: Engine, *places: TopicPartition) -> None:
        """Count all there is of these partitions, each in as many transactions as it takes."""
        for place in places:
            source, lane = engine.sources[place]
            records, _ = self.broker.fetch((place.topic, place.partition), source.next_offset, 1000)
            if records:
                source.apply(records)
            while any(partition.stage.pending() for partition in lane.partitions):
                lane.checkpoint()
                await lane.settle()

    def newest(self, topic: Topic) -> dict[str, Any]:
        """What a topic says last under each key."""
        found: dict[str, Any] = {}
        for partition in (0, 1):
            for record in self.broker.committed((topic.value, partition)):
                if record.value is None:
                    found.pop(record.key.decode(), None)
                else:
                    found[record.key.decode()] = json.loads(record.value)
        return found

    def records(self) -> Iterator[dict[str, Any]]:
        """Everything that can be read, as JSON."""
        for topic in _TOPICS:
            for partition in (0, 1):
                for r in self.broker.committed((topic.value, partition)):
                    headers = [[name, value.decode()] for name, value in r.headers]
                    yield {
                        "topic": r.topic, "partition": r.partition, "offset": r.offset, "timestamp": r.timestamp,
                        "key": _written(r.key), "value": _written(r.value), "headers": headers,
                    }  # fmt: skip

    def load(self, lines: Iterable[str]) -> None:
        """Begin with a saved log."""
        for line in lines:
            saved = json.loads(line)
            key, value = _read(saved["key"]), _read(saved["value"])
            headers = tuple((name, text.encode()) for name, text in saved["headers"])
            place = saved["topic"], saved["partition"], saved["offset"], saved["timestamp"]
            self.broker.load(ConsumerRecord(*place, 1, key, value, None, len(key or b""), len(value or b""), headers))


def _written(data: bytes | None) -> Any:
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _read(written: Any) -> bytes | None:
    if written is None:
        return None
    return base64.b64decode(written["base64"]) if isinstance(written, dict) else str(written).encode()


def paid(event_id: str, user: str, usd: str, time: str, **names: str) -> dict[str, Any]:
    """An event that says what it cost."""
    return event(event_id, user, time=time, data={"cost_usd": usd, **names})


async def story() -> Installation:
    """A user and an agent over two months: late events, closed windows, a block, a model without a price.

    The second stage has not read the last deltas yet.
    """
    world = Installation("2026-09-25T10:30:00Z")
    engine = await world.worker()
    world.publish(
        paid("e1", "u1", "1", "2026-09-25T10:20:00Z", agent="SEO", org="acme"),
        event("e2", "u2", time="2026-09-25T10:29:00Z"),
    )
    await world.count(engine, USAGE, *DELTAS)
    world.wait_until("2026-11-21T08:30:00Z")
    world.publish(
        paid("e3", "u1", "2", "2026-11-21T08:20:00Z", agent="SEO", org="acme"),
        # Of this no hour is held any more, and of the next one neither day nor month.
        paid("e4", "u1", "4", "2026-09-30T12:40:00Z", agent="SEO"),
        paid("e5", "u2", "8", "2024-01-01T00:00:00Z", agent="SEO"),
    )
    await world.count(engine, USAGE, *DELTAS)
    # Counted while its hour is still held, in one batch with events of an hour in which it is not.
    world.wait_until("2026-11-21T09:59:59Z")
    world.publish(paid("e6", "u1", "16", "2026-11-18T09:15:00Z", agent="SEO"))
    world.wait_until("2026-11-21T10:30:00Z")
    world.publish(
        paid("e7", "u1", "32", "2026-11-21T10:10:00Z", agent="SEO", org="acme"),
        event("e8", "u2", time="2026-11-21T10:29:00Z", data={"model": "no-such-model"}),
    )
    await world.count(engine, USAGE)
    return world


def main(path: str) -> None:
    """Play the story and save its log."""
    world = asyncio.run(story())
    Path(path).write_text("".join(json.dumps(record) + "\n" for record in world.records()))


if __name__ == "__main__":
    main(sys.argv[1])
