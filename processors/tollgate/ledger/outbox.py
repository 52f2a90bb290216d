"""What one transaction writes: records by topic and partition. Data only; the lane carries it out."""

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
        self.records: dict[tuple[Topic, int], list[OutRecord]] = {}

    def to(self, topic: Topic, partition: int) -> list[OutRecord]:
        """The list to append to for this topic and partition."""
        return self.records.setdefault((topic, partition), [])

    def count(self) -> int:
        """How many records there are."""
        return sum(map(len, self.records.values()))
