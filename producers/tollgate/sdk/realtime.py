"""OpenAI's connections over WebSocket (`realtime.connect`, `responses.connect`), recorded and limited.

A connection answers many times, and each answer is one usage event. A connection is checked when it is made, and again
whenever the service asks for an answer on it; what the server starts by itself cannot be held back.
"""

import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from tollgate.sdk.event_stream import document_of
from tollgate.sdk.metering import Call, Meter
from tollgate.sdk.providers.answers import part, text_or_none
from tollgate.sdk.providers.openai import OpenAIAnswer

log = logging.getLogger("tollgate.sdk")

_ASKS: Final = "response.create"
_ANSWERS: Final = frozenset(
    {"response.done", "response.completed", "response.incomplete", "response.failed", "response.cancelled"}
)
_HEARD: Final = "conversation.item.input_audio_transcription.completed"
_SESSIONS: Final = frozenset({"session.created", "session.updated"})
# Only messages with one of these are decoded: most are pieces of audio.
_MARKS: Final = tuple(f'"{kind}"'.encode() for kind in (*_ANSWERS, _HEARD, *_SESSIONS))


def meter_connections(client: Any, meter: Meter, convention: str) -> None:
    """Meter the connections that this client makes, where its version can make any."""
    for resource in ("realtime", "responses"):
        connects: Any = getattr(client, resource, None)
        connect = getattr(connects, "connect", None)
        if callable(connect):
            connects.connect = _connect(connect, meter, convention)


def _connect(connect: Callable[..., Any], meter: Meter, convention: str) -> Callable[..., Any]:
    def checked(*args: Any, **kwargs: Any) -> Any:
        model = text_or_none(kwargs.get("model"))
        if model is not None:
            kwargs["model"] = _call(meter, {"model": model}, convention, checked=True).body["model"]
        manager = connect(*args, **kwargs)
        try:
            # `with` asks the class for its methods, so the manager gets a subclass of its own.
            manager.__class__ = _metered_class(type(manager), _Messages(meter, kwargs.get("model"), convention))
        except Exception as error:  # noqa: BLE001 # nothing of ours fails the service
            log.warning("a connection cannot be metered: %s", type(error).__name__)
        return manager

    return checked


def _metered_class(manager: type, messages: "_Messages") -> type:
    members: dict[str, Any] = {}
    if hasattr(manager, "__aenter__"):

        async def aenter(self: Any) -> Any:
            return messages.of(await manager.__aenter__(self))

        members = {"__aenter__": aenter, "enter": aenter}
    else:

        def enter(self: Any) -> Any:
            return messages.of(manager.__enter__(self))  # type: ignore[attr-defined] # checked above

        members = {"__enter__": enter, "enter": enter}
    return type(manager.__name__, (manager,), {**members, "__module__": manager.__module__})


class _Messages:
    """What passes on one connection."""

    def __init__(self, meter: Meter, model: Any, convention: str) -> None:
        self._meter = meter
        # What a connection is made for cannot be changed on it.
        self._fixed = replace(meter, on_block=None)
        self._model = text_or_none(model)
        self._transcriber: str | None = None
        self._convention = convention

    def of(self, connection: Any) -> Any:
        """Shadow the two methods of this connection that messages go through."""
        receive, send = connection.recv_bytes, connection.send
        if inspect.iscoroutinefunction(receive):

            async def areceive() -> bytes:
                message: bytes = await receive()
                self._received(message)
                return message

            async def asend(event: Any) -> None:
                self._check(event)
                await send(event)

            connection.recv_bytes, connection.send = areceive, asend
        else:

            def received() -> bytes:
                message: bytes = receive()
                self._received(message)
                return message

            def sent(event: Any) -> None:
                self._check(event)
                send(event)

            connection.recv_bytes, connection.send = received, sent
        return connection

    def _check(self, event: Any) -> None:
        """BlockedError when an answer is asked for that must not be given."""
        if part(event, "type") != _ASKS:
            return
        asked = text_or_none(part(event, "model")) or text_or_none(part(part(event, "response"), "model"))
        self._model = asked or self._model
        _call(self._fixed, {"model": self._model or ""}, self._convention, checked=True)

    def _received(self, message: bytes | str) -> None:
        try:
            data = message.encode() if isinstance(message, str) else message
            if any(mark in data for mark in _MARKS) and (event := document_of(data)) is not None:
                self._event(event)
        except Exception as error:  # noqa: BLE001 # nothing of ours fails the service
            log.warning("a message cannot be read: %s", type(error).__name__)

    def _event(self, event: Mapping[str, Any]) -> None:
        kind = event.get("type")
        if kind in _SESSIONS:
            session = event.get("session")
            self._model = text_or_none(part(session, "model")) or self._model
            heard = part(part(part(session, "audio"), "input"), "transcription")
            heard = heard or part(session, "input_audio_transcription")
            self._transcriber = text_or_none(part(heard, "model")) or self._transcriber
        elif kind in _ANSWERS and isinstance(event.get("response"), Mapping):
            self._answered(event["response"])
        elif kind == _HEARD and isinstance(event.get("usage"), Mapping):
            call = _call(
                self._meter, {"model": self._transcriber or "unknown"}, self._convention, "audio.transcription"
            )
            call.answer.result({"usage": event["usage"], "id": event.get("item_id")})
            call.finished()

    def _answered(self, response: Mapping[str, Any]) -> None:
        model = text_or_none(response.get("model")) or self._model or "unknown"
        call = _call(self._meter, {"model": model}, self._convention)
        call.answer.result(response)
        if not call.answer.usage:
            call.failed(None if response.get("status") == "cancelled" else RuntimeError())
            return
        call.answer.complete = response.get("status") != "cancelled"
        call.answer.failed = response.get("status") == "failed"
        call.finished()


def _call(
    meter: Meter, body: dict[str, Any], convention: str, operation: str = "realtime", *, checked: bool = False
) -> Call:
    return Call(meter, lambda given: OpenAIAnswer(operation, given, convention), body, checked=checked)
