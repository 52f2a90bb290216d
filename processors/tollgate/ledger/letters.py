"""Records that go on as they came: dead letters, and events sent home to their user's partition."""

from typing import Final

from aiokafka import ConsumerRecord

from tollgate.ledger.outbox import Headers, OutRecord
from tollgate.schemas.instants import format_instant
from tollgate.schemas.refusals import Refusal

# Marks a record that a worker has already forwarded once.
FORWARDED_HEADER: Final = "tollgate-forwarded-from"


def dead_letter(record: ConsumerRecord, refusal: Refusal) -> OutRecord:
    """The refused record with its original key and bytes, and the reason in its headers."""
    reason = [
        ("reason", refusal.reason.value.encode()),
        ("error", refusal.error.encode("utf-8", "replace")),
        ("source_topic", record.topic.encode()),
        ("source_partition", str(record.partition).encode()),
        ("source_offset", str(record.offset).encode()),
        ("time", format_instant(record.timestamp).encode()),
    ]
    # Kafka's clients refuse a record without key and value; an empty key says the same.
    key = b"" if record.key is None and record.value is None else record.key
    return key, record.value, [*_cloud_event_headers(record), *reason]


def forwarded(record: ConsumerRecord, key: bytes) -> OutRecord:
    """The same event under its user's key; the caller addresses it to the user's partition."""
    origin = f"{record.partition}:{record.offset}".encode()
    return key, record.value, [*_cloud_event_headers(record), (FORWARDED_HEADER, origin)]


def _cloud_event_headers(record: ConsumerRecord) -> Headers:
    """What a CloudEvent in binary mode cannot do without; other headers of the producer are dropped."""
    kept = (name for name in record.headers if name[0].startswith("ce_") or name[0].lower() == "content-type")
    return [(name, value or b"") for name, value in kept]
