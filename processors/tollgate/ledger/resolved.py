"""Alerts that are over: after a month their record in the compacted topic is removed, or it would grow for ever.

One state row for each, `r|<key of the alert>`, says from when on. The sinks read the removal as "forget it": ClickHouse
keeps the history, and Slack the message.
"""

import heapq
from typing import Final

from tollgate.ledger.outbox import NO_HEADERS, Outbox
from tollgate.schemas.outputs import AlertLevel
from tollgate.schemas.outputs_codec import AlertRecord
from tollgate.schemas.topics import DAY_MS, Topic

# Long enough for a sink that is away to learn that the alert is over.
KEPT_MS: Final = 30 * DAY_MS
# In one partition. Past these the one that is over for longest goes first: about 30 MB of memory.
KEPT_MAX: Final = 100_000
# Removals in one transaction.
REMOVED_MAX: Final = 1_000

_PREFIX: Final = "r|"


class ResolvedAlerts:
    """The alerts of one partition's scopes that are resolved, and when each may be forgotten."""

    def __init__(self, partition: int, state: Topic) -> None:
        self._partition = partition
        self._state = state
        self._until: dict[str, int] = {}
        self._queue: list[tuple[int, str]] = []
        self._is_due = False

    def restore(self, rows: dict[str, bytes]) -> None:
        """Take back the latest rows of the state topic."""
        self._until = {key[len(_PREFIX) :]: int(value) for key, value in rows.items() if key.startswith(_PREFIX)}
        self._queue = [(until_ms, key) for key, until_ms in self._until.items()]
        heapq.heapify(self._queue)

    def tick(self, now_ms: int) -> None:
        """Look whether one may be forgotten."""
        self._is_due = bool(self._queue) and (self._queue[0][0] <= now_ms or len(self._until) > KEPT_MAX)

    def has_pending(self) -> bool:
        """Whether a transaction now would remove something."""
        return self._is_due

    def note(self, alert: AlertRecord, outbox: Outbox, now_ms: int) -> None:
        """An alert is written: remember when it can go, or that it fires again."""
        key = alert.key
        if alert.level is AlertLevel.RESOLVED:
            until_ms = self._until[key] = now_ms + KEPT_MS
            heapq.heappush(self._queue, (until_ms, key))
            self._write(outbox, key, b"%d" % until_ms)
        elif self._until.pop(key, None) is not None:
            self._write(outbox, key, None)

    def write(self, outbox: Outbox, now_ms: int) -> None:
        """Remove the alerts that may be forgotten, and their rows."""
        removed = 0
        while self._queue and removed < REMOVED_MAX:
            until_ms, key = self._queue[0]
            if until_ms > now_ms and len(self._until) <= KEPT_MAX:
                break
            heapq.heappop(self._queue)
            # Else it has fired again since.
            if self._until.get(key) == until_ms:
                del self._until[key]
                outbox.to(Topic.ALERTS, 0).append((key.encode(), None, NO_HEADERS))
                self._write(outbox, key, None)
                removed += 1
        self.tick(now_ms)

    def _write(self, outbox: Outbox, key: str, row: bytes | None) -> None:
        outbox.to(self._state, self._partition).append((f"{_PREFIX}{key}".encode(), row, NO_HEADERS))
