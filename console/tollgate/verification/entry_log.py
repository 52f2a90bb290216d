"""What the log says of credits and reservations, on disk by user: grants, burned credits, reservations, their ends.

A row also has where it was read, because a record that repeats another is found only at its partition's end.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import msgspec

from tollgate.schemas.entries import CreditEntry, ReleaseEntry, ReservationEntry
from tollgate.schemas.topics import Topic
from tollgate.schemas.usage_codec import EventRecord
from tollgate.schemas.usage_event import Entry
from tollgate.verification.burning import burned_nano
from tollgate.verification.identities import Said
from tollgate.verification.names import written
from tollgate.verification.reserved import Key
from tollgate.verification.spill import Spill

_encode: Final = msgspec.json.Encoder().encode
_canonical: Final = msgspec.json.Encoder(order="deterministic").encode


@dataclass(frozen=True, slots=True)
class Granted:
    """Credits that an entry gave (10⁻⁹ credits), or took back when negative."""

    user: str
    place: tuple[int, int]
    nano: int


@dataclass(frozen=True, slots=True)
class Burned:
    """Credits that the counted event at this usage offset burned. Negative: it should not have been counted."""

    user: str
    offset: int
    nano: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A reservation: what it asks for, at which place of usage, and when the broker took it."""

    key: Key
    place: tuple[int, int]
    picousd: int
    nano: int
    stamp_ms: int
    names: dict[str, str]


@dataclass(frozen=True, slots=True)
class Used:
    """A call or a release that takes from a reservation, and whether it ends it. Negative: see `Burned`."""

    key: Key
    place: tuple[int, int]
    picousd: int
    nano: int
    ends: bool
    sign: int = 1


@dataclass(frozen=True, slots=True)
class Decided:
    """A record of the decisions topic."""

    key: Key
    value: bytes


Told = Granted | Burned | Asked | Used | Decided

_KINDS: Final = (Granted, Burned, Asked, Used, Decided)


def identity_of_entry(entry: Entry) -> bytes:
    """16 bytes that stand for type, source and id."""
    return blake2b(_canonical((entry.type, entry.source, entry.id)), digest_size=16).digest()


def said_by_entry(entry: Entry) -> Said:
    """Everything the entry says but its time."""
    data = entry.model_dump(mode="json", exclude_none=True, include={"data"})
    content = blake2b(_canonical((entry.subject, data)), digest_size=8).digest()
    return Said(number := int.from_bytes(content, "little"), number)


@dataclass(slots=True)
class Repeats:
    """Offsets of entries that repeat others, eight bytes each, by topic and partition."""

    offsets: dict[tuple[str, int], "array[int]"] = field(default_factory=dict)

    def add(self, topic: Topic, partition: int, offset: int) -> None:
        """Note one."""
        self.offsets.setdefault((topic.value, partition), array("q")).append(offset)

    def join(self, other: "Repeats") -> None:
        """Those of other partitions too."""
        for place, offsets in other.offsets.items():
            self.offsets.setdefault(place, array("q")).extend(offsets)

    def places(self, topic: Topic) -> set[tuple[int, int]]:
        """All of a topic."""
        return {(partition, at) for (name, partition), found in self.offsets.items() if name == topic for at in found}


class EntryLog:
    """Rows by user, in the buckets of their scopes."""

    def __init__(self, directory: Path, buckets: int) -> None:
        self._spill = Spill(directory, buckets)
        self.repeats = Repeats()
        self.credits = 0

    def join(self, other: "EntryLog") -> None:
        """Have the rows of other partitions too; that log was flushed."""
        self._spill.join(other._spill)  # noqa: SLF001 # of its own kind
        self.repeats.join(other.repeats)
        self.credits += other.credits

    def flush(self) -> None:
        """Write what waits. SpaceError when the disk is full."""
        self._spill.flush()

    def event(self, event: EventRecord, place: tuple[int, int], cost: int, *, sign: int = 1) -> None:
        """A counted event at this cost (10⁻¹² USD); -1 takes it back."""
        data = event.data
        nano = burned_nano(data)
        if nano:
            self._add(event.subject, Burned(event.subject, place[1], sign * nano))
        if data.reservation_id:
            key = (event.subject, event.source, data.reservation_id)
            self._add(event.subject, Used(key, place, cost, nano, not data.more, sign))

    def entry(self, entry: Entry, place: tuple[int, int], stamp_ms: int) -> None:
        """An entry that is no usage event."""
        user = entry.subject
        if isinstance(entry, CreditEntry):
            self.credits += 1
            self._add(user, Granted(user, place, entry.nano))
        elif isinstance(entry, ReservationEntry):
            names = entry.data.model_dump(exclude_none=True)
            key = (user, entry.source, entry.id)
            self._add(user, Asked(key, place, entry.amount_picousd, entry.credits_nano, stamp_ms, _named(names)))
        elif isinstance(entry, ReleaseEntry):
            self._add(user, Used((user, entry.source, entry.data.reservation_id), place, 0, 0, True))

    def decided(self, decided: Decided) -> None:
        """A decision."""
        self._add(decided.key[0], decided)

    def rows(self, bucket: int) -> Iterator[Told]:
        """What was told of the users of a bucket; of one partition in its order."""
        for row in self._spill.rows(bucket):
            told: Told = _decoders[row[0]](row[1:])
            yield told

    def _add(self, user: str, told: Told) -> None:
        row = bytes([_KINDS.index(type(told))]) + _encode(told)
        self._spill.add(self._spill.bucket_of(f"user/{written(user)}"), row)


_decoders: Final[list[Any]] = [msgspec.json.Decoder(kind).decode for kind in _KINDS]


def _named(data: dict[str, Any]) -> dict[str, str]:
    others = ("amount_usd", "credits", "ttl_seconds", "reply_to", "reply_partition", "operation")
    return {name: given for name, given in data.items() if name not in others and given}
