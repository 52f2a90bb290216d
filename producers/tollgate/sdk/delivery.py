"""From what was recorded to where it is stored: the part of a client that runs on its own thread's loop."""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from tollgate.schemas.refusals import Refusal, RefusalReason
from tollgate.sdk.errors import InvalidEventError
from tollgate.sdk.segment import Batch, now_ms
from tollgate.sdk.sending import RefusedEvent, Sender, TroubleError
from tollgate.sdk.settings import OnError
from tollgate.sdk.spool import Spool

log = logging.getLogger("tollgate.sdk")

# What ended processes left is looked for so often; a scan of the folder takes 20 µs.
_ADOPT_SECONDS: Final = 5.0
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
        self.trouble: TroubleError | None = None
        self.oldest_ms = 0
        self._make_sender = make_sender
        self._sender: Sender | None = None
        self._on_error = on_error
        self._something = asyncio.Event()
        self._waiters: list[tuple[int, asyncio.Future[bool]]] = []
        self._closing = False

    def write(self) -> bool:
        """Move what was recorded to the spool. Whether there was anything."""
        queue = self.queue
        events = [queue.popleft() for _ in range(len(queue))]
        if not events:
            return False
        if self.spool.append(events):
            self.taken += len(events)
            self._something.set()
        else:
            queue.extendleft(reversed(events))
        return True

    async def run(self) -> None:
        """Send until it is cancelled."""
        retry_seconds = _RETRY_SECONDS_MIN
        adopt_due = 0.0
        while True:
            now = time.monotonic()
            if now >= adopt_due and not self.spool.adopt():
                adopt_due = now + _ADOPT_SECONDS
            sender = self._sender = self._sender or self._make_sender()
            batch = self.spool.next(sender.events_max, sender.bytes_max)
            self.oldest_ms = batch.written_ms if batch else 0
            if batch is None:
                self._settle_waiters()
                await self._until_something(_ADOPT_SECONDS)
                continue
            try:
                refused = await sender.send(batch.events)
            except TroubleError as trouble:
                self._tell(trouble)
                wanted = trouble.retry_seconds
                await asyncio.sleep(retry_seconds * random.uniform(0.5, 1) if wanted is None else wanted)  # noqa: S311 # spreads retries
                retry_seconds = min(2 * retry_seconds, _RETRY_SECONDS_MAX)
                continue
            retry_seconds = _RETRY_SECONDS_MIN
            self._confirmed(batch, refused)

    async def done(self, count: int, timeout_seconds: float) -> bool:
        """Wait until the first `count` events of this process wait no more. False when the time is over before."""
        self.write()
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiters.append((count, waiter))
        self._settle_waiters()
        try:
            async with asyncio.timeout(timeout_seconds):
                return await waiter
        except TimeoutError:
            return False

    async def stop(self) -> None:
        """End the connections, and leave the rest in the spool."""
        self.write()
        if self._sender is not None:
            await self._sender.close()
        for _, waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(False)
        self.spool.close()

    async def _until_something(self, seconds: float) -> None:
        self._something.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._something.wait()
        except TimeoutError:
            pass

    def _confirmed(self, batch: Batch, refused: "list[RefusedEvent] | tuple[RefusedEvent, ...]") -> None:
        if self.trouble is not None:
            log.info("usage events are sent again")
            self.trouble = None
        done = self.spool.confirm()
        if done:
            self.refused += len(refused)
            self.sent += done - len(refused)
        for one in refused:
            self._tell_of(batch.events[one.place][1], one.error)
        self._settle_waiters()

    def _settle_waiters(self) -> None:
        left = []
        for count, waiter in self._waiters:
            if waiter.done():
                continue
            if self.spool.own_done >= count:
                waiter.set_result(True)
            else:
                left.append((count, waiter))
        self._waiters = left

    def _tell(self, trouble: TroubleError) -> None:
        if self.trouble is None:
            log.warning("usage events wait in the spool: %s", trouble)
        self.trouble = trouble

    def _tell_of(self, value: bytes, error: str) -> None:
        try:
            event_id = _id_of(value).id
        except (msgspec.MsgspecError, UnicodeDecodeError):
            event_id = ""
        log.error("a usage event will not be counted: %s", error)
        if self._on_error is not None:
            try:
                self._on_error(event_id, InvalidEventError(Refusal(RefusalReason.INVALID, error)))
            except Exception:  # noqa: BLE001 # it is the service's own code
                log.exception("on_error failed")


def age_ms(written_ms: int) -> int:
    """How long ago, in milliseconds; 0 when never."""
    return max(0, now_ms() - written_ms) if written_ms else 0
