"""Runs a command's coroutine so that Ctrl-C ends it for certain."""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

# Long enough for a clean end: a consumer leaves its group, a transaction is aborted.
AGAIN_SECONDS: Final = 2.0

_Answer = TypeVar("_Answer")


def run(main: Coroutine[Any, Any, _Answer]) -> _Answer:
    """`asyncio.run`, but a cancellation that a library loses is repeated every two seconds. KeyboardInterrupt.

    aiokafka drops a cancellation that arrives while it stops a client or is refused a connection. `asyncio.run` cancels
    once, so that the command would go on as if nobody had pressed Ctrl-C.
    """
    return asyncio.run(_interruptible(main))


async def _interruptible(main: Coroutine[Any, Any, _Answer]) -> _Answer:
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(main)
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        interrupted = True
        if not task.done():
            task.cancel()
            loop.call_later(AGAIN_SECONDS, interrupt)

    # Signals arrive in the main thread alone.
    handles = threading.current_thread() is threading.main_thread()
    if handles:
        loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            return await task
        if interrupted:
            raise KeyboardInterrupt
        raise asyncio.CancelledError
    finally:
        if handles:
            loop.remove_signal_handler(signal.SIGINT)
