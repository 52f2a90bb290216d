"""A reader says how old its knowledge is by what it has read, not by when Kafka last answered."""

from typing import Any, cast

from aiokafka import TopicPartition

from tollgate.sdk.read_marks import ReadMarks

ONE, TWO = TopicPartition("tollgate.flags", 0), TopicPartition("tollgate.flags", 1)


class Reader:
    """A consumer as far as marks look at one: the last answer of each partition, and how far it is read."""

    def __init__(self) -> None:
        self.seen: dict[TopicPartition, tuple[int, int | None, int | None]] = {}

    def at(self, partition: TopicPartition, position: int, end: int | None, answered_ms: int | None) -> None:
        """The broker answered at this time that the partition ends here, and so much of it is read."""
        self.seen[partition] = (position, end, answered_ms)

    def assignment(self) -> set[TopicPartition]:
        """The partitions."""
        return set(self.seen)

    def last_poll_timestamp(self, partition: TopicPartition) -> int | None:
        """When the broker last answered."""
        return self.seen[partition][2]

    def last_stable_offset(self, partition: TopicPartition) -> int | None:
        """The end that it named."""
        return self.seen[partition][1]

    async def position(self, partition: TopicPartition) -> int:
        """What is read next."""
        return self.seen[partition][0]


async def known_ms(marks: ReadMarks, reader: Reader) -> int:
    return await marks.known_ms(cast("Any", reader))


async def test_nothing_is_known_before_every_partition_is_read_to_its_end() -> None:
    reader, marks = Reader(), ReadMarks()
    assert await known_ms(marks, reader) == 0
    reader.at(ONE, 10, 10, 1_000)
    reader.at(TWO, 0, None, None)
    assert await known_ms(marks, reader) == 0
    # The second one has answered, with the first 500 of its 800 records.
    reader.at(TWO, 500, 800, 1_100)
    assert await known_ms(marks, reader) == 0
    reader.at(TWO, 799, 800, 1_200)
    assert await known_ms(marks, reader) == 0
    reader.at(TWO, 800, 800, 1_300)
    assert await known_ms(marks, reader) == 1_000


async def test_a_reader_that_is_never_at_the_end_knows_what_it_has_passed() -> None:
    reader, marks = Reader(), ReadMarks()
    reader.at(ONE, 100, 200, 1_000)
    assert await known_ms(marks, reader) == 0
    reader.at(ONE, 250, 300, 2_000)
    assert await known_ms(marks, reader) == 1_000
    reader.at(ONE, 299, 400, 3_000)
    assert await known_ms(marks, reader) == 1_000
    reader.at(ONE, 300, 500, 4_000)
    assert await known_ms(marks, reader) == 2_000


async def test_what_kafka_wrote_during_an_outage_is_not_known_with_its_first_answer() -> None:
    reader, marks = Reader(), ReadMarks()
    reader.at(ONE, 10, 10, 1_000)
    assert await known_ms(marks, reader) == 1_000
    # An hour later the next mark, which was the end before the outage, is passed; the new end is not reached.
    reader.at(ONE, 510, 5_010, 3_601_000)
    assert await known_ms(marks, reader) == 1_000
    reader.at(ONE, 5_009, 5_010, 3_601_500)
    assert await known_ms(marks, reader) == 1_000
    reader.at(ONE, 5_010, 5_010, 3_601_500)
    assert await known_ms(marks, reader) == 3_601_500


async def test_a_broker_without_transactions_is_known_by_its_answers() -> None:
    reader, marks = Reader(), ReadMarks()
    reader.at(ONE, 3, None, 1_000)
    assert await known_ms(marks, reader) == 1_000
