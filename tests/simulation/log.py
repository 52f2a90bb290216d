"""The ledger's log on a simulated broker. Every operation is handed to whoever decides when it takes place."""

from asyncio import Future
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Protocol

from aiokafka import ConsumerRecord
from tests.simulation.broker import Broker, Line

from tollgate.ledger.log import Reader
from tollgate.ledger.outbox import OutRecord


class Network(Protocol):
    """Carries out operations, in any order but for those of one `line`, which keep theirs."""

    def call(self, operation: Callable[[], Any], line: Line | None = None, *, fragile: bool = False) -> "Future[Any]":
        """The future of the operation's result. It is tried again while it raises BusyError; a fragile one may fail."""


class SimulatedLog:
    """See `tollgate.ledger.log.Log`. `owner` is whom the broker is told that a transaction comes from."""

    def __init__(self, broker: Broker, network: Network, owner: object = None) -> None:
        self._broker = broker
        self._network = network
        self._owner = owner

    async def writer(self, transactional_id: str) -> "SimulatedWriter":
        epoch = await self._network.call(lambda: self._broker.init(transactional_id))
        return SimulatedWriter(self._broker, self._network, self._owner, transactional_id, epoch)

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[Reader]:
        self._broker.readers += 1
        try:
            yield SimulatedReader(self._broker, self._network)
        finally:
            self._broker.readers -= 1


class SimulatedWriter:
    """See `Writer`."""

    def __init__(self, broker: Broker, network: Network, owner: object, transactional_id: str, epoch: int) -> None:
        self._broker = broker
        self._network = network
        self._owner = owner
        self._id = transactional_id
        self._epoch = epoch

    def is_fenced(self) -> bool:
        """Whether the broker would refuse it."""
        return not self._broker.is_current(self._id, self._epoch)

    async def begin(self) -> None:
        # Kafka's clients say nothing to a broker here.
        await self._network.call(lambda: None)

    async def send(self, topic: str, partition: int, records: Sequence[OutRecord]) -> "list[Future[Any]]":
        place = topic, partition
        kept = list(records)
        await self._network.call(lambda: None)
        append = partial(self._broker.append, self._id, self._epoch, self._owner, place, kept)
        return [self._network.call(append, (self, place), fragile=True)]

    async def commit(self) -> None:
        # Behind all that was sent: a client flushes before it commits, and does not mind what failed.
        await self._network.call(lambda: self._broker.end(self._id, self._epoch), (self, None), fragile=True)

    async def close(self) -> None:
        await self._network.call(lambda: None)


class SimulatedReader:
    """See `Reader`."""

    def __init__(self, broker: Broker, network: Network) -> None:
        self._broker = broker
        self._network = network

    async def end(self, topic: str, partition: int) -> int:
        place = topic, partition
        high: int = await self._network.call(lambda: self._broker.high_watermark(place))
        found: int = await self._network.call(lambda: self._broker.reached(place, high))
        return found

    async def read(self, topic: str, partition: int, end: int) -> AsyncIterator[Sequence[ConsumerRecord]]:
        place, position = (topic, partition), 0
        while position < end:
            records, position = await self._network.call(partial(self._broker.fetch, place, position, 8))
            before = [record for record in records if record.offset < end]
            if before:
                yield before
