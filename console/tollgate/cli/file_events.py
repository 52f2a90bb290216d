"""Usage events in a file: what a reader of any format yields, and NDJSON."""

import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, NamedTuple, Protocol

import msgspec

from tollgate.cli.content_ids import ContentIds
from tollgate.cli.exits import UsageError
from tollgate.schemas.event_time import EVENT_TIME_MS_MAX, parse_event_time
from tollgate.schemas.instants import format_instant
from tollgate.schemas.refusals import Refusal, RefusalReason
from tollgate.schemas.usage_codec import decode_usage_event
from tollgate.schemas.usage_identity import content_of
from tollgate.schemas.usage_limits import EVENT_BYTES_MAX

# Longer than any event that is accepted, white space included; bounds the memory that one line can take.
LINE_BYTES_MAX: Final = 1024 * 1024

_FRACTION: Final = re.compile(r"[.,]([0-9]+)")
_encode: Final = msgspec.json.encode
_ANY_ID: Final = {"id": "-"}
_ANY_ID_BYTES: Final = len('{"id":"-"')

# Identity is source and id, so the source must not depend on where the file lies.
DEFAULT_SOURCE: Final = "publish"


class Accepted(NamedTuple):
    """A line that is a valid event: the bytes to send, the key they belong to, and the event's time."""

    line: int
    user: str
    value: bytes
    time_ms: int


class Refused(NamedTuple):
    """A line that is no valid event, and why."""

    line: int
    refusal: Refusal


class Reader(Protocol):
    """Reads the events of one file. `shift_ms` is added to every time; ids do not depend on it."""

    def read(self, file: BinaryIO, shift_ms: int = 0) -> Iterator[Accepted | Refused]:
        """Every line that is not blank, in order, in bounded memory. Lines are counted from 1."""


def judge(line: int, value: bytes) -> Accepted | Refused:
    """Ask the worker's own decoder whether it would accept the event."""
    event = decode_usage_event(value)
    if isinstance(event, Refusal):
        return Refused(line, event)
    return Accepted(line, event.subject, value, event.time_ms)


def shifted(time_ms: int, shift_ms: int) -> str:
    """The time as text, moved. ValueError when it leaves the years 1970 to 9999."""
    moved = time_ms + shift_ms
    if not 0 <= moved <= EVENT_TIME_MS_MAX:
        raise ValueError("leaves the years 1970 to 9999 when it is shifted")
    return format_instant(moved)


def exact_instant(time_ms: int, text: str) -> str:
    """One text for one instant, however it is spelled: milliseconds, and the decimals beyond them that `text` has."""
    fraction = _FRACTION.search(text)
    return f"{time_ms}.{fraction[1][3:].rstrip('0')}" if fraction else f"{time_ms}."


def identified(line: int, envelope: dict[str, Any], instant: str | None, ids: ContentIds) -> Accepted | Refused:
    """Judge the event, and give it an id of its content if it has none. UnicodeEncodeError on lone surrogates.

    `instant` stands for its time in the content; without one its own time does.
    """
    if envelope.get("id"):
        return judge(line, _encode(envelope))
    # Any id will do to be judged with. It stands first, where the real one takes its place.
    value = _encode({**_ANY_ID, **{name: member for name, member in envelope.items() if name != "id"}})
    event = decode_usage_event(value)
    if isinstance(event, Refusal):
        return Refused(line, event)
    content = content_of(event, instant or exact_instant(event.time_ms, event.time))
    value = b'{"id":"%b"%b' % (ids.next_id(content).encode(), value[_ANY_ID_BYTES:])
    return Accepted(line, event.subject, value, event.time_ms) if len(value) <= EVENT_BYTES_MAX else judge(line, value)


def require_utf8(first: bytes) -> None:
    """UsageError when the first bytes of a file show another encoding; a byte order mark of UTF-8 is fine."""
    if first.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in first[:4]:
        raise UsageError(
            'the file is UTF-16 (Excel\'s "Unicode text"), not UTF-8: save it as "CSV UTF-8", or convert it with '
            "`iconv -f UTF-16 -t UTF-8 FILE`."
        )


_decode_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text: Final = msgspec.json.Decoder(str).decode


class NdjsonReader:
    """One CloudEvent in structured mode per line. An absent `source` becomes the default, an absent `id` is made."""

    def __init__(self, source: str = DEFAULT_SOURCE) -> None:
        self._source = msgspec.Raw(_encode(source))

    def read(self, file: BinaryIO, shift_ms: int = 0) -> Iterator[Accepted | Refused]:
        """See `Reader`. A line that needs no change is sent byte for byte."""
        ids = ContentIds()
        for line, text in lines(file):
            if text is None:
                yield Refused(line, Refusal(RefusalReason.TOO_LARGE, "the line is longer than 1 MiB"))
                continue
            found = judge(line, text) if not shift_ms else None
            yield found if isinstance(found, Accepted) else self._completed(line, text, shift_ms, ids)

    def _completed(self, line: int, text: bytes, shift_ms: int, ids: ContentIds) -> Accepted | Refused:
        try:
            members = _decode_members(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return judge(line, text)
        if _is_absent(members, "source"):
            members["source"] = self._source
        if _is_absent(members, "id"):
            members.pop("id", None)
        instant = None
        if shift_ms:
            try:
                time = _decode_text(members["time"])
                time_ms = parse_event_time(time)
                moved = shifted(time_ms, shift_ms)
            except (KeyError, ValueError):
                # Without the shift it is refused for its own reason, unless the shift is what it cannot bear.
                found = identified(line, members, None, ids)
                if isinstance(found, Refused):
                    return found
                return Refused(line, Refusal(RefusalReason.INVALID_TIME, "time: leaves the years 1970 to 9999"))
            members["time"] = msgspec.Raw(_encode(moved))
            instant = exact_instant(time_ms, time)
        return identified(line, members, instant, ids)


def _is_absent(members: dict[str, msgspec.Raw], name: str) -> bool:
    return name not in members or bytes(members[name]) == b"null"


def lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Number and content of every line that is not blank, without surrounding white space; None when it is too long."""
    number = 0
    while chunk := file.readline(LINE_BYTES_MAX):
        number += 1
        too_long = len(chunk) == LINE_BYTES_MAX and not chunk.endswith(b"\n")
        while too_long and chunk and not chunk.endswith(b"\n"):
            chunk = file.readline(LINE_BYTES_MAX)
        if too_long:
            yield number, None
            continue
        if number == 1:
            require_utf8(chunk)
            chunk = chunk.removeprefix(b"\xef\xbb\xbf")
        if text := chunk.strip():
            yield number, text
