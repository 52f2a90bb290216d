"""When two usage events are the same: a digest of source and id, and a fingerprint of the content.

Both are stored in Kafka for weeks and read by later releases, so their computation must never change.
"""

from hashlib import blake2b
from typing import Final

import msgspec

from tollgate.schemas.usage_codec import EventRecord

# The keys of objects in sorted order, the fields of `EventData` in that of their definition, defaults left out.
_encode: Final = msgspec.msgpack.Encoder(order="deterministic").encode


def identity_digest(source: str, id: str) -> bytes:  # noqa: A002 # the contract's name for it
    """16 bytes that stand for the pair; different pairs give different digests (2⁻¹²⁸ aside).

    The length in front keeps ("a", "bc") and ("ab", "c") apart. ValueError (UnicodeEncodeError) on lone surrogates,
    which no decoded event has.
    """
    # Cutting the full digest is as good as asking for a short one, and faster.
    return blake2b(f"{len(source)}:{source}{id}".encode()).digest()[:16]


def fingerprint(event: EventRecord) -> int:
    """Unsigned 64 bits that stand for the event's subject and data, whatever its time, source and id.

    Equal for events that a sender serialised again: other key order or white space, `"1"` for 1, absent for null. It
    takes decoded events, whose amounts are in shortest form already. Unknown fields are not part of it.
    """
    return int.from_bytes(blake2b(_encode((event.subject, event.data))).digest()[:8])
