"""Kafka records as rows of the storage tables. Pure: bytes in, bytes out; a record without a valid row is a Rejection.

A record always gives the same row, so that writing it again replaces the row instead of adding one.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from aiokafka import ConsumerRecord

from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.topics import Topic
from tollgate.sinks.clickhouse import tables
from tollgate.sinks.clickhouse.dead_letters import dead_letter_line
from tollgate.sinks.clickhouse.tables import Rejection, Rows, Table

Encoded = tuple[list[Rows], list[Rejection]]

_EMPTY_USAGE: Final = msgspec.Raw(b"{}")
_EPOCH: Final = "1970-01-01T00:00:00Z"


class _Record(msgspec.Struct, gc=False):
    """Base of wire records and rows; fields that this release does not know are ignored."""


class Window(_Record):
    kind: str = ""
    start: str | None = None
    end: str | None = None
    timezone: str = ""


NO_WINDOW: Final = Window()


class SpendRecord(_Record):
    scope: str
    window: Window
    spent_usd: str
    events: int
    retail_usd: str = "0"
    usage: msgspec.Raw = _EMPTY_USAGE
    updated_at: str = _EPOCH


class SpendRow(_Record):
    scope: str
    window: str
    window_start: str | None
    window_end: str | None
    timezone: str
    spent_usd: str
    retail_usd: str
    usage: msgspec.Raw
    events: int
    updated_at: str
    source_partition: int
    source_offset: int


class FlagRecord(_Record):
    scope: str
    state: str
    blocked: bool = False
    action: str | None = ""
    reason: str | None = ""
    budget: str | None = ""
    window: Window | None = None
    limit: str | None = "0"
    unit: str | None = ""
    spent: str | None = "0"
    percent: str | None = None
    since: str | None = None
    until: str | None = None
    note: str | None = ""
    revision: int = 0


class AlertRecord(_Record):
    key: str
    kind: str
    level: str
    scope: str | None = ""
    budget: str | None = ""
    window: Window | None = None
    limit: str | None = "0"
    unit: str | None = ""
    spent: str | None = "0"
    percent: str | None = None
    state: str | None = ""
    action: str | None = ""
    reason: str | None = ""
    provider: str | None = ""
    model: str | None = ""
    peak_level: str | None = ""
    peak_percent: str | None = None
    since: str | None = None
    updated_at: str = _EPOCH
    revision: int = 0


class Threshold(_Record):
    percent: str
    action: str = "alert"


class ControlRecord(_Record):
    """What every change sets."""

    actor: str | None = ""
    reason: str | None = ""
    version: int = 1
    updated_at: str | None = None


class BudgetRecord(ControlRecord, kw_only=True):
    scope: str
    limit: str
    unit: str = "usd"
    window: str = "month"
    timezone: str = "UTC"
    thresholds: dict[str, Threshold | None] = msgspec.field(default_factory=dict)


class Rate(_Record):
    dimension: str
    usd: str
    per: str = "1"


class PriceRecord(ControlRecord, kw_only=True):
    provider: str | None = ""
    model: str | None = ""
    agent: str | None = ""
    options: dict[str, str] | None = None
    rates: list[Rate] = msgspec.field(default_factory=list)
    effective_from: str | None = None
    effective_to: str | None = None
    source: str | None = ""


class AuditRecord(_Record):
    id: str
    time: str
    actor: str
    action: str
    key: str
    kind: str
    version: int
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    reason: str | None = ""


_encode = msgspec.json.Encoder().encode
_spend = msgspec.json.Decoder(SpendRecord)
_flag = msgspec.json.Decoder(FlagRecord)
_alert = msgspec.json.Decoder(AlertRecord)
_budget = msgspec.json.Decoder(BudgetRecord)
_price = msgspec.json.Decoder(PriceRecord)
_audit = msgspec.json.Decoder(AuditRecord)


def rows_of(topic: Topic, records: Sequence[ConsumerRecord]) -> Encoded:
    """The rows of one topic's records, in order, and the records that cannot become one."""
    return _ENCODERS[topic](records)


def _priced_rows(records: Sequence[ConsumerRecord]) -> Encoded:
    """A priced event is already a row: JSONEachRow takes the record's value as it is, with no work per row.

    Only two things could break the lines apart, and the batch is checked for both at once: an empty value would be
    skipped, and a newline inside a value would make two lines of it.
    """
    lines = [record.value for record in records]
    if all(lines) and b"".join(lines).find(b"\n") < 0:
        return [Rows(tables.USAGE_EVENTS, lines, records)], []
    return _each(records, tables.USAGE_EVENTS, _one_line)


def _one_line(record: ConsumerRecord) -> bytes:
    if not record.value:
        raise UnreadableError("the value is empty")
    value: bytes = record.value
    return read_record(_on_one_line, value) if b"\n" in value else value


def _on_one_line(value: bytes) -> bytes:
    return msgspec.json.format(value, indent=-1)


def _spend_rows(records: Sequence[ConsumerRecord]) -> Encoded:
    # A later record of a key replaces the earlier, so of a batch only the last of each key is worth a row. Tombstones
    # say that Kafka forgets a window; ClickHouse keeps it.
    latest = {record.key: record for record in records if record.value is not None}
    return _each(list(latest.values()), tables.SPEND, _spend_line)


