"""Middleware for FastAPI, Starlette and every other ASGI application: blocked requests are answered before they run."""

import inspect
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from tollgate.sdk.answers import Answer, answer_of
from tollgate.sdk.context import call_context
from tollgate.sdk.decision import Decision
from tollgate.sdk.errors import BlockedError
from tollgate.sdk.faces import Recorder
from tollgate.sdk.gate import ALL_PATHS, Gate, Names, Paths, blocked_in, request_id_of

log = logging.getLogger("tollgate.sdk")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

# RFC 6455, 7.4.1 and the registry of IANA: the policy of the service forbids it, and try again later.
_POLICY_VIOLATION: Final = 1008
_TRY_AGAIN_LATER: Final = 1013


class TollgateMiddleware:
    """Checks every request: `app.add_middleware(TollgateMiddleware, toll=toll, names=lambda scope: ...)`.

    A blocked request is answered with 402, 429 or 503 and never reaches the application; a websocket is refused before
    it opens. So is a request of which the application raises BlockedError, unless the answer has begun: then the error
    goes on, and the server cuts the connection. Whoever streams handles it in the stream.

    - `toll`: a `Tollgate` or `AsyncTollgate`. It answers from memory, so the loop never waits.
    - `names`: called with the scope; gives the user's id, or names by dimension, or an awaitable of these. None when
      nobody is known: then the limits of the company alone count. It runs on the loop and must not block it.
    - `paths`: prefixes of the paths to check, or a function of the path. All by default.
    - `on_block`: called with the scope and the decision of a blocked request; True (or an awaitable of it) lets the
      request through, for an application that then takes a cheaper model.

    `scope["tollgate"]` has the decision, for requests that are let through as well, and the names hold in the
    application as `call_context`. A name that no event may have is answered 400 `invalid_name`.
    """

    def __init__(
        self,
        app: Application,
        toll: Recorder,
        *,
        names: Callable[[Scope], Names | Awaitable[Names]],
        paths: Paths = ALL_PATHS,
        on_block: Callable[[Scope, Decision], bool | Awaitable[bool]] | None = None,
    ) -> None:
        self._app = app
        self._gate = Gate(toll, paths)
        self._names = names
        self._on_block = on_block

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, one websocket, or the application's lifespan, which is passed on and begins to read limits."""
        kind = scope["type"]
        if kind == "lifespan":
            self._gate.begin()
        if kind not in ("http", "websocket") or not self._gate.covers(scope.get("method", "GET"), scope["path"]):
            await self._app(scope, receive, send)
            return
        exchange = _Request(receive, send) if kind == "http" else _WebSocket(scope, receive, send)
        judged = self._gate.judge(await _value(self._names(scope)))
        if isinstance(judged, Answer):
            await exchange.answer(judged)
            return
        names, decision = judged
        request_id = request_id_of(names, _header(scope, b"x-request-id"))
        if not decision.allowed and not await self._goes_on(scope, decision):
            await exchange.answer(answer_of(decision, request_id=request_id))
            return
        scope["tollgate"] = decision
        try:
            with call_context(**names):
                await self._app(scope, exchange.receive, exchange.send)
        except (BlockedError, BaseExceptionGroup) as error:
            blocked = blocked_in(error)
            if blocked is None:
                raise
            if exchange.begun:
                log.warning("a call was blocked (%s) after the answer had begun: the connection is cut", blocked.error)
                raise
            await exchange.answer(answer_of(blocked, request_id=request_id))

    async def _goes_on(self, scope: Scope, decision: Decision) -> bool:
        return self._on_block is not None and bool(await _value(self._on_block(scope, decision)))


class _Request:
    """What was sent of an answer so far, and how to send another one."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self.receive = receive
        self._send = send
        self.begun = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
        await self._send(message)

    async def answer(self, answer: Answer) -> None:
        await _send_answer(self._send, answer, "http.response")


class _WebSocket:
    """The same for a websocket: it is refused while it opens, and closed when it is open."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._tells_why = "websocket.http.response" in (scope.get("extensions") or {})
        self._asked = False
        self._open = False
        self.begun = False
        """Whether it is too late to say anything."""

    async def receive(self) -> Message:
        message = await self._receive()
        self._asked = True
        return message

    async def send(self, message: Message) -> None:
        self._open = self._open or message["type"] == "websocket.accept"
        self.begun = self.begun or message["type"] in ("websocket.close", "websocket.http.response.start")
        await self._send(message)

    async def answer(self, answer: Answer) -> None:
        if not self._asked:
            # The client's wish to connect comes first; before it nothing may be sent.
            await self.receive()
        if self._tells_why and not self._open:
            await _send_answer(self._send, answer, "websocket.http.response")
        else:
            code = _TRY_AGAIN_LATER if answer.status == 503 else _POLICY_VIOLATION
            await self._send({"type": "websocket.close", "code": code, "reason": answer.error})


async def _send_answer(send: Send, answer: Answer, kind: str) -> None:
    headers = {**answer.headers, "Content-Length": str(len(answer.body))}
    pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": f"{kind}.start", "status": answer.status, "headers": pairs})
    await send({"type": f"{kind}.body", "body": answer.body})


def user_from_header(name: str) -> Callable[[Scope], str | None]:
    """For `names`: the user's id from a header, for services behind a gateway that sets it.

    Whoever can reach the service past the gateway can name any user. A request that has the header more than once is
    answered 400: who of them is meant is anybody's guess.
    """
    wanted = name.lower().encode("latin-1")
    return lambda scope: _header(scope, wanted)


def _header(scope: Scope, name: bytes) -> str | None:
    found = [value for key, value in scope["headers"] if key.lower() == name]
    # What is no UTF-8, or joined by a control character, is no usable name.
    return b"\0".join(found).decode("utf-8", "surrogateescape").strip() or None


async def _value(given: Any) -> Any:
    return await given if inspect.isawaitable(given) else given
