"""What a record of the ledger's inputs holds."""

from typing import Final

from aiokafka import ConsumerRecord

from tollgate.ledger.letters import is_unreadable
from tollgate.schemas.entries import (
    CreditEntry,
    ReleaseEntry,
    ReservationEntry,
    decode_entries_topic,
    decode_usage_topic,
)
from tollgate.schemas.meters import Past, read_past
from tollgate.schemas.refusals import Refusal, RefusalReason
from tollgate.schemas.usage_codec import EventRecord

# A batch of records that is too large when it is unpacked.
_UNREADABLE: Final = Refusal(RefusalReason.TOO_LARGE, "value: a compressed batch that is over 128 MiB when unpacked")


def decoded(record: ConsumerRecord) -> EventRecord | ReservationEntry | ReleaseEntry | Refusal:
    """What a record of usage holds, or why it is refused."""
    return _UNREADABLE if is_unreadable(record) else decode_usage_topic(record.value, record.headers)


def decoded_entry(record: ConsumerRecord) -> CreditEntry | Past | Refusal:
    """What a record of entries holds, or why it is refused."""
    if is_unreadable(record):
        return _UNREADABLE
    past = read_past(record.value)
    return past if past is not None else decode_entries_topic(record.value, record.headers)
