"""Middleware for Django, sync and async: in Django's own list of middleware, so that it knows `request.user`.

```python
# shop/metering.py
toll = Tollgate(kafka="127.0.0.1:9092", source="shop")
limits = limits_middleware(toll, names=lambda request: {"user": request.user.pk})  # nobody is logged in: None

# settings.py
MIDDLEWARE = [..., "django.contrib.auth.middleware.AuthenticationMiddleware", "shop.metering.limits"]
```
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse

from tollgate.sdk.answers import Answer, answer_of
from tollgate.sdk.context import call_context
from tollgate.sdk.decision import Decision
from tollgate.sdk.errors import BlockedError
from tollgate.sdk.faces import Recorder
from tollgate.sdk.gate import ALL_PATHS, Gate, Names, Paths, each_in_context, request_id_of


def limits_middleware(
    toll: Recorder,
    *,
    names: Callable[[HttpRequest], Names | Awaitable[Names]],
    paths: Paths = ALL_PATHS,
    on_block: Callable[[HttpRequest, Decision], bool] | None = None,
) -> Callable[[Callable[[HttpRequest], Any]], Any]:
    """A middleware that checks every request; put its dotted name into `MIDDLEWARE`.

    A blocked request is answered with 402, 429 or 503 and never reaches the view. So is a request whose view raises
    BlockedError; what a streamed body raises goes on, and the server cuts the connection.

    - `toll`: a `Tollgate` or `AsyncTollgate`. It answers from memory.
    - `names`: called with the request; gives the user's id, or names by dimension. None when nobody is known: then the
      limits of the company alone count. Under ASGI it may be async, as `await request.auser()` must be.
    - `paths`: prefixes of the paths to check, or a function of the path. All by default.
    - `on_block`: called with the request and the decision of a blocked request; True lets it through, for a view that
      then takes a cheaper model.

    `request.tollgate` has the decision, for requests that are let through as well, and the names hold in the view as
    `call_context`, also while a streamed body is made. A name that no event may have is answered 400 `invalid_name`.
    """
    gate = Gate(toll, paths)

    def middleware(get_response: Callable[[HttpRequest], Any]) -> _Limits:
        return _Limits(get_response, gate, names, on_block)

    middleware.sync_capable = True  # type: ignore[attr-defined] # what Django looks for
    middleware.async_capable = True  # type: ignore[attr-defined]
    return middleware


class _Limits:
    def __init__(
        self,
        get_response: Callable[[HttpRequest], Any],
        gate: Gate,
        names: Callable[[HttpRequest], Names | Awaitable[Names]],
        on_block: Callable[[HttpRequest, Decision], bool] | None,
    ) -> None:
        self._get_response = get_response
        self._gate = gate
        self._names = names
        self._on_block = on_block
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if self._is_async:
            return self._call_async(request)
        if not self._gate.covers(request.method or "", request.path):
            return self._get_response(request)
        found = self._names(request)
        if inspect.isawaitable(found):
            if inspect.iscoroutine(found):
                found.close()
            raise TypeError("names is async, and this Django runs sync: give a plain function")
        blocked, names = self._judge(request, found)
        if blocked is not None:
            return blocked
        with call_context(**names):
            response = self._get_response(request)
        return _streamed_in_context(response, names)

    async def _call_async(self, request: HttpRequest) -> Any:
        if not self._gate.covers(request.method or "", request.path):
            return await self._get_response(request)
        found = self._names(request)
        blocked, names = self._judge(request, await found if inspect.isawaitable(found) else found)
        if blocked is not None:
            return blocked
        with call_context(**names):
            response = await self._get_response(request)
        return _streamed_in_context(response, names)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Called by Django with what a view raised."""
        if not isinstance(error, BlockedError):
            return None
        return _response(answer_of(error, request_id=request_id_of({}, request.headers.get("x-request-id"))))

    def _judge(self, request: HttpRequest, found: Names) -> tuple[HttpResponse | None, Mapping[str, str]]:
        """The answer, when the request is blocked, and its names."""
        judged = self._gate.judge(found)
        if isinstance(judged, Answer):
            return _response(judged), {}
        names, decision = judged
        if not decision.allowed and not (self._on_block is not None and self._on_block(request, decision)):
            request_id = request_id_of(names, request.headers.get("x-request-id"))
            return _response(answer_of(decision, request_id=request_id)), names
        request.tollgate = decision
        return None, names


def _response(answer: Answer) -> HttpResponse:
    return HttpResponse(answer.body, status=answer.status, headers=answer.headers)


def _streamed_in_context(response: Any, names: Mapping[str, str]) -> Any:
    # A file is sent by the server itself where it can.
    if response.streaming and getattr(response, "file_to_stream", None) is None:
        each = _each_async if response.is_async else each_in_context
        response.streaming_content = each(names, response.streaming_content)
    return response


async def _each_async(names: Mapping[str, str], items: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    iterator = aiter(items)
    while True:
        with call_context(**names):
            try:
                item = await anext(iterator)
            except StopAsyncIteration:
                return
        yield item
