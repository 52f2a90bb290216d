"""The storage tables that the sink fills and the rows on their way to one of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from aiokafka import ConsumerRecord


class RowFormat(StrEnum):
    """ClickHouse's input formats with one row per line."""

    JSON = "JSONEachRow"
    TSV = "TabSeparated"


@dataclass(frozen=True, slots=True)
class Table:
    """A storage table; `columns` is None where each row names its own.

    With `types`, one of each column, rows are read as these and then become the columns' own types.
    """

    name: str
    row_format: RowFormat = RowFormat.JSON
    columns: tuple[str, ...] | None = None
    types: tuple[str, ...] | None = None

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
}

USAGE_EVENTS = Table("usage_events", columns=tuple(_USAGE_EVENT), types=tuple(_USAGE_EVENT.values()))
SPEND = Table("spend_records")
FLAGS = Table("flag_records")
ALERTS = Table("alert_records")
BUDGETS = Table("budget_records")
PRICES = Table("price_records")
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
