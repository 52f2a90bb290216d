"""Where the sums of a batch go: to this partition's scopes, and as deltas to the partitions that own the others."""

from collections.abc import Iterable
from typing import Final

from tollgate.domain.spend import Spend
from tollgate.domain.windows import Horizon, WindowKey, Windows
from tollgate.ledger.meters import Meter, is_pattern
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.own_meters import OwnMeters
from tollgate.ledger.scopes import Scopes
from tollgate.ledger.shared_meters import Mark
from tollgate.ledger.shared_stage import Delta, PastDelta, delta_of, in_records, metered_in_records
from tollgate.ledger.sums import Combinations, NamedSum
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.scopes import Dimension, escaped, split_names
from tollgate.schemas.topics import Topic
from tollgate.schemas.vocabulary import BASE_SHAPES

# Header of each record of deltas: `partition:next usage offset:how many more such records this transaction has`. The
# sums alone do not tell which events they contain; `tollgate verify` reads here up to which usage offset they count.
COUNTED_HEADER: Final = "tollgate-counted-to"

# Owners of scopes that are remembered, because finding one out costs a hash of the scope.
_OWNERS_MAX: Final = 100_000


class Spread:
    """Adds sums to `scopes`, and keeps deltas until `write`."""

    def __init__(
        self, partition: int, delta_partitions: int, horizon: Horizon, scopes: Scopes, meters: OwnMeters
    ) -> None:
        self._partition = partition
        self._delta_partitions = delta_partitions
        self._horizon = horizon
        self._scopes = scopes
        self._meters = meters
        self._past: dict[int, list[PastDelta]] = {}
        self._owners: dict[str, int] = {}
        # By partition, and by since when a clock says in which windows they count; and such a clock.
        self._deltas: dict[int, dict[int, list[Delta]]] = {}
        self._clocks: dict[int, int] = {}

    def add(self, sums: Iterable[NamedSum], combinations: Combinations) -> None:
        """Add a batch, with the sums of these combinations. The meters must be those by which it was counted."""
        clocks: dict[int, Horizon] = {}
        held: dict[tuple[int, int], tuple[int, Horizon, Windows]] = {}
        table = self._meters.table
        # Of each shape what stands before the name in its scopes, whether these are counted here, and whether there may
        # be meters of them.
        shapes = [(shape.prefix, shape.is_users, table.counts_singles(shape)) for shape in BASE_SHAPES]
        shapes += [("", shape.is_users, True) for shape in combinations.shapes]
        for position, name, slot_ms, counted_ms, spend in sums:
            time = held.get((slot_ms, counted_ms))
            if time is None:
                time = held[slot_ms, counted_ms] = self._held(slot_ms, counted_ms, clocks)
            since_ms, clock, windows = time
            prefix, is_users, is_metered = shapes[position]
            is_base = position < len(BASE_SHAPES)
            scope = prefix + (escaped(name) if "/" in name else name) if is_base else name
            calendars = table.calendars_at(scope, slot_ms) if is_metered else ()
            if not is_base or calendars:
                windows = _windows_of(clock, slot_ms, calendars, is_base=is_base)
                if not windows:
                    # A combination that no budget is on, or whose windows are all past.
                    continue
            if is_users:
                self._scopes.add(scope, windows, spend, is_needed=True)
            else:
                delta = delta_of(scope, slot_ms, len(windows), spend, calendars)
                self._deltas.setdefault(self._owner(scope), {}).setdefault(since_ms, []).append(delta)
        self._clocks.update((since_ms, clock.clock_ms) for since_ms, clock in clocks.items())

    def add_past(self, past: Iterable[tuple[str, WindowKey, Spend]]) -> None:
        """Add what was spent before meters began."""
        for scope, window, spend in past:
            if Dimension.USER in (dimension for dimension, _ in split_names(scope)):
                self._scopes.add(scope, (window,), spend)
            else:
                calendar, start_ms = window
                self._past.setdefault(self._owner(scope), []).append(PastDelta(scope, calendar, start_ms, spend))

    def write(self, outbox: Outbox, next_offset: int, marks: list[Mark]) -> None:
        """Move the deltas into the outbox. They have counted all records before `next_offset` that were not before.

        What marks say of the sums is true once the deltas are added, so they come last; but see below.
        """
        clocks, clock_ms = self._clocks, self._horizon.clock_ms
        told: dict[int, list[Mark]] = {}
        for mark in marks:
            scope = Meter.of(mark.meter).scope
            owners = range(self._delta_partitions) if is_pattern(scope) else (self._owner(scope),)
            for partition in owners:
                told.setdefault(partition, []).append(mark)
        for partition in sorted({*self._deltas, *self._past, *told}):
            records = outbox.to(Topic.DELTAS, partition)
            by_clock = self._deltas.get(partition, {})
            # A sum is forgotten that no mark asks for: those of meters that begin come before their deltas.
            begun = [mark for mark in told.get(partition, []) if mark.begins]
            others = [mark for mark in told.get(partition, []) if not mark.begins]
            values = [*metered_in_records(clock_ms, [], begun)]
            values += [v for since_ms, ds in sorted(by_clock.items()) for v in in_records(clocks[since_ms], ds)]
            values += metered_in_records(clock_ms, self._past.get(partition, []), others)
            for number, value in enumerate(values, 1):
                counted = f"{self._partition}:{next_offset}:{len(values) - number}".encode()
                records.append((None, value, [(COUNTED_HEADER, counted)]))
        self._deltas, self._past, self._clocks = {}, {}, {}

    def _held(self, slot_ms: int, counted_ms: int, clocks: dict[int, Horizon]) -> tuple[int, Horizon, Windows]:
        """A clock that tells which windows hold a slot that was counted then: since when, itself, and the base windows.

        It is also put into `clocks`. What every window still holds now was held by all of them then, so that few clocks
        are needed.
        """
        now = self._horizon
        since_ms = now.since_ms if slot_ms >= now.punctual_from_ms else counted_ms
        clock = clocks.get(since_ms)
        if clock is None:
            clock = clocks[since_ms] = now if since_ms == now.since_ms else Horizon(since_ms)
        return since_ms, clock, clock.windows_of(slot_ms)

    def _owner(self, scope: str) -> int:
        owner = self._owners.get(scope)
        if owner is None:
            if len(self._owners) >= _OWNERS_MAX:
                self._owners.clear()
            owner = self._owners[scope] = partition_of(scope.encode(), self._delta_partitions)
        return owner


def _windows_of(clock: Horizon, slot_ms: int, calendars: tuple[str, ...], *, is_base: bool) -> Windows:
    """The held windows in which the slot counts: base ones and those of the calendars, of a combination only these."""
    return clock.windows_with(slot_ms, calendars) if is_base else clock.windows_in(slot_ms, calendars)
