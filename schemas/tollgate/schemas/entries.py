"""Entries that are no usage events: reservations, releases and credits, and which of all types a record is.

Size, names, times and refusals are those of usage events; see `usage_event`. Reservations and releases are on
`tollgate.usage`, in one order with the usage that settles them; credits are on `tollgate.entries`.
"""

from typing import Annotated, Any, Final, Literal, Self

import msgspec
from pydantic import BaseModel, ConfigDict, Field, JsonValue, PlainValidator, WithJsonSchema, model_validator

from tollgate.schemas.amounts import NANO, canonical_amount, parse_amount, parse_usd
from tollgate.schemas.cloud_events import Headers, binary_attributes
from tollgate.schemas.event_time import parse_event_time
from tollgate.schemas.outputs import CreditKind
from tollgate.schemas.refusals import Refusal, RefusalReason
from tollgate.schemas.strict_json import is_too_deep
from tollgate.schemas.text_rules import NAME_PATTERN
from tollgate.schemas.usage_codec import EventRecord, decode_usage_event
from tollgate.schemas.usage_event import Entry, Name, OptionalName, validate_entry, without_nulls
from tollgate.schemas.usage_limits import AMOUNT_UNITS_MAX, EVENT_BYTES_MAX
from tollgate.schemas.usage_values import TimeText, UsageAmount, UsdAmount, fault
from tollgate.schemas.vocabulary import EntryType

TTL_SECONDS_MAX: Final = 3600
_NOTE_CHARS_MAX: Final = 1000


def _signed_amount(given: Any) -> int | str:
    if type(given) is int and abs(given) <= AMOUNT_UNITS_MAX:
        found: int | str = given
    elif isinstance(given, str):
        try:
            found = canonical_amount(given.removeprefix("-"))
        except ValueError:
            text = "must be a decimal number with at most 9 decimals and below 10^18, which may be negative"
            raise fault(RefusalReason.INVALID, text) from None
        if given.startswith("-"):
            found = -found if isinstance(found, int) else f"-{found}"
    elif type(given) is int:
        raise fault(RefusalReason.INVALID, "must be between -10^18 and 10^18")
    else:
        raise fault(RefusalReason.WRONG_TYPE, "must be an integer or a decimal string")
    if found == 0:
        raise fault(RefusalReason.INVALID, "must not be zero")
    return found


SignedAmount = Annotated[
    int | str,
    PlainValidator(_signed_amount),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": -AMOUNT_UNITS_MAX, "maximum": AMOUNT_UNITS_MAX},
                {"type": "string", "pattern": r"^-?[0-9]{1,18}(\.[0-9]{1,9})?$"},
            ]
        }
    ),
]


def signed_nano(amount: int | str) -> int:
    """An amount as it was decoded, in 10⁻⁹ units: `"-1.5"` → -1_500_000_000."""
    if isinstance(amount, int):
        return amount * NANO
    return -parse_amount(amount[1:]) if amount.startswith("-") else parse_amount(amount)


class _Data(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, given: Any) -> Any:
        return without_nulls(given)


_ASKED: Final[list[JsonValue]] = [{"required": [name]} for name in ("amount_usd", "credits")]


class ReservationData(_Data):
    """What to set aside. Required: `amount_usd`, `credits`, or both."""

    model_config = ConfigDict(json_schema_extra={"anyOf": _ASKED})

    amount_usd: UsdAmount | None = Field(None, examples=["0.10"])
    """The most that the call is expected to cost."""
    credits: UsageAmount | None = Field(None, examples=["5"])
    """The most credits that the call is expected to take."""
    ttl_seconds: int = Field(60, ge=1, le=TTL_SECONDS_MAX)
    """After this time the reservation ends by itself."""
    reply_to: OptionalName = Field(None, examples=["chat-api-7f3"])
    """The key of the decision's record; the entry's source when absent."""
    reply_partition: int | None = Field(None, ge=0, le=2**31 - 1)
    """The partition of `tollgate.decisions` that the requester reads; that of the key when absent."""
    provider: OptionalName = None
    model: OptionalName = None
    org: OptionalName = None
    service: OptionalName = None
    agent: OptionalName = None
    campaign: OptionalName = None
    feature: OptionalName = None
    product: OptionalName = None
    operation: OptionalName = None

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if self.amount_usd is None and self.credits is None:
            raise fault(RefusalReason.MISSING_FIELD, "needs amount_usd, or credits")
        return self


