"""Kafka records as rows of the storage tables. Pure: bytes in, bytes out; a record without a valid row is a Rejection.

A record always gives the same row, so that writing it again replaces the row instead of adding one.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from aiokafka import ConsumerRecord

from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.scopes import parse_names
from tollgate.schemas.topics import Topic
from tollgate.sinks.clickhouse import tables
from tollgate.sinks.clickhouse.dead_letters import dead_letter_line
from tollgate.sinks.clickhouse.entries import entry_row
from tollgate.sinks.clickhouse.records import (
    NO_WINDOW,
    AlertRecord,
    AssignmentRecord,
    AuditRecord,
    BalanceRecord,
    BudgetRecord,
    DecisionRecord,
    FlagRecord,
    PlanRecord,
    PriceRecord,
    SpendRecord,
    SpendRow,
    Window,
)
from tollgate.sinks.clickhouse.tables import Rejection, Rows, Table

Encoded = tuple[list[Rows], list[Rejection]]

_encode = msgspec.json.Encoder().encode
_spend = msgspec.json.Decoder(SpendRecord)
_flag = msgspec.json.Decoder(FlagRecord)
_alert = msgspec.json.Decoder(AlertRecord)
_budget = msgspec.json.Decoder(BudgetRecord)
_price = msgspec.json.Decoder(PriceRecord)
_audit = msgspec.json.Decoder(AuditRecord)
_plan = msgspec.json.Decoder(PlanRecord)
_assignment = msgspec.json.Decoder(AssignmentRecord)
_decision = msgspec.json.Decoder(DecisionRecord)
_balance = msgspec.json.Decoder(BalanceRecord)


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
    return _each(_latest(records), tables.SPEND, _spend_line)


def _latest(records: Sequence[ConsumerRecord]) -> list[ConsumerRecord]:
    """A later record of a key replaces the earlier, so of a batch only the last of each key is worth a row.

    Tombstones say that Kafka forgets a key; ClickHouse keeps it.
    """
    return list({record.key: record for record in records if record.value is not None}.values())


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
            spend.reserved_usd,
            spend.revenue_usd,
            _calendar(record.key),
            spend.updated_at,
            record.partition,
            record.offset,
        )
    )


def _calendar(key: bytes | None) -> str:
    """Of `scope|calendar|start` the calendar; empty where it is the kind of a window alone, as in rows of before."""
    _, _, calendar = (key or b"").rpartition(b"|")[0].rpartition(b"|")
    return calendar.decode("utf-8", "replace") if b"@" in calendar else ""


def _flag_rows(records: Sequence[ConsumerRecord]) -> Encoded:
    return _each(records, tables.FLAGS, _flag_line)


def _flag_line(record: ConsumerRecord) -> bytes:
    if record.value is None:
        # The worker removes no flag. If somebody else does, readers take the scope for one without a decision.
        flag = FlagRecord(scope=_key_text(record), state="ok", reason="removed")
    else:
        flag = read_record(_flag.decode, record.value)
    return _encode(_columns(flag) | _window_columns(flag.window) | _place(record))


def _alert_rows(records: Sequence[ConsumerRecord]) -> Encoded:
    # A tombstone only lets Kafka forget an alert that is over.
    return _each([record for record in records if record.value is not None], tables.ALERTS, _alert_line)


def _alert_line(record: ConsumerRecord) -> bytes:
    alert = read_record(_alert.decode, record.value)
    return _encode(msgspec.structs.asdict(alert) | _window_columns(alert.window) | _place(record))


def _control_rows(records: Sequence[ConsumerRecord]) -> Encoded:
    """Budgets, plans, assignments and prices. Control records with any other key have no table and are left out."""
    encoded: list[Rows] = []
    rejected: list[Rejection] = []
    for prefix, table, line in (
        (b"budget/", tables.BUDGETS, _budget_line),
        (b"plan/", tables.PLANS, _plan_line),
        (b"assignment/", tables.ASSIGNMENTS, _assignment_line),
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
    row = _columns(budget)
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


def _plan_line(record: ConsumerRecord) -> bytes:
    if record.value is None:
        return _removal(record)
    plan = read_record(_plan.decode, record.value)
    return _encode(msgspec.structs.asdict(plan) | {"removed": False} | _identity(record))


def _assignment_line(record: ConsumerRecord) -> bytes:
    identity = _identity(record)
    whose = {"user": _user_of(str(identity["id"]))}
    if record.value is None:
        return _encode({"removed": True} | whose | identity)
    assignment = read_record(_assignment.decode, record.value)
    return _encode(msgspec.structs.asdict(assignment) | {"removed": False} | whose | identity)


def _user_of(scope: str) -> str:
    """The user of an assignment as events have it: a scope writes some names otherwise. Empty for `default`."""
    if scope == "default":
        return ""
    try:
        ((_, user),) = parse_names(scope)
    except ValueError:
        # The worker gives nobody this plan.
        return scope.removeprefix("user/")
    return user


def _entry_rows(records: Sequence[ConsumerRecord]) -> Encoded:
    """What is no entry is left out: the worker refuses it, and its dead letter has a row."""
    rows = [(row, record) for record in records if (row := entry_row(record)) is not None]
    kept = [record for _, record in rows]
    return ([Rows(tables.ENTRIES, [_encode(row | _place(record)) for row, record in rows], kept)] if rows else []), []


def _decision_rows(records: Sequence[ConsumerRecord]) -> Encoded:
    return _each(records, tables.DECISIONS, _decision_line)


def _decision_line(record: ConsumerRecord) -> bytes:
    return _encode(msgspec.structs.asdict(read_record(_decision.decode, record.value)) | _place(record))


def _balance_rows(records: Sequence[ConsumerRecord]) -> Encoded:
    return _each(_latest(records), tables.BALANCES, _balance_line)


def _balance_line(record: ConsumerRecord) -> bytes:
    return _encode(msgspec.structs.asdict(read_record(_balance.decode, record.value)) | _place(record))


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


def _columns(record: FlagRecord | BudgetRecord) -> dict[str, Any]:
    """The fields by the names of their columns: `except` is no name in Python."""
    columns = msgspec.structs.asdict(record)
    columns["except"] = columns.pop("except_") or ()
    return columns


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
    Topic.ENTRIES: _entry_rows,
    Topic.SPEND: _spend_rows,
    Topic.FLAGS: _flag_rows,
    Topic.ALERTS: _alert_rows,
    Topic.DECISIONS: _decision_rows,
    Topic.BALANCES: _balance_rows,
    Topic.CONTROL: _control_rows,
    Topic.AUDIT: _audit_rows,
    Topic.DEAD_LETTERS: _dead_letter_rows,
}

TOPICS: Final = tuple(_ENCODERS)
