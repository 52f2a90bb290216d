"""Consumers that stop while Kafka is away.

aiokafka's fetcher cancels its own requests and then waits for them; one that waits to try again is ended by that
cancellation, which comes out of the consumer's `stop` as if the caller had been cancelled, with the rest not closed.
"""

import asyncio
from typing import Any, Final

from aiokafka.consumer.fetcher import Fetcher

_close: Final = Fetcher.close


async def _close_all(self: Any) -> None:
    self._fetch_task.cancel()
    for request in self._pending_tasks:
        request.cancel()
    await asyncio.wait([self._fetch_task, *self._pending_tasks])
    self._pending_tasks = set()
    await _close(self)


def stop_without_kafka() -> None:
    """Have every consumer of this process stop in order; again is harmless."""
    Fetcher.close = _close_all
