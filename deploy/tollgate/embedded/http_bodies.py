"""Bodies of HTTP requests and answers: chunks, compression and limits. Nothing here knows of ClickHouse.

A body is never taken larger than its limit, compressed or not: a few kilobytes may unpack to gigabytes.
"""

import gzip
import io
import zlib
from collections.abc import Callable
from typing import BinaryIO, Protocol

import lz4.frame
import zstandard

# Four bytes of zstd may stand for 128 KiB, so one step yields 128 MiB at most.
_ZSTD_STEP_BYTES = 4096
# The longest line that announces a chunk, extensions included.
_CHUNK_LINE_BYTES_MAX = 4096


class BodyTooLargeError(Exception):
    """The body is larger than allowed."""


class BadBodyError(Exception):
    """The body is cut short, not what its headers say, or in an encoding that is not known."""


def read_body(stream: BinaryIO, content_length: str | None, transfer_encoding: str | None, bytes_max: int) -> bytes:
    """Read one request's body, chunked or of known length, and leave the stream after it."""
    if (transfer_encoding or "").lower() == "chunked":
        return _read_chunks(stream, bytes_max)
    if not content_length:
        return b""
    if not content_length.isascii() or not content_length.isdigit():
        raise BadBodyError("Content-Length is not a number")
    return _read_exactly(stream, int(content_length), bytes_max)


def _read_exactly(stream: BinaryIO, length: int, bytes_max: int) -> bytes:
    if length > bytes_max:
        raise BodyTooLargeError
    body = stream.read(length)
    if len(body) != length:
        raise BadBodyError("the body ended early")
    return body


def _read_chunks(stream: BinaryIO, bytes_max: int) -> bytes:
    parts: list[bytes] = []
    room = bytes_max
    while True:
        line = stream.readline(_CHUNK_LINE_BYTES_MAX)
        try:
            length = int(line.split(b";", 1)[0], 16)
        except ValueError as error:
            raise BadBodyError("a chunk's length is not a number") from error
        if length < 0:
            raise BadBodyError("a chunk's length is negative")
        if length == 0:
            break
        parts.append(_read_exactly(stream, length, room))
        room -= length
        stream.readline(_CHUNK_LINE_BYTES_MAX)
    # Trailers, up to the empty line that ends the body.
    while stream.readline(_CHUNK_LINE_BYTES_MAX).strip():
        pass
    return b"".join(parts)


def decompress(body: bytes, encoding: str | None, bytes_max: int) -> bytes:
    """Undo `Content-Encoding`: gzip, deflate, zstd or lz4 (frames); several frames in a row are one body."""
    name = (encoding or "identity").strip().lower()
    if name == "identity" or not body:
        return body
    if name not in _DECOMPRESSORS:
        raise BadBodyError(f"Content-Encoding {name} is not known")
    try:
        unpacked = _DECOMPRESSORS[name](body, bytes_max)
    except (zlib.error, RuntimeError, EOFError, OSError, zstandard.ZstdError) as error:
        raise BadBodyError(f"the body is not valid {name}") from error
    if len(unpacked) > bytes_max:
        raise BodyTooLargeError
    return unpacked


def _gunzip(body: bytes, bytes_max: int) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(body)) as stream:
        return stream.read(bytes_max + 1)


def _inflate(body: bytes, bytes_max: int) -> bytes:
    inflater = zlib.decompressobj()
    unpacked = inflater.decompress(body, bytes_max + 1)
    if not inflater.eof and len(unpacked) <= bytes_max:
        raise EOFError
    return unpacked


def _unpack_lz4(body: bytes, bytes_max: int) -> bytes:
    with lz4.frame.open(io.BytesIO(body)) as stream:
        unpacked: bytes = stream.read(bytes_max + 1)
        return unpacked


def _unpack_zstd(body: bytes, bytes_max: int) -> bytes:
    # The library's file-like reader is silent about a frame that is cut short, so the frames are walked here.
    parts: list[bytes] = []
    room = bytes_max
    position = 0
    while position < len(body):
        frame = zstandard.ZstdDecompressor().decompressobj()
        while not frame.eof:
            if position >= len(body):
                raise EOFError
            part = frame.decompress(body[position : position + _ZSTD_STEP_BYTES])
            position += _ZSTD_STEP_BYTES
            parts.append(part)
            room -= len(part)
            if room < 0:
                raise BodyTooLargeError
        position = min(position, len(body)) - len(frame.unused_data)
    return b"".join(parts)


_DECOMPRESSORS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gunzip,
    "deflate": _inflate,
    "zstd": _unpack_zstd,
    "lz4": _unpack_lz4,
}


class Packer(Protocol):
    """Packs a body piece by piece; `flush` ends it."""

    def compress(self, data: bytes, /) -> bytes:
        """What can be sent by now."""

    def flush(self) -> bytes:
        """The rest."""


class _Lz4Packer:
    def __init__(self) -> None:
        self._frame = lz4.frame.LZ4FrameCompressor()
        self._head: bytes = self._frame.begin()

    def compress(self, data: bytes, /) -> bytes:
        head, self._head = self._head, b""
        packed: bytes = self._frame.compress(data)
        return head + packed

    def flush(self) -> bytes:
        head, self._head = self._head, b""
        rest: bytes = self._frame.flush()
        return head + rest


def packer(accept_encoding: str | None, level: int = 3) -> tuple[Packer | None, str | None]:
    """What packs into the first encoding that the client names and we have, with that name; None without one."""
    for offer in (accept_encoding or "").split(","):
        name, _, quality = offer.strip().lower().partition(";")
        if quality.replace(" ", "") in ("q=0", "q=0.0"):
            continue
        if name == "gzip":
            return zlib.compressobj(level, zlib.DEFLATED, zlib.MAX_WBITS | 16), name
        if name == "deflate":
            return zlib.compressobj(level), name
        if name == "zstd":
            return zstandard.ZstdCompressor(level=level).compressobj(), name
        if name == "lz4":
            return _Lz4Packer(), name
    return None, None
