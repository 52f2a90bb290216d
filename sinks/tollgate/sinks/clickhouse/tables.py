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
    """A storage table; `columns` is None where each row names its own."""

    name: str
    row_format: RowFormat = RowFormat.JSON
    columns: tuple[str, ...] | None = None


USAGE_EVENTS = Table("usage_events")
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
