"""Dead letters as rows: those of the topic, and records that the sink itself could not write.

Rows are tab separated, so that any bytes survive.
"""

from datetime import UTC, datetime
from typing import Final

import msgspec
from aiokafka import ConsumerRecord

from tollgate.schemas.instants import format_instant, to_ms
from tollgate.schemas.topics import LETTER_BYTES_MAX
from tollgate.sinks.clickhouse.tables import Rejection

SINK_REJECTED: Final = "sink_rejected"

# The headers that say why a record is a dead letter; the others are the original event's.
_OWN_HEADERS: Final = frozenset({"reason", "error", "source_topic", "source_partition", "source_offset", "time"})

_ABSENT: Final = -1

# The worker's own dead letters fit. A record that was written by others may be larger when it was compressed.
_VALUE_BYTES_MAX: Final = LETTER_BYTES_MAX
_TEXT_BYTES_MAX: Final = 64 * 1024
# The longest name of a topic has 249 characters.
_NAME_BYTES_MAX: Final = 256
# ClickHouse's times end in 2299; what is after this instant is no time at which a record was written.
_WRITTEN_MS_MAX: Final = to_ms(datetime(2200, 1, 1, tzinfo=UTC))

_ESCAPES: Final = (
    (b"\\", b"\\\\"),
    (b"\t", b"\\t"),
    (b"\n", b"\\n"),
    (b"\r", b"\\r"),
    (b"\0", b"\\0"),
)


def dead_letter_line(record: ConsumerRecord) -> bytes:
    """The row of a record of the dead-letters topic."""
    texts = {name: value.decode("utf-8", "replace") for name, value in record.headers if value is not None}
    return _line(
        texts.get("time") or written_at(record),
        texts.get("reason", "unknown"),
        texts.get("error", ""),
        texts.get("source_topic", ""),
        _whole(texts.get("source_partition")),
        _whole(texts.get("source_offset")),
        record,
        {name: text for name, text in texts.items() if name not in _OWN_HEADERS},
        record.partition,
        record.offset,
    )


def rejection_line(rejection: Rejection) -> bytes:
    """The row of a record that the sink could not write. Its time is the record's, so that a repeat is the same row."""
    record = rejection.record
    return _line(
        written_at(record),
        SINK_REJECTED,
        rejection.error,
        record.topic,
        record.partition,
        record.offset,
        record,
        {name: value.decode("utf-8", "replace") for name, value in record.headers if value is not None},
        _ABSENT,
        _ABSENT,
    )


def _line(
    time: str,
    reason: str,
    error: str,
    source_topic: str,
    source_partition: int,
    source_offset: int,
    record: ConsumerRecord,
    headers: dict[str, str],
    partition: int,
    offset: int,
) -> bytes:
    key, value = record.key or b"", record.value or b""
    kept, headers_bytes = {}, 0
    for name, text in headers.items():
        headers_bytes += len(name) + len(text)
        if headers_bytes <= _TEXT_BYTES_MAX:
            kept[name] = text
    said = [error[:_TEXT_BYTES_MAX]] if error else []
    for what, size, most in (
        ("key", len(key), _TEXT_BYTES_MAX),
        ("value", len(value), _VALUE_BYTES_MAX),
        ("headers", headers_bytes, _TEXT_BYTES_MAX),
    ):
        if size > most:
            said.append(f"of {size} bytes of {what} at most {most} are kept")
    fields = (
        time[:_NAME_BYTES_MAX].encode(),
        reason[:_NAME_BYTES_MAX].encode(),
        "; ".join(said).encode(),
        source_topic[:_NAME_BYTES_MAX].encode(),
        b"%d" % source_partition,
        b"%d" % source_offset,
        key[:_TEXT_BYTES_MAX],
        value[:_VALUE_BYTES_MAX],
        msgspec.json.encode(kept),
        b"%d" % partition,
        b"%d" % offset,
    )
    return b"\t".join(_escape(field) for field in fields)


def written_at(record: ConsumerRecord) -> str:
    """When the record was written to Kafka; 1970 when it has no such time."""
    # A producer may write any 64-bit number; one outside the calendar says nothing.
    return format_instant(record.timestamp if 0 <= record.timestamp < _WRITTEN_MS_MAX else 0)


def _escape(field: bytes) -> bytes:
    for raw, escaped in _ESCAPES:
        if raw in field:
            field = field.replace(raw, escaped)
    return field


def _whole(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 19 else _ABSENT
