"""Connections to the engine: one per request, or one that a named session keeps.

A fresh connection costs under a millisecond and shares nothing with others but the data, so a request's settings,
parameters and database cannot leak into the next.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tollgate.embedded.errors import QueryError

# ClickHouse's own: 60 s for a session, at most an hour.
SESSION_SECONDS = 60
SESSION_SECONDS_MAX = 3600

SESSION_NOT_FOUND = 372
SESSION_IS_LOCKED = 373


@dataclass(frozen=True, slots=True)
class SessionChoice:
    """The session that a request asks for, and how long it may stand idle afterwards."""

    name: str
    seconds: int = SESSION_SECONDS
    must_exist: bool = False


@dataclass(slots=True)
class _Session:
    connection: Any
    lock: threading.Lock
    seconds: int
    expires_at: float


class Sessions:
    """The named sessions of one engine. Thread-safe; a session serves one request at a time."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._sessions: dict[str, _Session] = {}
        self._lock = threading.Lock()

    @contextmanager
    def connection(self, choice: SessionChoice | None) -> Iterator[Any]:
        """A connection for one request. Raises QueryError when the session is not there or is busy."""
        if choice is None:
            connection = self._connect()
            try:
                yield connection
            finally:
                connection.close()
            return
        session = self._acquire(choice)
        try:
            yield session.connection
        finally:
            session.expires_at = time.monotonic() + session.seconds
            session.lock.release()

    def forget(self, name: str) -> None:
        """Take the session out; a later request of that name begins a new one. Call inside of its request."""
        with self._lock:
            self._sessions.pop(name, None)

    def close(self) -> None:
        """Close every session's connection."""
        with self._lock:
            for session in self._sessions.values():
                session.connection.close()
            self._sessions.clear()

    def _acquire(self, choice: SessionChoice) -> _Session:
        now = time.monotonic()
        with self._lock:
            for old in [key for key, held in self._sessions.items() if held.expires_at < now]:
                if self._sessions[old].lock.acquire(blocking=False):
                    self._sessions.pop(old).connection.close()
            session = self._sessions.get(choice.name)
            if session is None:
                if choice.must_exist:
                    raise QueryError(
                        SESSION_NOT_FOUND, "Code: 372. DB::Exception: Session is not found. (SESSION_NOT_FOUND)"
                    )
                session = _Session(self._connect(), threading.Lock(), choice.seconds, now)
                self._sessions[choice.name] = session
            if not session.lock.acquire(blocking=False):
                raise QueryError(
                    SESSION_IS_LOCKED,
                    "Code: 373. DB::Exception: Session is locked by a concurrent client. (SESSION_IS_LOCKED)",
                )
            session.seconds = choice.seconds
            return session
