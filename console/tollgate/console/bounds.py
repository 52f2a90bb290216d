"""What a request may cost before a handler sees it, and how long its handler may take."""

import asyncio
import re
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tollgate.console.access.callers import Gate, not_authenticated
from tollgate.console.access.network import Network, header
from tollgate.console.addresses import API
from tollgate.console.json_bodies import check_json
from tollgate.console.problems import Problem
from tollgate.runtime.settings import Settings
from tollgate.schemas.usage_limits import EVENT_BYTES_MAX

MIB: Final = 1024 * 1024
HEADERS_MAX: Final = 100
HEADER_BYTES_MAX: Final = 32 * 1024
QUERY_BYTES_MAX: Final = 16 * 1024
BODY_BYTES_MAX: Final = MIB
USAGE_PATH: Final = f"{API}/usage"
# A list of 1,000 events of the largest size, and what stands between them.
USAGE_BODY_BYTES_MAX: Final = 1000 * (EVENT_BYTES_MAX + 16)
# So much of a body is read of anybody: it takes no more than connections do. The rest needs a valid token.
BODY_BYTES_OF_ANYBODY: Final = 64 * 1024
# What all requests together may hold beyond that: two of the largest lists.
HELD_BYTES_MAX: Final = 2 * USAGE_BODY_BYTES_MAX
BODY_SECONDS_MAX: Final = 30
ANSWER_SECONDS_MAX: Final = 60
# An answer that lasts longer is asked again and again whether its caller still may see it.
LASTING_SECONDS: Final = 5
# A reader that takes nothing for this long has gone, or means harm.
WRITE_SECONDS_MAX: Final = 30

_NUL: Final = re.compile(rb"%00|\x00")


class Bounds:
    """ASGI middleware: refuses what is too large, too slow or not for us. Reads a body to its end, within bounds."""

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        gate: Gate,
        *,
        body_seconds_max: float = BODY_SECONDS_MAX,
        answer_seconds_max: float = ANSWER_SECONDS_MAX,
        write_seconds_max: float = WRITE_SECONDS_MAX,
        held_bytes_max: int = HELD_BYTES_MAX,
    ) -> None:
        self._app, self._gate = app, gate
        self._network = Network(settings)
        self._body_seconds_max, self._answer_seconds_max = body_seconds_max, answer_seconds_max
        self._write_seconds_max = write_seconds_max
        self._held_bytes_max, self._held_bytes = held_bytes_max, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request. Raises Problem for `RequestLog` to answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._check_head(scope)
        held = _Held()
        try:
            body = await self._read(scope, receive, held)
            if is_json(scope) and scope["path"] != USAGE_PATH:
                check_json(body)
            await self._answer(scope, _replay(body, receive), send)
        finally:
            self._held_bytes -= held.bytes

    def _check_head(self, scope: Scope) -> None:
        headers = scope["headers"]
        if len(headers) > HEADERS_MAX or sum(len(k) + len(v) + 4 for k, v in headers) > HEADER_BYTES_MAX:
            raise Problem(431, "headers_too_large", f"At most {HEADERS_MAX} headers and {HEADER_BYTES_MAX} bytes.")
        if len(scope["query_string"]) > QUERY_BYTES_MAX or len(scope.get("raw_path") or b"") > QUERY_BYTES_MAX:
            raise Problem(414, "address_too_long", f"At most {QUERY_BYTES_MAX} bytes of path and of query.")
        if _NUL.search(scope["query_string"]) or "\0" in scope["path"]:
            raise Problem(400, "invalid_address", "The address holds a NUL character.")
        if not self._network.knows_host(scope):
            detail = "The console does not answer under this name. Add it to TOLLGATE_CONSOLE_HOSTS."
            raise Problem(421, "unknown_host", detail)
        if not self._network.is_same_origin(scope):
            raise Problem(403, "cross_site", "This request did not come from a page of the console.")

    async def _read(self, scope: Scope, receive: Receive, held: "_Held") -> bytes:
        """The body. Raises Problem 413, 408, or 503 when too many bodies are held at once."""
        limit = USAGE_BODY_BYTES_MAX if scope["path"] == USAGE_PATH else BODY_BYTES_MAX
        told = header(scope, b"content-length")
        # The server has checked that it is a number. Refused before anything of it is read.
        if told is not None and (len(told) > 19 or int(told) > limit):
            raise _too_large(limit)
        parts: list[bytes] = []
        size, known = 0, False
        try:
            async with asyncio.timeout(self._body_seconds_max):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Problem(400, "incomplete", "The connection ended before the body did.")
                    part = message.get("body", b"")
                    size += len(part)
                    if size > limit:
                        raise _too_large(limit)
                    if size > BODY_BYTES_OF_ANYBODY:
                        known = known or await self._check_caller(scope)
                        self._hold(held, size - BODY_BYTES_OF_ANYBODY)
                    parts.append(part)
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            detail = f"The body took longer than {self._body_seconds_max:g} s."
            raise Problem(408, "too_slow", detail) from None

    async def _check_caller(self, scope: Scope) -> bool:
        """True. Raises Problem 401 when a large body comes from nobody that is known."""
        request = Request(scope)
        if await self._gate.identify(request) is None:
            await self._gate.admit(request, None)
            raise not_authenticated()
        return True

    def _check_still_holds(self, scope: Scope) -> None:
        """Raises EndedError when the caller has logged out, was revoked or has expired since the answer began."""
        caller = scope["state"].get("caller")
        if caller is not None and not self._gate.holds(caller):
            raise EndedError("the caller's access has ended")

    def _hold(self, held: "_Held", size: int) -> None:
        self._held_bytes += size - held.bytes
        held.bytes = size
        if self._held_bytes > self._held_bytes_max:
            raise Problem(503, "busy", "Too many large requests at once.", headers={"Retry-After": "1"})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application answer: the beginning within one time, each part within another."""
        started = False
        lasting_from = asyncio.get_running_loop().time() + LASTING_SECONDS

        async def bounded(message: Message) -> None:
            nonlocal started
            if not started:
                started = True
                beginning.reschedule(None)
            elif asyncio.get_running_loop().time() >= lasting_from:
                self._check_still_holds(scope)
            try:
                async with asyncio.timeout(self._write_seconds_max):
                    await send(message)
            except TimeoutError:
                raise EndedError("the reader takes nothing any more") from None

        try:
            async with asyncio.timeout(self._answer_seconds_max) as beginning:
                await self._app(scope, receive, bounded)
        except TimeoutError:
            if started or not beginning.expired():
                raise
            detail = f"No answer within {self._answer_seconds_max:g} s. Ask for less, or try again later."
            raise Problem(503, "too_slow", detail, headers={"Retry-After": "5"}) from None


class EndedError(Exception):
    """Ends an answer in its middle. Nothing is wrong with us."""


class _Held:
    """How much of one request's body counts against what all may hold."""

    def __init__(self) -> None:
        self.bytes = 0


def is_json(scope: Scope) -> bool:
    """Whether the body is said to be JSON, as `application/json` or `application/…+json`."""
    kind = (header(scope, b"content-type") or "").partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _too_large(limit: int) -> Problem:
    return Problem(413, "too_large", f"The body is larger than {limit} bytes.")
