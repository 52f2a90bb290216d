"""Records found in the broker's answer for the compiled core are those that aiokafka unpacks of the same bytes."""

import gzip
import struct
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

pytest.importorskip("tollgate.ledger._native", reason="the compiled core is optional")

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from tollgate.ledger.fetched import FetchedBatch
from tollgate.worker import fetching

fetching.install()

TP = TopicPartition("usage", 3)
ABORT, COMMIT = 0, 1
LOG_APPEND_TIME, TRANSACTIONAL, CONTROL = 0x08, 0x10, 0x20
APPENDED_MS = 1_795_255_200_123

blobs = st.none() | st.binary(max_size=300)
headers = st.lists(st.tuples(st.text(max_size=10), blobs), max_size=3)
records = st.lists(st.tuples(st.integers(0, 5), blobs, blobs, headers), min_size=1, max_size=20)
# Codec (none, gzip, snappy, lz4, zstd), producer (or in no transaction), whether the broker's time, gap, records.
batches = st.tuples(st.integers(0, 4), st.none() | st.integers(0, 2), st.booleans(), st.integers(0, 3), records)
# Producer and how its transaction ended.
markers = st.tuples(st.integers(0, 2), st.sampled_from([ABORT, COMMIT]))


def batch_bytes(given: Sequence[Any], base: int, codec: int, producer: int | None, attributes: int) -> bytes:
    """A batch as the broker stores it, from an offset on."""
    builder = DefaultRecordBatchBuilder(
        2, codec, producer is not None, -1 if producer is None else producer, -1, 0, batch_size=1 << 30
    )
    for number, (later_ms, key, value, names) in enumerate(given):
        builder.append(number, APPENDED_MS - 10 + later_ms, key, value, names)
    data = builder.build()
    data[0:8] = struct.pack(">q", base)
    data[22] |= attributes
    if attributes & LOG_APPEND_TIME:
        data[35:43] = struct.pack(">q", APPENDED_MS)
    data[17:21] = struct.pack(">I", calc_crc32c(data[21:]))
    return bytes(data)


def log_of(parts: Sequence[Any]) -> tuple[bytes, list[tuple[int, int]]]:
    """The bytes of batches and markers one after another, and the aborted transactions: producer, first offset."""
    data, base, opened, aborted = b"", 5, dict[int, int](), []
    for part in parts:
        if len(part) == 2:
            producer, end = part
            data += batch_bytes([(0, struct.pack(">hh", 0, end), b"", [])], base, 0, producer, CONTROL)
            if end == ABORT and producer in opened:
                aborted.append((producer, opened[producer]))
            opened.pop(producer, None)
            base += 1
        else:
            codec, producer, appended, gap, given = part
            base += gap
            data += batch_bytes(given, base, codec, producer, LOG_APPEND_TIME if appended else 0)
            if producer is not None:
                opened.setdefault(producer, base)
            base += len(given)
    return data, aborted


def unpacked(data: bytes, aborted: Any, from_offset: int, deserialize: Callable[[Any], Any] | None) -> tuple[Any, int]:
    """What a consumer gets, and where it reads on."""
    found = fetcher.PartitionRecords(
        TP, fetcher.MemoryRecords(data), aborted, from_offset, None, deserialize, True, READ_COMMITTED
    )
    return list(found), found.next_fetch_offset


def whole(data: bytes, aborted: Any = (), from_offset: int = 0) -> tuple[list[ConsumerRecord], int]:
    """The same by way of the compiled core."""
    found, following = unpacked(data, aborted, from_offset, fetching.whole_batches)
    assert all(isinstance(batch, FetchedBatch) for batch in found)
    return [record for batch in found for record in batch], following


@given(st.lists(batches | markers, max_size=8), st.integers(0, 60), st.integers(0, 200))
def test_records_are_those_that_aiokafka_unpacks(parts: list[Any], from_offset: int, cut: int) -> None:
    data, aborted = log_of(parts)
    data = data[: len(data) - cut] if cut < len(data) else data
    assert whole(data, aborted, from_offset) == unpacked(data, aborted, from_offset, None)


