"""What a client has done so far."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts of events since this process made the client (after a fork: since the fork). Only `waiting` goes down.

    `recorded` = `waiting` + `sent` + `refused` + `dropped`, for events of this process. What was taken over from
    processes that ended is counted in `taken_over` when it is found, and then in `sent` like the rest.
    """

    recorded: int = 0
    """Handed to `record`, `settle` or a release."""
    taken_over: int = 0
    """Found in the spool, left by processes that ended."""
    spooled: int = 0
    """Written to the spool."""
    sent: int = 0
    """Stored by Kafka, or accepted by the console."""
    refused: int = 0
    """Refused by Kafka or the console for good: see `on_error` and the log."""
    dropped: int = 0
    """Dropped because the spool, or the memory on the way to it, was full."""
    waiting: int = 0
    """Neither sent nor refused nor dropped yet."""
    oldest_age_ms: int = 0
    """How long the oldest of these has waited, in milliseconds; 0 when none waits."""
