"""Why an input was refused. A refusal is a value: it is returned, counted and kept as a dead letter, never raised."""

from dataclasses import dataclass
from enum import StrEnum


class RefusalReason(StrEnum):
    """The `reason` header of a dead letter and the label of the worker's counter. A reader may branch on it."""

    NOT_JSON = "not_json"
    """The value is not one JSON text, or holds a lone surrogate."""
    INVALID_UTF8 = "invalid_utf8"
    """The value or a header is not UTF-8."""
    WRONG_TYPE = "wrong_type"
    """A field has another JSON type than the contract's; a number with a point or an exponent is not an integer."""
    MISSING_FIELD = "missing_field"
    """A required field is absent or null."""
    NEGATIVE_USAGE = "negative_usage"
    """An amount of usage or money is below zero."""
    TOO_LARGE = "too_large"
    """The value has more than 64 KiB."""
    INVALID_TIME = "invalid_time"
    """`time` is not an instant with an offset in the years 1970 to 9999."""
    FUTURE = "future"
    """`time` is more than 5 minutes ahead of the broker's clock."""
    TOO_OLD = "too_old"
    """`time` is further before the broker's clock than the installation's own limit; there is none by default."""
    NULL_VALUE = "null_value"
    """The record has no value."""
    CONFLICT = "conflict"
    """The same source and id were counted before with other data or for another user."""
    MISROUTED = "misrouted"
    """The record was forwarded once and is again in a wrong partition."""
    POISON = "poison"
    """The record ended the worker three times in a row and was put aside. It may be valid: the worker is at fault."""
    INVALID = "invalid"
    """A limit or a format is broken: a name's length, a control character, an unknown status, too many keys."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused input: the reason, and one sentence that starts with the field's path and never quotes the payload.

    Example: `Refusal(RefusalReason.WRONG_TYPE, "data.usage.input_tokens: must be an integer or a decimal string")`.
    """

    reason: RefusalReason
    error: str