def with_raw_names(data: bytes, names: Sequence[bytes], packed: bool) -> bytes:
    """An uncompressed batch with the names `@0`, `@1`… of headers replaced by other bytes of the same length."""
    body = data[61:]
    for number, name in enumerate(names):
        body = body.replace(b"@%d" % number + b"@" * (len(name) - 2), name)
    if packed:
        body = gzip.compress(body)
    new = bytearray(data[:61] + body)
    new[22] |= packed
    new[8:12] = struct.pack(">i", len(new) - 12)
    new[17:21] = struct.pack(">I", calc_crc32c(new[21:]))
    return bytes(new)


raw_names = st.lists(st.binary(min_size=2, max_size=8), min_size=1, max_size=9)


@given(raw_names, st.booleans(), st.integers(0, 9))
@example([b"aa", b"\xff\xfe", b"aa", b"\xff\xff"], False, 0)
@example([b"ce_\xe2\x82", b"\xf0\x9f\x92x", b"\xed\xa0\x80", b"\xc0\xaf"], True, 0)
def test_names_that_are_no_text_are_read_alike(names: list[bytes], packed: bool, from_offset: int) -> None:
    given = [
        (0, b"k", b"v", [("text", b"1"), (f"@{number}" + "@" * (len(name) - 2), b"2")])
        for number, name in enumerate(names)
    ]
    # The broker's answer begins with the batch that has the offset asked for.
    from_offset = min(from_offset, len(names))
    before = batch_bytes([(0, b"k", b"before", [])], 0, 0, None, 0) if from_offset == 0 else b""
    after = batch_bytes([(0, b"k", b"after", [("é", None)])], 1 + len(names), 3, None, 0)
    data = before + with_raw_names(batch_bytes(given, 1, 0, None, 0), names, packed) + after
    found, following = unpacked(data, [], from_offset, None)
    assert (found, following) == whole(data, [], from_offset)
    read = [record.headers[1][0] for record in found if len(record.headers) == 2]
    assert read == [name.decode("utf-8", "replace") for name in names][max(from_offset - 1, 0) :]
    assert [record.value for record in found] == [b"before"] * (from_offset == 0) + [b"v"] * len(read) + [b"after"]
    assert following == len(names) + 2


def test_a_name_that_is_no_text_does_not_bring_an_aborted_record_back() -> None:
    data, aborted = log_of([(0, 1, False, 0, [(0, b"k", b"lost", [("@0", None)])]), (1, ABORT)])
    size = len(data) - len(log_of([(1, ABORT)])[0])
    data = with_raw_names(data[:size], [b"\xff\xff"], packed=False) + data[size:]
    kept = with_raw_names(batch_bytes([(0, b"k", b"kept", [("@0", None)])], 7, 0, None, 0), [b"\xff\xff"], packed=False)
    found, following = unpacked(data + kept, aborted, 0, None)
    assert [(record.offset, record.value, record.headers) for record in found] == [
        (7, b"kept", (("\ufffd\ufffd", None),))
    ]
    assert following == 8


@given(records, st.lists(st.tuples(st.integers(61, 2_000), st.integers(0, 255)), min_size=1, max_size=5))
@example(given=[(0, None, None, [("", None)])], changes=[(61, 1)])  # a header without a name
def test_damaged_records_are_refused_or_read_but_never_more(given: list[Any], changes: list[tuple[int, int]]) -> None:
    data = bytearray(batch_bytes(given, 0, 0, None, 0))
    for at, byte in changes:
        data[at % (len(data) - 61) + 61] = byte
    # The checksum is right, as if a faulty sender had computed it.
    data[17:21] = struct.pack(">I", calc_crc32c(data[21:]))
    try:
        found, _ = whole(bytes(data))
    except CorruptRecordException:
        return
    assert len(found) <= len(given)


