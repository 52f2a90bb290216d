"""Records that a worker passes on: dead letters, and events that are sent to their user's partition."""

from hashlib import sha256
from typing import Final

import msgspec
from aiokafka import ConsumerRecord

from tollgate.ledger.endings import Ending
from tollgate.ledger.outbox import NO_HEADERS, Headers, Outbox, OutRecord
from tollgate.schemas.cloud_events import binary_attributes
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import Action, AlertKind, AlertLevel, FlagState
from tollgate.schemas.outputs_codec import AlertRecord
from tollgate.schemas.refusals import Refusal, RefusalReason
from tollgate.schemas.topics import LETTER_BYTES_MAX, Topic
from tollgate.schemas.vocabulary import GLOBAL_SCOPE

# Marks a record that a worker has already forwarded once.
FORWARDED_HEADER: Final = "tollgate-forwarded-from"

FORWARDED_TWICE: Final = Refusal(RefusalReason.MISROUTED, "subject: forwarded once and again in a wrong partition")

# In place of a timestamp's type, which is 0 or 1 and which no producer can set: see `native/src/fetched.rs`.
_UNREADABLE_TYPE: Final = 255

# Room for what Kafka adds: the header of the batch (61 bytes) and the lengths of the record's parts.
_OVERHEAD_BYTES: Final = 1024
# What Kafka adds to a header: the lengths of its name and value.
_HEADER_OVERHEAD_BYTES: Final = 10
_ERROR_BYTES_MAX: Final = 4 * 1024
# Of a record that does not fit, this much of the key and of all headers together is kept. The value gets the rest.
_KEY_BYTES_MAX: Final = 64 * 1024
_HEADERS_BYTES_MAX: Final = 1024 * 1024

_encode = msgspec.json.Encoder().encode


def is_unreadable(record: ConsumerRecord) -> bool:
    """Whether the record stands for a batch of which the compressed bytes are all that could be read.

    Its value is those bytes, its offset the last of the batch, and its header `source_offset_first` has the first.
    """
    return bool(record.timestamp_type == _UNREADABLE_TYPE)


def dead_letter(record: ConsumerRecord, refusal: Refusal) -> OutRecord:
    """The refused record with its original key and bytes, and the reason in its headers.

    A record can be larger than a dead letter only if it was compressed. Then the beginnings of its key and value and
    its first headers are kept, a header `cut` says what is missing, and `value_sha256` is the hash of the whole value.
    """
    reason = [
        ("reason", refusal.reason.value.encode()),
        ("error", refusal.error.encode("utf-8", "replace")[:_ERROR_BYTES_MAX]),
        ("source_topic", record.topic.encode()),
        ("source_partition", str(record.partition).encode()),
        ("source_offset", str(record.offset).encode()),
        ("time", format_instant(record.timestamp).encode()),
    ]
    if is_unreadable(record):
        reason += [(name, value) for name, value in record.headers if value is not None]
    # Kafka's clients refuse a record without key and value; an empty key says the same.
    key = b"" if record.key is None and record.value is None else record.key
    headers = _cloud_event_headers(record)
    room = LETTER_BYTES_MAX - _OVERHEAD_BYTES - _size(reason)
    if len(key or b"") + len(record.value or b"") + _size(headers) <= room:
        return key, record.value, [*headers, *reason]
    return _cut(key, record.value, headers, reason, room)


def _cut(key: bytes | None, value: bytes | None, headers: Headers, reason: Headers, room: int) -> OutRecord:
    said = []
    if key is not None and len(key) > _KEY_BYTES_MAX:
        said.append(f"key: {_KEY_BYTES_MAX} of {len(key)} bytes are kept")
        key = key[:_KEY_BYTES_MAX]
    kept: Headers = []
    kept_bytes = 0
    for header in headers:
        kept_bytes += _size([header])
        if kept_bytes > _HEADERS_BYTES_MAX:
            said.append(f"headers: {len(kept)} of {len(headers)} are kept")
            break
        kept.append(header)
    notes: Headers = []
    # 512 bytes are more than the two headers that say what was cut.
    left = room - len(key or b"") - _size(kept) - 512
    if value is not None and len(value) > left:
        said.append(f"value: {left} of {len(value)} bytes are kept")
        notes.append(("value_sha256", sha256(value).hexdigest().encode()))
        value = value[:left]
    notes.append(("cut", "; ".join(said).encode()))
    return key, value, [*kept, *notes, *reason]


def write_poison(outbox: Outbox, record: ConsumerRecord, ending: Ending, now_ms: int) -> None:
    """The dead letter of a record that is not counted because it ended the worker again and again, and an alert."""
    error = f"this record ended the worker {ending.times} times in a row ({ending.error}) and was not counted"
    outbox.to(Topic.DEAD_LETTERS, 0).append(dead_letter(record, Refusal(RefusalReason.POISON, error)))
    key = f"poison/{record.topic}/{record.partition}/{record.offset}"
    now = format_instant(now_ms)
    alert = AlertRecord(
        key=key,
        kind=AlertKind.POISON,
        level=AlertLevel.CRITICAL,
        scope=GLOBAL_SCOPE,
        state=FlagState.OK,
        action=Action.ALERT,
        reason=f"record {record.offset} of {record.topic} partition {record.partition}: {error}. It is kept as a "
        "dead letter, to be sent again to a release that can count it",
        peak_level=AlertLevel.CRITICAL,
        since=now,
        updated_at=now,
        revision=now_ms,
    )
    outbox.to(Topic.ALERTS, 0).append((key.encode(), _encode(alert), NO_HEADERS))


def is_forwarded(record: ConsumerRecord) -> bool:
    """Whether the record was sent home before, or says so."""
    return any(name == FORWARDED_HEADER for name, _ in record.headers)


def forwarded(record: ConsumerRecord, key: bytes) -> OutRecord:
    """The same event under its user's key; the caller addresses it to the user's partition.

    Of the headers only a CloudEvent's own attributes in binary mode go along. They are short, because the event is
    valid, so the forwarded record is never larger than an event may be.
    """
    origin = f"{record.partition}:{record.offset}".encode()
    attributes = binary_attributes(record.headers)
    assert not isinstance(attributes, Refusal), "only a valid event is forwarded"
    headers = [(f"ce_{name}", text.encode()) for name, text in (attributes or {}).items()]
    return key, record.value, [*headers, (FORWARDED_HEADER, origin)]


def _cloud_event_headers(record: ConsumerRecord) -> Headers:
    """The headers that a CloudEvent in binary mode needs; the producer's other headers are dropped."""
    kept = (name for name in record.headers if name[0].startswith("ce_") or name[0].lower() == "content-type")
    return [(name, value or b"") for name, value in kept]


def _size(headers: Headers) -> int:
    return sum(len(name.encode()) + len(value) + _HEADER_OVERHEAD_BYTES for name, value in headers)
