"""A step of a request has one end, however its client spends the time."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler

import pytest
from tests.waiting import wait_until

from tollgate.embedded.http_bounds import BoundedServer
from tollgate.embedded.ports import HOST

SECONDS = 1.0


class Handler(BaseHTTPRequestHandler):
    """Reads what comes for SECONDS at most, and tells how long it read."""

    server: "Server"

    def handle(self) -> None:
        began = time.monotonic()
        # A client that sends into the end of the connection resets it.
        with suppress(ConnectionError), self.server.request(), self.server.within(self.connection, SECONDS):
            while self.connection.recv(1):
                pass
        self.server.read_seconds.append(time.monotonic() - began)


class Server(BoundedServer):
    """Notes how long its connections were read."""

    def __init__(self) -> None:
        super().__init__((HOST, 0), Handler)
        self.read_seconds: list[float] = []


@pytest.fixture
def server() -> Iterator[Server]:
    """A running server."""
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def test_bytes_now_and_then_do_not_hold_a_connection(server: Server) -> None:
    with socket.create_connection((HOST, server.server_port), timeout=0.05) as connection:
        began = time.monotonic()

        def is_cut() -> bool:
            try:
                connection.sendall(b"x")
                return connection.recv(1) == b""
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        wait_until(is_cut, 20, "the end of the connection")
    wait_until(lambda: server.read_seconds, 20, "the handler's end")
    assert SECONDS <= server.read_seconds[0] < time.monotonic() - began + SECONDS


def test_a_stop_waits_for_what_is_under_way(server: Server) -> None:
    with socket.create_connection((HOST, server.server_port), timeout=5):
        wait_until(lambda: not server.drain(0), 20, "the request's begin")
        assert server.drain(20)
