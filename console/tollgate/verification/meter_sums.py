"""Sums of counted events in the windows of meters, on disk by scope as those of `totals` are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from tollgate.schemas.usage_codec import EventRecord
from tollgate.verification.burning import kept, scaled_usage
from tollgate.verification.calendar import instant, text_at
from tollgate.verification.meters import Began, Meters
from tollgate.verification.names import names_in, owner_of, scope_in
from tollgate.verification.spill import Spill
from tollgate.verification.sums import Sum
from tollgate.verification.zones import is_held_in, start_ms_in

# Cells in memory: 100 MB at most.
_CELLS_MAX: Final = 100_000
# Combinations of names whose scopes are remembered.
_TARGETS_MAX: Final = 50_000

# The offset of each time zone in use is a multiple of it.
_SLOT_MS: Final = 15 * 60 * 1000

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(tuple[str, str, int, int, int, int, dict[str, int]]).decode


@dataclass(frozen=True, slots=True)
class Counting:
    """Where an event was read and what it counts as: `clock_ms` is the hour of the partition's clock then, `by_user`
    whether its user's windows count it at the cut, `owners` which partitions of shared scopes do.
    """

    partition: int
    offset: int
    clock_ms: int
    by_user: bool
    owners: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Target:
    """A scope that an event adds to, its owner, and from where the partition counts it, by calendar."""

    scope: str
    by_user: bool
    owner: int
    calendars: tuple[tuple[str, tuple[Began, ...]], ...]


class MeterSums:
    """Sums of scopes in calendars. `homes` and `shared`: the numbers of partitions of users and of shared scopes."""

    def __init__(self, directory: Path, buckets: int, meters: Meters, homes: int, shared: int) -> None:
        self._spill = Spill(directory, buckets)
        self._meters = meters
        self._shapes = meters.shapes()
        self._homes = homes
        self._shared = shared
        self._partition = -1
        self._targets: dict[tuple[str, ...], tuple[_Target, ...]] = {}
        self._cells: dict[tuple[str, str, int], list[Any]] = {}

    @property
    def is_idle(self) -> bool:
        """Whether there are no meters."""
        return not self._shapes

    def add(self, event: EventRecord, at: Counting, cost: int, retail: int, *, sign: int = 1) -> None:
        """Count an event at this cost (10⁻¹² USD); -1 takes it back."""
        usage: dict[str, int] | None = None
        for target in self._targets_of(event, at.partition):
            if not (at.by_user if target.by_user else target.owner in at.owners):
                continue
            for calendar, began in target.calendars:
                start_ms = start_ms_in(calendar, event.time_ms - event.time_ms % _SLOT_MS)
                if not any(one.counts(at.offset, start_ms) for one in began):
                    continue
                # What was added later is there whatever the clock was when its events arrived.
                late = all(at.offset < one.from_offset for one in began)
                if late or is_held_in(calendar, instant(start_ms), at.clock_ms):
                    if usage is None:
                        usage = kept(scaled_usage(event.data))
                    self._count((target.scope, calendar, start_ms), sign, cost, retail, usage)
        if len(self._cells) >= _CELLS_MAX:
            self._write()

    def join(self, other: "MeterSums") -> None:
        """Count everything that another one has counted too; it was flushed."""
        self._spill.join(other._spill)  # noqa: SLF001 # of its own kind

    def flush(self) -> None:
        """Write every sum to the files. SpaceError when the disk is full."""
        self._write()
        self._spill.flush()

    def bucket(self, number: int) -> dict[str, Sum]:
        """What the scopes of a bucket add up to, by the key of their spend record."""
        self.flush()
        found: dict[str, Sum] = {}
        for row in self._spill.rows(number):
            scope, calendar, start_ms, cost, retail, events, usage = _decode(row)
            key = f"{scope}|{calendar}|{text_at(start_ms)}"
            found.setdefault(key, Sum()).add(Sum(cost, retail, events, usage))
        # A window of which every event was taken back has no sum.
        return {key: amount for key, amount in found.items() if amount.events}

    def _targets_of(self, event: EventRecord, partition: int) -> tuple[_Target, ...]:
        if partition != self._partition or len(self._targets) >= _TARGETS_MAX:
            self._targets.clear()
            self._partition = partition
        names = names_in(event)
        found = self._targets.get(names)
        if found is None:
            found = self._targets[names] = tuple(self._found(names, partition))
        return found

    def _found(self, names: tuple[str, ...], partition: int) -> list[_Target]:
        targets = []
        for shape in self._shapes:
            scope = scope_in(shape, names)
            if scope is None:
                continue
            calendars = []
            for calendar, meters in self._meters.of(scope).items():
                began = [at for meter in meters if (at := self._meters.began[meter].get(partition)) is not None]
                if began:
                    calendars.append((calendar, tuple(began)))
            if calendars:
                targets.append(_Target(scope, *owner_of(scope, self._homes, self._shared), tuple(calendars)))
        return targets

    def _count(self, key: tuple[str, str, int], sign: int, cost: int, retail: int, usage: dict[str, int]) -> None:
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = [0, 0, 0, {}]
        cell[0] += sign * cost
        cell[1] += sign * retail
        cell[2] += sign
        sums = cell[3]
        for dimension, amount in usage.items():
            sums[dimension] = sums.get(dimension, 0) + sign * amount

    def _write(self) -> None:
        for (scope, calendar, start_ms), cell in self._cells.items():
            self._spill.add(self._spill.bucket_of(scope), _encode((scope, calendar, start_ms, *cell)))
        self._cells.clear()
