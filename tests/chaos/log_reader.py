"""Reads a topic on from where it was left: committed records, in the order of each partition."""

from collections.abc import AsyncIterator

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from tollgate.runtime.kafka import client_options
from tollgate.runtime.settings import Settings


class LogReader:
    """Each `read` goes on where the last one ended."""

    def __init__(self, settings: Settings, topic: str, partitions: int) -> None:
        self._settings = settings
        self._next = {TopicPartition(topic, number): 0 for number in range(partitions)}

    async def read(self) -> AsyncIterator[ConsumerRecord]:
        """What was committed since the last time, up to the end as of now."""
        consumer = AIOKafkaConsumer(
            **client_options(self._settings),
            isolation_level="read_committed",
            enable_auto_commit=False,
            fetch_max_wait_ms=20,
        )
        await consumer.start()
        try:
            consumer.assign(list(self._next))
            for tp, offset in self._next.items():
                consumer.seek(tp, offset)
            ends = await consumer.end_offsets(list(self._next))
            left = {tp for tp, end in ends.items() if self._next[tp] < end}
            while left:
                for records in (await consumer.getmany(*left, timeout_ms=200, max_records=2_000)).values():
                    for record in records:
                        yield record
                for tp in list(left):
                    # By position: a transaction's marker may stand behind the last record.
                    self._next[tp] = await consumer.position(tp)
                    if self._next[tp] >= ends[tp]:
                        left.remove(tp)
        finally:
            await consumer.stop()
