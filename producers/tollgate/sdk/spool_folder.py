"""Where events of one process wait: a folder of segments under a lock, or memory where no folder can be had.

Whoever holds the lock of a folder may write and send what is in it. The lock ends with the process, however it ends, so
what a process leaves behind can be taken over by the next one.
"""

import fcntl
import hashlib
import logging
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Final, Protocol

from tollgate.sdk.segment import FRAME_EVENTS_MAX, Batch, DamagedError, Events, Segment, frames_of, now_ms

log = logging.getLogger("tollgate.sdk")

_NAME: Final = re.compile(r"[0-9a-f]{12}-[0-9]{1,10}-[0-9a-f]{8}")
_SEGMENT: Final = re.compile(r"[0-9]{8}\.seg")
_NEW: Final = ".new-"
_DAMAGED: Final = "damaged-"
_LOCK: Final = "lock"
# A folder is renamed to its name within milliseconds after it is made; one that was not belongs to nobody.
_NEW_SECONDS_MAX: Final = 3600
# A segment of which everything is sent is written on up to this size: to make a file takes as long as 100 events.
_REUSED_BYTES_MAX: Final = 4 * 1024 * 1024


class Store(Protocol):
    """Events in order, of this process or, when `adopted`, of one that ended."""

    adopted: bool
    found: int
    """How many events it had when it was taken over, as far as it was read."""
    lost: int
    """How many events are gone because a file was not as it was written."""
    trouble: OSError | None
    """Why it cannot keep more."""

    @property
    def waiting(self) -> int:
        """How many events are not sent, as far as it was read."""

    @property
    def bytes(self) -> int:
        """What it takes, with what is sent and not yet removed."""

    def append(self, events: Events) -> int:
        """Keep these, and return how many could be kept; `trouble` says why not all."""

    def read(self, events_max: int, bytes_max: int) -> Batch | None:
        """What is to be sent next; None when nothing is."""

    def confirm(self, batch: Batch) -> None:
        """The batch that was read last is sent."""

    def drop_oldest(self) -> int | None:
        """Make room, and return how many events are lost by it; None when there is nothing to drop."""

    def close(self) -> None:
        """Let go of it. What is not sent stays, on disk."""

    def forget(self) -> None:
        """In a process that was forked: leave it to the parent."""


def root_of(spool_dir: Path | None, destination: str) -> Path:
    """The folder that this user's processes with this destination share. It is made when it is not there.

    OSError when it cannot be made, or is not this user's alone.
    """
    user = os.geteuid()
    if spool_dir is None:
        spool_dir = Path(tempfile.gettempdir()) / f"tollgate-spool-{user}"
        _make_private(spool_dir)
    else:
        spool_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    root = spool_dir / f"{hashlib.sha256(destination.encode()).hexdigest()[:16]}-{user}"
    _make_private(root)
    return root


def _make_private(path: Path) -> None:
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(f"{path} is no folder") from None
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise PermissionError(f"{path} belongs to another user, or others may write to it") from None


def bytes_in(root: Path) -> int:
    """What the segments of all processes take. What goes away meanwhile is not counted."""
    total = 0
    try:
        with os.scandir(root) as folders:
            names = [folder.path for folder in folders if folder.is_dir(follow_symlinks=False)]
        for name in names:
            with os.scandir(name) as files:
                total += sum(file.stat(follow_symlinks=False).st_size for file in files)
    except OSError:
        pass
    return total