@given(records, st.integers(0, 10_000))
def test_a_changed_byte_is_seen_by_the_checksum(given: list[Any], at: int) -> None:
    data = bytearray(batch_bytes(given, 0, 0, None, 0))
    data[21 + at % (len(data) - 21)] ^= 1
    with pytest.raises(
        CorruptRecordException, match=r"another checksum - TopicPartition\(topic='usage', partition=3\)"
    ):
        whole(bytes(data))


def test_an_unknown_codec_is_an_error() -> None:
    data = batch_bytes([(0, b"k", b"v", [])], 0, 0, None, 0x07)
    with pytest.raises(CorruptRecordException, match="the unknown codec 7"):
        whole(data)


def test_batches_of_an_old_kafka_are_unpacked_by_aiokafka() -> None:
    builder = LegacyRecordBatchBuilder(magic=1, compression_type=0, batch_size=1 << 20)
    builder.append(0, APPENDED_MS, b"k", b"v")
    (record,), _ = unpacked(bytes(builder.build()), [], 0, fetching.whole_batches)
    assert (record.key, record.value, record.timestamp) == (b"k", b"v", APPENDED_MS)


def test_a_batch_is_a_sequence_of_records() -> None:
    data = batch_bytes([(n, b"%d" % n, None, [("name", b"x")]) for n in range(3)], 7, 0, None, 0)
    ((batch,), following) = unpacked(data, [], 0, fetching.whole_batches)
    assert [record.offset for record in batch] == [7, 8, 9]
    assert following == 10
    assert (batch[-1].key, batch[-1].value, batch[-1].headers) == (b"2", None, (("name", b"x"),))
    assert [record.key for record in batch[:2]] == [b"0", b"1"]
    assert len(batch) == 3
    with pytest.raises(IndexError):
        batch[3]
    assert list(FetchedBatch.of(list(batch))) == list(batch)


def test_a_header_whose_name_is_no_text_does_not_stop_the_partition() -> None:
    data = bytearray(batch_bytes([(0, b"k", b"v", [("name", b"x")])], 0, 0, None, 0))
    data[data.index(b"name")] = 0xFF
    data[17:21] = struct.pack(">I", calc_crc32c(data[21:]))
    ((record,), _) = whole(bytes(data))
    assert record.headers == (("\N{REPLACEMENT CHARACTER}ame", b"x"),)


def test_large_compressed_batches_of_one_answer_are_unpacked_one_after_the_other() -> None:
    large: list[Any] = [(0, b"k", bytes(70 << 20), [])]
    data = b"".join(batch_bytes(large, base, 4, None, 0) for base in range(4))
    found, following = whole(data)
    # The second passes 128 MiB; what is left comes with the next answer.
    assert ([record.offset for record in found], following) == ([0, 1], 2)
    found, following = whole(data[len(data) // 2 :], from_offset=2)
    assert ([record.offset for record in found], following) == ([2, 3], 4)


def test_a_batch_that_is_too_large_unpacked_becomes_one_record_of_its_compressed_bytes() -> None:
    before = batch_bytes([(0, b"k", b"before", [])], 0, 0, None, 0)
    bomb = batch_bytes([(0, b"k", bytes(100 << 20), []), (0, b"k", bytes(100 << 20), [])], 1, 4, None, 0)
    after = batch_bytes([(0, b"k", b"after", [])], 3, 0, None, 0)
    found, following = whole(before + bomb + after)
    assert following == 4
    assert [(record.offset, record.timestamp_type) for record in found] == [(0, 0), (2, 255), (3, 0)]
    assert (found[1].key, found[1].value) == (None, bomb[61:])
    assert found[1].headers == (("source_offset_first", b"1"),)
    # A reader that went on in the middle of it, as after a restart, sees the same.
    assert whole(bomb + after, from_offset=2)[0] == found[1:]
