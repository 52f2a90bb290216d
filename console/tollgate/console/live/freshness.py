"""How old the knowledge of a topic is."""

from typing import Final, NamedTuple

# Two heartbeats of the stream and a long transaction fit into this.
STALE_AFTER_MS: Final = 30_000


class Freshness(NamedTuple):
    """Everything that Kafka had at `as_of_ms` is known; 0: not yet. `stale` when that is over 30 s ago."""

    as_of_ms: int
    stale: bool

    @classmethod
    def at(cls, as_of_ms: int, now_ms: int) -> "Freshness":
        """Of knowledge that was complete at `as_of_ms`, as seen now."""
        return cls(as_of_ms, now_ms - as_of_ms > STALE_AFTER_MS)