class Folder:
    """A folder that this process holds the lock of. See `Store`.

    A process writes to a folder of its own. It never writes to one that it took over, whose segments are opened when
    their turn comes.
    """

    def __init__(self, path: Path, lock: int, *, adopted: bool, segment_bytes_max: int) -> None:
        self.adopted = adopted
        self.found = self.lost = 0
        self.trouble: OSError | None = None
        self._path = path
        self._lock = lock
        self._segment_bytes_max = segment_bytes_max
        self._segments: deque[Segment] = deque()
        self._number = 0
        self._unopened = deque(sorted(file.name for file in path.iterdir() if _SEGMENT.fullmatch(file.name)))
        self._unopened_bytes = sum((path / name).lstat().st_size for name in self._unopened)

    @classmethod
    def create(cls, root: Path, segment_bytes_max: int) -> "Folder":
        """A folder of this process. OSError when it cannot be made."""
        name = f"{now_ms():012x}-{os.getpid()}-{secrets.token_hex(4)}"
        made = root / f"{_NEW}{name}"
        made.mkdir(mode=0o700)
        lock = _lock(made)
        if lock is None:
            raise BlockingIOError("a new folder is locked")
        # Others look at it only under this name, and find it locked.
        made.rename(root / name)
        return cls(root / name, lock, adopted=False, segment_bytes_max=segment_bytes_max)

    @classmethod
    def adopt(cls, root: Path) -> "Folder | None":
        """The oldest folder of a process that ended, with something in it. None when there is none."""
        try:
            paths = sorted(root.iterdir())
        except OSError:
            return None
        for path in paths:
            if path.name.startswith(_NEW):
                _remove_if_left(path)
            elif _NAME.fullmatch(path.name) and (folder := cls._taken(path)) is not None:
                if folder.bytes:
                    return folder
                folder.close()
        return None

    @classmethod
    def _taken(cls, path: Path) -> "Folder | None":
        try:
            status = path.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
                return None
            lock = _lock(path)
            return None if lock is None else cls(path, lock, adopted=True, segment_bytes_max=0)
        except OSError:
            return None  # it is gone, or not ours

    @property
    def waiting(self) -> int:
        return sum([segment.waiting for segment in self._segments])

    @property
    def bytes(self) -> int:
        return self._unopened_bytes + sum([segment.size for segment in self._segments])

    def append(self, events: Events) -> int:
        kept = 0
        try:
            for frame, count in frames_of(events, now_ms()):
                last = self._segments[-1] if self._segments else None
                if last is None or last.size + len(frame) > self._segment_bytes_max:
                    self._number += 1
                    last = Segment.create(self._path / f"{self._number:08d}.seg")
                    self._segments.append(last)
                last.append(frame, count)
                kept += count
        except OSError as error:
            self.trouble = error
        return kept

    def read(self, events_max: int, bytes_max: int) -> Batch | None:
        while (first := self._first()) is not None:
            try:
                batch = first.read(events_max, bytes_max)
            except (DamagedError, OSError) as error:
                self.lost += first.waiting
                self._set_aside(first.path.name, error)
                self._segments.popleft().close()
                continue
            if batch is not None:
                return batch
            if len(self._segments) == 1 and not self.adopted:
                return None
            self._remove_first()
        return None

    def confirm(self, batch: Batch) -> None:
        first = self._segments[0]
        first.confirm(batch)
        if not first.waiting and (self.adopted or len(self._segments) > 1 or first.size > _REUSED_BYTES_MAX):
            self._remove_first()

    def drop_oldest(self) -> int | None:
        first = self._first()
        if first is None or not (first.waiting or len(self._segments) > 1):
            return None
        self._segments.popleft().delete()
        return first.waiting

    def close(self) -> None:
        for segment in self._segments:
            segment.close()
        if not self.waiting and not self._unopened:
            shutil.rmtree(self._path, ignore_errors=True)
        os.close(self._lock)

    def forget(self) -> None:
        for segment in self._segments:
            segment.close()
        # The parent has the same lock by another descriptor, so it stays locked.
        os.close(self._lock)

    def _first(self) -> Segment | None:
        while not self._segments and self._unopened:
            name = self._unopened.popleft()
            try:
                self._unopened_bytes -= (self._path / name).lstat().st_size
                segment = Segment.open(self._path / name)
            except (DamagedError, OSError) as error:
                self._set_aside(name, error)
                continue
            self.found += segment.waiting
            self._segments.append(segment)
        return self._segments[0] if self._segments else None

    def _remove_first(self) -> None:
        first = self._segments.popleft()
        if first.damaged:
            first.close()
            self._set_aside(first.path.name, DamagedError("something behind its last event is no event"))
        else:
            first.delete()

    def _set_aside(self, name: str, error: Exception) -> None:
        """Keep a file that cannot be read to its end, for people, where nobody tries it again."""
        aside = self._path.parent / f"{_DAMAGED}{self._path.name}-{name}"
        log.warning("a file of the spool cannot be read (%s); it is kept as %s", error, aside)
        try:
            (self._path / name).rename(aside)
        except OSError:
            log.warning("nor can it be put aside; it stays where it is")


class Memory:
    """Where events wait when there is no disk for them: they are lost when the process ends. See `Store`."""

    adopted = False
    found = lost = 0
    trouble: OSError | None = None

    def __init__(self) -> None:
        # Frames are not needed here; what was appended at once is one piece, and is dropped or read as one.
        self._pieces: deque[tuple[list[tuple[str, bytes]], int, int]] = deque()
        self._bytes = self._waiting = 0

    @property
    def waiting(self) -> int:
        return self._waiting

    @property
    def bytes(self) -> int:
        return self._bytes

    def append(self, events: Events) -> int:
        for start in range(0, len(events), FRAME_EVENTS_MAX):
            piece = list(events[start : start + FRAME_EVENTS_MAX])
            size = sum([len(value) for _, value in piece])
            self._pieces.append((piece, size, now_ms()))
            self._bytes += size
        self._waiting += len(events)
        return len(events)

    def read(self, events_max: int, bytes_max: int) -> Batch | None:
        events: list[tuple[str, bytes]] = []
        size = 0
        taken = 0
        for piece, piece_bytes, _ in self._pieces:
            if taken and (len(events) >= events_max or size >= bytes_max):
                break
            events += piece
            size += piece_bytes
            taken += 1
        return Batch(events, taken, self._pieces[0][2]) if taken else None

    def confirm(self, batch: Batch) -> None:
        for _ in range(batch.end):
            self.drop_oldest()

    def drop_oldest(self) -> int | None:
        if not self._pieces:
            return None
        piece, size, _ = self._pieces.popleft()
        self._bytes -= size
        self._waiting -= len(piece)
        return len(piece)

    def close(self) -> None:
        self._pieces.clear()

    def forget(self) -> None:
        self._pieces.clear()


def _lock(folder: Path) -> int | None:
    """The lock of a folder, as a descriptor to close; None when a living process has it."""
    path = folder / _LOCK
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had it may have removed the folder meanwhile.
        if os.fstat(lock).st_ino == path.lstat().st_ino:
            return lock
    except BlockingIOError:
        pass
    except BaseException:
        os.close(lock)
        raise
    os.close(lock)
    return None


def _remove_if_left(path: Path) -> None:
    try:
        if time.time() - path.lstat().st_mtime > _NEW_SECONDS_MAX:
            shutil.rmtree(path, ignore_errors=True)
    except OSError:
        pass  # another process was faster
