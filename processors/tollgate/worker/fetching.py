"""Hands the broker's fetched bytes to the compiled core unchanged, instead of one Python object per record.

aiokafka has no hook for that: its fetcher looks up the class `PartitionRecords` by name in its own module. `install`
puts another class in that place, which behaves the same except for consumers that ask for whole batches.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException

from tollgate.runtime.header_names import TolerantPartitionRecords, read_any_header_name
from tollgate.worker.unpacking import unpacked

if TYPE_CHECKING:
    from tollgate.ledger.fetched import FetchedBatch


def whole_batches(value: bytes | None) -> bytes | None:
    """Marks a consumer, as its deserializer of values, and does nothing to them."""
    return value


def ask_for_whole_batches(consumer: AIOKafkaConsumer) -> None:
    """Have a consumer that is not yet started return, per partition, a list of one `FetchedBatch`.

    Where batches have the format of a Kafka before 0.11, the list has records as usual.
    """
    install()
    consumer._value_deserializer = whole_batches  # noqa: SLF001 # Faust makes the consumer, and takes none


def install() -> None:
    """Replace aiokafka's class. May be called again."""
    read_any_header_name()
    fetcher.PartitionRecords = _PartitionRecords


class _PartitionRecords(TolerantPartitionRecords):
    def _unpack_records(self) -> "Iterator[ConsumerRecord | FetchedBatch]":
        batch = self._whole() if self._value_deserializer is whole_batches else None
        if batch is None:
            yield from super()._unpack_records()
        elif batch:
            yield batch

    def _whole(self) -> "FetchedBatch | None":
        # Only where the compiled core is there.
        from tollgate.ledger._native import Fetched
        from tollgate.ledger.fetched import FetchedBatch

        try:
            found = Fetched.read(self._records.data, self.next_fetch_offset, self._aborted_transactions, unpacked)
        except ValueError as error:
            raise CorruptRecordException(f"{error} - {self._tp}") from error
        if found is None:
            return None
        self.next_fetch_offset: int = found.next_offset
        return FetchedBatch(self._tp, found)
