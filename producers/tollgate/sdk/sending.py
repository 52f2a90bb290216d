"""What a sender of recorded events is, whatever it sends them to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tollgate.sdk.segment import Events


class TroubleError(Exception):
    """The events could not be stored now, for no fault of theirs: send all of them again later.

    `retry_seconds` is when the other side wants that; None when it does not say. The text holds no payload.
    """

    def __init__(self, message: str, retry_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


@dataclass(frozen=True, slots=True)
class RefusedEvent:
    """An event that is never stored: its place among those that were sent, and why."""

    place: int
    error: str


class Sender(Protocol):
    """Sends recorded events. Used by one task at a time."""

    events_max: int
    """How many events it takes at once."""
    bytes_max: int
    """How much they may hold together, except that one event is always taken."""

    async def send(self, events: Events) -> Sequence[RefusedEvent]:
        """Return when all of these are stored, but for those refused. Connects when it must.

        TroubleError when they are not, or perhaps not. The order of a user's events is kept.
        """

    async def close(self) -> None:
        """End the connections within half a second; what is on its way may or may not be stored."""
