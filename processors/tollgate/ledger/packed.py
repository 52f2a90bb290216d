"""Record batches of the compiled core, in the form in which aiokafka's producer takes a batch."""

import time
from collections.abc import Sequence
from typing import overload

from tollgate.ledger._native import PricedRecords, RecordBatch, pack_records
from tollgate.ledger.outbox import NO_HEADERS, OutRecord


class PackedBatch:
    """The part of `aiokafka.producer.message_accumulator.BatchBuilder` that the producer uses of a complete batch."""

    def __init__(self, batch: RecordBatch) -> None:
        self._batch = batch
        self._producer = (-1, -1, 0)
        self._bytes: bytes | None = None

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._producer = (producer_id, producer_epoch, base_sequence)

    def _build(self) -> bytes:
        # A batch that is sent again must be the same, so that the broker knows it.
        if self._bytes is None:
            self._bytes = self._batch.sealed(*self._producer)
        return self._bytes

    def close(self) -> None:
        """Nothing can be appended anyway."""

    def closed(self) -> bool:
        """Always: it may be sent at once."""
        return True

    def size(self) -> int:
        """Bytes on the wire."""
        return self._batch.size

    def record_count(self) -> int:
        """How many records it has."""
        return len(self._batch)


class PackablePriced(Sequence[OutRecord]):
    """Priced records of the compiled core, which packs them without an object for each."""

    def __init__(self, core: PricedRecords) -> None:
        self.core = core

    def __len__(self) -> int:
        return len(self.core)

    @overload
    def __getitem__(self, at: int) -> OutRecord: ...
    @overload
    def __getitem__(self, at: slice) -> list[OutRecord]: ...
    def __getitem__(self, at: int | slice) -> OutRecord | list[OutRecord]:
        """IndexError when there is none."""
        if isinstance(at, slice):
            return [self[number] for number in range(*at.indices(len(self)))]
        key, value = self.core[at if at >= 0 else at + len(self)]
        return key, value, NO_HEADERS


def pack(records: Sequence[OutRecord], bytes_max: int) -> list[PackedBatch]:
    """Records in batches of at most `bytes_max` bytes, stamped with the time. A larger record is a batch by itself."""
    now_ms = time.time_ns() // 10**6
    if isinstance(records, PackablePriced):
        batches = records.core.pack(bytes_max, now_ms)
    else:
        batches = pack_records(records if isinstance(records, list) else list(records), bytes_max, now_ms)
    return [PackedBatch(batch) for batch in batches]
