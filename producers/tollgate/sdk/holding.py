"""What is set aside for one call, from its decision to its end: the two faces of `Tollgate.reserve`."""

import asyncio
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, Unpack

from tollgate.schemas.amounts import format_amount, format_usd
from tollgate.sdk.errors import BlockedError, UnavailableError, UndecidedError
from tollgate.sdk.event_fields import SettleFields, Usage
from tollgate.sdk.recording import new_id
from tollgate.sdk.slices import NOTHING, Amounts, LaneKey, Slice

if TYPE_CHECKING:
    from tollgate.schemas.outputs import Decision
    from tollgate.sdk.limits import Limits

log = logging.getLogger("tollgate.sdk")

# The client's loop ends the wait by itself; this is for a loop that has ended just when it was asked.
_LATE_SECONDS: Final = 1.0


class Wanted(NamedTuple):
    """What a call wants to set aside. `names` are the call's, beside its user; `singles` its single scopes."""

    key: LaneKey
    need: Amounts
    names: Mapping[str, str]
    singles: Mapping[str, str]
    id: str | None
    timeout_seconds: float
    in_slices: bool


class _Hold:
    """What both faces share. A face is used by one thread or task at a time."""

    def __init__(self, limits: "Limits", wanted: Wanted) -> None:
        self._limits = limits
        self._wanted = wanted
        self._drawn: Slice | None = None
        # Of one thread again and again: the garbage collector may end a forgotten call while its thread is in here.
        self._lock = threading.RLock()
        self._abandoned = self._held = self._asked = False
        self._used = self._over = False
        self.user = wanted.key.user
        self.id = wanted.id or ("" if wanted.in_slices else new_id())
        self.granted = False
        self.decision: Decision | None = None
        """The worker's own, where this call has asked for one."""

    def _draw(self) -> bool:
        """Take it from a slice that is held."""
        drawn = self._limits.slices.draw(self._wanted.key, self._wanted.need) if self._wanted.in_slices else None
        if drawn is None:
            return False
        self._take(drawn)
        return True

    def _take(self, drawn: Slice) -> None:
        self._drawn, self.id, self.granted = drawn, drawn.id, True

    async def _begin(self) -> None:
        """Have it decided, on the client's loop. Raises BlockedError; UndecidedError when the call fails closed."""
        wanted = self._wanted
        try:
            async with asyncio.timeout(wanted.timeout_seconds):
                decided = await self._decided()
        except (TimeoutError, UnavailableError) as error:
            self._undecided(error)
            return
        except asyncio.CancelledError:
            self._end_asked()
            raise
        if isinstance(decided, Slice):
            self._take(decided)
        else:
            self.decision = decided
            if not decided.granted:
                raise BlockedError.of(decided)
            self.granted = True
        with self._lock:
            self._held, left = True, self._abandoned
        if left:
            self._leave()

    async def _decided(self) -> "Slice | Decision":
        wanted, limits = self._wanted, self._limits
        if wanted.in_slices:
            return await limits.slices.obtain(wanted.key, wanted.need)
        key, need = wanted.key, wanted.need
        data = {
            "amount_usd": format_usd(need.picousd) if key.in_usd else None,
            "credits": format_amount(need.credits_nano) if key.in_credits else None,
            "ttl_seconds": key.ttl_seconds,
            **wanted.names,
        }
        self._asked = True
        return await limits.ask(self.id, self.user, data)

    def _undecided(self, error: Exception) -> None:
        if isinstance(error, TimeoutError):
            message = f"no decision on the reservation within {self._wanted.timeout_seconds:g} s: does a worker run?"
        else:
            message = f"the reservation cannot be made: {error}"
        if self._limits.fails_closed(self._wanted.singles):
            self._end_asked()
            raise UndecidedError(message) from error
        log.warning("%s; the call goes ahead with nothing reserved", message)

    def _interrupted(self, work: "Future[None]") -> None:
        """The client's thread has ended under the call: the client is being closed, or its process forks. The caller
        did not give up, so the call is one that nobody decides.
        """
        with self._lock:
            if self._held:
                # It was granted just then.
                return
            self._abandoned = True
        work.cancel()
        self._undecided(UnavailableError("the client was closed, or its process forked, meanwhile"))

    @property
    def _wait_seconds_max(self) -> float:
        return self._wanted.timeout_seconds + _LATE_SECONDS

    def _end_asked(self) -> None:
        """Nobody waits for the answer any more, and it may be granted all the same."""
        if self._asked:
            self._asked = False
            self._limits.end(self.user, self.id)

    def _abandon(self, work: "Future[None]") -> None:
        """The caller does not go on: what is or will be granted goes back."""
        with self._lock:
            self._abandoned, left = True, self._held
        work.cancel()
        if left:
            self._leave()

    def _leave(self) -> None:
        if self._over:
            return
        self._over = True
        if self._drawn is not None:
            # What was settled with `more` is not there any more.
            unused = NOTHING if self._used else self._wanted.need
            self._limits.slices.give_back(self._drawn, unused)
        else:
            self._end_asked()

    def _settle(
        self, usage: Usage, more: bool, time: datetime | str | None, event_id: str | None, fields: Mapping[str, Any]
    ) -> str:
        if self._over:
            raise TypeError("the reservation is settled already: say more=True where several calls share one")
        data: dict[str, Any] = {**self._wanted.names, **fields}
        if self._drawn is not None or self._asked:
            data["reservation_id"] = self.id

        def record(has_more: bool) -> str:
            is_part = has_more and "reservation_id" in data
            return self._limits.record(self.user, usage, time, event_id, data | ({"more": True} if is_part else {}))

        if self._drawn is None or more:
            told = record(more or self._drawn is not None)
            self._used = True
        else:
            told = self._limits.slices.settle(self._drawn, record)
        self._over = not more
        return told


class Holding(_Hold):
    """`faces.Held` of the real client."""

    def settle(
        self,
        *,
        usage: Usage,
        more: bool = False,
        time: datetime | str | None = None,
        id: str | None = None,  # noqa: A002 # the contract's name
        **fields: Unpack[SettleFields],
    ) -> str:
        """As `Held.settle`."""
        return self._settle(usage, more, time, id, fields)

    def __enter__(self) -> Self:
        if not self._draw():
            work = self._limits.submit(self._begin())
            try:
                work.result(self._wait_seconds_max)
            except (CancelledError, TimeoutError):
                self._interrupted(work)
            except BaseException:
                self._abandon(work)
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()


class AsyncHolding(_Hold):
    """`faces.AsyncHeld` of the real client."""

    async def settle(
        self,
        *,
        usage: Usage,
        more: bool = False,
        time: datetime | str | None = None,
        id: str | None = None,  # noqa: A002 # the contract's name
        **fields: Unpack[SettleFields],
    ) -> str:
        """As `AsyncHeld.settle`."""
        return self._settle(usage, more, time, id, fields)

    async def __aenter__(self) -> Self:
        if not self._draw():
            work = self._limits.submit(self._begin())
            try:
                async with asyncio.timeout(self._wait_seconds_max):
                    await asyncio.wrap_future(work)
            except TimeoutError:
                self._interrupted(work)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    self._abandon(work)
                    raise
                self._interrupted(work)
            except BaseException:
                self._abandon(work)
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()
