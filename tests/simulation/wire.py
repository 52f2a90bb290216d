"""The network of a simulated process, and its timers: both leave the order to the simulation."""

import asyncio
from asyncio import Future
from collections.abc import Callable
from typing import Any

from tests.simulation.broker import Line
from tests.simulation.process import Process

Operation = tuple[Process, Callable[[], Any], Line | None, bool, "Future[Any]"]


class Wire:
    """The network of one process."""

    def __init__(self, process: Process, waiting: list[Operation]) -> None:
        self._process = process
        self._waiting = waiting

    def call(self, operation: Callable[[], Any], line: Line | None = None, *, fragile: bool = False) -> "Future[Any]":
        future = self._process.loop.create_future()
        self._waiting.append((self._process, operation, line, fragile, future))
        return future


def in_its_turn(_nanoseconds: int, call: Callable[[], None]) -> None:
    """The simulation decides when each callback runs, and with it how much time has passed."""
    asyncio.get_running_loop().call_soon(call)
