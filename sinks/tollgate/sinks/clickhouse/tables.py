"""The storage tables that the sink fills and the rows on their way to one of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from aiokafka import ConsumerRecord


class RowFormat(StrEnum):
    """ClickHouse's input formats with one row per line."""

    JSON = "JSONEachRow"
    TSV = "TabSeparated"


@dataclass(frozen=True, slots=True)
class Partitioning:
    """How to tell from a row which partition of its table it goes to: by the first ten characters of the time that
    follows `time_after` in the row, `2026-11-21`. `partition_of` takes those.
    """

    time_after: bytes
    partition_of: Callable[[bytes], bytes]


def _by_month(day: bytes) -> bytes:
    return day[:7]


def _by_age(day: bytes) -> bytes:
    """As migration 009 has it: days since 2026, before that months since 2020, before that years."""
    return day if day >= b"2026" else day[:7] if day >= b"2020" else day[:4]


@dataclass(frozen=True, slots=True)
class Table:
    """A storage table; `columns` is None where each row names its own.

    With `types`, one of each column, rows are read as these and then become the columns' own types.
    """

    name: str
    row_format: RowFormat = RowFormat.JSON
    columns: tuple[str, ...] | None = None
    types: tuple[str, ...] | None = None
    partitioning: Partitioning | None = None

    @property
    def statement(self) -> str:
        """The INSERT that rows follow, one per line."""
        columns = ", ".join(self.columns or ())
        if self.types is None:
            return f"INSERT INTO {self.name}{f' ({columns})' if columns else ''} FORMAT {self.row_format}"
        structure = ", ".join(" ".join(pair) for pair in zip(self.columns or (), self.types, strict=True))
        structure = structure.replace("'", "\\'")
        return (
            f"INSERT INTO {self.name} ({columns}) SELECT {columns} FROM input('{structure}')"  # noqa: S608 # our own names
            f" FORMAT {self.row_format}"
        )


_INSTANT = "DateTime64(3, 'UTC')"
_TEXTS = (
    *("org", "service", "provider", "model", "agent", "campaign", "feature", "product", "operation"),
    *("resource_type", "resource_id", "request_id"),
)
# The fields of a priced event. Most columns are LowCardinality, whose dictionary costs a look-up for each value that is
# read; reading plain strings and converting whole columns makes an insert cost 4.4 instead of 7.2 µs a row (measured).
_USAGE_EVENT = {
    "event_id": "String",
    "source": "String",
    "time": _INSTANT,
    "kind": "String",
    "user": "String",
    "cost_usd": "Decimal(38, 12)",
    "retail_usd": "Decimal(38, 12)",
    "price_id": "String",
    "price_status": "String",
    "source_partition": "Int32",
    "source_offset": "Int64",
    "version": "Int64",
    "usage": "Map(String, Decimal(38, 9))",
    "status": "String",
    **dict.fromkeys(_TEXTS, "String"),
    "latency_ms": "Nullable(UInt32)",
    "options": "Map(String, String)",
    "metadata": "String",
    "credits": "Decimal(38, 9)",
}

USAGE_EVENTS = Table(
    "usage_events",
    columns=tuple(_USAGE_EVENT),
    types=tuple(_USAGE_EVENT.values()),
    partitioning=Partitioning(b'"time":"', _by_age),
)
SPEND = Table("spend_records", partitioning=Partitioning(b'"window_start":"', _by_month))
FLAGS = Table("flag_records")
ALERTS = Table("alert_records")
ENTRIES = Table("entry_records")
DECISIONS = Table("decision_records", partitioning=Partitioning(b'"decided_at":"', _by_month))
BALANCES = Table("balance_records")
BUDGETS = Table("budget_records")
PLANS = Table("plan_records")
ASSIGNMENTS = Table("assignment_records")
PRICES = Table("price_records")
AUDIT = Table("audit_records")
# Tab separated, because JSON text cannot carry bytes that are no UTF-8, and dead letters are whatever came.
DEAD_LETTERS = Table(
    "dead_letter_records",
    RowFormat.TSV,
    (
        "time",
        "reason",
        "error",
        "source_topic",
        "source_partition",
        "source_offset",
        "key",
        "value",
        "headers",
        "dead_letter_partition",
        "dead_letter_offset",
    ),
    partitioning=Partitioning(b"", _by_month),
)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows for one table: encoded lines without their newline, and the record that each came from."""

    table: Table
    lines: Sequence[bytes]
    records: Sequence[ConsumerRecord]


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that can become no row, and why in one sentence without its content."""

    record: ConsumerRecord
    error: str


# ClickHouse writes a part for every partition that an insert touches, in some milliseconds each. So many is its own
# default limit; more rows than a few partitions take are written by further inserts, each with an answer in time.
PARTITIONS_PER_INSERT_MAX = 100


def split_by_partition(rows: Rows) -> list[Rows]:
    """The rows in as few inserts as touch at most 100 partitions each. The order within a partition stays.

    A time that is not where it is looked for costs an insert of more partitions, and nothing else.
    """
    how = rows.table.partitioning
    if how is None or len(rows.lines) <= PARTITIONS_PER_INSERT_MAX:
        return [rows]
    marker, skip = how.time_after, len(how.time_after)
    days = [line[(at := line.find(marker) + skip) : at + 10] for line in rows.lines]
    partitions = {day: how.partition_of(day) for day in set(days)}
    names = sorted(set(partitions.values()))
    if len(names) <= PARTITIONS_PER_INSERT_MAX:
        return [rows]
    insert_of = {name: number // PARTITIONS_PER_INSERT_MAX for number, name in enumerate(names)}
    positions: list[list[int]] = [[] for _ in range(0, len(names), PARTITIONS_PER_INSERT_MAX)]
    for position, day in enumerate(days):
        positions[insert_of[partitions[day]]].append(position)
    return [
        Rows(rows.table, [rows.lines[at] for at in chosen], [rows.records[at] for at in chosen]) for chosen in positions
    ]
