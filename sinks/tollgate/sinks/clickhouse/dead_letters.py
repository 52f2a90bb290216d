"""Dead letters as rows: those of the topic, and records that the sink itself could not write.

Rows are tab separated, so that any bytes survive.
"""

from typing import Final

import msgspec
from aiokafka import ConsumerRecord

from tollgate.schemas.instants import format_instant
from tollgate.sinks.clickhouse.tables import Rejection

SINK_REJECTED: Final = "sink_rejected"

# The headers that say why a record is a dead letter; the others are the original event's.
_OWN_HEADERS: Final = frozenset({"reason", "error", "source_topic", "source_partition", "source_offset", "time"})

_ABSENT: Final = -1

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
        texts.get("time") or _written_at(record),
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
        _written_at(record),
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
    fields = (
        time.encode(),
        reason.encode(),
        error.encode(),
        source_topic.encode(),
        b"%d" % source_partition,
        b"%d" % source_offset,
        record.key or b"",
        record.value or b"",
        msgspec.json.encode(headers),
        b"%d" % partition,
        b"%d" % offset,
    )
    return b"\t".join(_escape(field) for field in fields)


def _written_at(record: ConsumerRecord) -> str:
    try:
        return format_instant(record.timestamp)
    except (OverflowError, ValueError):
        # A producer may write any 64-bit number as a timestamp; one outside the calendar is dropped.
        return format_instant(0)


def _escape(field: bytes) -> bytes:
    for raw, escaped in _ESCAPES:
        if raw in field:
            field = field.replace(raw, escaped)
    return field


def _whole(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 19 else _ABSENT
