"""Read a record that anybody may have written: one door for every JSON decoder behind a topic.

A decoder calls itself for each level of nesting, so nesting is checked before decoding, and so is size. Whatever goes
wrong becomes one error. A reader catches it without knowing the decoder, skips the record and says so once.
"""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeGuard, TypeVar

import msgspec

from tollgate.schemas.strict_json import DEPTH_MAX, is_too_deep
from tollgate.schemas.topics import RECORD_BYTES_MAX

if TYPE_CHECKING:
    from pydantic import ValidationError

T = TypeVar("T")

# A decoder may name a field of the sender, and such a name can have any length.
_TEXT_CHARS_MAX: Final = 300


class UnreadableError(ValueError):
    """The value is no record of the kind that was asked for. The text says why and holds none of its content but
    names of fields, cut to 300 characters.
    """


def read_record(decode: Callable[[bytes], T], value: bytes | None) -> T:
    """What `decode` makes of the value. UnreadableError when it can make nothing of it, and never another error.

    `decode` is a decoder, or any function of the value that raises ValueError, TypeError, KeyError, AttributeError or
    OverflowError for what it cannot read.
    """
    if value is None:
        raise UnreadableError("it has no value")
    if len(value) > RECORD_BYTES_MAX:
        raise UnreadableError(f"more than {RECORD_BYTES_MAX} bytes")
    if is_too_deep(value):
        raise UnreadableError(f"nested deeper than {DEPTH_MAX} levels")
    try:
        return decode(value)
    except UnicodeDecodeError as error:
        # Its own text quotes the byte.
        raise UnreadableError(f"not UTF-8: {error.reason}") from None
    except msgspec.MsgspecError as error:
        raise UnreadableError(_cut(str(error))) from None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise UnreadableError(_cut(_first_fault(error)) if _is_of_model(error) else type(error).__name__) from None


def _is_of_model(error: Exception) -> "TypeGuard[ValidationError]":
    """Whether a model has raised it. Readers without models do without pydantic, which takes longest to import."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(error, pydantic.ValidationError)


def _first_fault(error: "ValidationError") -> str:
    """`limit: must be above 0 (and 2 more faults)`."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    place = ".".join(str(part) for part in faults[0]["loc"])
    text = faults[0]["msg"].removeprefix("Value error, ")
    more = f" (and {len(faults) - 1} more faults)" if len(faults) > 1 else ""
    return f"{f'{place}: ' if place else ''}{text}{more}"


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT_CHARS_MAX else text[: _TEXT_CHARS_MAX - 1] + "…"
