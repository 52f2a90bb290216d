"""Who decides on reservations, as the client needs it: a worker behind Kafka, or behind the console's API."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from tollgate.schemas.outputs import Decision


class Ask(Protocol):
    """Asks for one reservation."""

    async def __call__(self, reservation_id: str, user: str, data: Mapping[str, Any]) -> "Decision":
        """The decision, however long it takes. `data` is the reservation's: amounts, `ttl_seconds`, the call's names.

        Raises InvalidEventError when the worker would refuse it, and UnavailableError when nobody can be asked now.
        """


class Owner(Protocol):
    """A connection to who decides."""

    async def start(self) -> None:
        """Connect. UnavailableError when that is not possible now; it may be started again."""

    async def stop(self) -> None:
        """Close the connection."""

    async def ask(self, reservation_id: str, user: str, data: Mapping[str, Any]) -> "Decision":
        """As `Ask`."""


class Feed(Protocol):
    """What keeps a `Knowledge` up to date."""

    async def run(self) -> None:
        """Read what is known and follow it, until cancelled. Waits while it cannot be read."""
