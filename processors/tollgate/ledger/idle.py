"""Whether the machine's time may stand for that of a partition's records: nothing arrives, and no backlog waits."""

from typing import Final

# A record that is read this long after its broker stamped it is part of a backlog. Live ones take 0.2 s at most.
_BEHIND_MS: Final = 2_000

# After a record of a backlog, or after the start, it takes this long without any until there can be none left to fetch.
_QUIET_MS: Final = 5_000


class Idle:
    """Told of every batch, and asked at every tick."""

    def __init__(self) -> None:
        self._is_behind = True
        self._has_arrived = False
        self._quiet_since_ms: int | None = None

    def arrived(self, stamp_ms: int, now_ms: int) -> None:
        """A batch has arrived whose last record the broker stamped so."""
        self._has_arrived = True
        self._is_behind = now_ms - stamp_ms > _BEHIND_MS

    def is_idle(self, now_ms: int) -> bool:
        """Whether nothing has arrived since this was last asked, and long enough where a backlog may be under way."""
        if self._has_arrived or self._quiet_since_ms is None:
            self._has_arrived, self._quiet_since_ms = False, now_ms
            return False
        return not self._is_behind or now_ms - self._quiet_since_ms >= _QUIET_MS
