"""From what was recorded to where it is stored: the part of a client that runs on its own thread's loop."""

import asyncio
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Final

import msgspec

from tollgate.schemas.refusals import Refusal, RefusalReason
from tollgate.sdk.errors import InvalidEventError
from tollgate.sdk.importing import in_a_thread
from tollgate.sdk.segment import Batch, now_ms
from tollgate.sdk.sending import RefusedEvent, Sender, TroubleError
from tollgate.sdk.settings import OnError
from tollgate.sdk.spool import Spool

log = logging.getLogger("tollgate.sdk")

# What ended processes left is looked for so often; a scan of the folder takes 20 µs.
_ADOPT_SECONDS: Final = 5.0
# So many events at once take 5 ms.
_WRITTEN_MAX: Final = 10_000
_RETRY_SECONDS_MIN: Final = 0.1
_RETRY_SECONDS_MAX: Final = 5.0


class _Id(msgspec.Struct):
    id: str = ""


_id_of: Final = msgspec.json.Decoder(_Id).decode


class Delivery:
    """Writes what is in `queue` to the spool, and sends what is in the spool. Everything runs on one loop.

    `queue` is filled by any thread. `trouble` says why nothing could be sent the last time; None when it could.
    """

    def __init__(
        self, queue: deque[tuple[str, bytes]], spool: Spool, make_sender: Callable[[], Sender], on_error: OnError | None
    ) -> None:
        self.queue = queue
        self.spool = spool
        self.taken = self.sent = self.refused = 0
        self.trouble: Exception | None = None
        self.oldest_ms = 0
        # Held while events are in neither of `queue` and `taken`, so that they can be counted.
        self.moving = threading.RLock()
        # How many events must be done, and who waits for it.
        self._waiters: list[tuple[int, Future[bool]]] = []
        self._make_sender = make_sender
        self._sender: Sender | None = None
        self._on_error = on_error
        self._something: asyncio.Event | None = None

    def write(self) -> bool:
        """Move what was recorded to the spool. Whether there was anything."""
        queue = self.queue
        events: list[tuple[str, bytes]] = []
        with self.moving:
            # Another thread may drop from it meanwhile.
            with suppress(IndexError):
                while len(events) < _WRITTEN_MAX:
                    events.append(queue.popleft())
            self.taken += len(events)
        if not events:
            return False
        kept = self.spool.append(events)
        if kept and self._something is not None:
            self._something.set()
        if kept < len(events):
            with self.moving:
                queue.extendleft(reversed(events[kept:]))
                self.taken -= len(events) - kept
        return True

    async def run(self) -> None:
        """Send until it is cancelled. It may be run again, on another loop."""
        something = self._something = asyncio.Event()
        retry_seconds = _RETRY_SECONDS_MIN
        adopt_due = 0.0
        while True:
            try:
                now = time.monotonic()
                if now >= adopt_due and not self.spool.adopt() and not self.spool.has_adopted:
                    adopt_due = now + _ADOPT_SECONDS
                if self._sender is None:
                    if not self.spool.bytes:
                        await _until(something, _ADOPT_SECONDS)
                        continue
                    self._sender = await in_a_thread(self._make_sender)
                sender = self._sender
                batch = self.spool.next(sender.events_max, sender.bytes_max)
                self.oldest_ms = batch.written_ms if batch else 0
                if batch is None:
                    self.settle()
                    await _until(something, _ADOPT_SECONDS)
                    continue
                self._confirmed(batch, await sender.send(batch.events))
                retry_seconds = _RETRY_SECONDS_MIN
            except Exception as error:  # noqa: BLE001 # whatever it is, the events are not lost by it
                wanted = self._tell(error)
                # Spread, so that services do not come back all at once.
                seconds = retry_seconds * random.uniform(0.5, 1)  # noqa: S311 # not for secrets
                await asyncio.sleep(seconds if wanted is None else max(wanted, _RETRY_SECONDS_MIN))
                retry_seconds = min(2 * retry_seconds, _RETRY_SECONDS_MAX)

    def wait_for(self, done: "Future[bool]") -> None:
        """Tell this one when everything that is recorded by now waits no more."""
        self.write()
        # Nobody else moves events from the queue to the spool, so none is between the two.
        self._waiters.append((self.taken + len(self.queue), done))
        self.settle()

    def settle(self) -> None:
        """Tell those who wait for events that are done."""
        left = []
        for count, waiter in self._waiters:
            if self.spool.own_done < count:
                left.append((count, waiter))
            else:
                _tell_waiter(waiter, True)
        self._waiters = left

    async def leave(self) -> None:
        """End the connections."""
        self._something = None
        if self._sender is not None:
            await self._sender.close()

    def end(self) -> None:
        """Leave what is not sent in the spool. Not while `run` runs."""
        self.write()
        for _, waiter in self._waiters:
            _tell_waiter(waiter, False)
        self._waiters.clear()
        self.spool.close()

    def _confirmed(self, batch: Batch, refused: Sequence[RefusedEvent]) -> None:
        if self.trouble is not None:
            log.info("usage events are sent again")
            self.trouble = None
        done = self.spool.confirm()
        if done:
            self.refused += len(refused)
            self.sent += done - len(refused)
        for one in refused:
            self._tell_of(batch.events[one.place][1], one.error)
        self.settle()

    def _tell(self, error: Exception) -> float | None:
        """Log the first failure of several. The seconds that the other side wants to be left alone for, if it says."""
        first, self.trouble = self.trouble is None, error
        if isinstance(error, TroubleError):
            if first:
                log.warning("usage events wait in the spool: %s", error)
            return error.retry_seconds
        if first:
            log.error("usage events wait in the spool: they cannot be sent", exc_info=error)
        return None

    def _tell_of(self, value: bytes, error: str) -> None:
        try:
            event_id = _id_of(value).id
        except (msgspec.MsgspecError, UnicodeDecodeError):
            event_id = ""
        log.error("a usage event will not be counted: %s", error)
        if self._on_error is not None:
            try:
                self._on_error(event_id, InvalidEventError(Refusal(RefusalReason.INVALID, error)))
            except Exception:  # it is the service's own code
                log.exception("on_error failed")


def _tell_waiter(waiter: "Future[bool]", stored: bool) -> None:
    # Whoever waited may have given up meanwhile.
    with suppress(InvalidStateError):
        waiter.set_result(stored)


async def _until(something: asyncio.Event, seconds: float) -> None:
    something.clear()
    try:
        async with asyncio.timeout(seconds):
            await something.wait()
    except TimeoutError:
        pass


def age_ms(written_ms: int) -> int:
    """How long ago, in milliseconds; 0 when never."""
    return max(0, now_ms() - written_ms) if written_ms else 0
