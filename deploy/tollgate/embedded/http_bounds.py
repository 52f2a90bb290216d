"""Bounds of a threaded HTTP server: how many connections, how long each may keep it waiting, how many large bodies.

Python's own time limit of a socket begins anew with every byte, so that a client who sends one now and then would hold
a thread for ever. Here each step of a request has one end.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONNECTIONS_MAX = 256
# A connection may wait so long for its next request, a request's head and its body may take so long to arrive.
IDLE_SECONDS_MAX = 60.0
HEAD_SECONDS_MAX = 10.0
BODY_SECONDS_MAX = 300.0
# A piece of an answer may take so long to be taken.
SEND_SECONDS_MAX = 300
_CHECK_SECONDS = 0.5

_FULL = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class BoundedServer(ThreadingHTTPServer):
    """One thread per connection, `CONNECTIONS_MAX` at most; counts the requests so that a stop can wait for them."""

    daemon_threads = True
    request_queue_size = 256
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._ends: dict[socket.socket, float] = {}
        self._places = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._active = 0
        self._changed = threading.Condition()
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="late-connections", daemon=True).start()

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override] # the base class is vague
        """Begin a connection's thread, or turn it away when there are too many."""
        if not self._places.acquire(blocking=False):
            request.settimeout(1)
            with suppress(OSError):
                request.sendall(_FULL)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override] # as above
        """Serve one connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    @contextmanager
    def within(self, connection: socket.socket, seconds: float) -> Iterator[None]:
        """Cut the connection when the block takes longer."""
        with self._changed:
            self._ends[connection] = time.monotonic() + seconds
        try:
            yield
        finally:
            with self._changed:
                self._ends.pop(connection, None)

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request while it is answered."""
        with self._changed:
            self._active += 1
        try:
            yield
        finally:
            with self._changed:
                self._active -= 1
                self._changed.notify_all()

    def drain(self, seconds_max: float) -> bool:
        """Wait until no request is under way; whether that was reached in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._active == 0, seconds_max)

    def server_close(self) -> None:
        """Stop listening and watching."""
        self._closed.set()
        super().server_close()

    def _watch(self) -> None:
        while not self._closed.wait(_CHECK_SECONDS):
            now = time.monotonic()
            with self._changed:
                late = [connection for connection, end in self._ends.items() if end < now]
                for connection in late:
                    del self._ends[connection]
            for connection in late:
                # Its thread then reads the end of the stream.
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
