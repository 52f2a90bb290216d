"""The rows and records of a scope's windows as bytes."""

from functools import lru_cache
from typing import Final

import msgspec

from tollgate.domain.budgets import written_window
from tollgate.domain.spend import Spend
from tollgate.domain.windows import WindowKey
from tollgate.schemas.amounts import format_amount, format_usd
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs_codec import SpendValue

_encode: Final = msgspec.json.Encoder().encode


def sequence_of(row: bytes) -> int:
    """The number of the transaction that wrote a row of spend: its first element."""
    return int(row[1 : row.index(b",")])


def with_sequence(sequence: int, packed: bytes) -> bytes:
    """The state row of a closed window: `[5,1,[]]` from 5 and `[1,[]]`."""
    return b"[%d,%b" % (sequence, packed[1:])


def without_sequence(row: bytes) -> bytes:
    """The inverse of `with_sequence`, as far as the sum goes."""
    return b"[" + row[row.index(b",") + 1 :]


def spend_key(scope: str, window: WindowKey) -> bytes:
    """The key of a window's spend record."""
    return f"{scope}|{_written(window)[0]}".encode()


def spend_value(scope: str, window: WindowKey, spend: Spend, updated_at: str, reserved_picousd: int = 0) -> SpendValue:
    """The spend record of a window; `updated_at` is RFC 3339."""
    return SpendValue(
        scope,
        _written(window)[1],
        format_usd(spend.cost_picousd),
        format_usd(spend.retail_picousd),
        {dimension: format_amount(amount) for dimension, amount in spend.usage_nano.items()},
        spend.events,
        format_usd(reserved_picousd),
        # No entry of this release adds revenue.
        "0",
        updated_at,
    )


@lru_cache(maxsize=4096)
def _written(window: WindowKey) -> tuple[str, msgspec.Raw]:
    """A window as it ends a spend record's key, and as JSON; the same few are written for every scope."""
    calendar, start = window
    return f"{calendar}|{format_instant(start)}", msgspec.Raw(_encode(written_window(calendar, start)))
