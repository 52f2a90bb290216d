"""The clients of OpenAI and Anthropic, which are built alike: every call of theirs goes through `client.request`.

`request` and `copy` are shadowed on the one client that is given, so its class, its resources and what it returns stay
as they are. The client's own retries happen inside `request`, so a call that is retried is one call here.
"""

import copy
import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tollgate.sdk.metering import METERED_ALREADY, Body, Call, Meter
from tollgate.sdk.providers.answers import Answer
from tollgate.sdk.watching import watch

log = logging.getLogger("tollgate.sdk")

_MARK: Final = "_tollgate_meter"
_STREAM_OPTIONS: Final = "stream_options"
# Answers in the background that nobody asks for must not fill the memory; one more is counted by its request.
_BACKGROUND_MAX: Final = 10_000


@dataclass(slots=True)
class Dialect:
    """What differs between the clients: which paths are counted as what, and how an answer is read.

    `asks_for_usage`: streams of these operations tell their usage only when they are asked to.
    """

    operations: Mapping[str, str]
    answer: Callable[[str, Body], Answer]
    asks_for_usage: frozenset[str] = frozenset()


def meter_client(client: Any, meter: Meter, dialect: Dialect) -> None:
    """Meter this client and the copies that it makes of itself. TypeError for what cannot be metered."""
    request = getattr(client, "request", None)
    if not callable(request) or not callable(getattr(client, "copy", None)):
        raise TypeError(f"client must be a client of the provider's library, not {type(client).__name__}")
    if _MARK in vars(client):
        raise TypeError(METERED_ALREADY)
    is_async = inspect.iscoroutinefunction(type(client).request)
    if meter.reserve and not is_async and inspect.iscoroutinefunction(getattr(meter.toll, "flush", None)):
        raise TypeError("reserve=True on a client that does not await needs a Tollgate: an AsyncTollgate awaits")
    setattr(client, _MARK, meter)
    metered = _Metered(client, meter, dialect)
    client.request = metered.arequest if is_async else metered.request
    client.copy = client.with_options = metered.copy


