"""What was spent in a meter before its partition began to count it: asked of ClickHouse, in parts for entries.

Every question about the same meter and offset has the same answer in the same parts: the rows are complete when it is
asked, and they are sorted. So whoever asks again, after a crash or in another process, sends the same records.
"""

import json
from collections.abc import Iterator, Sequence
from tempfile import SpooledTemporaryFile
from typing import Any, Final

import msgspec
from clickhouse_connect.driver.client import Client

from tollgate.schemas.instants import parse_instant
from tollgate.schemas.meters import PAST_TYPE, MeterRecord, PastRow
from tollgate.schemas.scopes import GLOBAL_SCOPE, parse_names, scope_of

# Room for the envelope in a record of 500 kB.
PART_BYTES_MAX: Final = 490_000
# Parts are kept in memory up to this size, and in a file beyond: a million scopes are some hundred megabytes.
_MEMORY_BYTES_MAX: Final = 1024 * 1024
_ANY: Final = "*"
_SOURCE: Final = "tollgate-sink-clickhouse"

# What counts as usage of credits is what the event burned, and not what its sender wrote under that name.
_USAGE: Final = (
    "mapFilter((unit, amount) -> unit != 'credits' OR amount != 0, mapUpdate(usage, map('credits', credits)))"
)

# Sums of a million scopes go to ClickHouse's disk rather than end the question.
_SETTINGS: Final = {
    "max_bytes_before_external_group_by": 300_000_000,
    "max_bytes_before_external_sort": 300_000_000,
    # So many rows at a time are objects here.
    "max_block_size": 8192,
}


def question(meters: Sequence[MeterRecord]) -> tuple[str, dict[str, Any]]:
    """The query and its parameters, for one meter in several partitions: they are of one scope and one window.

    Its rows: partition, the meter's names, whether the time is in `whole_from` or later, sums. The only text that
    varies in the SQL are names of columns. ValueError when the scope or an instant is none.
    """
    meter = meters[0]
    names = parse_names(meter.scope)
    parameters: dict[str, Any] = {
        "partitions": [each.partition for each in meters],
        "offsets": [each.from_offset for each in meters],
        "start_ms": parse_instant(meter.window_start),
        "whole_ms": parse_instant(meter.whole_from),
    }
    conditions = []
    for dimension, name in names:
        if name == _ANY:
            conditions.append(f"AND {dimension.value} != ''")
        else:
            parameters[f"name_{dimension.value}"] = name
            conditions.append(f"AND {dimension.value} = {{name_{dimension.value}:String}}")
    keys = ", ".join(["source_partition", *(dimension.value for dimension, _ in names), "is_later"])
    # The place of a partition that is not asked about is 0, and what stands there is 0.
    sql = f"""
        SELECT {keys}, toString(sum(cost_usd)), toString(sum(retail_usd)), count(),
            mapApply((unit, amount) -> (toString(unit), toString(amount)), sumMap({_USAGE}))
        FROM (
            SELECT *, toUnixTimestamp64Milli(time) >= {{whole_ms:Int64}} AS is_later
            FROM usage
            WHERE kind = 'usage'
                AND source_offset < {{offsets:Array(Int64)}}[indexOf({{partitions:Array(Int32)}}, source_partition)]
                AND time >= fromUnixTimestamp64Milli({{start_ms:Int64}}, 'UTC') {" ".join(conditions)}
        )
        GROUP BY {keys}
        ORDER BY {keys}
        """  # noqa: S608 # our own text and columns of the enumeration; every value is a parameter
    return sql, parameters


def ask_past(client: Client, meters: Sequence[MeterRecord]) -> Iterator[tuple[int, PastRow]]:
    """The rows of the past by partition, as ClickHouse sends them. Blocks; raises the driver's errors, ValueError."""
    sql, parameters = question(meters)
    starts = (parameters["start_ms"], parameters["whole_ms"])
    dimensions = [dimension for dimension, _ in parse_names(meters[0].scope)]
    with client.query_rows_stream(sql, parameters=parameters, settings=_SETTINGS) as rows:
        for partition, *names, is_later, cost, retail, events, usage in rows:
            scope = "+".join(map(scope_of, dimensions, names)) or GLOBAL_SCOPE
            amounts = {unit: _scaled(amount, 9) for unit, amount in sorted(usage.items())}
            yield partition, (scope, starts[is_later], _scaled(cost, 12), _scaled(retail, 12), events, amounts)


def _scaled(text: str, decimals: int) -> int:
    """A decimal as a whole number of 10⁻ᵈᵉᶜⁱᵐᵃˡˢ, of any size: `"2.5"` → 2_500_000_000_000 with 12 decimals."""
    whole, _, fraction = text.partition(".")
    return int(whole + fraction.ljust(decimals, "0"))


class Parts:
    """The rows of a past, cut into parts. Holds a megabyte of them in memory, and the others in a file."""

    def __init__(self, meter: MeterRecord) -> None:
        self.meter = meter
        self._file = SpooledTemporaryFile[bytes](_MEMORY_BYTES_MAX)  # closed by `close`
        # Where each part but the first begins.
        self._borders: list[int] = []
        self._begin = self._size = self.rows = 0

    def add(self, row: PastRow) -> None:
        """Append a row; it begins another part when the present one has no room for it."""
        encoded = msgspec.json.encode(row)
        if self._size > self._begin:
            if self._size - self._begin + 1 + len(encoded) > PART_BYTES_MAX:
                self._begin = self._size
                self._borders.append(self._begin)
            else:
                encoded = b"," + encoded
        self._file.write(encoded)
        self._size += len(encoded)
        self.rows += 1

    def __len__(self) -> int:
        # A meter in which nothing was spent is told so by a part without rows.
        return len(self._borders) + 1

    def values(self) -> Iterator[bytes]:
        """The values of the entries, one for each part."""
        meter = self.meter
        borders = [0, *self._borders, self._size]
        self._file.seek(0)
        for part in range(len(self)):
            rows = self._file.read(borders[part + 1] - borders[part])
            data = {"meter": meter.meter, "from_offset": meter.from_offset, "part": part, "parts": len(self)}
            envelope = {
                "specversion": "1.0",
                "type": PAST_TYPE,
                "source": _SOURCE,
                "id": f"{meter.from_offset}/{part}",
                "subject": meter.meter,
                # The same bytes whenever it is sent.
                "time": meter.window_start,
            }
            head = _open(envelope) + b',"data":' + _open(data) + b',"rows":['
            yield head + rows + b"]}}"

    def close(self) -> None:
        """Give the file back."""
        self._file.close()


def _open(value: dict[str, Any]) -> bytes:
    """An object as JSON without its closing brace."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()[:-1]
