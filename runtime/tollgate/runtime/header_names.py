"""Reads records whose header names are not UTF-8, with replacement characters in the names.

Kafka does not check header names, so a producer may send any bytes. aiokafka decodes them while it unpacks a batch and
raises UnicodeDecodeError at the same record again and again: one such record would stop a partition for every reader.
aiokafka has no hook for it, so the classes `MemoryRecords` and `PartitionRecords` in its fetcher's module are replaced.
A batch without such names is unpacked by aiokafka's own code, at no extra cost.
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
    """Apply the fix to every consumer of this process. May be called again."""
    if not issubclass(fetcher.PartitionRecords, TolerantPartitionRecords):
        fetcher.MemoryRecords = KeptRecords
        fetcher.PartitionRecords = TolerantPartitionRecords


class KeptRecords(MemoryRecords):  # type: ignore[misc] # aiokafka ships no types for it
    """Keeps the bytes that it was made of."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data


class TolerantPartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc] # aiokafka ships no types for it
    """From the record whose header aiokafka could not read, continues with a slower parser that can."""

    _records: Any

    def _unpack_records(self) -> Iterator[Any]:
        try:
            yield from super()._unpack_records()
        except UnicodeDecodeError:
            # The list of aborted transactions is up to date for the batch in which aiokafka's parser failed.
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
    """Bytes whose slices decode with replacement characters in place of invalid UTF-8."""

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        return _TolerantText(found) if isinstance(found, bytearray) else found

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return super().decode(encoding, errors)
