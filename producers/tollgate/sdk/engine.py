"""The inside of a client: what its calls do in the caller's thread, and when its own thread lives."""

import atexit
import logging
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tollgate.sdk.background import Background
from tollgate.sdk.delivery import Delivery, age_ms
from tollgate.sdk.importing import wait_for_imports
from tollgate.sdk.recording import encode_event, new_id
from tollgate.sdk.settings import Settings
from tollgate.sdk.spool import Spool
from tollgate.sdk.stats import Stats
from tollgate.sdk.transports import make_knowledge, make_limits, make_sender

if TYPE_CHECKING:
    from tollgate.sdk.knowledge import Knowledge
    from tollgate.sdk.limits import Limits

log = logging.getLogger("tollgate.sdk")

Answer = TypeVar("Answer")

# Of the time that a close may take, so much is for ending the connections.
_ENDING_SECONDS: Final = 0.8
_EXIT_SECONDS_MAX: Final = 1.8
# A fork waits so long for the thread to end; then the child forgets what it cannot close.
_FORK_SECONDS_MAX: Final = 1.0
_ROOM_SECONDS: Final = 0.001
_POLL_SECONDS: Final = 0.005
_FAILED_SECONDS: Final = 1.0
# To wake the thread takes a caller as long as ten events, and to look in vain takes the thread as long as two.
_EMPTY_LOOKS_MAX: Final = 20
_CLOSED: Final = "the client is closed: make one for the whole process, and close it when the process ends"


