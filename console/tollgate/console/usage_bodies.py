"""What a caller sends to `POST /usage`, as records for the usage topic: one event or a list, whole or abbreviated."""

from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple

import msgspec

from tollgate.schemas.entries import ReleaseEntry, decode_usage_topic
from tollgate.schemas.refusals import Refusal, RefusalReason
from tollgate.schemas.usage_codec import EventRecord, decode_usage_event
from tollgate.schemas.usage_limits import SPEC_VERSION
from tollgate.schemas.vocabulary import EntryType

EVENTS_MAX: Final = 1000
"""In one request."""

_ENVELOPE: Final = frozenset(("specversion", "type", "source", "id", "subject", "time"))
_SPACE: Final = b" \t\r\n"

_one: Final = msgspec.json.Decoder(msgspec.Raw).decode
_many: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode: Final = msgspec.json.Encoder().encode
_NULL: Final = b"null"
_RELEASE: Final = EntryType.RELEASE.value.encode()

Reason = RefusalReason | Literal["not_allowed"]
"""Why an event is refused: as in a dead letter, or `not_allowed` for an event of another org than the caller's."""


class Event(NamedTuple):
    """An event that the worker will count: where it stands in the body, from 0, and its record.

    `made` is whether its id or time was made here.
    """

    place: int
    user: str
    id: str
    time: str
    value: bytes
    made: bool


class Refused(NamedTuple):
    """An event that the worker would refuse, for the same reason; or one that the caller may not report.

    `error` starts with the field's path, as in a `Refusal`.
    """

    place: int
    reason: Reason
    error: str


class NoJsonError(ValueError):
    """The body is no JSON text."""


class TooManyError(ValueError):
    """The body is a list of more than 1,000 events."""


def read_events(body: bytes, now: str, new_id: Callable[[int], str], org: str = "") -> Iterator[Event | Refused]:
    """Every event of the body in order. `now` is the time, and `new_id(index)` the id, of an event without its own.

    An event is a CloudEvent as in the usage topic, or one without `specversion` and `type`, or one whose data stands
    beside its `source` and `subject` (or `user`). The release of a reservation is taken as well. With an `org`, events
    without one are of this org, and those of another org are refused. Raises NoJsonError or TooManyError at once,
    before anything is yielded.
    """
    try:
        documents = _many(body) if body.lstrip(_SPACE).startswith(b"[") else [_one(body)]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise NoJsonError from None
    if len(documents) > EVENTS_MAX:
        raise TooManyError
    return (_read(index, bytes(document), now, new_id, org) for index, document in enumerate(documents))


def _read(index: int, document: bytes, now: str, new_id: Callable[[int], str], org: str) -> Event | Refused:
    value, made = _completed(index, document, now, new_id)
    event = _entry(value)
    if isinstance(event, ReleaseEntry):
        # It names no org, and ends nothing but a reservation of its own source and user.
        return Event(index, event.subject, event.id, event.time, value, made)
    if isinstance(event, EventRecord) and org and not event.data.org:
        value = _with_org(value, org)
        # The org may take it above the size of an event.
        event = decode_usage_event(value)
    if isinstance(event, Refusal):
        return Refused(index, event.reason, event.error)
    if org and event.data.org != org:
        return Refused(index, "not_allowed", f"data.org: must be {org} or absent, for this token is of that org alone")
    return Event(index, event.subject, event.id, event.time, value, made)


def _entry(value: bytes) -> EventRecord | ReleaseEntry | Refusal:
    """What the worker reads in it, unless it is a reservation: nobody would wait for its decision here."""
    event = decode_usage_event(value)
    if isinstance(event, Refusal) and _RELEASE in value:
        entry = decode_usage_topic(value)
        return entry if isinstance(entry, ReleaseEntry | Refusal) else event
    return event


def _completed(index: int, document: bytes, now: str, new_id: Callable[[int], str]) -> tuple[bytes, bool]:
    """The document with what was left out, and whether its id or time was. As it is when it cannot be read anyway."""
    try:
        given = {name: raw for name, raw in _members(document).items() if bytes(raw) != _NULL}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return document, False
    is_whole = "specversion" in given
    if is_whole and "id" in given and "time" in given:
        return document, False
    if not is_whole and "user" in given:
        # As the other addresses name them.
        given.setdefault("subject", given.pop("user"))
    if not is_whole and "data" not in given:
        data = {name: given.pop(name) for name in list(given) if name not in _ENVELOPE}
        given["data"] = msgspec.Raw(_encode(data))
    made: dict[str, str] = {}
    if "id" not in given:
        made["id"] = new_id(index)
    if "time" not in given:
        made["time"] = now
    return _encode({"specversion": SPEC_VERSION, "type": EntryType.USAGE, **made, **given}), bool(made)


def _with_org(value: bytes, org: str) -> bytes:
    """A valid event, with this org in its data."""
    envelope = _members(value)
    data = _members(envelope["data"])
    return _encode(envelope | {"data": data | {"org": msgspec.Raw(_encode(org))}})
