"""What control records are made of: the types of their fields, and what all records share."""

from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from tollgate.schemas.amounts import format_amount, format_usd, parse_amount, parse_usd
from tollgate.schemas.event_time import parse_event_time
from tollgate.schemas.instants import format_instant
from tollgate.schemas.text_rules import CONTROL_CHARACTER, NAME_CHARS_MAX

# The first version of a record, and that of a record of a release that had no versions.
FIRST_VERSION: Final = 1
# The largest whole number that every JSON reader keeps exact.
VERSION_MAX: Final = 2**53 - 1
REASON_CHARS_MAX: Final = 1024

# Budget ids contain a scope, a window and a unit, so they may be longer than a name.
ID_CHARS_MAX: Final = 600


def plain(text: str) -> str:
    if CONTROL_CHARACTER.search(text):
        raise ValueError("must not contain control characters")
    return text


def canonical_usd(text: str) -> str:
    return format_usd(parse_usd(text))


def canonical_amount(text: str) -> str:
    return format_amount(parse_amount(text))


def _canonical_instant(text: str) -> str:
    return format_instant(parse_event_time(text))


Id = Annotated[str, Field(min_length=1, max_length=ID_CHARS_MAX), AfterValidator(plain)]
# Empty: it follows from the record.
OptionalId = Annotated[str, Field(max_length=ID_CHARS_MAX), AfterValidator(plain)]
Name = Annotated[str, Field(max_length=NAME_CHARS_MAX), AfterValidator(plain)]
UsdText = Annotated[str, AfterValidator(canonical_usd), Field(description="US dollars ≥ 0, a decimal string")]
AmountText = Annotated[str, AfterValidator(canonical_amount), Field(description="an amount ≥ 0, a decimal string")]
InstantText = Annotated[str, AfterValidator(_canonical_instant), Field(description="RFC 3339 with offset, kept in UTC")]


class ControlValue(BaseModel):
    """A control record or a part of one: fields of later releases are ignored, a value is frozen."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class ControlRecord(ControlValue):
    """What all control records share: who changed them last, why, and how often they were changed.

    `tollgate.control` sets these fields at every change. Records of releases that had none read as version 1.
    """

    actor: Name = ""
    """Who made the change, for example `cli:alice`; empty when not known."""
    reason: Annotated[str, Field(max_length=REASON_CHARS_MAX), AfterValidator(plain)] = ""
    """Why, in the actor's words; empty when not given."""
    version: int = Field(FIRST_VERSION, strict=True, ge=FIRST_VERSION, le=VERSION_MAX)
    """Rises by 1 with every change of the key."""
    updated_at: InstantText | None = None
    """When the change was made; null when not known."""


def describe_faults(error: ValidationError) -> str:
    """What is wrong with a control record, for people: `"thresholds.warning.percent: must be above 0; limit: …"`."""
    texts = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        place = ".".join(str(part) for part in fault["loc"])
        text = fault["msg"].removeprefix("Value error, ")
        texts.append(f"{place}: {text}" if place else text)
    return "; ".join(texts)
