"""A usage event from the arguments of a call: checked by the worker's own decoder, as the bytes that go to Kafka."""

import difflib
import json
import os
import time
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from tollgate.schemas.instants import format_instant, to_ms
from tollgate.schemas.refusals import Refusal, RefusalReason
from tollgate.schemas.text_rules import FIELD_NAME
from tollgate.schemas.usage_codec import EventData, decode_usage_event
from tollgate.schemas.usage_limits import SPEC_VERSION
from tollgate.schemas.vocabulary import EntryType
from tollgate.sdk.errors import InvalidEventError
from tollgate.sdk.model_makers import maker_of

FIELDS: Final = frozenset(EventData.__struct_fields__)
"""What `data` of a usage event may hold."""
_USAGE_TYPE: Final = EntryType.USAGE.value
_encode: Final = msgspec.json.Encoder().encode

_ADVICE: Final = {
    RefusalReason.NEGATIVE_USAGE: "write what was used, 0 or more: a correction is an adjustment, not negative usage",
    RefusalReason.TOO_LARGE: "leave prompts and payloads out of metadata",
    RefusalReason.INVALID_TIME: 'write datetime.now(UTC), or text such as "2026-11-21T10:00:00Z"',
}
_NUMBER_ADVICE: Final = 'write an int, or a decimal as text: "1.5" instead of 1.5'


def new_id() -> str:
    """An event id that no other event has: 12 hex digits of the time in milliseconds, then 80 random bits."""
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


def encode_event(source: str, event_id: str, user: str, time: datetime | str | None, data: Mapping[str, Any]) -> bytes:
    """The event as the value of its record. What is None in `data` is absent; a `Decimal` counts as its text. A model
    without a provider has that of `maker_of`.

    InvalidEventError when the worker would refuse the event, TypeError for an unknown field or a value of a type that
    no event holds: both say what to write instead.
    """
    if not data.keys() <= FIELDS:
        raise _unknown(data.keys() - FIELDS)
    given = {name: value for name, value in data.items() if value is not None}
    if "provider" not in given and (maker := maker_of(given.get("model"))) is not None:
        given["provider"] = maker
    document = {
        "specversion": SPEC_VERSION,
        "type": _USAGE_TYPE,
        "source": source,
        "id": event_id,
        "subject": user,
        "time": _time_text(time),
        "data": given,
    }
    try:
        value = _encode(document)
    except (TypeError, ValueError, OverflowError, RecursionError):
        value = _encode_plainly(document)
    else:
        if b":null" in value:
            # A number that is not finite becomes null; None in `metadata` does too, and is allowed.
            value = _encode_plainly(document)
    verdict = decode_usage_event(value)
    if verdict.__class__ is Refusal:
        # Decimals such as 1E+3 are written with an exponent, which no event may have.
        value = _encode_plainly(document)
        verdict = decode_usage_event(value)
        if isinstance(verdict, Refusal):
            raise InvalidEventError(verdict, _advice(verdict))
    return value


def _time_text(given: datetime | str | None) -> str:
    if given is None:
        return format_instant(time.time_ns() // 1_000_000)
    if isinstance(given, str):
        return given
    if not isinstance(given, datetime):
        raise InvalidEventError(
            Refusal(RefusalReason.WRONG_TYPE, f"time: is a {type(given).__name__}"),
            _ADVICE[RefusalReason.INVALID_TIME],
        )
    try:
        return format_instant(to_ms(given))
    except (ValueError, OverflowError):
        raise InvalidEventError(
            Refusal(RefusalReason.INVALID_TIME, "time: the datetime has no offset"),
            _ADVICE[RefusalReason.INVALID_TIME],
        ) from None


def _encode_plainly(document: Mapping[str, Any]) -> bytes:
    """As `_encode`, slower, also for other mappings, decimals with an exponent, and very long integers."""
    try:
        return json.dumps(document, ensure_ascii=False, allow_nan=False, default=_plain).encode()
    except UnicodeEncodeError:
        fault = Refusal(RefusalReason.NOT_JSON, "value: a text holds half of a surrogate pair")
        raise InvalidEventError(fault, 'write text that is UTF-8: text.encode(errors="replace").decode()') from None
    except (RecursionError, ValueError):
        fault = Refusal(RefusalReason.NOT_JSON, "value: holds NaN or infinity, a far too long integer, or itself")
        raise InvalidEventError(fault, "write finite numbers, or leave them out") from None


def _plain(given: Any) -> Any:
    if isinstance(given, Decimal):
        return format(given, "f")
    if isinstance(given, Mapping):
        return dict(given)
    raise TypeError(f"a usage event holds no {type(given).__name__}: write text, a whole number, or a decimal as text")


def _unknown(names: set[str]) -> TypeError:
    name = min(names)
    if not FIELD_NAME.fullmatch(name):
        return TypeError('a name is no field of a usage event: write metadata={"name": …} for anything else')
    close = difflib.get_close_matches(name, FIELDS | {"user", "time", "id"}, 1)
    instead = f"{close[0]}=…" if close else f'metadata={{"{name}": …}}'
    return TypeError(f"{name} is not a field of a usage event: write {instead}")


def _advice(refusal: Refusal) -> str:
    place = refusal.error.partition(":")[0]
    if refusal.reason is RefusalReason.WRONG_TYPE:
        if place.startswith(("data.usage.", "data.retail_tokens")):
            return _NUMBER_ADVICE
        if place == "data.cost_usd":
            return 'write a decimal as text: cost_usd="0.012"'
        if place == "data.usage":
            return 'write usage={"input_tokens": 1200, "output_tokens": 300}'
    return _ADVICE.get(refusal.reason, "")
