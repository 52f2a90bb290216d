"""Dead letters as they are read from Kafka: places, headers, and their content."""

import base64
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import ConsumerRecord

from tollgate.runtime.settings import Settings
from tollgate.runtime.topic_reading import offset_ranges, read_batches, read_one
from tollgate.schemas.topics import Topic

# Enough to find a letter by; `show` has all.
_KEY_SHOWN_MAX: Final = 40
# A list keeps so much of a key and of each header; the value is only counted.
_HEAD_BYTES_MAX: Final = 1024
# The topic is read from its end backwards, in blocks that double.
_BLOCK_RECORDS_MIN: Final = 200

# What the worker says of a letter.
_OWN_HEADERS: Final = frozenset({"reason", "error", "source_topic", "source_partition", "source_offset", "time"})


class NoLetterError(Exception):
    """There is no dead letter at the place. The text says so."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a letter is in the dead-letters topic: `0:17`."""

    partition: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> "Place":
        """ValueError unless it is PARTITION:OFFSET."""
        partition, colon, offset = text.partition(":")
        if not (colon and partition.isdecimal() and offset.isdecimal() and len(text) < 32):
            raise ValueError(f"{text!r} is not PARTITION:OFFSET, such as 0:17: see `tollgate dead-letters list`")
        return cls(int(partition), int(offset))

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


@dataclass(frozen=True, slots=True)
class Letter:
    """A refused record: its own bytes, and why and whence in its headers. `size` is the length of its value, which
    a list does not keep.
    """

    place: Place
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    size: int

    @classmethod
    def of(cls, record: ConsumerRecord) -> "Letter":
        """From the dead-letters topic."""
        headers = tuple((name, bytes(value or b"")) for name, value in record.headers)
        place = Place(record.partition, record.offset)
        return cls(place, record.key, record.value, headers, len(record.value or b""))

    @classmethod
    def head_of(cls, record: ConsumerRecord) -> "Letter":
        """From the dead-letters topic, without its value and without more of it than a list shows."""
        headers = tuple((n, bytes(v or b"")[:_HEAD_BYTES_MAX]) for n, v in record.headers if n in _OWN_HEADERS)
        key = None if record.key is None else bytes(record.key[:_HEAD_BYTES_MAX])
        return cls(Place(record.partition, record.offset), key, None, headers, len(record.value or b""))

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
            "bytes": self.size,
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


async def newest_letters(
    settings: Settings, limit: int, reason: str | None, before: Place | None = None
) -> tuple[list[Letter], int]:
    """Up to `limit` letters with this reason (or any), the newest first and without their values, and about how many
    records older than these the topic has. With `before` those of its partition that are older than it.
    """
    found: list[Letter] = []
    older = 0
    for partition, (begin, end) in (await offset_ranges(settings, Topic.DEAD_LETTERS)).items():
        if before is None or partition == before.partition:
            last = end if before is None else min(end, before.offset)
            newest = await _newest_of(settings, partition, (begin, last), limit, reason)
            older += newest[0].place.offset - begin if len(newest) == limit else 0
            found += newest
    found.sort(key=lambda letter: (letter.place.partition, letter.place.offset), reverse=True)
    return found[:limit], older


async def _newest_of(
    settings: Settings, partition: int, offsets: tuple[int, int], limit: int, reason: str | None
) -> list[Letter]:
    begin, end = offsets
    block = max(_BLOCK_RECORDS_MIN, 4 * limit)
    found: list[Letter] = []
    while end > begin and len(found) < limit:
        start = max(begin, end - block)
        newest: deque[Letter] = deque(maxlen=limit)
        async for batch in read_batches(settings, Topic.DEAD_LETTERS, partitions=[partition], between=(start, end)):
            heads = map(Letter.head_of, batch)
            newest.extend(head for head in heads if reason is None or head.header("reason") == reason)
        found = [*newest, *found]
        end, block = start, 2 * block
    return found[-limit:]


async def all_letters(settings: Settings, reason: str) -> AsyncIterator[Letter]:
    """Every letter with this reason that the topic has as of the call, the oldest first, one after another."""
    async for batch in read_batches(settings, Topic.DEAD_LETTERS):
        for letter in map(Letter.of, batch):
            if letter.header("reason") == reason:
                yield letter


async def one_letter(settings: Settings, place: Place) -> Letter:
    """The letter at the place. NoLetterError when there is none."""
    record = await read_one(settings, Topic.DEAD_LETTERS, place.partition, place.offset)
    if record is None:
        raise NoLetterError(f"there is no dead letter at {place}: see `tollgate dead-letters list`.")
    return Letter.of(record)
