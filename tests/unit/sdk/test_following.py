"""A consumer in the background ends when it is told to."""

import asyncio
import contextlib
from typing import Any, cast

from tollgate.sdk.following import Following


class LosesCancellation:
    """A consumer that behaves as aiokafka's does when a cancellation arrives together with a refused connection."""

    def __init__(self) -> None:
        self.stopped = False

    async def getmany(self, timeout_ms: int) -> dict[object, object]:
        """Nothing, and the first cancellation is lost."""
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(timeout_ms / 1000)
        return {}

    async def stop(self) -> None:
        """Note that it happened."""
        self.stopped = True


async def test_a_reader_stops_though_the_library_loses_its_cancellation() -> None:
    consumer = cast("Any", LosesCancellation())
    reader = Following(consumer, lambda _record: None, "flags")
    reader.begin()
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await reader.stop()
    assert consumer.stopped