class _Metered:
    def __init__(self, client: Any, meter: Meter, dialect: Dialect) -> None:
        self._client = client
        self._meter = meter
        self._dialect = dialect
        self._refuses_stream_options = False

    def copy(self, *args: Any, **kwargs: Any) -> Any:
        client = self._client
        copied = type(client).copy(client, *args, **kwargs)
        meter_client(copied, self._meter, self._dialect)
        return copied

    def request(self, cast_to: Any, options: Any, *args: Any, **kwargs: Any) -> Any:
        client = self._client
        call = self._begin(options)
        if call is None:
            result = type(client).request(client, cast_to, options, *args, **kwargs)
            if (later := self._background(options, result)) is not None:
                later.finished()
            return result
        if call.reserves:
            call.hold()
        asked, sent = self._sent(call, options)
        try:
            try:
                result = type(client).request(client, cast_to, sent, *args, **kwargs)
            except Exception as error:
                if not asked or not self._refused(error):
                    raise
                asked, sent = self._sent(call, options)
                result = type(client).request(client, cast_to, sent, *args, **kwargs)
        except BaseException as error:
            # An answer that came and that the client or the service cannot parse is billed all the same.
            call.finished() if call.answer.complete else call.failed(error)
            raise
        if not self._watched(result, call, hides=asked, in_async=False):
            self._take(result, call)
            if not self._comes_later(call):
                call.finished()
        return result

    async def arequest(self, cast_to: Any, options: Any, *args: Any, **kwargs: Any) -> Any:
        client = self._client
        call = self._begin(options)
        if call is None:
            result = await type(client).request(client, cast_to, options, *args, **kwargs)
            if (later := self._background(options, result)) is not None:
                later.finished()
            return result
        if call.reserves:
            await call.ahold()
        asked, sent = self._sent(call, options)
        try:
            try:
                result = await type(client).request(client, cast_to, sent, *args, **kwargs)
            except Exception as error:
                if not asked or not self._refused(error):
                    raise
                asked, sent = self._sent(call, options)
                result = await type(client).request(client, cast_to, sent, *args, **kwargs)
        except BaseException as error:
            call.finished() if call.answer.complete else call.failed(error)
            raise
        if not self._watched(result, call, hides=asked, in_async=True):
            self._take(result, call)
            if not self._comes_later(call):
                call.finished()
        return result

    def _begin(self, options: Any) -> Call | None:
        """None for a call that costs nothing by itself."""
        if str(getattr(options, "method", "")).lower() != "post":
            return None
        operation = self._dialect.operations.get(str(options.url).partition("?")[0])
        if operation is None:
            return None
        body = options.json_data if isinstance(options.json_data, Mapping) else {}
        return Call(self._meter, lambda given: self._dialect.answer(operation, given), body)

    def _sent(self, call: Call, options: Any) -> tuple[bool, Any]:
        """Whether the usage of a stream is asked for on top, and the options to send."""
        body = dict(call.body)
        extra = getattr(options, "extra_json", None)
        asks = (
            call.answer.operation in self._dialect.asks_for_usage
            and not (isinstance(extra, Mapping) and _STREAM_OPTIONS in extra)
            and body.get("stream") is True
            and not self._refuses_stream_options
            and (body.get(_STREAM_OPTIONS) is None or isinstance(body[_STREAM_OPTIONS], Mapping))
            and not (body.get(_STREAM_OPTIONS) or {}).get("include_usage")
        )
        if asks:
            body[_STREAM_OPTIONS] = {**(body.get(_STREAM_OPTIONS) or {}), "include_usage": True}
        sent = copy.copy(options)
        if body != options.json_data:
            sent.json_data = body
        parser = getattr(options, "post_parser", None)
        if callable(parser):
            sent.post_parser = self._parser(parser, call)
        return asks, sent

    def _parser(self, parser: Callable[[Any], Any], call: Call) -> Callable[[Any], Any]:
        """The client's last step. It raises for an answer that was cut, or has another form than was asked for."""

        def parsed(result: Any) -> Any:
            self._take(result, call)
            return parser(result)

        return parsed

    def _refused(self, error: Exception) -> bool:
        """Whether the server does not know `stream_options`; then it is not sent to it again."""
        refused = getattr(error, "status_code", None) in {400, 422} and _STREAM_OPTIONS in str(error)
        self._refuses_stream_options = self._refuses_stream_options or refused
        return refused

    def _watched(self, result: Any, call: Call, *, hides: bool, in_async: bool) -> bool:
        """Watch the response of a stream, of a raw answer or of data, if the result has one."""
        response = getattr(result, "http_response", None) or getattr(result, "response", None)
        if not all(hasattr(response, name) for name in ("iter_bytes", "headers", "is_closed")):
            return False
        try:
            watch(response, call, hides=hides, in_async=in_async)
        except Exception as error:  # noqa: BLE001 # nothing of ours fails the service
            log.warning("an answer cannot be watched: %s", type(error).__name__)
            return False
        return True

    def _take(self, result: Any, call: Call) -> None:
        try:
            if not call.answer.complete:
                call.answer.result(result)
        except Exception as error:  # noqa: BLE001 # an answer of a form that we do not know
            log.warning("an answer cannot be read: %s", type(error).__name__)

    def _comes_later(self, call: Call) -> bool:
        """Whether the answer is made in the background; the call ends when the service asks for it and it is there."""
        answer_id = call.answer.answer_id
        if not call.answer.unfinished or answer_id is None or len(self._meter.background) >= _BACKGROUND_MAX:
            return False
        self._meter.background[answer_id] = call
        return True

    def _background(self, options: Any, result: Any) -> Call | None:
        """The call that was answered in the background, and whose answer this is."""
        answer_id = str(getattr(options, "url", "")).removesuffix("/cancel").rpartition("/")[2]
        call = self._meter.background.get(answer_id)
        if call is None or not getattr(result, "status", None):
            return None
        self._take(result, call)
        return None if call.answer.unfinished else self._meter.background.pop(answer_id, None)
