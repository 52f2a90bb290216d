"""What one transaction writes: records by topic and partition. Data only; the lane carries it out."""

from tollgate.schemas.topics import Topic

Headers = tuple[tuple[str, bytes], ...]
OutRecord = tuple[bytes | None, bytes | None, Headers]
NO_HEADERS: Headers = ()


class Outbox:
    """Key, value and headers of every record of a transaction, grouped by where they go, in order."""

    __slots__ = ("records",)

    def __init__(self) -> None:
        self.records: dict[tuple[Topic, int], list[OutRecord]] = {}

    def to(self, topic: Topic, partition: int) -> list[OutRecord]:
        """The list to append to for this topic and partition."""
        return self.records.setdefault((topic, partition), [])
