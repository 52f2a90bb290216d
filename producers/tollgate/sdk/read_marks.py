"""How far a consumer has read its partitions, as a time: everything that was written up to then is taken in."""

from aiokafka import AIOKafkaConsumer, TopicPartition


class ReadMarks:
    """Of a consumer that reads committed records.

    A broker's answer names the end of a partition, and may be followed by many that are needed to get there. A mark is
    such an end with the time of the answer. Once the reader is past it, what was there at that time is known, and the
    next mark is taken. So a reader that is never quite at the end of a busy topic still knows how far it is.
    """

    def __init__(self) -> None:
        self._marks: dict[TopicPartition, tuple[int, int]] = {}
        self._known_ms: dict[TopicPartition, int] = {}

    async def known_ms(self, consumer: AIOKafkaConsumer) -> int:
        """Everything that its partitions had at this time, by this host's clock, is read; 0: not yet."""
        # All at once: a partition whose topic is deleted must not be asked about any more.
        answers: list[tuple[TopicPartition, int | None, int | None]] = [
            (partition, consumer.last_poll_timestamp(partition), consumer.last_stable_offset(partition))
            for partition in consumer.assignment()
        ]
        for partition, answered_ms, end in answers:
            if not answered_ms:
                return 0
            # An answer has come, so the position is known and nothing is waited for.
            self._see(partition, await consumer.position(partition), end, answered_ms)
        return min((self._known_ms.get(partition, 0) for partition, _, _ in answers), default=0)

    def _see(self, partition: TopicPartition, position: int, end: int | None, answered_ms: int) -> None:
        if end is None:
            # A broker before Kafka 0.11 has no transactions, and does not tell.
            self._known_ms[partition] = answered_ms
            return
        marked_end, marked_ms = self._marks.setdefault(partition, (end, answered_ms))
        if position >= marked_end:
            self._marks[partition] = (end, answered_ms)
            self._known_ms[partition] = answered_ms if position >= end else marked_ms
