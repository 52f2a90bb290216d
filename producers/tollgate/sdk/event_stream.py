"""Server-sent events in a response's bytes: what is in them, and the bytes without those that nobody asked for."""

import base64
import re
import struct
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tollgate.sdk.providers.answers import Answer

# The empty line that ends an event, in each of the three ways that lines may end.
_END: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE: Final = re.compile(rb"\r\n|\n|\r")
_decode: Final = msgspec.json.Decoder().decode
_DONE: Final = b"[DONE]"
_PRELUDE: Final = struct.Struct(">II")
_PRELUDE_BYTES: Final = 12
_FRAME_BYTES_MIN: Final = 16

EVENT_BYTES_MAX: Final = 64 << 20
"""An event or a document above this is passed on and not read: an image as base64 has about 8 MB."""


class EventStream:
    """Reads the events of one answer as they pass. `hides`: leave out the event that only tells the usage."""

    def __init__(self, answer: Answer, *, hides: bool = False) -> None:
        self._answer = answer
        self._hides = hides
        self._rest = b""

    def feed(self, chunk: bytes) -> bytes:
        """The bytes to pass on: the same, or where events are hidden all whole events but those."""
        data = self._rest + chunk
        kept = []
        start = 0
        # An end may be cut between two chunks, so the search begins a few bytes before the new ones.
        search = max(0, len(self._rest) - 3)
        while found := _END.search(data, search):
            event = data[start : found.end()]
            if not self._read(event):
                kept.append(event)
            start = search = found.end()
        self._rest = data[start:]
        if not self._hides:
            if len(self._rest) > EVENT_BYTES_MAX:
                self._rest = b""
            return chunk
        if len(self._rest) > EVENT_BYTES_MAX:
            kept.append(self.flush())
        return b"".join(kept)

    def flush(self) -> bytes:
        """What was held back of an event that never ended, read as an event too."""
        rest, self._rest = self._rest, b""
        hidden = bool(rest) and self._read(rest)
        return rest if self._hides and not hidden else b""

    def _read(self, event: bytes) -> bool:
        lines = [line for line in _LINE.split(event) if line.startswith(b"data:")]
        data = b"\n".join(line[5:].lstrip(b" ") for line in lines)
        if data.startswith(_DONE):
            self._answer.complete = True
            return False
        document = document_of(data)
        return document is not None and self._answer.event(document) and self._hides


class AmazonEvents:
    """Reads the events of a body in Amazon's framing, in which Bedrock sends what Anthropic sends as text.

    A frame is its own length, that of its headers and a checksum of both, in four bytes each; then headers, payload and
    a checksum. The payload has an event as base64: https://docs.aws.amazon.com/lexv2/latest/dg/event-stream-encoding.html
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> bytes:
        """Reads the frames that are whole by now, and passes the bytes on."""
        self._rest += chunk
        while len(self._rest) >= _PRELUDE_BYTES:
            length, headers = _PRELUDE.unpack_from(self._rest)
            if not _FRAME_BYTES_MIN <= length <= EVENT_BYTES_MAX:
                self._rest.clear()
                break
            if len(self._rest) < length:
                break
            payload = document_of(bytes(self._rest[_PRELUDE_BYTES + headers : length - 4])) or {}
            event = document_of(base64.b64decode(payload.get("bytes") or b""))
            if event is not None:
                self._answer.event(event)
            del self._rest[:length]
        return chunk

    def flush(self) -> bytes:
        """Nothing is held back."""
        return b""


class Document:
    """Reads an answer that is one JSON document, once all of it has passed."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._chunks: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> bytes:
        """Keeps the bytes, and passes them on."""
        self._size += len(chunk)
        if self._size <= EVENT_BYTES_MAX:
            self._chunks.append(chunk)
        else:
            self._chunks.clear()
        return chunk

    def flush(self) -> bytes:
        """Reads what there is. A document that was cut is none, and what it says is not known."""
        document = document_of(b"".join(self._chunks))
        self._chunks.clear()
        if document is not None:
            self._answer.result(document)
        return b""


class Text:
    """Reads an answer that is text, such as subtitles, or data, such as speech: it is whole once it has ended."""

    def __init__(self, answer: Answer, *, is_text: bool) -> None:
        self._answer = answer
        self._is_text = is_text

    def feed(self, chunk: bytes) -> bytes:
        """Counts the bytes of text, and passes them on."""
        if self._is_text:
            self._answer.text_bytes += len(chunk)
        return chunk

    def flush(self) -> bytes:
        """Nothing is held back."""
        self._answer.complete = True
        return b""


Reader = EventStream | AmazonEvents | Document | Text


def reader_of(content_type: str, answer: Answer, *, hides: bool) -> Reader:
    """How to read a body of this type."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "text/event-stream":
        return EventStream(answer, hides=hides)
    if kind == "application/vnd.amazon.eventstream":
        return AmazonEvents(answer)
    if kind.endswith("json"):
        return Document(answer)
    return Text(answer, is_text=kind.startswith("text/"))


def document_of(data: bytes) -> Mapping[str, Any] | None:
    """The JSON object in these bytes; None when they are none."""
    try:
        document = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return document if isinstance(document, dict) else None
