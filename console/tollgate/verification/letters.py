"""Checks dead letters and forwarded records: nothing refused is lost, and nothing else is refused.

The expected and the found ones are stored on disk by the record's place (partition and offset), and are compared a
bucket of places at a time.
"""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec
from aiokafka import ConsumerRecord

from tollgate.schemas.topics import Topic
from tollgate.verification.log import Log
from tollgate.verification.report import Check
from tollgate.verification.spill import Spill

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[str, str, str, bytes]).decode

# Rows that say that a dead letter is due, or may be.
_DUE: Final = ("refused", "conflict", "either", "unread")


def digest(value: bytes | None) -> bytes:
    """24 bytes that stand for a record's value."""
    return bytes(24) if value is None else sha256(value).digest()[:24]


class _Letter(NamedTuple):
    """Which record was refused, why, and what stands for its value. `first`: see `Told.unread`."""

    topic: str
    partition: int
    offset: int
    reason: str
    digest: bytes
    first: int | None


def _read(record: ConsumerRecord) -> _Letter | None:
    headers = {name: bytes(value or b"").decode("utf-8", "replace") for name, value in record.headers}
    try:
        partition, offset = int(headers["source_partition"]), int(headers["source_offset"])
        first = int(headers["source_offset_first"]) if "source_offset_first" in headers else None
        # A letter whose value was cut has the hash of the whole.
        whole = bytes.fromhex(headers["value_sha256"])[:24] if "value_sha256" in headers else digest(record.value)
    except (KeyError, ValueError):
        return None
    return _Letter(headers.get("source_topic", ""), partition, offset, headers.get("reason", ""), whole, first)


@dataclass(slots=True)
class Told:
    """What only the dead letters tell of a partition of usage, by offset; eight bytes for each record.

    `too_old`: refused for their age, by a setting that may have changed since. `poison`: put aside because they ended
    the worker. `unread`: compressed batches that were too large to unpack, as (first, last) offsets; each has one
    letter, at its last offset. `invalid`, of entries alone: refused for what is in them, or because their user has too
    many grants.
    """

    too_old: "array[int]" = field(default_factory=lambda: array("q"))
    poison: "array[int]" = field(default_factory=lambda: array("q"))
    invalid: "array[int]" = field(default_factory=lambda: array("q"))
    unread: list[tuple[int, int]] = field(default_factory=list)

    def sort(self) -> None:
        """Bring all in the order of their offsets."""
        self.too_old, self.poison = array("q", sorted(self.too_old)), array("q", sorted(self.poison))
        self.invalid = array("q", sorted(self.invalid))
        self.unread.sort()


async def told_by_letters(
    log: Log, partitions: frozenset[int], letters: Mapping[int, tuple[int, int]], source: Topic = Topic.USAGE
) -> dict[int, Told]:
    """By partition of the source what its dead letters tell. `letters`: the range of each partition of the letters."""
    topic = log.settings.topic(source)
    found: dict[int, Told] = {}
    for place, (begin, end) in letters.items():
        async for batch in log.read(Topic.DEAD_LETTERS, place, begin, end):
            for letter in filter(None, map(_read, batch)):
                if letter.topic != topic or letter.partition not in partitions or not 0 <= letter.offset < 1 << 63:
                    continue
                told = found.setdefault(letter.partition, Told())
                if letter.reason == "too_old":
                    told.too_old.append(letter.offset)
                elif letter.reason == "poison":
                    told.poison.append(letter.offset)
                elif letter.reason == "invalid" and source is Topic.ENTRIES:
                    told.invalid.append(letter.offset)
                elif letter.first is not None and letter.reason == "too_large":
                    told.unread.append((letter.first, letter.offset))
    for told in found.values():
        told.sort()
    return found


