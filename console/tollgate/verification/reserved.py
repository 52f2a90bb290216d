"""Open reservations in the state's rows: `h|user|source|id`, with what is left of each and the names of its call."""

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tollgate.verification.names import names_of, written
from tollgate.verification.sums import AMOUNT_DECIMALS

_decode: Final = msgspec.json.Decoder(list[Any]).decode

Key = tuple[str, str, str]
"""A reservation: user, source and id."""


@dataclass(frozen=True, slots=True)
class Open:
    """What is left of it in 10⁻¹² USD and 10⁻⁹ credits, and the names of its call beside the user's."""

    picousd: int
    nano: int
    names: dict[str, str]

    def of(self, unit: str) -> int:
        """In the unit of a limit; nothing is reserved of a usage dimension."""
        if unit == "usd":
            return self.picousd
        if unit == "credits":
            return self.nano
        return 10**AMOUNT_DECIMALS if unit == "events" else 0

    def is_in(self, scope: str) -> bool:
        """Whether the call is in a scope of its user."""
        return all(written(self.names.get(dimension, "")) == name for dimension, name in names_of(scope)[1:])


def key_of(row: str) -> Key:
    """The reservation of a row's key."""
    user, source, id_ = row[2:].split("|", 2)
    user, source = (part.replace("%7C", "|").replace("%25", "%") for part in (user, source))
    return user, source, id_


def read_open(value: bytes) -> Open | None:
    """The reservation of a row; None where usage of one that was not read yet is remembered.

    ValueError, TypeError, AttributeError or IndexError when the row cannot be read.
    """
    tag, picousd, nano, *rest = _decode(value)
    if tag != "o":
        return None
    return Open(picousd, nano, dict(rest[1]))
