"""What must happen to each usage record by itself; `identities` adds what depends on the records before it.

The rules are the contract's. One `Judge` looks at the records of one partition in offset order.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from aiokafka import ConsumerRecord

from tollgate.schemas.cloud_events import Headers
from tollgate.schemas.entries import decode_usage_topic
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.refusals import Refusal
from tollgate.schemas.usage_codec import EventRecord
from tollgate.schemas.usage_event import Entry
from tollgate.verification.calendar import held_kinds, hour_of
from tollgate.verification.letters import Told

FUTURE_MS: Final = 5 * 60 * 1000
# The header of a record that a worker has sent to its user's partition: `partition:offset` of where it came from.
FORWARDED_HEADER: Final = "tollgate-forwarded-from"

_AGE_MS_MIN: Final = 24 * 60 * 60 * 1000
# The end of all times that RFC 3339 can write: no bound.
_CLOCK_MS_MAX: Final = 253_402_300_799_000

# Users that are known to be at home; the bound is for a topic of very many.
_USERS_MAX: Final = 200_000


@dataclass(frozen=True, slots=True)
class Refused:
    """The record must be a dead letter with this reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Forwarded:
    """The record must be sent to the partition `home`, once."""

    home: int


@dataclass(slots=True)
class Candidate:
    """A valid event, counted unless it repeats another. `held` of lifetime, month, day and hour (in this order) are the
    windows it is counted in: 4 for a punctual one. `clock_ms` is the hour of the partition's clock.
    """

    event: EventRecord
    hour_ms: int
    held: int
    clock_ms: int


@dataclass(slots=True)
class Asked:
    """A valid entry that is no usage event: a reservation or release on the usage topic, credits on that of entries."""

    entry: Entry
    clock_ms: int


def origin_of(record: ConsumerRecord) -> str | None:
    """`partition:offset` of where a forwarded record came from; None for any other."""
    for name, value in record.headers:
        if name == FORWARDED_HEADER:
            return bytes(value or b"").decode("utf-8", "replace")
    return None


class Unread:
    """The record is in a batch that was refused as a whole. Its last record has the batch's one dead letter."""

    def __init__(self, *, is_last: bool) -> None:
        self.is_last = is_last


Verdict = Candidate | Asked | Refused | Forwarded | Unread

# Reads one record of a topic: as `decode_usage_topic`.
Decode = Callable[[bytes | None, Headers], EventRecord | Entry | Refusal]


class Judge:
    """Judges the records of one partition, which must come in offset order; its clock is the highest broker time, or at
    most `clock_ms_max`: a worker believes no broker whose clock is far ahead.

    What only the dead letters tell is believed. Of events that were too old, if they are a day old, the least that can
    be set.
    """

    def __init__(
        self,
        partition: int,
        partitions: int,
        told: Told | None = None,
        clock_ms_max: int = _CLOCK_MS_MAX,
        decode: Decode = decode_usage_topic,
    ) -> None:
        self._partition = partition
        self._partitions = partitions
        self._clock_ms = 0
        self._clock_hour_ms = 0
        self._clock_ms_max = clock_ms_max
        self._at_home: set[str] = set()
        self._told = told
        self._decode = decode

    def stamp_ms(self, record: ConsumerRecord) -> int:
        """The broker's time of a record as far as it is believed."""
        stamp_ms: int = record.timestamp
        return min(stamp_ms, self._clock_ms_max)

    def judge(self, record: ConsumerRecord) -> Verdict:
        """What must happen to the next record."""
        told = self._told
        if told is not None and (found := _put_aside(told, record.offset)) is not None:
            return found
        event = self._decode(record.value, record.headers)
        if isinstance(event, Refusal):
            return Refused(event.reason.value)
        now_ms = record.timestamp
        if now_ms > self._clock_ms:
            self._clock_ms = self.stamp_ms(record)
            self._clock_hour_ms = hour_of(self._clock_ms)
        user = event.subject
        if user not in self._at_home:
            home = partition_of(user.encode(), self._partitions)
            if home != self._partition:
                return Refused("misrouted") if origin_of(record) is not None else Forwarded(home)
            if len(self._at_home) >= _USERS_MAX:
                self._at_home.clear()
            self._at_home.add(user)
        time_ms = event.time_ms
        if time_ms > now_ms + FUTURE_MS:
            return Refused("future")
        if told is not None and now_ms - time_ms > _AGE_MS_MIN and _has(told.too_old, record.offset):
            return Refused("too_old")
        if not isinstance(event, EventRecord):
            if told is not None and _has(told.invalid, record.offset):
                return Refused("invalid")
            return Asked(event, self._clock_ms)
        hour_ms = time_ms - time_ms % 3_600_000
        return Candidate(event, hour_ms, held_kinds(hour_ms, self._clock_hour_ms), self._clock_hour_ms)


def _put_aside(told: Told, offset: int) -> Refused | Unread | None:
    """What the dead letters tell of a record that was not judged by what is in it."""
    if _has(told.poison, offset):
        return Refused("poison")
    at = bisect_left(told.unread, (offset + 1,)) - 1
    if at >= 0 and offset <= told.unread[at][1]:
        return Unread(is_last=offset == told.unread[at][1])
    return None


def _has(offsets: Sequence[int], offset: int) -> bool:
    at = bisect_left(offsets, offset)
    return at < len(offsets) and offsets[at] == offset
