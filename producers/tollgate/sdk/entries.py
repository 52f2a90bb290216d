"""Reservations and releases as they go to Kafka, checked by the worker's own reader."""

import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tollgate.schemas.entries import decode_usage_topic
from tollgate.schemas.instants import format_instant
from tollgate.schemas.refusals import Refusal, RefusalReason
from tollgate.schemas.text_rules import NAME_CHARS_MAX
from tollgate.schemas.usage_limits import SPEC_VERSION
from tollgate.schemas.vocabulary import EntryType
from tollgate.sdk.errors import InvalidEventError

_encode: Final = msgspec.json.Encoder().encode

# What a release's id has beyond that of its reservation.
_RELEASE: Final = "/release"
_ID_CHARS_MAX: Final = NAME_CHARS_MAX - len(_RELEASE)


def encode_reservation(source: str, reservation_id: str, user: str, data: Mapping[str, Any]) -> bytes:
    """A reservation of now. InvalidEventError when the worker would refuse it, or could not read its release."""
    if len(reservation_id) > _ID_CHARS_MAX:
        raise InvalidEventError(Refusal(RefusalReason.INVALID, f"id: must have at most {_ID_CHARS_MAX} characters"))
    return _encoded(EntryType.RESERVATION, source, reservation_id, user, data)


def encode_release(source: str, reservation_id: str, user: str) -> bytes:
    """The release of a reservation, as of now. The same reservation's releases have one identity, so they count once.

    InvalidEventError when the worker would refuse it.
    """
    data = {"reservation_id": reservation_id}
    return _encoded(EntryType.RELEASE, source, f"{reservation_id}{_RELEASE}", user, data)


def _encoded(kind: EntryType, source: str, entry_id: str, user: str, data: Mapping[str, Any]) -> bytes:
    value = _encode(
        {
            "specversion": SPEC_VERSION,
            "type": kind,
            "source": source,
            "id": entry_id,
            "subject": user,
            "time": format_instant(time.time_ns() // 1_000_000),
            "data": {name: given for name, given in data.items() if given is not None},
        }
    )
    entry = decode_usage_topic(value)
    if isinstance(entry, Refusal):
        raise InvalidEventError(entry)
    return value
