"""The HTTP server: uvicorn, with bounds on what a connection may do before it has sent a whole request."""

import asyncio
import sys
from http import HTTPStatus
from typing import Any, Final

import h11
import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from tollgate.console.bounds import HEADER_BYTES_MAX
from tollgate.console.problems import PROBLEM_JSON, ProblemBody
from tollgate.runtime.settings import Settings

log = structlog.get_logger("tollgate.console")

# From the first byte, or from the answer before, to the end of a request's head. Also how long the rest of a body is
# read and thrown away after its request was refused, so that the refusal arrives.
REQUEST_SECONDS_MAX: Final = 10
# An idle connection of a browser; it opens a new one without delay.
KEEP_ALIVE_SECONDS: Final = 15
# A page or an export that is under way at SIGTERM may end within this.
STOP_SECONDS_MAX: Final = 5
_BUSY_BODY: Final = ProblemBody(
    title=HTTPStatus.SERVICE_UNAVAILABLE.phrase,
    status=HTTPStatus.SERVICE_UNAVAILABLE,
    error="too_many_connections",
    detail="Too many connections are open, and none of them is idle. Try again in a second.",
    request_id="",
).model_dump_json()
_BUSY: Final = (
    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    f"Content-Type: {PROBLEM_JSON}\r\nContent-Length: {len(_BUSY_BODY)}\r\n\r\n{_BUSY_BODY}"
).encode()


def server_config(app: ASGIApp, settings: Settings, **changes: Any) -> uvicorn.Config:
    """How uvicorn serves the console. `changes` replace its options."""
    options: dict[str, Any] = {
        "host": settings.console_host,
        "port": settings.console_port,
        # Not httptools, which does not bound the size of a request's head.
        "http": bounded_protocol(settings.console_connections_max),
        "h11_max_incomplete_event_size": HEADER_BYTES_MAX,
        "ws": "none",
        "lifespan": "off",
        "log_config": None,
        # Ours, in `request_log.py`, leaves out what may be secret.
        "access_log": False,
        "server_header": False,
        # The trusted proxies are those of the settings, see `access/network.py`.
        "proxy_headers": False,
        "timeout_keep_alive": KEEP_ALIVE_SECONDS,
        "timeout_graceful_shutdown": STOP_SECONDS_MAX,
    }
    return uvicorn.Config(app, **(options | changes))


def bounded_protocol(connections_max: int, request_seconds_max: float = REQUEST_SECONDS_MAX) -> type["BoundedProtocol"]:
    """The protocol with these bounds, as uvicorn takes it: a class."""
    return type(
        "ConsoleProtocol",
        (BoundedProtocol,),
        {"connections_max": connections_max, "request_seconds_max": request_seconds_max},
    )


class BoundedProtocol(H11Protocol):
    """A connection. uvicorn gives one that sends nothing, or a head byte by byte, all the time it wants; this does not.

    When there are more connections than allowed, the one that has been idle the longest makes room for the new one.
    When none is idle, the new one is answered with 503.
    """

    connections_max: int
    request_seconds_max: float
    _deadline: asyncio.TimerHandle | None = None
    idle_since: float = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(transport)
        self._wait_for_request()
        if len(self.connections) > self.connections_max and not self._make_room():
            transport.write(_BUSY)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.is_busy:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.is_busy:
            self._wait_for_request()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP as a problem: 431 when its head is too large."""
        status = getattr(sys.exception(), "error_status_hint", 0)
        large = status == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        code = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if large else HTTPStatus.BAD_REQUEST
        detail = f"The head of the request is larger than {HEADER_BYTES_MAX} bytes." if large else f"{msg}"
        error = "headers_too_large" if large else "invalid_request"
        body = ProblemBody(title=code.phrase, status=code, error=error, detail=detail).model_dump_json().encode()
        headers = [
            ("content-type", PROBLEM_JSON),
            ("content-length", str(len(body))),
            ("x-content-type-options", "nosniff"),
            ("connection", "close"),
        ]
        log.info("a request was no HTTP", status=int(code))
        try:
            for event in (
                h11.Response(status_code=code, headers=headers, reason=code.phrase),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:
            # The answer to an earlier part of the request is under way.
            self.transport.abort()
        else:
            self.transport.close()

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_for_request(self) -> None:
        self._stop_waiting()
        self.idle_since = self.loop.time()
        self._deadline = self.loop.call_later(self.request_seconds_max, self._give_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        if not self.is_busy:
            self.transport.abort()

    def _make_room(self) -> bool:
        """Close the connection that has been idle the longest; false when all others are busy."""
        others = [other for other in self.connections if isinstance(other, BoundedProtocol) and other is not self]
        idle = [other for other in others if not other.is_busy and not other.transport.is_closing()]
        if not idle:
            return False
        min(idle, key=lambda other: other.idle_since).transport.abort()
        return True
