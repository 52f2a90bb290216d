"""The meters of a usage partition: rows, records for those who fetch their past, and marks for the second stage."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import msgspec

from tollgate.domain.spend import Spend
from tollgate.domain.windows import WindowKey
from tollgate.ledger.meters import Kept, Meter, MeterTable, begin, end, remove_ended
from tollgate.ledger.outbox import NO_HEADERS, Outbox
from tollgate.ledger.shared_meters import Mark
from tollgate.ledger.sums import NO_COMBINATIONS, Combinations
from tollgate.schemas.instants import format_instant
from tollgate.schemas.meters import MeterRecord, Past
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.scopes import Dimension, parse_names
from tollgate.schemas.topics import Topic

ROW_PREFIX: Final = "m|"

_USER: Final = f"{Dimension.USER.value}/"

_PLACES: Final = {dimension.value: place for place, dimension in enumerate(Dimension)}

_instant = lru_cache(maxsize=64)(format_instant)
_encode = msgspec.json.Encoder().encode
_decode_kept = msgspec.json.Decoder(Kept).decode


class OwnMeters:
    """See `meters`."""

    def __init__(self, partition: int, partitions: int, state: Topic) -> None:
        self._partition = partition
        self._partitions = partitions
        self._state = state
        self.table = MeterTable()
        self._combinations, self._version = NO_COMBINATIONS, 0
        # What was last wanted; None before the first time.
        self._wanted: frozenset[tuple[str, str]] | None = None
        # Changed since the last write.
        self._changed: dict[Meter, None] = {}

    def restore(self, rows: dict[str, bytes]) -> None:
        """Take back what was written, and nothing else."""
        self.table = MeterTable()
        self._combinations, self._version = NO_COMBINATIONS, 0
        self._wanted = None
        self._changed = {}
        for key, row in rows.items():
            if key.startswith(ROW_PREFIX):
                self.table.put(Meter.of(key.removeprefix(ROW_PREFIX)), _decode_kept(row))

    def want(self, meters: frozenset[tuple[str, str]], next_offset: int, clock_ms: int) -> None:
        """Keep these from now on: every record below `next_offset` was applied before.

        Only what is new or gone is looked at: there may be a hundred thousand.
        """
        if self._wanted is None:
            more, less = meters, frozenset[tuple[str, str]](self.table) - meters
        else:
            more, less = meters - self._wanted, self._wanted - meters
        self._wanted = meters
        self._begin(more, next_offset, clock_ms)
        self._changed.update(dict.fromkeys(end(self.table, map(Meter._make, sorted(less)), clock_ms)))

    def _begin(self, meters: Iterable[tuple[str, str]], next_offset: int, clock_ms: int) -> None:
        here = [Meter(*meter) for meter in meters if self._is_here(meter[0])]
        self._changed.update(dict.fromkeys(begin(self.table, here, next_offset, clock_ms)))

    def _is_here(self, scope: str) -> bool:
        """Whether events of this partition may be in the scope: those of one user are in their partition alone."""
        return not scope.startswith(_USER) or _home(scope, self._partitions) in (None, self._partition)

    def has_pending(self) -> bool:
        """Whether a transaction now would write something."""
        return bool(self._changed)

    def calendars(self, scope: str) -> tuple[str, ...]:
        """The calendars beyond the base ones in which the scope is counted; see `MeterTable.calendars`."""
        return self.table.calendars(scope)

    def calendars_at(self, scope: str, slot_ms: int) -> tuple[str, ...]:
        """Those of them whose window counts what is spent in this slot."""
        return self.table.calendars_at(scope, slot_ms)

    def is_whole(self, scope: str, window: WindowKey) -> bool:
        """See `MeterTable.is_whole`."""
        return self.table.is_whole(scope, window)

    def combinations(self) -> Combinations:
        """What the tally has to sum by combination."""
        if self.table.version != self._version:
            self._version = self.table.version
            forms = sorted(self.table.forms, key=lambda form: [_PLACES[dimension] for dimension in form[0]])
            self._combinations = Combinations(self.table.combinations, forms) if forms else NO_COMBINATIONS
        return self._combinations

    def take_past(self, past: Past) -> list[tuple[str, WindowKey, Spend]]:
        """What a part of a meter's past adds: nothing when it is not the part that is missing next."""
        meter = Meter.of(past.meter)
        kept = self.table.get(meter)
        if kept is None or kept.is_filled or past.from_offset != kept.from_offset or past.part != kept.parts:
            return []
        kept.parts += 1
        kept.is_filled = kept.parts >= past.parts
        self._changed[meter] = None
        found = []
        for scope, start_ms, cost, retail, events, usage in past.rows:
            window = (meter.calendar, start_ms)
            counting = self.table.counting(scope, window)
            if counting and counting[0][0] == meter and kept.takes_past(start_ms):
                found.append((scope, window, Spend(cost, retail, events, usage)))
        return found

    def pass_time(self, next_offset: int, clock_ms: int) -> bool:
        """Forget the meters that have ended; returns whether there were any.

        All that was counted by them must have been added up. One that is wanted again begins again.
        """
        gone, changed = remove_ended(self.table, clock_ms)
        self._changed.update(dict.fromkeys((*gone, *changed)))
        self._begin([meter for meter in gone if meter in (self._wanted or ())], next_offset, clock_ms)
        return bool(gone)

    def write(self, outbox: Outbox) -> list[Mark]:
        """Write what changed; returns what the second stage must be told, after all deltas of the same transaction."""
        if not self._changed:
            return []
        marks = []
        rows, records = outbox.to(self._state, self._partition), outbox.to(Topic.METERS, 0)
        for meter in self._changed:
            kept = self.table.get(meter)
            row = value = None
            if kept is not None:
                row, value = _encode(kept), _encode(_record(meter, kept, self._partition))
            rows.append((f"{ROW_PREFIX}{meter.id}".encode(), row, NO_HEADERS))
            records.append((f"{self._partition}|{meter.id}".encode(), value, NO_HEADERS))
            if not _is_of_user(meter):
                marks.append(Mark(self._partition, meter.id, kept))
        self._changed = {}
        return marks


@lru_cache(maxsize=100_000)
def _home(scope: str, partitions: int) -> int | None:
    """The only partition that has events in a user's scope; None for a star, whose are everywhere."""
    user = parse_names(scope)[0][1]
    return None if user == "*" else partition_of(user.encode(), partitions)


def _is_of_user(meter: Meter) -> bool:
    """Whether its scopes are counted by the user's partition alone."""
    return meter.scope.startswith(_USER)


def _record(meter: Meter, kept: Kept, partition: int) -> MeterRecord:
    return MeterRecord(
        meter=meter.id,
        scope=meter.scope,
        calendar=meter.calendar,
        partition=partition,
        from_offset=kept.from_offset,
        window_start=_instant(kept.window_start_ms),
        whole_from=_instant(kept.whole_from_ms),
        filled=kept.is_filled,
    )
