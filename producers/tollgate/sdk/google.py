"""Google's GenAI client (Gemini API and Vertex AI), recorded and limited.

```python
from google import genai
from tollgate.sdk.google import metered

client = metered(genai.Client(), toll, user="u-42", feature="chat")
```

Every call of a client, of `client.aio` and of their chats goes through the client's one sender. It is metered there, so
that each of the requests that automatic function calling makes is counted, and the client's own retries are not.
"""

import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final, TypeVar

from tollgate.sdk.event_stream import document_of
from tollgate.sdk.faces import Recorder
from tollgate.sdk.metering import METERED_ALREADY, Call, Estimate, Meter, OnBlock, Reserve, User
from tollgate.sdk.providers.google import OPERATIONS, GoogleAnswer

log = logging.getLogger("tollgate.sdk")

Client = TypeVar("Client")

_SENDS: Final = ("request", "request_streamed", "async_request", "async_request_streamed")
_MARK: Final = "_tollgate_meter"


def metered(
    client: Client,
    toll: Recorder,
    *,
    user: User = None,
    provider: str = "google",
    reserve: Reserve = False,
    estimate_usd: Estimate = None,
    on_block: OnBlock | None = None,
    **names: Any,
) -> Client:
    """The same client, whose calls are checked before they are made and recorded after, also those of `client.aio`.

    Counted are `generate_content`, `generate_content_stream`, chats, `embed_content` and images. `on_block` is given
    the request's body as Google's API has it, with its `model`. Parameters and errors are else those of
    `tollgate.sdk.openai.metered`. With `reserve=True` calls that do not await need a `Tollgate`.
    """
    sender = getattr(client, "_api_client", None)
    if not all(callable(getattr(sender, name, None)) for name in _SENDS):
        raise TypeError(f"client must be a google.genai Client, not {type(client).__name__}")
    if _MARK in vars(sender):
        raise TypeError(METERED_ALREADY)
    meter = Meter(toll, provider, user, reserve, estimate_usd, on_block, names)
    setattr(sender, _MARK, meter)
    metered_sender = _MeteredSender(sender, meter)
    for name in _SENDS:
        setattr(sender, name, getattr(metered_sender, name))
    return client


class _MeteredSender:
    """The client's sender, with the calls that cost something metered."""

    def __init__(self, sender: Any, meter: Meter) -> None:
        self._meter = meter
        self._send = {name: getattr(sender, name) for name in _SENDS}

    def request(self, method: str, path: str, body: Any, *rest: Any, **options: Any) -> Any:
        call = self._begin(path, body)
        if call is None:
            return self._send["request"](method, path, body, *rest, **options)
        if call.reserves:
            call.hold()
        try:
            answer = self._send["request"](method, *_sent(call, path, body), *rest, **options)
        except BaseException as error:
            call.failed(error)
            raise
        _take(answer, call)
        call.finished()
        return answer

    async def async_request(self, method: str, path: str, body: Any, *rest: Any, **options: Any) -> Any:
        call = self._begin(path, body)
        if call is None:
            return await self._send["async_request"](method, path, body, *rest, **options)
        if call.reserves:
            await call.ahold()
        try:
            answer = await self._send["async_request"](method, *_sent(call, path, body), *rest, **options)
        except BaseException as error:
            call.failed(error)
            raise
        _take(answer, call)
        call.finished()
        return answer

    def request_streamed(self, method: str, path: str, body: Any, *rest: Any, **options: Any) -> Iterator[Any]:
        call = self._begin(path, body)
        if call is None:
            yield from self._send["request_streamed"](method, path, body, *rest, **options)
            return
        if call.reserves:
            call.hold()
        began = False
        error: BaseException | None = None
        try:
            for answer in self._send["request_streamed"](method, *_sent(call, path, body), *rest, **options):
                began = True
                _take_event(answer, call)
                yield answer
        except BaseException as caught:
            error = caught
            raise
        finally:
            if began:
                call.finished(error)
            else:
                call.failed(error)

    async def async_request_streamed(self, method: str, path: str, body: Any, *rest: Any, **options: Any) -> Any:
        call = self._begin(path, body)
        if call is None:
            return await self._send["async_request_streamed"](method, path, body, *rest, **options)
        if call.reserves:
            await call.ahold()
        try:
            answers = await self._send["async_request_streamed"](method, *_sent(call, path, body), *rest, **options)
        except BaseException as error:
            call.failed(error)
            raise
        return _watched(answers, call)

    def _begin(self, path: str, body: Any) -> Call | None:
        """None for a call that costs nothing by itself."""
        model, _, method = path.partition("?")[0].rpartition(":")
        operation = OPERATIONS.get(method)
        if operation is None or not model or not isinstance(body, dict):
            return None
        named = {**body, "model": model.rpartition("/")[2]}
        return Call(self._meter, lambda given: GoogleAnswer(operation, given), named)


def _sent(call: Call, path: str, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The path and the body to send: those of the call, unless `on_block` gave others."""
    given = dict(call.body)
    asked = str(given.pop("model"))
    model, colon, method = path.rpartition(":")
    folder, slash, name = model.rpartition("/")
    if "model" in body:
        # Of some methods the body names its model as well.
        given["model"] = body["model"]
    if name == asked and given == body:
        return path, body
    return f"{folder}{slash}{asked.rpartition('/')[2]}{colon}{method}", given


async def _watched(answers: Any, call: Call) -> AsyncIterator[Any]:
    error: BaseException | None = None
    try:
        async for answer in answers:
            _take_event(answer, call)
            yield answer
    except BaseException as caught:
        error = caught
        raise
    finally:
        call.finished(error)
        await answers.aclose()


def _take(answer: Any, call: Call) -> None:
    _read(answer, call.answer.result)


def _take_event(answer: Any, call: Call) -> None:
    _read(answer, call.answer.event)


def _read(answer: Any, take: Any) -> None:
    try:
        body = getattr(answer, "body", None)
        document = document_of(body.encode()) if isinstance(body, str) else body
        if document:
            take(document)
    except Exception as error:  # noqa: BLE001 # an answer of a form that we do not know
        log.warning("an answer cannot be read: %s", type(error).__name__)
