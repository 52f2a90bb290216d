"""Lets consumers stop cleanly while Kafka is away.

aiokafka's fetcher cancels its own requests when it stops. If a request is waiting for a retry, that cancellation leaves
the consumer's `stop` as a CancelledError, as if the caller had been cancelled, and its connections stay open.
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
    """Apply the fix to every consumer of this process. May be called again."""
    Fetcher.close = _close_all
