"""The spool of a process: everything recorded is written here first, and leaves when it is stored elsewhere.

It is bounded in bytes, over all processes with the same destination. Where there is no disk for it, memory takes its
place.
"""

import logging
import time
from collections import deque
from pathlib import Path
from typing import Final, Literal

from tollgate.sdk.segment import Batch, Events, parts_of
from tollgate.sdk.spool_folder import Folder, Memory, Store, bytes_in, root_of

log = logging.getLogger("tollgate.sdk")

_SEGMENT_BYTES_MAX: Final = 8 * 1024 * 1024
_SEGMENT_BYTES_MIN: Final = 64 * 1024
# The oldest segment is what is dropped at once: not much of the whole.
_SEGMENTS: Final = 32
_MEMORY_BYTES_MAX: Final = 64 * 1024 * 1024
# How often the disk is tried again, and what other processes take is looked up.
_DISK_SECONDS: Final = 5.0
_OTHERS_SECONDS: Final = 1.0


class Spool:
    """Events in the order of their recording. Not thread-safe.

    The counts go up only, and are of this process's own events: `spooled` were written to disk, `sent` confirmed,
    `refused` confirmed as not to be sent again, `dropped` for want of room. `taken_over`, `adopted_sent` and so on are
    the same of events that other processes left.
    """

    def __init__(
        self,
        directory: Path | None,
        destination: str,
        bytes_max: int,
        when_full: Literal["drop_oldest", "block"] = "drop_oldest",
        block_seconds_max: float = 0.0,
    ) -> None:
        self._directory = directory
        self._destination = destination
        self._bytes_max = bytes_max
        self._wait_seconds_max = block_seconds_max if when_full == "block" else 0.0
        self._stores: deque[Store] = deque()
        self._in_flight: tuple[Store, Batch] | None = None
        self._root: Path | None = None
        self._others_bytes = 0
        self._others_due = self._disk_due = 0.0
        self._full_since: float | None = None
        self._warned = False
        self.spooled = self.taken_over = self.dropped = self.own_done = 0

    @property
    def waiting(self) -> int:
        """How many events are known to wait."""
        return sum([store.waiting for store in self._stores])

    @property
    def bytes(self) -> int:
        """What it takes, of this process and of the one that it took over from."""
        return sum([store.bytes for store in self._stores])

    @property
    def has_adopted(self) -> bool:
        """Whether it has what an ended process left."""
        return bool(self._stores) and self._stores[0].adopted

    @property
    def is_in_memory(self) -> bool:
        """Whether what is recorded now would be lost with the process."""
        return bool(self._stores) and isinstance(self._stores[-1], Memory)

    def append(self, events: Events) -> int:
        """Keep these events, dropping the oldest for them when there is no room, and return how many are kept.

        Fewer than given: there is no room, and the time to wait for it is not over. Try the rest again later.
        """
        kept = 0
        for part in parts_of(events):
            if not self._make_room(sum([len(value) for _, value in part])):
                break
            self._keep(part)
            kept += len(part)
        return kept

    def _keep(self, part: Events) -> None:
        store = self._writable()
        kept = store.append(part)
        if not isinstance(store, Memory):
            self.spooled += kept
            self._warned = self._warned and kept < len(part)
        if kept < len(part):
            if not store.waiting:
                # A disk that is full holds folders without anything in them.
                self._stores.pop().close()
            self._to_memory(store.trouble).append(part[kept:])

    def next(self, events_max: int, bytes_max: int) -> Batch | None:
        """The oldest events that wait. They stay until `confirm`. None when nothing waits."""
        while self._stores:
            store = self._stores[0]
            found, lost = store.found, store.lost
            batch = store.read(events_max, bytes_max)
            self.taken_over += store.found - found
            self._count_dropped(store, store.lost - lost)
            if batch is not None:
                self._in_flight = store, batch
                return batch
            if len(self._stores) == 1 and not store.adopted:
                return None
            self._stores.popleft().close()
        return None

    def confirm(self) -> int:
        """What `next` gave last needs not be sent again. How many that is: 0 when they were dropped meanwhile."""
        if self._in_flight is None:
            return 0
        store, batch = self._in_flight
        self._in_flight = None
        store.confirm(batch)
        if not store.adopted:
            self.own_done += len(batch.events)
        return len(batch.events)

    def adopt(self) -> bool:
        """Take over what an ended process left, the oldest first, to be sent before everything else."""
        if self.has_adopted:
            return False
        try:
            root = self._root or root_of(self._directory, self._destination)
        except OSError:
            return False  # `append` tells, when there is something to write
        folder = Folder.adopt(root)
        if folder is None:
            return False
        self._stores.appendleft(folder)
        return True

    def close(self) -> None:
        """Let go of everything. What is not sent stays on disk for the next process; what is in memory is lost."""
        lost = sum([store.waiting for store in self._stores if isinstance(store, Memory)])
        for store in self._stores:
            store.close()
        self._stores.clear()
        self._in_flight = None
        if lost:
            self.dropped += lost
            self.own_done += lost
            log.error("%d usage events are lost: they could not be sent, and there was no disk for them", lost)

    def forget(self) -> None:
        """In a process that was forked: leave everything to the parent."""
        for store in self._stores:
            store.forget()
        self._stores.clear()

    def _make_room(self, size: int) -> bool:
        while not self._has_room(size):
            now = time.monotonic()
            self._full_since = self._full_since or now
            if now - self._full_since < self._wait_seconds_max:
                return False
            if not self._drop_oldest():
                break
        self._full_since = None
        return True

    def _has_room(self, size: int) -> bool:
        own = self.bytes
        now = time.monotonic()
        if now >= self._others_due and self._root is not None:
            self._others_due = now + _OTHERS_SECONDS
            self._others_bytes = max(0, bytes_in(self._root) - own)
        if self.is_in_memory:
            memory = self._stores[-1].bytes
            return memory + size <= min(_MEMORY_BYTES_MAX, self._bytes_max)
        return own + self._others_bytes + size <= self._bytes_max

    def _drop_oldest(self) -> bool:
        # What is on disk leaves no room in memory.
        for store in [self._stores[-1]] if self.is_in_memory else self._stores:
            found, lost = store.found, store.lost
            dropped = store.drop_oldest()
            self.taken_over += store.found - found
            self._count_dropped(store, store.lost - lost)
            if dropped is not None:
                if self._in_flight is not None and self._in_flight[0] is store:
                    self._in_flight = None
                self._count_dropped(store, dropped)
                log.warning("the spool is full: its %d oldest usage events are dropped", dropped)
                return True
        return False

    def _count_dropped(self, store: Store, count: int) -> None:
        self.dropped += count
        if not store.adopted:
            self.own_done += count

    def _writable(self) -> Store:
        last = self._stores[-1] if self._stores else None
        if isinstance(last, Folder) and not last.adopted:
            return last
        if last is None or last.adopted or time.monotonic() >= self._disk_due:
            try:
                self._root = root_of(self._directory, self._destination)
                segment_bytes = self._bytes_max // _SEGMENTS
                segment_bytes = max(_SEGMENT_BYTES_MIN, min(_SEGMENT_BYTES_MAX, segment_bytes))
                self._stores.append(Folder.create(self._root, segment_bytes))
            except OSError as error:
                return self._to_memory(error)
        return self._stores[-1]

    def _to_memory(self, trouble: OSError | None) -> Store:
        self._disk_due = time.monotonic() + _DISK_SECONDS
        if not self._warned:
            self._warned = True
            log.warning(
                "the spool cannot be written (%s): usage events that wait are lost if this process ends; "
                "set spool_dir or TOLLGATE_SPOOL_DIR to a folder that this user may write to",
                trouble,
            )
        if not self.is_in_memory:
            self._stores.append(Memory())
        return self._stores[-1]
