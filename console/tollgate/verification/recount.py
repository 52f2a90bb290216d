"""What must happen to each usage record by itself; `identities` adds what depends on the records before it.

The rules are the contract's. One `Judge` looks at the records of one partition in offset order.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aiokafka import ConsumerRecord

from tollgate.schemas.partitions import partition_of
from tollgate.schemas.refusals import Refusal
from tollgate.schemas.usage_codec import EventRecord, decode_usage_event
from tollgate.verification.calendar import held_kinds, hour_of

FUTURE_MS: Final = 5 * 60 * 1000
# The header of a record that a worker has sent to its user's partition: `partition:offset` of where it came from.
FORWARDED_HEADER: Final = "tollgate-forwarded-from"

_AGE_MS_MIN: Final = 24 * 60 * 60 * 1000

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
    windows it is counted in: 4 for a punctual one.
    """

    event: EventRecord
    hour_ms: int
    held: int


def origin_of(record: ConsumerRecord) -> str | None:
    """`partition:offset` of where a forwarded record came from; None for any other."""
    for name, value in record.headers:
        if name == FORWARDED_HEADER:
            return bytes(value or b"").decode("utf-8", "replace")
    return None


class Judge:
    """Judges the records of one partition, which must come in offset order; its clock is the highest broker time.

    How old an event may be is a setting that may have changed since, so `too_old` has the ascending offsets of those
    that the dead letters say were too old. They are believed for events that are a day old, the least that can be set.
    """

    def __init__(self, partition: int, partitions: int, too_old: Sequence[int] = ()) -> None:
        self._partition = partition
        self._partitions = partitions
        self._clock_ms = 0
        self._clock_hour_ms = 0
        self._at_home: set[str] = set()
        self._too_old = too_old

    def judge(self, record: ConsumerRecord) -> Candidate | Refused | Forwarded:
        """What must happen to the next record."""
        event = decode_usage_event(record.value, record.headers)
        if isinstance(event, Refusal):
            return Refused(event.reason.value)
        now_ms = record.timestamp
        if now_ms > self._clock_ms:
            self._clock_ms = now_ms
            self._clock_hour_ms = hour_of(now_ms)
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
        if self._too_old and self._was_too_old(record.offset, now_ms - time_ms):
            return Refused("too_old")
        hour_ms = time_ms - time_ms % 3_600_000
        return Candidate(event, hour_ms, held_kinds(hour_ms, self._clock_hour_ms))

    def _was_too_old(self, offset: int, age_ms: int) -> bool:
        at = bisect_left(self._too_old, offset)
        return at < len(self._too_old) and self._too_old[at] == offset and age_ms > _AGE_MS_MIN
