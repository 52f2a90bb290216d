"""The values inside a usage event that pydantic has no type for: amounts, dollars, times, metadata."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from tollgate.schemas.amounts import canonical_amount, canonical_usd
from tollgate.schemas.event_time import parse_event_time
from tollgate.schemas.refusals import RefusalReason
from tollgate.schemas.usage_limits import AMOUNT_UNITS_MAX, METADATA_DIGITS_MAX, METADATA_INT_MAX

_INFINITE = (float("inf"), float("-inf"))


def fault(reason: RefusalReason, text: str) -> PydanticCustomError:
    """An error for pydantic that carries the refusal's reason as its type."""
    return PydanticCustomError(reason.value, text)


def _amount(given: Any) -> int | str:
    if type(given) is int:
        if given < 0:
            raise fault(RefusalReason.NEGATIVE_USAGE, "must not be negative")
        if given > AMOUNT_UNITS_MAX:
            raise fault(RefusalReason.INVALID, "must be below 10^18")
        return given
    if not isinstance(given, str):
        raise fault(RefusalReason.WRONG_TYPE, "must be an integer or a decimal string")
    try:
        return canonical_amount(given)
    except ValueError:
        raise _bad_decimal(given, canonical_amount, "9 decimals and below 10^18") from None


def _usd(given: Any) -> str:
    if not isinstance(given, str):
        raise fault(RefusalReason.WRONG_TYPE, "must be a decimal string")
    try:
        return canonical_usd(given)
    except ValueError:
        raise _bad_decimal(given, canonical_usd, "12 decimals and below 10^14") from None


def _bad_decimal(text: str, parse: Callable[[str], object], limits: str) -> PydanticCustomError:
    if text.startswith("-"):
        try:
            parse(text[1:])
        except ValueError:
            pass
        else:
            return fault(RefusalReason.NEGATIVE_USAGE, "must not be negative")
    return fault(RefusalReason.INVALID, f"must be a plain decimal number with at most {limits}")


def _time(text: str) -> str:
    try:
        parse_event_time(text)
    except ValueError as error:
        raise fault(RefusalReason.INVALID_TIME, str(error)) from None
    return text


def _metadata(given: Any) -> str | int | float | bool | None:
    if isinstance(given, dict | list):
        raise fault(RefusalReason.WRONG_TYPE, "must be a string, a number, true, false or null")
    if type(given) is int and abs(given) > METADATA_INT_MAX:
        raise fault(RefusalReason.INVALID, f"must have at most {METADATA_DIGITS_MAX} digits")
    if given in _INFINITE:
        raise fault(RefusalReason.INVALID, "is too large a number")
    assert given is None or isinstance(given, str | int | float)
    return given


UsageAmount = Annotated[
    int | str,
    PlainValidator(_amount),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": AMOUNT_UNITS_MAX},
                {"type": "string", "pattern": r"^[0-9]{1,18}(\.[0-9]{1,9})?$"},
            ]
        }
    ),
]
UsdAmount = Annotated[
    str,
    PlainValidator(_usd),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,14}(\.[0-9]{1,12})?$"}),
]
MetadataValue = Annotated[
    str | int | float | bool | None,
    PlainValidator(_metadata),
    WithJsonSchema({"type": ["string", "number", "boolean", "null"]}),
]
TimeText = Annotated[str, AfterValidator(_time)]
