"""One reservation, from its decision to its end."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from tollgate.schemas.outputs import Decision
from tollgate.sdk.errors import BlockedError, UnavailableError, UndecidedError
from tollgate.sdk.recording import encode_event, new_id
from tollgate.sdk.reserving import Reserving

log = logging.getLogger("tollgate.sdk")


class Reservation:
    """Money or credits that are set aside for a call; made by `FlagReader.reserve`, which says what it raises.

    `decision` is the worker's; None when none came in time and the call goes ahead all the same.
    """

    def __init__(
        self,
        reserving: Reserving,
        *,
        user: str,
        amounts: Mapping[str, str | int | None],
        names: Mapping[str, str],
        reservation_id: str | None,
        timeout_seconds: float,
        fails_closed: Callable[[], bool],
    ) -> None:
        self._reserving = reserving
        self._amounts = amounts
        self._names = names
        self._timeout_seconds = timeout_seconds
        self._fails_closed = fails_closed
        self._closed = False
        self._event_id: str | None = None
        self.id = reservation_id or new_id()
        self.user = user
        self.decision: Decision | None = None

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                self.decision = await self._reserving.ask(self.id, self.user, {**self._amounts, **self._names})
        except (TimeoutError, UnavailableError) as error:
            await self._undecided(error)
            return self
        except asyncio.CancelledError:
            # It may be granted all the same.
            await self._reserving.release(self.user, self.id)
            raise
        if not self.decision.granted:
            raise BlockedError.of(self.decision)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._closed:
            await self._reserving.release(self.user, self.id)

    async def settle(
        self,
        *,
        usage: Mapping[str, int | str],
        more: bool = False,
        time: datetime | str | None = None,
        id: str | None = None,  # noqa: A002 # the contract's name
        **fields: Any,
    ) -> str:
        """Record the call that the reservation was for, and return its event id once Kafka has stored it.

        Its cost is taken from what is reserved, and the rest is free at once; with `more=True` the rest stays reserved
        for further calls. `fields` are those of `UsagePublisher.record`; the names that were reserved for are its
        names where they are not given anew.

        Raises as `UsagePublisher.record`. After UnavailableError settle again: the event has the same id and counts
        once. TypeError when the reservation is settled already.
        """
        if self._closed:
            raise TypeError("the reservation is settled already: say more=True where several calls share one")
        event_id = self._event_id = id or self._event_id or new_id()
        data = {**self._names, **fields, "usage": usage, "reservation_id": self.id, "more": True if more else None}
        value = encode_event(self._reserving.source, event_id, self.user, time, data)
        await self._reserving.settle(self.user, value)
        self._event_id = None
        self._closed = not more
        return event_id

    async def _undecided(self, error: Exception) -> None:
        if isinstance(error, TimeoutError):
            message = f"no decision on the reservation within {self._timeout_seconds:g} s: does a worker run?"
        else:
            message = f"the reservation cannot be made: {error}"
        if self._fails_closed():
            if isinstance(error, TimeoutError):
                await self._reserving.release(self.user, self.id)
            raise UndecidedError(message) from error
        log.warning("%s; the call goes ahead with nothing reserved", message)
