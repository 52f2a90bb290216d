"""Meters: sums beyond the base ones, kept because a budget or plan needs them; from where each of them counts.

A meter is a scope or pattern in a calendar, `user/*+model/gpt-4o|month` or `user/*|month@Asia/Tokyo`. The record of a
meter and a partition of usage on `internal.meters` says from which offset the partition's events count in it, and
whether what was spent before in the running window was added.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from tollgate.schemas.partitions import partition_of
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.topics import Topic
from tollgate.verification.calendar import milliseconds, text_at
from tollgate.verification.log import Log
from tollgate.verification.names import ANY, covers, patterns_of, shape_of, user_of
from tollgate.verification.report import Check
from tollgate.verification.zones import read_calendar, start_ms_in

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


class Meter(NamedTuple):
    """A scope or pattern, and the calendar in which its events are added up."""

    scope: str
    calendar: str

    @property
    def id(self) -> str:
        """As it stands in the key of its records."""
        return f"{self.scope}|{self.calendar}"


class Began(NamedTuple):
    """From where a partition's events count in a meter: from this offset, and when `filled` all of them, in windows
    that start at or after `window_start_ms`. Windows after that of `whole_from_ms` are whole even where it is not.
    """

    from_offset: int
    window_start_ms: int
    whole_from_ms: int
    filled: bool

    def counts(self, offset: int, window_start_ms: int) -> bool:
        """Whether the event at this offset counts in the meter's window that starts then."""
        return window_start_ms >= self.window_start_ms and (self.filled or offset >= self.from_offset)


@dataclass(frozen=True, slots=True)
class Meters:
    """Every meter with the partitions that count it. `faults`: records that cannot be read, or contradict their key."""

    began: Mapping[Meter, Mapping[int, Began]] = field(default_factory=dict)
    faults: tuple[str, ...] = ()

    def shapes(self) -> tuple[tuple[str, ...], ...]:
        """The dimensions of the meters' scopes, each once."""
        return tuple(sorted({shape_of(meter.scope) for meter in self.began}))

    def of(self, scope: str) -> dict[str, tuple[Meter, ...]]:
        """The meters that a scope adds to, by calendar."""
        found: dict[str, list[Meter]] = {}
        for meter in self.began:
            if covers(meter.scope, scope):
                found.setdefault(meter.calendar, []).append(meter)
        return {calendar: tuple(meters) for calendar, meters in found.items()}

    def count(self, scope: str, calendar: str, window_start_ms: int) -> bool:
        """Whether some partition counts the scope's window that starts then."""
        return any(
            window_start_ms >= began.window_start_ms
            for pattern in patterns_of(scope)
            for began in self.began.get(Meter(pattern, calendar), {}).values()
        )

    def may_be_incomplete(
        self, scope: str, calendar: str, window_start_ms: int, partitions: Iterable[int]
    ) -> set[bool]:
        """Whether a flag must say that the window may lack what these partitions spent before the meter began.

        Both may be right for the window after the one in which a meter began: its first minutes may have been before.
        """
        meters = self.of(scope).get(calendar, ())
        found = set()
        for partition in partitions:
            began = [at for meter in meters if (at := self.began[meter].get(partition)) is not None]
            # Of two meters the one that began first has the other's past too.
            first = min(began, default=None)
            if first is None or not first.filled:
                whole_from_ms = min((at.whole_from_ms for at in began), default=None)
                if whole_from_ms is None or window_start_ms < whole_from_ms:
                    return {True}
                found |= {True, False} if window_start_ms == whole_from_ms else {False}
        return found or {False}


async def read_meters(log: Log) -> Meters:
    """The meters as of now; none where there is no such topic, as in installations of before."""
    latest: dict[str, bytes | None] = {}
    if await log.exists(Topic.METERS):
        begins, ends = await log.begins(Topic.METERS), await log.tips(Topic.METERS)
        for partition, end in ends.items():
            async for batch in log.read(Topic.METERS, partition, begins[partition], end):
                for record in batch:
                    latest[bytes(record.key or b"").decode("utf-8", "replace")] = record.value
    return meters_of({key: value for key, value in latest.items() if value is not None})


def meters_of(records: Mapping[str, bytes]) -> Meters:
    """Read the latest records by their keys."""
    began: dict[Meter, dict[int, Began]] = {}
    faults = []
    for key, value in records.items():
        try:
            meter, partition, at = read_record(_read, value)
            if key != f"{partition}|{meter.id}":
                raise UnreadableError("it belongs to another key")  # told like any other fault
        except UnreadableError as error:
            faults.append(f"{key[:120]}: {error}")
            continue
        began.setdefault(meter, {})[partition] = at
    return Meters(began, tuple(faults))


def _read(value: bytes) -> tuple[Meter, int, Began]:
    said = _decode(value)
    meter = Meter(said["scope"], said["calendar"])
    read_calendar(meter.calendar)
    partition, from_offset, filled = said["partition"], said["from_offset"], said["filled"]
    if said["meter"] != meter.id or type(partition) is not int or type(from_offset) is not int:
        raise ValueError("it contradicts itself")
    if type(filled) is not bool:
        raise ValueError("filled is neither true nor false")
    window_start_ms, whole_from_ms = (
        milliseconds(datetime.fromisoformat(said[name])) for name in ("window_start", "whole_from")
    )
    return meter, partition, Began(from_offset, window_start_ms, whole_from_ms, filled)


def compare_meters(needed: Iterable[Meter], found: Meters, homes: int) -> Check:
    """Every meter that a budget or plan needs is counted by every partition, that of one user by theirs alone.

    One that nobody needs any more is counted until its window ends, which its records do not tell.
    """
    check = Check("meters")
    wanted = set(needed)
    for fault in found.faults:
        check.differs("record of a meter", "a readable one", fault)
    expected = agreed = 0
    for meter in sorted(wanted | found.began.keys()):
        partitions = found.began.get(meter, {})
        owners = _owners(meter, homes)
        for partition in owners if meter in wanted else ():
            expected += 1
            at = partitions.get(partition)
            if at is None:
                check.differs(f"meter {meter.id} of partition {partition}", "counted", "not counted")
            elif (problem := _misplaced(meter, at)) is not None:
                check.differs(f"meter {meter.id} of partition {partition}", *problem)
            else:
                agreed += 1
        for partition in sorted(partitions.keys() - set(owners)):
            check.differs(f"meter {meter.id} of partition {partition}", "no record", "one")
    if ending := len(found.began.keys() - wanted):
        check.note = f"{ending} that no budget or plan needs any more are counted until their windows end"
    return check.shows(f"{expected} counted", f"{agreed} counted")


def _owners(meter: Meter, homes: int) -> Iterable[int]:
    user = user_of(meter.scope)
    return range(homes) if user is None or user == ANY else (partition_of(user.encode(), homes),)


def _misplaced(meter: Meter, at: Began) -> tuple[object, object] | None:
    """The window that the meter began in, where it is none of its calendar."""
    start_ms = start_ms_in(meter.calendar, at.window_start_ms)
    if start_ms == at.window_start_ms:
        return None
    return f"a window that starts at {text_at(start_ms)}", text_at(at.window_start_ms)
