"""Dead letters as the command line reads them: places, headers, and what may be sent again."""

import base64
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import ConsumerRecord

from tollgate.cli.exits import AnswerIsNoError, UsageError
from tollgate.cli.topic_reading import read_batches, read_one
from tollgate.runtime.settings import Settings
from tollgate.schemas.shown_text import safe
from tollgate.schemas.topics import Topic

# Enough to find a letter by; `show` has all.
_KEY_SHOWN_MAX: Final = 40
# The first look covers the newest letters, the second everything.
_TAIL_RECORDS_MIN: Final = 200


@dataclass(frozen=True, slots=True)
class Place:
    """Where a letter is in the dead-letters topic: `0:17`."""

    partition: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> "Place":
        """UsageError unless it is PARTITION:OFFSET."""
        partition, colon, offset = text.partition(":")
        if not (colon and partition.isdecimal() and offset.isdecimal() and len(text) < 32):
            raise UsageError(f"{text!r} is not PARTITION:OFFSET, such as 0:17: see `tollgate dead-letters list`.")
        return cls(int(partition), int(offset))

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


@dataclass(frozen=True, slots=True)
class Letter:
    """A refused record: its own bytes, and why and whence in its headers."""

    place: Place
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]

    @classmethod
    def of(cls, record: ConsumerRecord) -> "Letter":
        """From the dead-letters topic."""
        headers = tuple((name, bytes(value or b"")) for name, value in record.headers)
        return cls(Place(record.partition, record.offset), record.key, record.value, headers)

    def header(self, name: str) -> str:
        """The text of one of the worker's own headers, which come last; empty when absent."""
        return next((v.decode("utf-8", "replace") for n, v in reversed(self.headers) if n == name), "")

    @property
    def original_headers(self) -> list[tuple[str, bytes]]:
        """What a CloudEvent in binary mode needs, as it came."""
        return [h for h in self.headers if h[0].startswith("ce_") or h[0].lower() == "content-type"]

    @property
    def source(self) -> str:
        """The refused record's own place: `tollgate.usage 3:120`."""
        return f"{self.header('source_topic')} {self.header('source_partition')}:{self.header('source_offset')}"

    @property
    def key_text(self) -> str:
        """The key for a table."""
        if self.key is None:
            return "-"
        text = text_of(self.key)
        return text if len(text) <= _KEY_SHOWN_MAX else text[: _KEY_SHOWN_MAX - 1] + "…"

    def as_json(self, *, with_value: bool = False) -> dict[str, Any]:
        """For programs; bytes are text where they are UTF-8, and always base64 beside it."""
        found: dict[str, Any] = {
            "place": str(self.place),
            "reason": self.header("reason"),
            "error": self.header("error"),
            "time": self.header("time"),
            "source_topic": self.header("source_topic"),
            "source_partition": _integer(self.header("source_partition")),
            "source_offset": _integer(self.header("source_offset")),
            "key": None if self.key is None else text_of(self.key),
            "bytes": len(self.value or b""),
        }
        if with_value:
            found |= {
                "key_base64": _base64(self.key),
                "value": _utf8(self.value),
                "value_base64": _base64(self.value),
                "headers": [{"name": name, "value": text_of(value)} for name, value in self.original_headers],
            }
        return found


def text_of(data: bytes) -> str:
    """Bytes as text; what is no UTF-8 is escaped."""
    return data.decode("utf-8", "backslashreplace")


def _utf8(data: bytes | None) -> str | None:
    try:
        return None if data is None else data.decode()
    except UnicodeDecodeError:
        return None


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode("ascii")


def _integer(text: str) -> int | None:
    return int(text) if text.isdecimal() and text.isascii() else None


def safe_lines(data: bytes) -> list[str]:
    """The bytes as lines for a terminal: new lines break, everything else that is no plain text is escaped."""
    return [safe(line) for line in text_of(data).replace("\r\n", "\n").split("\n")]


async def newest_letters(settings: Settings, limit: int, reason: str | None) -> list[Letter]:
    """Up to `limit` letters with this reason (or any), the newest first."""
    tail = max(_TAIL_RECORDS_MIN, 4 * limit)
    found = await _letters(settings, reason, tail)
    if len(found) < limit:
        found = await _letters(settings, reason, None)
    found.sort(key=lambda letter: (letter.header("time"), letter.place.offset), reverse=True)
    return found[:limit]


async def all_letters(settings: Settings, reason: str) -> list[Letter]:
    """Every letter with this reason, the oldest first."""
    return await _letters(settings, reason, None)


async def _letters(settings: Settings, reason: str | None, last: int | None) -> list[Letter]:
    found: list[Letter] = []
    async for batch in read_batches(settings, Topic.DEAD_LETTERS, last=last):
        letters = map(Letter.of, batch)
        found.extend(letter for letter in letters if reason is None or letter.header("reason") == reason)
    return found


async def one_letter(settings: Settings, place: Place) -> Letter:
    """The letter at the place. AnswerIsNoError when there is none."""
    record = await read_one(settings, Topic.DEAD_LETTERS, place.partition, place.offset)
    if record is None:
        raise AnswerIsNoError(f"there is no dead letter at {place}: see `tollgate dead-letters list`.")
    return Letter.of(record)
