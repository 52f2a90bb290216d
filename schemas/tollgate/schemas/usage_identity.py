"""When two usage events are the same: a digest of source and id, and a fingerprint of the content.

Both are stored in Kafka for weeks and read by later releases, so their computation must never change.
"""

from hashlib import blake2b
from typing import Any, Final

import msgspec

from tollgate.schemas.usage_codec import EventData, EventRecord

# The keys of objects in sorted order, the fields of `EventData` in that of their definition, defaults left out.
_encode: Final = msgspec.msgpack.Encoder(order="deterministic").encode


def identity_digest(source: str, id: str) -> bytes:  # noqa: A002 # the contract's name for it
    """16 bytes that stand for the pair; different pairs give different digests (2⁻¹²⁸ aside).

    The length in front keeps ("a", "bc") and ("ab", "c") apart. ValueError (UnicodeEncodeError) on lone surrogates,
    which no decoded event has.
    """
    # Cutting the full digest is as good as asking for a short one, and faster.
    return blake2b(f"{len(source)}:{source}{id}".encode()).digest()[:16]


def entry_digest(type: str, source: str, id: str) -> bytes:  # noqa: A002 # the contract's names
    """As `identity_digest`, for entries that are no usage events: their identity is type, source and id.

    A type begins with a letter and the digests of usage events with a digit, so that no two of them are alike.
    """
    return blake2b(f"{type}|{len(source)}:{source}{id}".encode()).digest()[:16]


def entry_fingerprint(subject: str, data: dict[str, Any]) -> int:
    """Unsigned 64 bits that stand for what an entry says, whatever its time, source and id."""
    return _cut(_encode((subject, {name: value for name, value in data.items() if value is not None})))


def fingerprint(event: EventRecord) -> int:
    """Unsigned 64 bits that stand for the event's subject and data, whatever its time, source and id.

    Equal for events that a sender serialised again: other key order or white space, `"1"` or `"1.0"` for 1, null or a
    usage of 0 for what is absent. It takes decoded events, whose amounts are in shortest form already. Unknown fields
    are not part of it.
    """
    data = event.data
    # Most events need no change, and this look is all that they cost.
    if data.metadata or 0 in data.usage.values():
        data = canonical(data)
    return _cut(_encode((event.subject, data)))


def fingerprint_as_sent(event: EventRecord) -> int:
    """The same over the data as it was decoded, with its zeros, nulls and floats: what the first releases stored.

    It differs from `fingerprint` only where `canonical` changes something.
    """
    try:
        return _cut(_encode((event.subject, event.data)))
    except OverflowError:
        # With an integer that no such release took.
        return fingerprint(event)


def canonical(data: EventData) -> EventData:
    """The data without what says nothing: usage of 0 and metadata that is null; whole numbers of metadata as integers.

    Metadata `1.0` and `1e0` are 1. An integer that msgpack has no form for becomes a list of its digits.
    """
    if 0 in data.usage.values():
        data = msgspec.structs.replace(data, usage={name: units for name, units in data.usage.items() if units != 0})
    if data.metadata and any(map(_is_restated, data.metadata.values())):
        metadata = {name: _restated(value) for name, value in data.metadata.items() if value is not None}
        data = msgspec.structs.replace(data, metadata=metadata)
    return data


# What msgpack has a form for.
_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**64 - 1


def _is_restated(value: Any) -> bool:
    kind = value.__class__
    return value is None or kind is float or (kind is int and not _INT_MIN <= value <= _INT_MAX)


def _restated(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    # No other metadata is a list, so that a text of the same digits stays another value.
    return [str(value)] if value.__class__ is int and not _INT_MIN <= value <= _INT_MAX else value


def _cut(content: bytes) -> int:
    return int.from_bytes(blake2b(content).digest()[:8])


def content_of(event: EventRecord, instant: str) -> bytes:
    """Bytes that are equal when source, subject, instant and what the event says are; its id is no part of them."""
    return _encode((event.source, event.subject, instant, canonical(event.data)))
