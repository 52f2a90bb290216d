"""Names of record headers that are not UTF-8, read with replacement characters where aiokafka gives up.

Kafka does not look at names, and a producer may send any bytes. aiokafka decodes them while it unpacks a batch, and
raises UnicodeDecodeError at the same record for ever: one record would stop a partition for every reader. Its fetcher
makes `MemoryRecords` of a partition's bytes and `PartitionRecords` of these, by the names in its module; there is no
other way in. A batch whose names are text is unpacked as ever, at no cost.
"""

import struct
from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy

# The batches of Kafka 0.11 and later.
_FORMAT_WITH_HEADERS = 2
_OFFSET = struct.Struct(">q")
_LAST_OFFSET_DELTA = struct.Struct(">i")
_LAST_OFFSET_DELTA_AT = 23


def read_any_header_name() -> None:
    """Have every consumer of this process read such records; again is harmless."""
    if not issubclass(fetcher.PartitionRecords, TolerantPartitionRecords):
        fetcher.MemoryRecords = KeptRecords
        fetcher.PartitionRecords = TolerantPartitionRecords


class KeptRecords(MemoryRecords):  # type: ignore[misc] # aiokafka ships no types for it
    """Keeps the bytes that it was made of."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data


class TolerantPartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc] # aiokafka ships no types for it
    """Goes on from the record whose header it could not read, with a slower parser that can."""

    _records: Any

    def _unpack_records(self) -> Iterator[Any]:
        try:
            yield from super()._unpack_records()
        except UnicodeDecodeError:
            # What is known of aborted transactions is right for the batch that it gave up in.
            self._records = _TolerantRecords(self._records.data)
            self._records.skip_to(self.next_fetch_offset)
            yield from super()._unpack_records()


class _TolerantRecords(_MemoryRecordsPy):  # type: ignore[misc] # final for its authors, but nothing depends on that
    _next_slice: Any

    def skip_to(self, offset: int) -> None:
        """Leave out the batches that end before the offset."""
        while (found := self._next_slice) is not None:
            (last,) = _OFFSET.unpack_from(found)
            if found[self.MAGIC_OFFSET] >= _FORMAT_WITH_HEADERS:
                last += _LAST_OFFSET_DELTA.unpack_from(found, _LAST_OFFSET_DELTA_AT)[0]
            if last >= offset:
                break
            self._cache_next()

    def next_batch(self) -> Any:
        found = self._next_slice
        if found is None or found[self.MAGIC_OFFSET] < _FORMAT_WITH_HEADERS:
            return super().next_batch()
        self._cache_next()
        return _TolerantBatch(found)


class _TolerantBatch(_DefaultRecordBatchPy):  # type: ignore[misc] # final for its authors, but nothing depends on that
    _buffer: Any

    def _maybe_uncompress(self) -> None:
        if not self._decompressed:
            super()._maybe_uncompress()
            self._buffer = _TolerantText(self._buffer)


class _TolerantText(bytearray):
    """Bytes whose slices, when they are decoded, have replacement characters for what is no text."""

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        return _TolerantText(found) if isinstance(found, bytearray) else found

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return super().decode(encoding, errors)
