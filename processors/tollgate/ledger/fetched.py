"""Fetched records for the compiled core, which reads Kafka's batches itself. Python objects are made on access."""

from collections.abc import Iterator, Sequence
from typing import overload

from aiokafka import ConsumerRecord, TopicPartition

from tollgate.ledger._native import Fetched


class FetchedBatch(Sequence[ConsumerRecord]):
    """Records of one partition. `core` is what the compiled tally counts."""

    __slots__ = ("_tp", "core")

    def __init__(self, tp: TopicPartition, core: Fetched) -> None:
        self._tp = tp
        self.core = core

    @classmethod
    def of(cls, records: Sequence[ConsumerRecord]) -> "FetchedBatch":
        """The batch itself, or one of records of one partition that are objects already."""
        if isinstance(records, FetchedBatch):
            return records
        return cls(TopicPartition(records[0].topic, records[0].partition), Fetched.of_records(list(records)))

    def __len__(self) -> int:
        return len(self.core)

    @overload
    def __getitem__(self, at: int) -> ConsumerRecord: ...
    @overload
    def __getitem__(self, at: slice) -> list[ConsumerRecord]: ...
    def __getitem__(self, at: int | slice) -> ConsumerRecord | list[ConsumerRecord]:
        """IndexError when there is none."""
        if isinstance(at, slice):
            return [self._record(number) for number in range(*at.indices(len(self)))]
        return self._record(at if at >= 0 else at + len(self))

    def __iter__(self) -> Iterator[ConsumerRecord]:
        return map(self._record, range(len(self)))

    def _record(self, number: int) -> ConsumerRecord:
        topic, partition = self._tp
        offset, timestamp, timestamp_type, key, value, headers = self.core.record(number)
        sizes = (-1 if key is None else len(key), -1 if value is None else len(value))
        return ConsumerRecord(
            topic, partition, offset, timestamp, timestamp_type, key, value, None, *sizes, tuple(headers)
        )
