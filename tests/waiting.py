"""Waiting for a condition with a deadline: the only place where a test sleeps."""

import asyncio
import time
from collections.abc import Awaitable, Callable


def wait_until(condition: Callable[[], object], seconds: float = 20, what: str = "the condition") -> None:
    """Return once the condition holds; fail the test when it does not within the time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {seconds} s"
        time.sleep(0.02)


async def eventually(condition: Callable[[], Awaitable[object]], seconds: float = 20, what: str = "it") -> None:
    """The same for a condition that must be awaited."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {seconds} s"
        await asyncio.sleep(0.02)
