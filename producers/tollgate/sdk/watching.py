"""A response of httpx that is watched while a service reads it, to the end or not.

The response stays the object that the provider's client made: three of its methods are shadowed on this one object. The
watch refers to it weakly, so that it lives no longer than without us.
"""

import logging
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

from tollgate.sdk.event_stream import Reader, reader_of
from tollgate.sdk.metering import Call

log = logging.getLogger("tollgate.sdk")


def watch(response: Any, call: Call, *, hides: bool, in_async: bool) -> None:
    """Record the call when this response ends: is read to its end, cut, closed, or forgotten.

    A response that was read already is counted now.
    """
    reader = reader_of(response.headers.get("content-type", ""), call.answer, hides=hides)
    watched = _Watch(weakref.ref(response), call, reader)
    if response.is_stream_consumed or response.is_closed:
        watched.read_already(response)
    elif in_async:
        response.aiter_bytes = watched.aiter_bytes
        response.aclose = watched.aclose
    else:
        response.iter_bytes = watched.iter_bytes
        response.close = watched.close
    # Nobody closed it and nobody has it any more.
    weakref.finalize(response, call.finished)


class _Watch:
    def __init__(self, response: "weakref.ref[Any]", call: Call, reader: Reader) -> None:
        self._response = response
        self._call = call
        self._reader = reader
        # While the response reads its body it closes itself at the end; that is not the service's closing.
        self._reading = False

    def read_already(self, response: Any) -> None:
        self._feed(response.content)
        self._at_end()
        self._call.finished()

    def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]:
        response = self._strong()
        chunks = type(response).iter_bytes(response, chunk_size)
        error: BaseException | None = None
        try:
            while True:
                self._reading = True
                try:
                    chunk = next(chunks, None)
                finally:
                    self._reading = False
                if chunk is None:
                    break
                if passed := self._feed(chunk):
                    yield passed
            if rest := self._at_end():
                yield rest
        except BaseException as caught:
            error = caught
            raise
        finally:
            chunks.close()
            self._call.finished(error)

    async def aiter_bytes(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        response = self._strong()
        chunks = type(response).aiter_bytes(response, chunk_size)
        error: BaseException | None = None
        try:
            while True:
                self._reading = True
                try:
                    chunk = await anext(chunks, None)
                finally:
                    self._reading = False
                if chunk is None:
                    break
                if passed := self._feed(chunk):
                    yield passed
            if rest := self._at_end():
                yield rest
        except BaseException as caught:
            error = caught
            raise
        finally:
            await self._call.afinished(error)
            await chunks.aclose()

    def close(self) -> None:
        response = self._strong()
        try:
            type(response).close(response)
        finally:
            if not self._reading:
                self._call.finished()

    async def aclose(self) -> None:
        response = self._strong()
        try:
            await type(response).aclose(response)
        finally:
            if not self._reading:
                await self._call.afinished()

    def _strong(self) -> Any:
        # Whoever calls a method of the response has it.
        response = self._response()
        assert response is not None
        return response

    def _feed(self, chunk: bytes) -> bytes:
        try:
            return self._reader.feed(chunk)
        except Exception as error:  # noqa: BLE001 # an answer of a form that we do not know passes all the same
            log.warning("an answer cannot be read: %s", type(error).__name__)
            return chunk

    def _at_end(self) -> bytes:
        try:
            return self._reader.flush()
        except Exception as error:  # noqa: BLE001 # as above
            log.warning("an answer cannot be read: %s", type(error).__name__)
            return b""
