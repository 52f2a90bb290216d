"""The meters of a usage partition: rows, records for those who fetch their past, and marks for the second stage."""

from collections.abc import Iterable
from typing import Final

import msgspec

from tollgate.domain.spend import Spend
from tollgate.domain.windows import WindowKey, window_start
from tollgate.ledger.meters import Kept, Meter, MeterTable, begin, ended
from tollgate.ledger.outbox import NO_HEADERS, Outbox
from tollgate.ledger.shared_meters import Mark
from tollgate.ledger.sums import NO_COMBINATIONS, Combinations
from tollgate.schemas.instants import format_instant
from tollgate.schemas.meters import MeterRecord, Past
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.scopes import Dimension, parse_names
from tollgate.schemas.topics import Topic
from tollgate.schemas.vocabulary import Shape

ROW_PREFIX: Final = "m|"

_PLACES: Final = {dimension: place for place, dimension in enumerate(Dimension)}

_encode = msgspec.json.Encoder().encode
_decode_kept = msgspec.json.Decoder(Kept).decode


class OwnMeters:
    """See `meters`."""

    def __init__(self, partition: int, partitions: int, state: Topic) -> None:
        self._partition = partition
        self._partitions = partitions
        self._state = state
        self.table = MeterTable()
        self._combinations = NO_COMBINATIONS
        # Changed since the last write.
        self._changed: dict[Meter, None] = {}

    def restore(self, rows: dict[str, bytes]) -> None:
        """Take back what was written, and nothing else."""
        self.table = MeterTable()
        self._changed = {}
        for key, row in rows.items():
            if key.startswith(ROW_PREFIX):
                self.table.put(Meter.of(key.removeprefix(ROW_PREFIX)), _decode_kept(row))

    def want(self, meters: Iterable[tuple[str, str]], next_offset: int, clock_ms: int) -> None:
        """Keep these from now on: every record below `next_offset` was applied before."""
        wanted = (Meter(*meter) for meter in meters)
        here = [meter for meter in wanted if self._is_here(meter.scope)]
        self._changed.update(dict.fromkeys(begin(self.table, here, next_offset, clock_ms)))

    def _is_here(self, scope: str) -> bool:
        """Whether events of this partition may be in the scope: those of one user are in their partition alone."""
        names = parse_names(scope)
        user = names[0][1] if names and names[0][0] is Dimension.USER else "*"
        return user == "*" or partition_of(user.encode(), self._partitions) == self._partition

    def has_pending(self) -> bool:
        """Whether a transaction now would write something."""
        return bool(self._changed)

    def calendars(self, scope: str) -> tuple[str, ...]:
        """The calendars beyond the base ones in which the scope is counted; see `MeterTable.calendars`."""
        return self.table.calendars(scope)

    def calendars_at(self, scope: str, slot_ms: int) -> tuple[str, ...]:
        """Those of them whose window counts what is spent in this slot."""
        table = self.table
        return tuple(c for c in table.calendars(scope) if table.counts(scope, (c, window_start(c, slot_ms))))

    def is_whole(self, scope: str, window: WindowKey) -> bool:
        """See `MeterTable.is_whole`."""
        return self.table.is_whole(scope, window)

    def combinations(self) -> Combinations:
        """What the tally has to sum by combination."""
        scopes = self.table.combinations
        if scopes != self._combinations.scopes:
            shapes = {tuple(dimension for dimension, _ in parse_names(scope)) for scope in scopes}
            ordered = sorted(shapes, key=lambda shape: [_PLACES[dimension] for dimension in shape])
            self._combinations = Combinations(tuple(map(Shape, ordered)), set(scopes)) if scopes else NO_COMBINATIONS
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
            covering = self.table.covering(scope, meter.calendar)
            if covering and covering[0][1] == meter.scope and start_ms in (kept.window_start_ms, kept.whole_from_ms):
                found.append((scope, window, Spend(cost, retail, events, usage)))
        return found

    def write(self, outbox: Outbox, clock_ms: int) -> list[Mark]:
        """Write what changed; returns what the second stage must be told, after all deltas of the same transaction."""
        for meter in ended(self.table, clock_ms):
            self.table.remove(meter)
            self._changed[meter] = None
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


def _is_of_user(meter: Meter) -> bool:
    """Whether its scopes are counted by the user's partition alone."""
    return any(dimension is Dimension.USER for dimension, _ in parse_names(meter.scope))


def _record(meter: Meter, kept: Kept, partition: int) -> MeterRecord:
    return MeterRecord(
        meter=meter.id,
        scope=meter.scope,
        calendar=meter.calendar,
        partition=partition,
        from_offset=kept.from_offset,
        window_start=format_instant(kept.window_start_ms),
        whole_from=format_instant(kept.whole_from_ms),
        filled=kept.is_filled,
    )
