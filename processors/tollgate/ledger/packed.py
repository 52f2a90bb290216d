"""Record batches of the compiled core, in the form in which aiokafka's producer takes a batch."""

import time
from collections.abc import Sequence

from tollgate.ledger._native import RecordBatch, pack_records
from tollgate.ledger.outbox import OutRecord


class PackedBatch:
    """As much of `aiokafka.producer.message_accumulator.BatchBuilder` as a producer uses of a complete batch."""

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


def pack(records: Sequence[OutRecord], bytes_max: int) -> list[PackedBatch]:
    """Records in batches of at most `bytes_max` bytes, stamped with the time. ValueError when one record is larger."""
    given = records if isinstance(records, list) else list(records)
    return [PackedBatch(batch) for batch in pack_records(given, bytes_max, time.time_ns() // 10**6)]
