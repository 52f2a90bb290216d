"""Compressed records, unpacked within a bound: a few kilobytes of them can become gigabytes."""

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final

import cramjam
from aiokafka import codec

# No producer sends batches that are nearly as large: the usage topic takes 4 MiB, and a client's own limit counts what
# is not yet compressed.
UNPACKED_BYTES_MAX: Final = 128 << 20

# The first guess is right for JSON, which shrinks to a tenth.
_FIRST_FACTOR: Final = 16
_FACTOR: Final = 8
_FIRST_BYTES_MIN: Final = 64 * 1024

# The header of xerial's snappy streams, which Kafka's clients write: blocks with their length in front follow it.
_XERIAL: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES: Final = 16


def unpacked(number: int, packed: bytes) -> bytes | None:
    """The records of a batch with this codec, by Kafka's number for it. None when they are more than 128 MiB.

    ValueError for a codec that Kafka does not have.
    """
    unpack = _DECODERS.get(number)
    if unpack is None:
        raise ValueError(f"a batch has the unknown codec {number}")
    return unpack(packed)


def _gzip(packed: bytes) -> bytes | None:
    parts: list[bytes] = []
    left = UNPACKED_BYTES_MAX
    # A stream may have several members, one after the other.
    while packed:
        stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            parts.append(stream.decompress(packed, left + 1))
        except zlib.error:
            return None
        left -= len(parts[-1])
        if left < 0 or not stream.eof:
            return None
        packed = stream.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _snappy(packed: bytes) -> bytes | None:
    try:
        size = sum(map(cramjam.snappy.decompress_raw_len, _snappy_blocks(packed)))
        return codec.snappy_decode(packed) if size <= UNPACKED_BYTES_MAX else None
    except (cramjam.DecompressionError, struct.error):
        return None


def _snappy_blocks(packed: bytes) -> Iterator[bytes]:
    if not packed.startswith(_XERIAL):
        yield packed
        return
    at = _XERIAL_HEADER_BYTES
    while at < len(packed):
        (length,) = struct.unpack_from("!I", packed, at)
        yield packed[at + 4 : at + 4 + length]
        at += 4 + length


def _into(decompress_into: Callable[[bytes, bytearray], int]) -> Callable[[bytes], bytes | None]:
    """A decoder that tries with more and more room. It cannot tell damaged input from too little room."""

    def unpack(packed: bytes) -> bytes | None:
        room = max(_FIRST_BYTES_MIN, _FIRST_FACTOR * len(packed))
        while True:
            room = min(room, UNPACKED_BYTES_MAX)
            out = bytearray(room)
            try:
                length = decompress_into(packed, out)
            except cramjam.DecompressionError:
                if room == UNPACKED_BYTES_MAX:
                    return None
                room *= _FACTOR
            else:
                return bytes(memoryview(out)[:length])

    return unpack


_DECODERS: Final[dict[int, Callable[[bytes], bytes | None]]] = {
    1: _gzip,
    2: _snappy,
    3: _into(cramjam.lz4.decompress_into),
    4: _into(cramjam.zstd.decompress_into),
}