class LettersCheck:
    """Every refused record must be in the dead letters once, with its bytes unchanged and the right reason."""

    def __init__(
        self,
        spill: Spill,
        source_topic: str,
        begins: dict[int, int],
        cut: dict[int, int],
        name: str = "dead letters",
    ) -> None:
        self.check = Check(name)
        self._spill = spill
        self._topic = source_topic
        self._begins = begins
        self._cut = cut
        self._what = "usage record" if name == "dead letters" else "entry"
        self.expected = 0
        self.found = 0

    def join(self, other: "LettersCheck") -> None:
        """Match what was shown to another one too."""
        self._spill.join(other._spill)  # noqa: SLF001 # of its own kind

    def flush(self) -> None:
        """Write what was shown to the files."""
        self._spill.flush()

    def refused(self, record: ConsumerRecord, reason: str) -> None:
        """A record of the usage topic that must have been refused."""
        self._add("refused", f"{record.partition}:{record.offset}", reason, digest(record.value))

    def unread(self, record: ConsumerRecord) -> None:
        """The last record of a batch that was refused as a whole; the letter has the batch's compressed bytes."""
        self._add("unread", f"{record.partition}:{record.offset}", "too_large", b"")

    def not_counted(self, record: ConsumerRecord) -> None:
        """A valid event without a priced record: `conflict` or `either` may follow."""
        self._add("value", f"{record.partition}:{record.offset}", "", digest(record.value))

    def conflict(self, place: str) -> None:
        """The event there says other things than the one it repeats."""
        self._add("conflict", place, "conflict", b"")

    def either(self, place: str) -> None:
        """Whether the event there became a conflict cannot be told any more, or depends on the release that read it."""
        self._add("either", place, "conflict", b"")

    def letter(self, record: ConsumerRecord) -> None:
        """A record of the dead-letters topic. Those of other topics, or from outside the range, are not looked at."""
        found = _read(record)
        if found is None or found.topic != self._topic or found.partition not in self._cut:
            return
        if self._begins[found.partition] <= found.offset < self._cut[found.partition]:
            self._add("letter", f"{found.partition}:{found.offset}", found.reason, found.digest)

    def finish(self) -> Check:
        """All was shown: match it."""
        for bucket in range(self._spill.buckets):
            places: dict[str, list[tuple[str, str, bytes]]] = {}
            for row in self._spill.rows(bucket):
                kind, place, reason, value = _decode(row)
                places.setdefault(place, []).append((kind, reason, value))
            for place, rows in places.items():
                self._match(f"{self._what} {place}", rows)
        return self.check

    def _match(self, where: str, rows: list[tuple[str, str, bytes]]) -> None:
        letters = [(reason, value) for kind, reason, value in rows if kind == "letter"]
        due = next(((kind, reason) for kind, reason, _ in rows if kind in _DUE), None)
        # The bytes of an event that was counted and should not have been are not kept: its count is the fault.
        values = {value for kind, _, value in rows if kind in ("refused", "value")}
        self.found += len(letters)
        self.expected += due is not None and (due[0] != "either" or bool(letters))
        if due is None:
            letters_due = 0
        else:
            letters_due = 1
            if not letters and due[0] != "either":
                self.check.differs(where, f"a dead letter with reason {due[1]}", "none")
        for reason, _ in letters[letters_due:]:
            self.check.differs(where, "no (further) dead letter", f"one with reason {reason}")
        for reason, value in letters[:letters_due]:
            assert due is not None
            if reason != due[1]:
                self.check.differs(where, f"reason {due[1]}", f"reason {reason}")
            elif values and value not in values:
                self.check.differs(where, "its own bytes in the dead letter", "others")

    def _add(self, kind: str, place: str, reason: str, value: bytes) -> None:
        self._spill.add(self._spill.bucket_of(place), _encode((kind, place, reason, value)))


class ForwardsCheck:
    """Every misrouted record must stand once in its user's partition, with the same bytes."""

    def __init__(self, spill: Spill, name: str = "forwarded records") -> None:
        self.check = Check(name)
        self._spill = spill

    def join(self, other: "ForwardsCheck") -> None:
        """Match what was shown to another one too."""
        self._spill.join(other._spill)  # noqa: SLF001 # of its own kind

    def flush(self) -> None:
        """Write what was shown to the files."""
        self._spill.flush()

    def sent(self, record: ConsumerRecord, home: int) -> None:
        """A record that must have been forwarded to the partition `home`."""
        self._add("sent", f"{record.partition}:{record.offset}", home, record)

    def arrived(self, record: ConsumerRecord, origin: str) -> None:
        """A forwarded copy of the record at `origin`."""
        self._add("arrived", origin, record.partition, record)

    def finish(self, begins: dict[int, int], cut: dict[int, int]) -> Check:
        """All records before the cut were shown, and all copies that were made of them."""
        due = copied = 0
        for bucket in range(self._spill.buckets):
            origins: dict[str, tuple[list[tuple[str, bytes]], list[tuple[str, bytes]]]] = {}
            for row in self._spill.rows(bucket):
                kind, origin, partition, value = _decode(row)
                origins.setdefault(origin, ([], []))[kind == "arrived"].append((partition, value))
            for origin, (sent, arrived) in origins.items():
                due += len(sent)
                copied += bool(sent and arrived)
                self._match(origin, sent, arrived, begins, cut)
        return self.check.shows(due, copied)

    def _match(
        self,
        origin: str,
        sent: list[tuple[str, bytes]],
        arrived: list[tuple[str, bytes]],
        begins: dict[int, int],
        cut: dict[int, int],
    ) -> None:
        what = f"record {origin}"
        for partition, _ in arrived[1:]:
            self.check.differs(what, "one forwarded copy", f"another in partition {partition}")
        if not sent:
            partition, _, offset = origin.partition(":")
            known = partition.isdigit() and offset.isdigit() and int(partition) in cut
            # Retention may have removed the original, which is older than its copy; or it lies behind the cut.
            if not known or begins[int(partition)] <= int(offset) < cut[int(partition)]:
                self.check.differs(what, "no forwarded copy of it", "one")
        elif not arrived:
            self.check.differs(what, f"a copy in partition {sent[0][0]}", "none")
        elif arrived[0] != sent[0]:
            wrong = "other bytes" if arrived[0][0] == sent[0][0] else f"partition {arrived[0][0]}"
            self.check.differs(what, f"the same bytes in partition {sent[0][0]}", wrong)

    def _add(self, kind: str, origin: str, partition: int, record: ConsumerRecord) -> None:
        row = _encode((kind, origin, str(partition), digest(record.value)))
        self._spill.add(self._spill.bucket_of(origin), row)
