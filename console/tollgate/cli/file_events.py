"""Usage events in a file: what a reader of any format yields, and NDJSON."""

from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple, Protocol

import msgspec

from tollgate.cli.content_ids import ContentIds
from tollgate.schemas.event_time import EVENT_TIME_MS_MAX, parse_event_time
from tollgate.schemas.instants import format_instant
from tollgate.schemas.refusals import Refusal, RefusalReason
from tollgate.schemas.usage_codec import decode_usage_event

# Longer than any event that is accepted, white space included; bounds the memory that one line can take.
LINE_BYTES_MAX: Final = 1024 * 1024

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


_decode_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text: Final = msgspec.json.Decoder(str).decode
_encode: Final = msgspec.json.encode


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
            members["id"] = msgspec.Raw(_encode(ids.next_id(text)))
        if shift_ms:
            try:
                moved = shifted(parse_event_time(_decode_text(members["time"])), shift_ms)
            except (KeyError, ValueError):
                # Judge the event without the shift. If it is valid then, the shift is the reason for the refusal.
                found = judge(line, _encode(members))
                if isinstance(found, Refused):
                    return found
                return Refused(line, Refusal(RefusalReason.INVALID_TIME, "time: leaves the years 1970 to 9999"))
            members["time"] = msgspec.Raw(_encode(moved))
        return judge(line, _encode(members))


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
            chunk = chunk.removeprefix(b"\xef\xbb\xbf")
        if text := chunk.strip():
            yield number, text
