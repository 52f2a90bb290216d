"""Compressed batches are unpacked within a bound, whatever they would become."""

import gzip
import io
import struct
from collections.abc import Callable

import cramjam
import pytest
from aiokafka import codec

from tollgate.worker import unpacking
from tollgate.worker.unpacking import unpacked

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
MIB = 1 << 20
ENCODERS: dict[int, Callable[[bytes], bytes]] = {
    GZIP: codec.gzip_encode,
    SNAPPY: codec.snappy_encode,
    LZ4: codec.lz4_encode,
    ZSTD: codec.zstd_encode,
}


@pytest.fixture
def small_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "UNPACKED_BYTES_MAX", 2 * MIB)


@pytest.mark.usefixtures("small_bound")
@pytest.mark.parametrize("number", ENCODERS)
@pytest.mark.parametrize("size", [1, 1_000, 200_000, MIB, 2 * MIB])
def test_what_fits_is_what_was_packed(number: int, size: int) -> None:
    plain = (bytes(range(256)) * (size // 256 + 1))[:size]
    assert unpacked(number, ENCODERS[number](plain)) == plain


@pytest.mark.usefixtures("small_bound")
@pytest.mark.parametrize("number", ENCODERS)
def test_one_byte_more_is_not_unpacked(number: int) -> None:
    assert unpacked(number, ENCODERS[number](bytes(2 * MIB + 1))) is None


@pytest.mark.parametrize("number", ENCODERS)
def test_a_record_of_a_hundred_mebibytes_is_unpacked(number: int) -> None:
    packed = ENCODERS[number](bytes(100 * MIB)) if number != GZIP else gzip.compress(bytes(100 * MIB), 1)
    found = unpacked(number, packed)
    assert found is not None
    assert len(found) == 100 * MIB


def test_a_gigabyte_of_zstd_is_refused_without_unpacking_it() -> None:
    packed = io.BytesIO()
    stream = cramjam.zstd.Compressor()
    for _ in range(1024):
        stream.compress(bytes(MIB))
    packed.write(bytes(stream.finish()))
    assert len(packed.getvalue()) < 200_000
    assert unpacked(ZSTD, packed.getvalue()) is None


def test_members_of_a_gzip_stream_are_joined() -> None:
    assert unpacked(GZIP, gzip.compress(b"one") + gzip.compress(b"two")) == b"onetwo"


def test_raw_snappy_is_read_and_a_claim_of_gigabytes_is_not_believed() -> None:
    assert unpacked(SNAPPY, bytes(cramjam.snappy.compress_raw(b"plain"))) == b"plain"
    # A length of 4 GiB - 1 in front of nothing.
    assert unpacked(SNAPPY, b"\xff\xff\xff\xff\x0f") is None
    header = b"\x82SNAPPY\x00" + struct.pack("!ii", 1, 1)
    assert unpacked(SNAPPY, header + struct.pack("!i", 5) + b"\xff\xff\xff\xff\x0f") is None


@pytest.mark.parametrize("number", ENCODERS)
def test_damaged_bytes_are_not_unpacked(number: int) -> None:
    packed = ENCODERS[number](b"some records" * 1_000)
    assert unpacked(number, packed[: len(packed) // 2]) is None


def test_an_unknown_codec_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown codec 5"):
        unpacked(5, b"")