class ReservationEntry(Entry):
    """A request to set money or credits aside before a call. It is answered on `tollgate.decisions`."""

    type: Literal["tollgate.reservation.v1"]
    data: ReservationData

    @property
    def amount_picousd(self) -> int:
        """What is asked for, in 10⁻¹² USD."""
        return parse_usd(self.data.amount_usd) if self.data.amount_usd is not None else 0

    @property
    def credits_nano(self) -> int:
        """What is asked for, in 10⁻⁹ credits."""
        return signed_nano(self.data.credits) if self.data.credits is not None else 0


class ReleaseData(_Data):
    """Which reservation ends."""

    reservation_id: Name = Field(examples=["r-1"])
    """The `id` of a reservation of the same source and user."""


class ReleaseEntry(Entry):
    """The end of a reservation whose call was not made."""

    type: Literal["tollgate.release.v1"]
    data: ReleaseData


class CreditData(_Data):
    """What is granted or taken back."""

    credits: SignedAmount = Field(examples=["100", "-20"])
    """Credits to grant; negative to take back."""
    kind: CreditKind = Field(strict=False)
    expires_at: TimeText | None = Field(None, json_schema_extra={"format": "date-time"})
    """From this instant on what is left of them cannot be spent. They never expire when it is absent."""
    note: Annotated[str, Field(max_length=_NOTE_CHARS_MAX, pattern=NAME_PATTERN)] | None = None
    """For people."""

    @model_validator(mode="after")
    def _taken_back(self) -> Self:
        if self.expires_at is not None and signed_nano(self.credits) < 0:
            raise fault(RefusalReason.INVALID, "credits that are taken back cannot expire: leave expires_at out")
        return self


class CreditEntry(Entry):
    """Credits that a user gets, or that are taken back."""

    type: Literal["tollgate.credit.v1"]
    data: CreditData

    @property
    def nano(self) -> int:
        """In 10⁻⁹ credits; negative when they are taken back."""
        return signed_nano(self.data.credits)

    @property
    def expires_ms(self) -> int | None:
        """Milliseconds since the epoch; None: never."""
        return parse_event_time(self.data.expires_at) if self.data.expires_at is not None else None


# Every type of another entry that stands on the usage topic begins like this. The few usage events that hold the same
# text somewhere only take the longer way.
_HINT: Final = b"tollgate.re"


class _Typed(msgspec.Struct, gc=False):
    type: str


_decode_type: Final = msgspec.json.Decoder(_Typed).decode


def decode_usage_topic(
    value: bytes | None, headers: Headers = ()
) -> EventRecord | ReservationEntry | ReleaseEntry | Refusal:
    """Read one record of `tollgate.usage`. Never raises on any input."""
    event: EventRecord | Refusal | None = None
    if value is None or _HINT not in value:
        event = decode_usage_event(value, headers)
        if not isinstance(event, Refusal):
            return event
    kind = _type_of(value, headers)
    if kind == EntryType.RESERVATION:
        return validate_entry(ReservationEntry, value, headers)
    if kind == EntryType.RELEASE:
        return validate_entry(ReleaseEntry, value, headers)
    return event if event is not None else decode_usage_event(value, headers)


def decode_entries_topic(value: bytes | None, headers: Headers = ()) -> CreditEntry | Refusal:
    """Read one record of `tollgate.entries`. Never raises on any input."""
    kind = _type_of(value, headers)
    if kind in (EntryType.REVENUE, EntryType.ADJUSTMENT):
        return Refusal(RefusalReason.INVALID, f"type: {kind} is not supported yet")
    if kind in (EntryType.USAGE, EntryType.RESERVATION, EntryType.RELEASE):
        return Refusal(RefusalReason.INVALID, f"type: {kind} belongs on tollgate.usage")
    if kind not in (None, EntryType.CREDIT):
        return Refusal(RefusalReason.INVALID, "type: not an entry")
    return validate_entry(CreditEntry, value, headers)


def _type_of(value: bytes | None, headers: Headers) -> str | None:
    """The type that a record says it has; None when it says none, or cannot be read."""
    if value is None or len(value) > EVENT_BYTES_MAX:
        return None
    attributes = binary_attributes(headers)
    if isinstance(attributes, Refusal):
        return None
    if attributes is not None:
        return attributes.get("type")
    try:
        return None if is_too_deep(value) else _decode_type(value).type
    except (ValueError, RecursionError):
        return None
