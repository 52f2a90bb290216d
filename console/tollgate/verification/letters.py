"""Dead letters and forwarded records against the recount: nothing refused is lost, nothing else is refused."""

from hashlib import sha256

from aiokafka import ConsumerRecord

from tollgate.verification.report import Check

Place = tuple[int, int]


def digest(value: bytes | None) -> bytes:
    """24 bytes that stand for a record's value."""
    return sha256(b"" if value is None else b"=" + value).digest()[:24]


class LettersCheck:
    """Every refused record must be in the dead letters once, with its own bytes and the right reason."""

    def __init__(self, source_topic: str, begins: dict[int, int], cut: dict[int, int]) -> None:
        self.check = Check("dead letters")
        self._topic = source_topic
        self._begins = begins
        self._cut = cut
        self._refused: dict[Place, tuple[str, bytes]] = {}
        self._found = 0

    def refused(self, record: ConsumerRecord, reason: str) -> None:
        """A record of the usage topic that must have been refused."""
        self._refused[record.partition, record.offset] = (reason, digest(record.value))

    def letter(self, record: ConsumerRecord) -> None:
        """A record of the dead-letters topic. Those of other topics, or from outside the range, are not looked at."""
        headers = {name: bytes(value or b"").decode("utf-8", "replace") for name, value in record.headers}
        try:
            place = int(headers["source_partition"]), int(headers["source_offset"])
        except (KeyError, ValueError):
            return
        if headers.get("source_topic") != self._topic or not self._in_range(place):
            return
        self._found += 1
        found = (headers.get("reason", ""), digest(record.value))
        expected = self._refused.pop(place, None)
        where = f"usage record {place[0]}:{place[1]}"
        if expected is None:
            self.check.differs(where, "no (further) dead letter", f"one with reason {found[0]}")
        elif expected[0] != found[0]:
            self.check.differs(where, f"reason {expected[0]}", f"reason {found[0]}")
        elif expected[1] != found[1]:
            self.check.differs(where, "its own bytes in the dead letter", "others")

    def finish(self) -> Check:
        """All dead letters were shown: what has none is missing."""
        for place, (reason, _) in self._refused.items():
            self.check.differs(f"usage record {place[0]}:{place[1]}", f"a dead letter with reason {reason}", "none")
        return self.check

    @property
    def found(self) -> int:
        """How many dead letters of the range there are."""
        return self._found

    def _in_range(self, place: Place) -> bool:
        partition, offset = place
        return partition in self._cut and self._begins[partition] <= offset < self._cut[partition]


class ForwardsCheck:
    """Every misrouted record must stand once in its user's partition, with the same bytes."""

    def __init__(self) -> None:
        self.check = Check("forwarded records")
        self._sent: dict[str, tuple[int, bytes]] = {}
        self._arrived: dict[str, tuple[int, bytes]] = {}

    def sent(self, record: ConsumerRecord, home: int) -> None:
        """A record that must have been forwarded to the partition `home`."""
        self._sent[f"{record.partition}:{record.offset}"] = (home, digest(record.value))

    def arrived(self, record: ConsumerRecord, origin: str) -> None:
        """A forwarded copy of the record at `origin`."""
        if origin in self._arrived:
            self.check.differs(
                f"record {origin}", "one forwarded copy", f"another at {record.partition}:{record.offset}"
            )
        self._arrived[origin] = (record.partition, digest(record.value))

    def finish(self, begins: dict[int, int], expected_before: dict[int, int]) -> Check:
        """All records were shown. A record at or after `expected_before` may be on its way still."""
        for origin, (home, value) in self._sent.items():
            partition, _, offset = origin.partition(":")
            copy = self._arrived.get(origin)
            if copy is None:
                if int(offset) < expected_before[int(partition)]:
                    self.check.differs(f"record {origin}", f"a copy in partition {home}", "none")
            elif copy != (home, value):
                what = "other bytes" if copy[0] == home else f"partition {copy[0]}"
                self.check.differs(f"record {origin}", f"the same bytes in partition {home}", what)
        for origin in self._arrived.keys() - self._sent.keys():
            partition, _, offset = origin.partition(":")
            # Retention may have removed the original, which is older than its copy.
            if not (partition.isdigit() and offset.isdigit() and int(offset) < begins.get(int(partition), 0)):
                self.check.differs(f"record {origin}", "no forwarded copy of it", "one")
        due = [o for o in self._sent if int(o.partition(":")[2]) < expected_before[int(o.partition(":")[0])]]
        return self.check.shows(len(due), sum(origin in self._arrived for origin in due))
