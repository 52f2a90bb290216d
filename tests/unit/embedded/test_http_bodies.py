"""Bodies: chunks, encodings, limits."""

import gzip
import io
import zlib

import lz4.frame
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tollgate.embedded.http_bodies import BadBodyError, BodyTooLargeError, decompress, packer, read_body

PACK = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "lz4": lz4.frame.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("encoding", sorted(PACK))
@given(body=st.binary(max_size=20_000))
def test_a_packed_body_comes_out_as_it_went_in(encoding: str, body: bytes) -> None:
    assert decompress(PACK[encoding](body), encoding, len(body)) == body
    pack, used = packer(f"br, {encoding};q=0.5")
    assert pack is not None
    assert used == encoding
    packed = pack.compress(body[:99]) + pack.compress(body[99:]) + pack.flush()
    assert decompress(packed, encoding, len(body)) == body


@pytest.mark.parametrize("encoding", ["gzip", "lz4", "zstd"])
def test_several_frames_are_one_body(encoding: str) -> None:
    assert decompress(PACK[encoding](b"one ") + PACK[encoding](b"two"), encoding, 100) == b"one two"


@pytest.mark.parametrize("encoding", sorted(PACK))
def test_a_body_that_unpacks_to_more_than_the_limit_is_refused(encoding: str) -> None:
    packed = PACK[encoding](bytes(1001))
    assert len(decompress(packed, encoding, 1001)) == 1001
    with pytest.raises(BodyTooLargeError):
        decompress(packed, encoding, 1000)
    with pytest.raises(BodyTooLargeError):
        decompress(PACK[encoding](bytes(100_000_000)), encoding, 1000)


@pytest.mark.parametrize("encoding", sorted(PACK))
def test_a_body_that_is_cut_short_is_refused(encoding: str) -> None:
    packed = PACK[encoding](bytes(range(256)) * 100)
    with pytest.raises(BadBodyError):
        decompress(packed[: len(packed) // 2], encoding, 100_000)
    with pytest.raises(BadBodyError):
        decompress(b"no such thing", encoding, 100_000)


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(BadBodyError, match="snappy"):
        decompress(b"x", "snappy", 10)


def test_an_answer_stays_as_it_is_when_the_client_names_nothing_we_have() -> None:
    assert packer(None) == (None, None)
    assert packer("br, xz, gzip;q=0") == (None, None)


def test_chunks_are_joined_and_the_stream_is_left_after_them() -> None:
    stream = io.BytesIO(b"3\r\nabc\r\n2;note=1\r\nde\r\n0\r\nTrailer: x\r\n\r\nGET /next")
    assert read_body(stream, None, "chunked", 5) == b"abcde"
    assert stream.read() == b"GET /next"


@pytest.mark.parametrize("sent", [b"3\r\nab", b"x\r\n", b"-1\r\n", b""])
def test_broken_chunks_are_refused(sent: bytes) -> None:
    with pytest.raises(BadBodyError):
        read_body(io.BytesIO(sent), None, "chunked", 100)


def test_a_body_over_the_limit_is_refused_before_it_is_read() -> None:
    stream = io.BytesIO(b"abcdef")
    with pytest.raises(BodyTooLargeError):
        read_body(stream, "6", None, 5)
    assert stream.tell() == 0
    with pytest.raises(BodyTooLargeError):
        read_body(io.BytesIO(b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"), None, "chunked", 5)


@pytest.mark.parametrize("length", ["7", "x", "-1"])
def test_a_length_that_is_not_the_bodys_is_refused(length: str) -> None:
    with pytest.raises(BadBodyError):
        read_body(io.BytesIO(b"abcdef"), length, None, 100)
