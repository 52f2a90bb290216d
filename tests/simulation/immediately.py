"""A network without a scheduler: for tests on an ordinary event loop, one operation after another."""

import asyncio
from asyncio import Future
from collections.abc import Callable
from typing import Any

from tests.simulation.broker import Broker, BusyError, Line


class Immediately:
    """Carries out each operation at the loop's next turn, and writes markers when one has to wait for them."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def call(self, operation: Callable[[], Any], line: Line | None = None, *, fragile: bool = False) -> "Future[Any]":  # noqa: ARG002 # a scheduler's
        """See `Network`. Nothing fails that the broker does not refuse."""
        return asyncio.ensure_future(self._carry_out(operation))

    async def _carry_out(self, operation: Callable[[], Any]) -> Any:
        await asyncio.sleep(0)
        while True:
            try:
                result = operation()
            except BusyError:
                if self._broker.markers:
                    self._broker.write_marker(0)
                await asyncio.sleep(0)
            else:
                while self._broker.markers:
                    self._broker.write_marker(0)
                return result
