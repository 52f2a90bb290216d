"""Internal records about meters: what the worker asks the past of, and the answer.

A meter is a scope or pattern and a calendar (`user/*+feature/video|month`) whose sums are kept because a budget or plan
needs them. The worker says in `internal.meters` from which usage offset a partition counts it. The ClickHouse sink
answers with what was spent before that, in entries of type `PAST_TYPE`.
"""

from typing import Annotated, Final

import msgspec

from tollgate.schemas.refusals import Refusal, RefusalReason

PAST_TYPE: Final = "tollgate.internal.past.v1"

# How the value of such an entry begins. It may be larger than an entry of a user.
_PAST_HEAD: Final = b'{"specversion":"1.0","type":"' + PAST_TYPE.encode() + b'"'

PastRow = tuple[str, int, int, int, int, dict[str, int]]
"""Scope, start of the window in milliseconds, cost and retail value in picousd, events, usage in 10⁻⁹ units."""


class MeterRecord(msgspec.Struct, kw_only=True, frozen=True):
    """Value of `internal.meters` under `<usage partition>|<meter>`. Instants are RFC 3339 in UTC."""

    meter: str
    scope: str
    calendar: str
    partition: int
    from_offset: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    """The first usage offset that the partition counts in it."""
    window_start: str
    """Start of the window in which it began: the past is what was spent from here on, before `from_offset`."""
    whole_from: str
    """Start of the window after that one. An event of its first minutes may be in the past too."""
    filled: bool
    """Whether the past is in the sums."""


class Past(msgspec.Struct, kw_only=True, frozen=True):
    """`data` of a `PAST_TYPE` entry: part `part` (from 0) of `parts` of the past of a meter in one partition."""

    meter: str
    from_offset: int
    part: int
    parts: int
    rows: list[PastRow]


class _Entry(msgspec.Struct):
    type: str
    data: Past


_decode: Final = msgspec.json.Decoder(_Entry).decode


def decode_past(value: bytes) -> Past:
    """The past in an entry. ValueError or RecursionError when it is none."""
    return _decode(value).data


def read_past(value: bytes | None) -> Past | Refusal | None:
    """The same for whatever stands on the topic of entries; None for an entry of another type."""
    if value is None or not value.startswith(_PAST_HEAD):
        return None
    try:
        return decode_past(value)
    except (ValueError, RecursionError) as error:
        return Refusal(RefusalReason.INVALID, f"not the past of a meter: {error}")
