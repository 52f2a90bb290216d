"""What was spent in meters before their partitions began to count them: asked of ClickHouse, in parts for entries.

Every question about the same meter and offset has the same answer in the same parts: the rows are complete when it is
asked, and they are sorted. So whoever asks again, after a crash, in another process or together with other questions,
sends the same records.
"""

import json
from collections.abc import Iterator, Sequence
from tempfile import SpooledTemporaryFile
from typing import Any, Final, NamedTuple

import msgspec
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.external import ExternalData

from tollgate.schemas.instants import parse_instant
from tollgate.schemas.meters import PAST_TYPE, MeterRecord, PastRow
from tollgate.schemas.scopes import Dimension, parse_names, scope_of_all

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


class Shape(NamedTuple):
    """What questions that are asked in one query have in common."""

    dimensions: tuple[Dimension, ...]
    stars: tuple[bool, ...]
    """Which of the names are stars."""
    start_ms: int
    whole_ms: int

    @classmethod
    def of(cls, meter: MeterRecord) -> "Shape":
        """The shape of a question. ValueError when the scope or an instant is none."""
        names = parse_names(meter.scope)
        return cls(
            tuple(dimension for dimension, _ in names),
            tuple(name == _ANY for _, name in names),
            parse_instant(meter.window_start),
            parse_instant(meter.whole_from),
        )

    @property
    def named(self) -> list[Dimension]:
        """The dimensions whose name is given."""
        return [dimension for dimension, is_star in zip(self.dimensions, self.stars, strict=True) if not is_star]

    @property
    def starred(self) -> list[Dimension]:
        """The dimensions with a star."""
        return [dimension for dimension, is_star in zip(self.dimensions, self.stars, strict=True) if is_star]


def question(meters: Sequence[MeterRecord]) -> tuple[str, dict[str, Any], ExternalData]:
    """The query, its parameters, and the table `asked` that goes with it: a row for each of these meters of one shape.

    Its rows: the place in `meters`, the names in place of the stars, whether the time is in `whole_from` or later, and
    sums. The only text that varies in the SQL are names of columns. Names of scopes are data, as many as there are.
    """
    shape = Shape.of(meters[0])
    rows = []
    for number, meter in enumerate(meters):
        names = [name for _, name in parse_names(meter.scope) if name != _ANY]
        rows.append(msgspec.json.encode((number, meter.partition, meter.from_offset, *names)))
    structure = ["number UInt32", "asked_partition Int32", "asked_offset Int64"]
    structure += [f"asked_{dimension} String" for dimension in shape.named]
    asked = ExternalData(
        file_name="asked", data=b"\n".join(rows), fmt="JSONCompactEachRow", structure=", ".join(structure)
    )
    # By these, rows of users are found by the key of the table; a join alone reads all.
    conditions = [f"AND {dimension} IN (SELECT asked_{dimension} FROM asked)" for dimension in shape.named]  # noqa: S608 # a column
    conditions += [f"AND {dimension} != ''" for dimension in shape.starred]
    same = " ".join(f"AND {dimension} = asked_{dimension}" for dimension in shape.named)
    keys = ", ".join(["number", *shape.starred, "is_later"])
    sql = f"""
        SELECT {keys}, toString(sum(cost_usd)), toString(sum(retail_usd)), count(),
            mapApply((unit, amount) -> (toString(unit), toString(amount)), sumMap({_USAGE}))
        FROM (
            SELECT *, toUnixTimestamp64Milli(time) >= {{whole_ms:Int64}} AS is_later
            FROM usage
            WHERE kind = 'usage' AND time >= fromUnixTimestamp64Milli({{start_ms:Int64}}, 'UTC') {" ".join(conditions)}
        ) AS event
        INNER JOIN asked ON source_partition = asked_partition {same}
        WHERE source_offset < asked_offset
        GROUP BY {keys}
        ORDER BY {keys}
        """  # noqa: S608 # our own text and columns of the enumeration; every value is data
    return sql, {"start_ms": shape.start_ms, "whole_ms": shape.whole_ms}, asked


def ask_pasts(client: Client, meters: Sequence[MeterRecord]) -> Iterator[tuple[int, PastRow]]:
    """The rows of the pasts of meters of one shape, by the place of the meter here: those of the first come first.

    Blocks; raises the driver's errors, ValueError.
    """
    sql, parameters, asked = question(meters)
    shape = Shape.of(meters[0])
    starts = (shape.start_ms, shape.whole_ms)
    with client.query_rows_stream(sql, parameters=parameters, settings=_SETTINGS, external_data=asked) as rows:
        for number, *found, is_later, cost, retail, events, usage in rows:
            names = iter(found)
            scope = scope_of_all(
                (dimension, next(names) if name == _ANY else name)
                for dimension, name in parse_names(meters[number].scope)
            )
            amounts = {unit: _scaled(amount, 9) for unit, amount in sorted(usage.items())}
            yield number, (scope, starts[is_later], _scaled(cost, 12), _scaled(retail, 12), events, amounts)


def _scaled(text: str, decimals: int) -> int:
    """A decimal as a whole number of 10⁻ᵈᵉᶜⁱᵐᵃˡˢ, of any size: `"2.5"` → 2_500_000_000_000 with 12 decimals."""
    whole, _, fraction = text.partition(".")
    return int(whole + fraction.ljust(decimals, "0"))


class Parts:
    """The pasts of several meters, cut into parts. Holds a megabyte of rows in memory, and the others in a file."""

    def __init__(self, meters: Sequence[MeterRecord]) -> None:
        self._meters = meters
        self._file = SpooledTemporaryFile[bytes](_MEMORY_BYTES_MAX)  # closed by `close`
        # Where the parts of each meter begin and end.
        self._parts: list[list[tuple[int, int]]] = [[] for _ in meters]
        self._size = self.rows = 0

    def add(self, number: int, row: PastRow) -> None:
        """Append a row of the meter with this number; it begins another part when the present one has no room for it.

        The rows of a meter are added together.
        """
        encoded = msgspec.json.encode(row)
        parts = self._parts[number]
        begin = parts[-1][0] if parts else self._size
        if parts and self._size - begin + 1 + len(encoded) <= PART_BYTES_MAX:
            encoded = b"," + encoded
            parts.pop()
        else:
            begin = self._size
        self._file.write(encoded)
        self._size += len(encoded)
        parts.append((begin, self._size))
        self.rows += 1

    def values(self, number: int) -> Iterator[bytes]:
        """The values of the meter's entries, one for each part."""
        meter = self._meters[number]
        # A meter in which nothing was spent is told so by a part without rows.
        parts = self._parts[number] or [(0, 0)]
        for part, (begin, end) in enumerate(parts):
            self._file.seek(begin)
            rows = self._file.read(end - begin)
            data = {"meter": meter.meter, "from_offset": meter.from_offset, "part": part, "parts": len(parts)}
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
