"""What the second stage knows of meters: for each usage partition, since when it counts them and what is missing."""

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from tollgate.domain.windows import WindowKey
from tollgate.ledger.meters import Kept, Meter, MeterTable
from tollgate.ledger.outbox import NO_HEADERS, Outbox
from tollgate.schemas.topics import Topic

_ROW_PREFIX: Final = "m|"

_encode = msgspec.json.Encoder().encode
_decode_kept = msgspec.json.Decoder(Kept).decode


class Mark(msgspec.Struct, array_like=True):
    """What a usage partition tells of one of its meters; None when it does not count it any more."""

    partition: int
    meter: str
    kept: Kept | None

    @property
    def begins(self) -> bool:
        """Whether it may be the first that is told of the meter: nothing of its past was added yet."""
        return self.kept is not None and self.kept.parts == 0


class Changes(NamedTuple):
    """Scopes and patterns whose sums may have become whole, and whether a meter has gone."""

    whole: list[str]
    has_gone: bool


class SharedMeters:
    """A sum is whole when it is whole in each of the `usage_partitions`."""

    def __init__(self, partition: int, state: Topic, usage_partitions: int) -> None:
        self._partition = partition
        self._state = state
        self._tables = [MeterTable() for _ in range(usage_partitions)]
        self._changed: dict[tuple[int, Meter], None] = {}

    def restore(self, rows: dict[str, bytes]) -> None:
        """Take back what was written."""
        for key, row in rows.items():
            if key.startswith(_ROW_PREFIX):
                number, text = key.removeprefix(_ROW_PREFIX).split("|", 1)
                self._put(int(number), Meter.of(text), _decode_kept(row))

    def take(self, marks: Iterable[Mark]) -> Changes:
        """Take in what partitions tell; returns which sums may have become whole, or are not needed any more."""
        whole, has_gone = [], False
        for mark in marks:
            meter = Meter.of(mark.meter)
            self._put(mark.partition, meter, mark.kept)
            self._changed[mark.partition, meter] = None
            has_gone = has_gone or mark.kept is None
            if mark.kept is None or mark.kept.is_filled:
                whole.append(meter.scope)
        return Changes(whole, has_gone)

    def _put(self, number: int, meter: Meter, kept: Kept | None) -> None:
        # A topic that was given more partitions is counted in as many as before.
        if number < len(self._tables):
            table = self._tables[number]
            if kept is not None:
                table.put(meter, kept)
            elif meter in table:
                table.remove(meter)

    def calendars(self, scope: str) -> tuple[str, ...]:
        """The calendars beyond the base ones in which some partition counts the scope."""
        return tuple(sorted({calendar for table in self._tables for calendar in table.calendars(scope)}))

    def is_whole(self, scope: str, window: WindowKey) -> bool:
        """Whether the sum of the window has all that was counted of the scope."""
        return all(table.is_whole(scope, window) for table in self._tables)

    def has_pending(self) -> bool:
        """Whether a transaction now would write something."""
        return bool(self._changed)

    def write(self, outbox: Outbox) -> None:
        """Write the rows that changed."""
        rows = outbox.to(self._state, self._partition)
        for number, meter in self._changed:
            kept = self._tables[number].get(meter)
            row = None if kept is None else _encode(kept)
            rows.append((f"{_ROW_PREFIX}{number}|{meter.id}".encode(), row, NO_HEADERS))
        self._changed = {}