class Engine:
    """One for each client. Every method may be called from any thread, except the client's own."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.source = settings.source
        # Of one thread again and again: a signal's handler may record while its thread does.
        self._lock = threading.RLock()
        self._closed = False
        # At the end of the interpreter no thread can be started any more.
        self._ended = False
        # It outlives the thread, so that a fork does not make it unknown.
        self._knowledge: Knowledge | None = None
        self._limits: Limits | None = None
        self._begin()
        _live.add(self)
        _watch_forks()
        _watch_end()

    def _begin(self) -> None:
        """A new life: at first, and in a child after a fork."""
        self._queue: deque[tuple[str, bytes]] = deque()
        self._queue_dropped = 0
        self._awake = self._paused = self._starting = False
        self._empty_looks = 0
        self._background: Background | None = None
        # One that did not end in time: until it has, nobody else may touch the spool.
        self._ending: Background | None = None
        settings = self.settings
        spool = Spool(
            settings.spool_dir,
            settings.destination,
            settings.spool_bytes_max,
            settings.when_full,
            settings.block_seconds_max,
        )
        self._delivery = Delivery(self._queue, spool, lambda: make_sender(settings), settings.on_error)

    def record(
        self,
        user: str,
        usage: Mapping[str, Any],
        provider: str | None,
        model: str | None,
        time: datetime | str | None,
        event_id: str | None,
        fields: Mapping[str, Any],
    ) -> str:
        """See `Tollgate.record`."""
        if self._closed:
            raise TypeError(_CLOSED)
        if event_id is None:
            event_id = new_id()
        data = {**fields, "usage": usage, "provider": provider, "model": model}
        self.hand(user, encode_event(self.source, event_id, user, time, data))
        return event_id

    def hand(self, user: str, value: bytes) -> None:
        """Send an entry about a user that is encoded and checked, after what was recorded before. Never raises."""
        queue = self._queue
        if len(queue) >= self.settings.memory_events_max:
            self._make_room(queue)
        queue.append((user, value))
        if not self._awake:
            self._wake()

    def submit(self, work: Coroutine[Any, Any, Answer]) -> "Future[Answer]":
        """Run this on the client's loop. TypeError once closed, and at the end of the interpreter."""
        with self._lock:
            if not self._closed:
                self._start()
            background = self._background
        if background is None:
            work.close()
            raise TypeError(_CLOSED)
        return background.call(work)

    def limits(self) -> "Limits":
        """What knows limits, and decides on reservations. TypeError once closed."""
        if self._closed:
            raise TypeError(_CLOSED)
        limits = self._limits
        if limits is None:
            with self._lock:
                if self._knowledge is None:
                    self._knowledge = make_knowledge(self.settings)
                if self._limits is None:
                    self._limits = make_limits(self.settings, self, self._knowledge)
                limits = self._limits
        return limits

    @property
    def knowledge_age_ms(self) -> int | None:
        """See `Tollgate.knowledge_age_ms`."""
        return None if self._knowledge is None else self._knowledge.age_ms

    def stats(self) -> Stats:
        """See `Tollgate.stats`."""
        delivery, spool = self._delivery, self._delivery.spool
        with delivery.moving:
            recorded = delivery.taken + len(self._queue) + self._queue_dropped
        dropped = spool.dropped + self._queue_dropped
        waiting = recorded + spool.taken_over - delivery.sent - delivery.refused - dropped
        return Stats(
            recorded=recorded,
            taken_over=spool.taken_over,
            spooled=spool.spooled,
            sent=delivery.sent,
            refused=delivery.refused,
            dropped=dropped,
            waiting=max(0, waiting),
            oldest_age_ms=age_ms(delivery.oldest_ms),
        )

    def flush(self) -> "Future[bool]":
        """Resolved when what was recorded before waits no more: the caller waits as long as it likes."""
        done: Future[bool] = Future()
        if self._queue:
            self._wake()
        background = self._background
        if background is None:
            self._delivery.wait_for(done)
        else:
            background.call_soon(self._delivery.wait_for, done)
        return done

    def close(self, timeout_seconds: float) -> None:
        """See `Tollgate.close`."""
        if not self._closed:
            self._closed = True
            self.end(timeout_seconds)

    def end(self, timeout_seconds: float) -> None:
        """Send what can be sent in the time, and leave the rest in the spool. `record` writes there from now on."""
        deadline = time.monotonic() + timeout_seconds
        last = deadline - min(_ENDING_SECONDS, timeout_seconds / 2)
        background, limits = self._background, self._limits
        if background is not None and not background.is_this_thread():
            if limits is not None:
                # What calls had set aside is given back before the rest is sent.
                self._limits = None
                given_back = background.call(limits.close())
                self._wait(given_back, last)
            self._wait(self.flush(), last)
        with self._lock:
            self._ended = True
        if self._stop(max(_POLL_SECONDS, deadline - time.monotonic())):
            self._delivery.end()

    def _wait(self, done: "Future[Any]", deadline: float) -> None:
        """Nothing is gained by waiting for a Kafka that is away: what is left stays in the spool."""
        while not done.done() and self._delivery.trouble is None and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)

    def _wake(self) -> None:
        with self._lock:
            self._start()
            background = self._background
            if background is not None:
                if not self._awake:
                    self._awake = True
                    background.call_soon(self._tick, background)
            elif self._ended and not self._is_ending():
                self._delivery.write()

    def _tick(self, background: Background) -> None:
        """On the loop: write what is there, and look again until nothing has come for a while."""
        again_seconds = self.settings.flush_ms / 1000
        try:
            more = self._delivery.write()
            self._delivery.settle()
        except Exception:
            log.exception("usage events cannot be written to the spool; they wait in memory")
            more, again_seconds = True, _FAILED_SECONDS
        self._empty_looks = 0 if more else self._empty_looks + 1
        if self._empty_looks >= _EMPTY_LOOKS_MAX:
            self._awake = False
            # Somebody may have added to it just before.
            more = self._awake = bool(self._queue)
        else:
            more = True
        if more and self._background is background:
            background.loop.call_later(again_seconds, self._tick, background)

    def _make_room(self, queue: deque[tuple[str, bytes]]) -> None:
        self._wake()
        if self.settings.when_full == "block":
            deadline = time.monotonic() + self.settings.block_seconds_max
            while len(queue) >= self.settings.memory_events_max and time.monotonic() < deadline:
                time.sleep(_ROOM_SECONDS)
        if len(queue) >= self.settings.memory_events_max:
            with self._lock:
                try:
                    queue.popleft()
                except IndexError:
                    return
                if not self._queue_dropped:
                    log.warning("more usage events are recorded than can be written; the oldest are dropped")
                self._queue_dropped += 1

    def _start(self) -> None:
        """With the lock: have a thread. There is none at the end of the interpreter, and where no more can be made."""
        if self._background is not None or self._ended or self._paused or self._starting or self._is_ending():
            return
        # A signal's handler may come here while its thread starts the other.
        self._starting = True
        try:
            self._background = Background(self._delivery.run, self._leave)
        except RuntimeError as error:
            log.warning("usage events wait in memory: %s", error)
            return
        finally:
            self._starting = False
        _watch_end()

    def _stop(self, timeout_seconds: float) -> bool:
        with self._lock:
            background, self._background = self._background, None
            self._awake = False
        if background is not None and not background.stop(timeout_seconds):
            self._ending = background
        return not self._is_ending()

    def _is_ending(self) -> bool:
        if self._ending is not None and not self._ending.is_alive():
            self._ending = None
        return self._ending is not None

    async def _leave(self) -> None:
        limits, self._limits = self._limits, None
        try:
            if limits is not None:
                await limits.close()
        finally:
            await self._delivery.leave()

    def pause(self) -> None:
        """Before a fork: no thread, no connection. What is recorded meanwhile waits in the queue."""
        with self._lock:
            background = self._background
            if background is None and self._ending is None:
                return
            self._paused = True
        if background is None or not background.is_this_thread():
            self._stop(_FORK_SECONDS_MAX)
        wait_for_imports()

    def resume(self) -> None:
        """In the parent after a fork: go on."""
        if self._paused:
            self._paused = False
            self._wake()

    def become_child(self) -> None:
        """In the child after a fork: what was recorded before is the parent's. No thread until it is needed."""
        self._lock = threading.RLock()
        self._delivery.spool.forget()
        self._limits = None
        self._begin()


_live: Final["weakref.WeakSet[Engine]"] = weakref.WeakSet()
_watching: Final[set[str]] = set()


def _watch_forks() -> None:
    """Once in a process and its children: see its forks."""
    if "forks" not in _watching:
        _watching.add("forks")
        os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)


def _watch_end() -> None:
    """Once in a process: see its end."""
    if "end" not in _watching:
        _watching.add("end")
        atexit.register(_at_exit)
        # Processes of these end without the interpreter's own handlers.
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            util.Finalize(None, _at_exit, exitpriority=0)
        celery = sys.modules.get("celery.signals")
        if celery is not None:
            celery.worker_process_shutdown.connect(_at_exit, weak=False, dispatch_uid="tollgate.sdk")


def _at_exit(**_event: object) -> None:
    deadline = time.monotonic() + _EXIT_SECONDS_MAX
    for engine in list(_live):
        engine.end(max(_POLL_SECONDS, deadline - time.monotonic()))


def _before_fork() -> None:
    for engine in list(_live):
        engine.pause()


def _after_in_parent() -> None:
    for engine in list(_live):
        engine.resume()


def _after_in_child() -> None:
    _watching.discard("end")
    for engine in list(_live):
        engine.become_child()