def _spend_line(record: ConsumerRecord) -> bytes:
    spend = read_record(_spend.decode, record.value)
    window = spend.window
    return _encode(
        SpendRow(
            spend.scope,
            window.kind,
            window.start,
            window.end,
            window.timezone,
            spend.spent_usd,
            spend.retail_usd,
            spend.usage,
            spend.events,
            spend.updated_at,
            record.partition,
            record.offset,
        )
    )


def _flag_rows(records: Sequence[ConsumerRecord]) -> Encoded:
    return _each(records, tables.FLAGS, _flag_line)


def _flag_line(record: ConsumerRecord) -> bytes:
    if record.value is None:
        # The worker removes no flag. If somebody else does, readers take the scope for one without a decision.
        flag = FlagRecord(scope=_key_text(record), state="ok", reason="removed")
    else:
        flag = read_record(_flag.decode, record.value)
    return _encode(msgspec.structs.asdict(flag) | _window_columns(flag.window) | _place(record))


def _alert_rows(records: Sequence[ConsumerRecord]) -> Encoded:
    # A tombstone only lets Kafka forget an alert that is over.
    return _each([record for record in records if record.value is not None], tables.ALERTS, _alert_line)


def _alert_line(record: ConsumerRecord) -> bytes:
    alert = read_record(_alert.decode, record.value)
    return _encode(msgspec.structs.asdict(alert) | _window_columns(alert.window) | _place(record))


def _control_rows(records: Sequence[ConsumerRecord]) -> Encoded:
    """Budgets and prices. Control records with any other key have no table and are left out."""
    encoded: list[Rows] = []
    rejected: list[Rejection] = []
    for prefix, table, line in (
        (b"budget/", tables.BUDGETS, _budget_line),
        (b"price/", tables.PRICES, _price_line),
    ):
        rows, refused = _each([r for r in records if (r.key or b"").startswith(prefix)], table, line)
        encoded += rows
        rejected += refused
    return encoded, rejected


def _budget_line(record: ConsumerRecord) -> bytes:
    if record.value is None:
        return _removal(record)
    budget = read_record(_budget.decode, record.value)
    row = msgspec.structs.asdict(budget)
    for level, threshold in row.pop("thresholds").items():
        if threshold is not None and level in ("warning", "critical", "emergency"):
            row[f"{level}_percent"] = threshold.percent
            row[f"{level}_action"] = threshold.action
    return _encode(row | {"removed": False} | _identity(record))


def _price_line(record: ConsumerRecord) -> bytes:
    if record.value is None:
        return _removal(record)
    price = read_record(_price.decode, record.value)
    return _encode(msgspec.structs.asdict(price) | {"removed": False} | _identity(record))


def _audit_rows(records: Sequence[ConsumerRecord]) -> Encoded:
    return _each(records, tables.AUDIT, _audit_line)


def _audit_line(record: ConsumerRecord) -> bytes:
    change = read_record(_audit.decode, record.value)
    values = {"before": _json_text(change.before), "after": _json_text(change.after)}
    return _encode(msgspec.structs.asdict(change) | values | _place(record))


def _json_text(value: dict[str, Any] | None) -> str:
    return "" if value is None else _encode(value).decode()


def _removal(record: ConsumerRecord) -> bytes:
    return _encode({"removed": True} | _identity(record))


def _identity(record: ConsumerRecord) -> dict[str, str | int]:
    """The id is the key's: Kafka keeps one record of a key, whatever its value says."""
    return {"id": _key_text(record).partition("/")[2], **_place(record)}


def _dead_letter_rows(records: Sequence[ConsumerRecord]) -> Encoded:
    return _each(records, tables.DEAD_LETTERS, dead_letter_line)


def _window_columns(window: Window | None) -> dict[str, str | None]:
    window = window or NO_WINDOW
    return {
        "window": window.kind,
        "window_start": window.start,
        "window_end": window.end,
        "timezone": window.timezone,
    }


def _place(record: ConsumerRecord) -> dict[str, int]:
    return {"source_partition": record.partition, "source_offset": record.offset}


def _key_text(record: ConsumerRecord) -> str:
    return (record.key or b"").decode("utf-8", "replace")


def _each(records: Sequence[ConsumerRecord], table: Table, line_of: Callable[[ConsumerRecord], bytes]) -> Encoded:
    lines: list[bytes] = []
    kept: list[ConsumerRecord] = []
    rejected: list[Rejection] = []
    for record in records:
        try:
            lines.append(line_of(record))
            kept.append(record)
        except UnreadableError as error:
            rejected.append(Rejection(record, f"not a record for {table.name}: {error}"))
    return ([Rows(table, lines, kept)] if lines else []), rejected


_ENCODERS: Final[dict[Topic, Callable[[Sequence[ConsumerRecord]], Encoded]]] = {
    Topic.PRICED: _priced_rows,
    Topic.SPEND: _spend_rows,
    Topic.FLAGS: _flag_rows,
    Topic.ALERTS: _alert_rows,
    Topic.CONTROL: _control_rows,
    Topic.AUDIT: _audit_rows,
    Topic.DEAD_LETTERS: _dead_letter_rows,
}

TOPICS: Final = tuple(_ENCODERS)
