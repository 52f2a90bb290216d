"""A response of httpx that is watched while a service reads it, to its end or not.

The response stays the object that the provider's client made, and only its class becomes a subclass of its own, which
watches the two ways that a body is read and closed. Nothing of ours refers to the response, so it lives no longer.
"""

import logging
import weakref
from collections.abc import AsyncIterator, Iterator
from functools import cache
from typing import Any, Final

from tollgate.sdk.event_stream import Reader, reader_of
from tollgate.sdk.metering import Call

log = logging.getLogger("tollgate.sdk")

_WATCHED: Final = "_tollgate_watched"


def watch(response: Any, call: Call, *, hides: bool, in_async: bool) -> None:
    """Record the call when this response ends: is read to its end, cut, closed, or forgotten.

    A response that was read already is counted now. `hides`: leave out the event that only tells the usage.
    """
    body = _Body(call, reader_of(response.headers.get("content-type", ""), call.answer, hides=hides))
    if response.is_stream_consumed or response.is_closed:
        body.feed(response.content)
        body.at_end()
        call.finished()
        return
    setattr(response, _WATCHED, body)
    kind: Any = type(response)
    response.__class__ = _async_class(kind) if in_async else _sync_class(kind)
    # Nobody closed it and nobody has it any more.
    weakref.finalize(response, call.finished)


class _Body:
    """What has passed of a body. None of its methods raises."""

    def __init__(self, call: Call, reader: Reader) -> None:
        self.call = call
        self._reader = reader
        self.reading = False
        """The response closes itself at the end of its body; that is not the service's closing."""

    def feed(self, chunk: bytes) -> bytes:
        """The bytes to pass on."""
        try:
            return self._reader.feed(chunk)
        except Exception as error:  # noqa: BLE001 # an answer of a form that we do not know passes all the same
            log.warning("an answer cannot be read: %s", type(error).__name__)
            return chunk

    def at_end(self) -> bytes:
        """The body has come to its end: what was held back of it."""
        try:
            return self._reader.flush()
        except Exception as error:  # noqa: BLE001 # as above
            log.warning("an answer cannot be read: %s", type(error).__name__)
            return b""


@cache
def _sync_class(base: Any) -> type:
    class Watched(base):  # type: ignore[misc] # a class of either version of httpx
        def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]:
            body: _Body = getattr(self, _WATCHED)
            chunks = base.iter_bytes(self, chunk_size)
            error: BaseException | None = None
            try:
                while True:
                    body.reading = True
                    try:
                        chunk = next(chunks, None)
                    finally:
                        body.reading = False
                    if chunk is None:
                        break
                    if passed := body.feed(chunk):
                        yield passed
                if rest := body.at_end():
                    yield rest
            except BaseException as caught:
                error = caught
                raise
            finally:
                chunks.close()
                body.call.finished(error)

        def close(self) -> None:
            body: _Body = getattr(self, _WATCHED)
            try:
                base.close(self)
            finally:
                if not body.reading:
                    body.call.finished()

    return _named_as(base, Watched)


@cache
def _async_class(base: Any) -> type:
    class Watched(base):  # type: ignore[misc] # a class of either version of httpx
        async def aiter_bytes(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
            body: _Body = getattr(self, _WATCHED)
            chunks = base.aiter_bytes(self, chunk_size)
            error: BaseException | None = None
            try:
                while True:
                    body.reading = True
                    try:
                        chunk = await anext(chunks, None)
                    finally:
                        body.reading = False
                    if chunk is None:
                        break
                    if passed := body.feed(chunk):
                        yield passed
                if rest := body.at_end():
                    yield rest
            except BaseException as caught:
                error = caught
                raise
            finally:
                body.call.finished(error)
                await chunks.aclose()

        async def aclose(self) -> None:
            body: _Body = getattr(self, _WATCHED)
            try:
                await base.aclose(self)
            finally:
                if not body.reading:
                    body.call.finished()

    return _named_as(base, Watched)


def _named_as(base: type, watched: type) -> type:
    watched.__name__, watched.__qualname__, watched.__module__ = base.__name__, base.__qualname__, base.__module__
    return watched
