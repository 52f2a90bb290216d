"""A daemon thread with a loop of its own, so that nothing of a client runs on the service's loop."""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future

# Imported here, and not in the middle of a fork: it registers what is to be done at forks.
from concurrent.futures.thread import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, TypeVar

log = logging.getLogger("tollgate.sdk")

_CANCEL_SECONDS: Final = 0.05
_LEFT_SECONDS_MAX: Final = 0.3

Answer = TypeVar("Answer")


class _Lookups(ThreadPoolExecutor):
    """Where libraries look host names up: in threads that end with their work, and that no end of a process waits for.

    A lookup takes half a minute when its server is away.
    """

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> "Future[Any]":
        future: Future[Any] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work(*arguments, **named))
                except BaseException as error:  # noqa: BLE001 # it is told where it is waited for
                    future.set_exception(error)

        threading.Thread(target=run, name="tollgate-sdk-lookup", daemon=True).start()
        return future


class Background:
    """Runs `main` until `stop`, then `end`. Not to be started again. RuntimeError when there can be no more threads."""

    def __init__(
        self, main: Callable[[], Coroutine[Any, Any, None]], end: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        # Not the service's kind of loop: its policy may be of another thread, or a test's.
        self.loop = asyncio.SelectorEventLoop()
        self.loop.set_default_executor(_Lookups())
        self._main = main
        self._end = end
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="tollgate-sdk", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self.loop.close()
            raise

    def call(self, work: Coroutine[Any, Any, Answer]) -> "Future[Answer]":
        """Run this on the loop, and have its answer in a future of threads."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def call_soon(self, work: Callable[..., object], *arguments: object) -> None:
        """Run this on the loop, if it has not ended."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(work, *arguments)

    def is_alive(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    def is_this_thread(self) -> bool:
        """Whether the caller runs on the loop's own thread, which must not wait for itself."""
        return threading.current_thread() is self._thread

    def stop(self, timeout_seconds: float) -> bool:
        """End the thread. False when it has not ended in time; it ends with the process then."""
        self.call_soon(self._stopping.set)
        if not self.is_this_thread():
            self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.loop.run_until_complete(self._until_stopped())
        except Exception:
            log.exception("the thread that sends usage events has failed; they stay in the spool")
        finally:
            self.loop.close()

    async def _until_stopped(self) -> None:
        main = asyncio.create_task(self._main(), name="tollgate-sdk")
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait([main, stopping], return_when=asyncio.FIRST_COMPLETED)
        # Again and again: aiokafka loses a cancellation that arrives together with a refused connection.
        while not main.done():
            main.cancel()
            await asyncio.wait([main], timeout=_CANCEL_SECONDS)
        try:
            await self._end()
            if not main.cancelled():
                main.result()
        finally:
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left, timeout=_LEFT_SECONDS_MAX)
