"""What one transaction writes: records by topic and partition. Data only; the lane carries it out."""

from collections.abc import Sequence

from tollgate.schemas.topics import Topic

# aiokafka's compiled builder takes a list and nothing else.
Headers = list[tuple[str, bytes]]
OutRecord = tuple[bytes | None, bytes | None, Headers]
# Shared by all records without headers; never changed.
NO_HEADERS: Headers = []


class Outbox:
    """Key, value and headers of every record of a transaction, grouped by where they go, in order."""

    __slots__ = ("records",)

    def __init__(self) -> None:
        self.records: dict[tuple[Topic, int], Sequence[OutRecord]] = {}

    def to(self, topic: Topic, partition: int) -> list[OutRecord]:
        """The list to append to for this topic and partition."""
        records = self.records.setdefault((topic, partition), [])
        assert isinstance(records, list)
        return records

    def put(self, topic: Topic, partition: int, records: Sequence[OutRecord]) -> None:
        """Everything that goes to this topic and partition; nothing else may."""
        assert (topic, partition) not in self.records
        self.records[topic, partition] = records

    def count(self) -> int:
        """How many records there are."""
        return sum(map(len, self.records.values()))

    def largest(self) -> str:
        """Topic, key and size of the largest record, for a message. The key of a row of state names its scope."""
        size, topic, key = max(
            (len(key or b"") + len(value or b""), topic.value, key or b"")
            for (topic, _), records in self.records.items()
            for key, value, _ in records
        )
        return f"{size} bytes in {topic}, key {key[:600].decode('utf-8', 'replace')!r}"
