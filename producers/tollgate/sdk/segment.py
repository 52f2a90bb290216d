"""One file of a spool: events that wait to be sent, in order, each group of them with its length and checksum.

A file is 16 bytes of header (`TGSPOOL1`, then up to which byte it is sent), then frames. A frame is 20 bytes (length of
the payload, number of events, when it was written in milliseconds, CRC-32 of these and the payload), then the payload:
a MessagePack list of `[user, value]`. All numbers are little-endian.
"""

import os
import stat
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

Events = Sequence[tuple[str, bytes]]
"""Users, which are the keys in Kafka, and the values of their records."""

_MAGIC: Final = b"TGSPOOL1"
_HEADER: Final = struct.Struct("<8sQ")
_SENT: Final = struct.Struct("<Q")
_SENT_AT: Final = len(_MAGIC)
_FRAME: Final = struct.Struct("<IIQI")
_SUMMED: Final = struct.Struct("<IIQ")
# What a frame holds at most, so that readers know what they may meet: a frame is closed when its values pass
# 256 KiB, and a value has 64 KiB at most.
_PAYLOAD_BYTES_MAX: Final = 512 * 1024
FRAME_VALUE_BYTES: Final = 256 * 1024
FRAME_EVENTS_MAX: Final = 1000
# Whatever stands at a position, a whole frame is within this.
_READ_BYTES: Final = 1024 * 1024

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode


class DamagedError(Exception):
    """The file is no segment, or has something in its middle that was not written so."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Events from one place of a spool. `end` is where the next ones begin; `written_ms` when the first was written."""

    events: Events
    end: int
    written_ms: int


def parts_of(events: Events) -> Iterator[Events]:
    """The events in parts of which each fits into a frame."""
    start = size = 0
    for index, (_, value) in enumerate(events):
        if size > FRAME_VALUE_BYTES or index - start >= FRAME_EVENTS_MAX:
            yield events[start:index]
            start, size = index, 0
        size += len(value)
    if start < len(events):
        yield events[start:]


def frames_of(events: Events, now_ms: int) -> Iterator[tuple[bytes, int]]:
    """The events as frames, each with the number of its events."""
    for part in parts_of(events):
        yield _frame(part, now_ms)


def _frame(events: Events, now_ms: int) -> tuple[bytes, int]:
    payload = _encode(events)
    summed = _SUMMED.pack(len(payload), len(events), now_ms)
    return summed + (zlib.crc32(payload, zlib.crc32(summed)).to_bytes(4, "little")) + payload, len(events)


class Segment:
    """A segment that this process may read and write. `waiting` is how many of its events are not sent."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self.size = self._sent = _HEADER.size
        self.waiting = 0
        self.damaged = False

    @classmethod
    def create(cls, path: Path) -> "Segment":
        """A new one. OSError when it cannot be made."""
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        segment = cls(path, descriptor)
        try:
            segment._write(_HEADER.pack(_MAGIC, _HEADER.size), 0)
        except OSError:
            segment.delete()
            raise
        return segment

    @classmethod
    def open(cls, path: Path) -> "Segment":
        """One that another process left. What was being written when it died is cut off.

        OSError when it cannot be read; DamagedError when it is no segment of ours. `damaged` says whether there is
        something behind the last good frame that is no frame.
        """
        # Not to wait for ever at a pipe that somebody put there.
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        segment = cls(path, descriptor)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                raise DamagedError("it is not a file of this user")
            segment._scan(status.st_size)
        except BaseException:
            segment.close()
            raise
        return segment

    def append(self, frame: bytes, events: int) -> None:
        """Write one frame. OSError when it cannot be written as a whole; then the segment is as before."""
        self._write(frame, self.size)
        self.size += len(frame)
        self.waiting += events

    def read(self, events_max: int, bytes_max: int) -> Batch | None:
        """What is to be sent next, as whole frames: at least one, then as many as fit. None when all is sent.

        DamagedError when the file is not as it was written.
        """
        events: list[tuple[str, bytes]] = []
        size, position, first_ms = 0, self._sent, 0
        while position < self.size and len(events) < events_max and size < bytes_max:
            data = os.pread(self._descriptor, min(_READ_BYTES, self.size - position), position)
            begun = position
            for start, end, _, written_ms in _frames(data):
                try:
                    taken = _decode(memoryview(data)[start:end])
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    raise DamagedError("a frame holds no events") from None
                events += taken
                size += end - start
                position = begun + end
                first_ms = first_ms or written_ms
                if len(events) >= events_max or size >= bytes_max:
                    break
            if position == begun:
                raise DamagedError("a frame is not as it was written")
        return Batch(events, position, first_ms) if events else None

    def confirm(self, batch: Batch) -> None:
        """The batch is sent: after a crash nobody sends it again."""
        self._sent = batch.end
        self.waiting -= len(batch.events)
        # Where that is not written, it is sent again after a crash, and counted once.
        with suppress(OSError):
            os.pwrite(self._descriptor, _SENT.pack(batch.end), _SENT_AT)

    def close(self) -> None:
        """Leave the file as it is."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def delete(self) -> None:
        """Remove the file."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _write(self, data: bytes, position: int) -> None:
        written = 0
        try:
            while written < len(data):
                count = os.pwrite(self._descriptor, memoryview(data)[written:], position + written)
                written += count
        except OSError:
            if written:
                os.ftruncate(self._descriptor, position)
            raise

    def _scan(self, size: int) -> None:
        head = os.pread(self._descriptor, _HEADER.size, 0)
        if len(head) < _HEADER.size:
            return  # it died before anything was in it
        magic, sent = _HEADER.unpack(head)
        if magic != _MAGIC:
            raise DamagedError("it is no spool file")
        position = _HEADER.size
        whole = True
        while position < size and whole:
            data = os.pread(self._descriptor, min(_READ_BYTES, size - position), position)
            whole = False
            begun = position
            for _, end, events, _ in _frames(data):
                whole = True
                position = begun + end
                if position <= sent:
                    self._sent = position
                else:
                    self.waiting += events
        rest = os.pread(self._descriptor, _READ_BYTES, position)
        self.damaged = _is_whole(rest) and any(rest)
        self.size = position


def _frames(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Where the payloads of good frames begin and end, the number of their events, the time; up to the first other."""
    position = 0
    while position + _FRAME.size <= len(data):
        length, events, written_ms, checksum = _FRAME.unpack_from(data, position)
        start = position + _FRAME.size
        end = start + length
        # An empty frame is what a file has that grew without being written, after a loss of power.
        if not events or not length or length > _PAYLOAD_BYTES_MAX or end > len(data):
            return
        view = memoryview(data)
        if zlib.crc32(view[start:end], zlib.crc32(view[position : position + _SUMMED.size])) != checksum:
            return
        yield start, end, events, written_ms
        position = end


def _is_whole(rest: bytes) -> bool:
    """Whether this is more than the beginning of a frame that was being written."""
    if len(rest) < _FRAME.size:
        return False
    length: int = _FRAME.unpack_from(rest)[0]
    return length > _PAYLOAD_BYTES_MAX or _FRAME.size + length <= len(rest)


def now_ms() -> int:
    """The time in milliseconds."""
    return time.time_ns() // 1_000_000
