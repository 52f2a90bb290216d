"""The outermost layer: a request's id, its line in the log, its headers, and an answer whatever happens inside."""

import re
import time
import uuid
from typing import Any, Final

import structlog
from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tollgate.console.access.network import Network, header
from tollgate.console.bounds import EndedError
from tollgate.console.problems import Problem, answer_to, internal_error
from tollgate.console.security_headers import SecurityHeaders
from tollgate.runtime.settings import Settings

log = structlog.get_logger("tollgate.console")

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PATH_CHARS_MAX: Final = 256


class RequestLog:
    """ASGI middleware around everything else. Values of queries, bodies, cookies and tokens are never logged."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._headers = SecurityHeaders(settings)
        self._network = Network(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; other kinds of connections are closed."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            answer = _Answer(scope, send, self._headers)
            with structlog.contextvars.bound_contextvars(request_id=answer.request_id):
                await self._serve(answer, receive)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _serve(self, answer: "_Answer", receive: Receive) -> None:
        scope = answer.scope
        try:
            await self._app(scope, receive, answer.send)
        except Problem as problem:
            await self._fail(answer, receive, problem)
        except Exception as error:
            ended = _ended(error)
            if ended is not None:
                log.info("an answer was ended", path=_shown(scope["path"]), why=str(ended))
            else:
                log.exception("a request failed", method=scope["method"], path=_shown(scope["path"]))
            # When half of an answer is out the server ends the connection: nothing else says that the rest is missing.
            await self._fail(answer, receive, internal_error())
        finally:
            for call in scope["state"]["at_end"]:
                call()
            self._write(answer)

    async def _fail(self, answer: "_Answer", receive: Receive, problem: Problem) -> None:
        if answer.status is None:
            await answer_to(Request(answer.scope), problem)(answer.scope, receive, answer.send)

    def _write(self, answer: "_Answer") -> None:
        scope, caller = answer.scope, answer.scope["state"].get("caller")
        log.info(
            "request",
            method=scope["method"][:16],
            path=_shown(scope["path"]),
            status=answer.status,
            bytes=answer.bytes,
            milliseconds=round((time.perf_counter() - answer.began) * 1000, 1),
            address=self._network.address(scope),
            caller=caller.name if caller is not None else "",
        )


class _Answer:
    """One answer on its way out."""

    def __init__(self, scope: Scope, send: Send, headers: SecurityHeaders) -> None:
        given = header(scope, b"x-request-id")
        self.request_id = given if given and _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        self.scope, self._send, self._headers = scope, send, headers
        self.status: int | None = None
        self.bytes = 0
        self.began = time.perf_counter()
        state: dict[str, Any] = scope.setdefault("state", {})
        state |= {"request_id": self.request_id, "at_end": [], "answer_headers": {}}

    async def send(self, message: Message) -> None:
        """Send a part of the answer, with the headers that all answers have."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            state = self.scope["state"]
            caller = state.get("caller")
            headers.update(state["answer_headers"])
            headers["X-Request-Id"] = self.request_id
            self._headers.apply(headers, self.scope["path"], embedded=caller is not None and caller.embedded)
        elif message["type"] == "http.response.body":
            self.bytes += len(message.get("body", b""))
        await self._send(message)


def _ended(error: BaseException) -> EndedError | None:
    """The EndedError that this is, or that is all there is in a group of errors."""
    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        return _ended(error.exceptions[0])
    return error if isinstance(error, EndedError) else None


def _shown(path: str) -> str:
    return path if len(path) <= _PATH_CHARS_MAX else f"{path[:_PATH_CHARS_MAX]}…"
