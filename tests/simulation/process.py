"""One simulated worker: an engine on its own event loop, which runs one callback each time the simulation says so."""

import asyncio
import contextvars
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, NoReturn

from aiokafka import ConsumerRecord, TopicPartition
from tests.simulation.broker import Broker
from tests.simulation.log import Network, SimulatedLog

from tollgate.ledger.engine import Engine
from tollgate.ledger.lane import Lane
from tollgate.ledger.link import Link
from tollgate.ledger.policy import Policy
from tollgate.ledger.source import Source


class DiedError(BaseException):
    """The process ended where this was raised. No BaseException handler of the engine may survive it."""


class Loop(asyncio.AbstractEventLoop):
    """As much of an event loop as tasks, futures and gather need: callbacks in the order in which they came."""

    def __init__(self) -> None:
        self.ready: deque[asyncio.Handle] = deque()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.is_dead = False
        # Whose loop it is.
        self.process: Process | None = None

    def call_soon(  # type: ignore[override] # typeshed's variadic form says no more
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if not self.is_dead:
            self.ready.append(handle)
        return handle

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, Any], **_: Any) -> "asyncio.Task[Any]":  # type: ignore[override] # as above
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self.is_dead

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """A real loop logs what nobody awaited, such as the second of two sends that failed."""

    def run(self, callback: Callable[[], Any]) -> Any:
        """Run something as if the loop did."""
        events._set_running_loop(self)
        try:
            return callback()
        finally:
            events._set_running_loop(None)

    def die(self) -> None:
        """Forget everything. Coroutines are closed, so that they do not complain when they are collected."""
        self.is_dead = True
        self.ready.clear()
        for task in list(self.tasks):
            task._log_destroy_pending = False  # type: ignore[attr-defined] # asyncio's own switch for this
            coroutine = task.get_coro()
            # The one that is running now ends by itself, with the error that killed the process.
            with suppress(DiedError, ValueError, RuntimeError):
                coroutine.close()
        self.tasks.clear()


class Process:
    """A worker. `assigned` is what it believes is its own; the group may know better."""

    def __init__(
        self, name: str, broker: Broker, network: Callable[["Process"], Network], link: Callable[..., Link],
        policy: Policy, owns: Callable[["Process", Lane], None],
    ) -> None:  # fmt: skip
        self.name = name
        self.loop = Loop()  # type: ignore[abstract] # the rest of a loop is never called
        self.loop.process = self
        self.alive = True
        self.paused = False
        self.why = ""
        self.assigned: tuple[TopicPartition, ...] = ()
        self.flow = False
        self.rebalance: asyncio.Task[Any] | None = None
        self.positions: dict[TopicPartition, int] = {}
        # Lanes that count a partition's records one at a time; their partitions are not read meanwhile.
        self._careful: set[Lane] = set()
        self._broker = broker
        self._owns = owns
        self._policy = policy
        self.engine = Engine(link(SimulatedLog(broker, network(self), self), self.fatal), policy)

    def fatal(self, why: str, error: BaseException | None = None) -> NoReturn:
        """End the simulated process at once, as `os._exit` ends a real one."""
        self.kill(f"{why}: {error!r}")
        raise DiedError(why)

    def kill(self, why: str) -> None:
        """All memory is gone; what is on the network still arrives."""
        if self.alive:
            self.alive, self.why = False, why
            self.loop.die()

    @property
    def is_careful(self) -> bool:
        """Whether it counts some partition's records one at a time."""
        return bool(self._careful)

    def step(self) -> None:
        """Run the oldest callback."""
        handle = self.loop.ready.popleft()
        self.loop.run(handle._run)

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Begin something in this process."""
        task: asyncio.Task[Any] = self.loop.run(lambda: self.loop.create_task(coroutine))
        return task

    def park(self) -> None:
        """The group asks for the partitions back."""
        self.flow = False
        self.rebalance = self.start(self._park())

    async def _park(self) -> None:
        try:
            await self.engine.park(self.assigned)
        except BaseException as error:  # noqa: BLE001 # as the worker does
            self.fatal("partitions could not be given up", error)

    def acquire(self, assigned: Iterable[TopicPartition]) -> None:
        """The group has spoken."""
        self.assigned = tuple(assigned)
        self.rebalance = self.start(self._acquire())

    async def _acquire(self) -> None:
        try:
            await self.engine.acquire(self.assigned, self._recovered)
        except BaseException as error:  # noqa: BLE001 # as the worker does
            self.fatal("the assigned partitions could not be recovered", error)
        for source, _ in self.engine.sources.values():
            self._seek(source.tp, source.next_offset)
        self.flow = True

    async def _recovered(self, lane: Lane) -> None:
        self._owns(self, lane)
        for source in lane.sources:
            self._seek(source.tp, source.next_offset)

    def _seek(self, tp: TopicPartition, offset: int) -> None:
        self.positions[tp] = offset

    def poll(self, tp: TopicPartition, most: int) -> bool:
        """Fetch from one partition and count; False when there was nothing."""
        source, lane = self.engine.sources[tp]
        if lane in self._careful:
            return False
        if source.must_seek:
            self._seek(tp, source.next_offset)
            source.must_seek = False
        records, position = self._broker.fetch(tp, self.positions[tp], most)
        self.positions[tp] = position
        if not records:
            return False
        if source.suspect is not None:
            self._careful.add(lane)
            self.start(self._count_carefully(lane, source, records))
            return True

        def count() -> None:
            try:
                lane.count(source, records)
            except Exception as error:  # noqa: BLE001 # as the worker does
                self.fatal("counting failed", error)
            lane.checkpoint()

        self._inside(count)
        return True

    async def _count_carefully(self, lane: Lane, source: Source, records: list[ConsumerRecord]) -> None:
        try:
            await lane.count_carefully(source, records)
        except Exception as error:  # noqa: BLE001 # as the worker does
            self.fatal("counting failed", error)
        finally:
            self._careful.discard(lane)
        lane.checkpoint()

    def tick(self) -> None:
        """What the worker's timer does."""

        def tick() -> None:
            self.engine.tick()
            for lane in self.engine.recovered_lanes:
                lane.checkpoint()

        self._inside(tick)

    def hear(self, policy: Policy) -> None:
        """Budgets and the stop as the control topic has them now; nothing happens when it is known."""
        if policy is not self._policy:
            self._policy = policy
            self._inside(lambda: self.engine.set_policy(policy))

    def _inside(self, callback: Callable[[], None]) -> None:
        try:
            self.loop.run(callback)
        except DiedError:
            assert not self.alive
