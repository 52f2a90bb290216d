"""Slices: reservations that a busy user's calls draw on in memory, so that most calls wait for nobody.

A slice is one reservation that serves many calls (`"more": true`). Drawing takes microseconds, in the caller's thread.
What it costs is asked for ahead of need, on the loop of the client's own thread.

A slice never promises what its owner no longer holds. Its life is measured by this host's steady clock from before it
was asked for, so it ends here before it ends at the worker. It is drawn on in the first quarter of its life, so each
call is held for three quarters of it at least.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tollgate.schemas.amounts import format_amount, format_usd, parse_usd
from tollgate.sdk.errors import SdkError, UnavailableError

if TYPE_CHECKING:
    from tollgate.schemas.outputs import Decision
    from tollgate.sdk.asking import Ask

log = logging.getLogger("tollgate.sdk")

DRAWN_SHARE: Final = 0.25
"""Of a slice's life the part in which calls may draw on it."""
IDLE_SECONDS: Final = 2.0
"""A slice that nobody has drawn on for so long is given back."""
CALLS_MAX: Final = 100_000
"""Calls of average size that one slice is for, at most."""
ASK_SECONDS_MAX: Final = 5.0
"""How long a decision on a slice is awaited; it takes a tenth of a second while a worker runs."""
# Slices are sized to last for about a second: much longer than a decision takes, and little enough to hold back.
_TOO_SHORT_SECONDS: Final = 0.5
_TOO_LONG_SECONDS: Final = 2.0
# After a denial slices do not grow for so long: the limit is near.
_SHY_SECONDS: Final = 5.0
# How often a smaller slice is tried before the call by itself.
_TRIES_MAX: Final = 3
# A close waits so long for decisions on their way.
_CLOSE_SECONDS_MAX: Final = 0.25
# Unused slices are looked for so often.
_TIDY_SECONDS: Final = 0.5
# Of an average over the last eight calls.
_AVERAGE_SHIFT: Final = 3


class Amounts(NamedTuple):
    """Money in 10⁻¹² USD and credits in 10⁻⁹."""

    picousd: int
    credits_nano: int

    def covers(self, other: "Amounts") -> bool:
        """Whether neither of the other's is larger."""
        return self.picousd >= other.picousd and self.credits_nano >= other.credits_nano


NOTHING: Final = Amounts(0, 0)


class LaneKey(NamedTuple):
    """Calls with the same one share slices: what they reserve for decides which limits are checked."""

    user: str
    names: tuple[tuple[str, str], ...]
    ttl_seconds: int
    in_usd: bool
    in_credits: bool


@dataclass(slots=True, eq=False)
class Slice:
    """One reservation. Its fields change under the lock of `Slices` alone."""

    id: str
    user: str
    picousd: int
    """What is left to draw."""
    credits_nano: int
    drawn_until: float
    open_calls: int = 0
    """Calls that have drawn and neither settled nor given back."""
    retired: bool = False
    """Whether nobody may draw on it any more; it ends with its last call."""


@dataclass(slots=True, eq=False)
class _Lane:
    """The slices of one key, oldest first, and how large the next one should be."""

    key: LaneKey
    slices: list[Slice] = field(default_factory=list)
    calls: int = 1
    average_picousd: int = 0
    average_nano: int = 0
    waiting: Amounts = NOTHING
    """What callers wait for."""
    granted_at: float = float("-inf")
    low: Amounts = NOTHING
    """When less than this is left, the next slice is asked for."""
    shy_until: float = float("-inf")
    drawn_at: float = float("-inf")
    asking: "asyncio.Task[Denied | None] | None" = None
    renewing: bool = False


class Denied(NamedTuple):
    """A worker has denied so much."""

    need: Amounts
    decision: "Decision"


class Slices:
    """The slices of a client. `draw`, `settle` and `give_back` may be called from any thread; the rest from the loop.

    `ask` asks a worker; `end` records the end of a reservation in the same order as usage; `submit` runs a coroutine on
    the loop.
    """

    def __init__(
        self,
        ask: "Ask",
        end: Callable[[str, str], None],
        submit: Callable[[Coroutine[Any, Any, None]], object],
        new_id: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
        ask_seconds_max: float = ASK_SECONDS_MAX,
    ) -> None:
        self._ask = ask
        self._end = end
        self._submit = submit
        self._new_id = new_id
        self._clock = clock
        self._ask_seconds_max = ask_seconds_max
        # Of one thread again and again: the garbage collector may end a forgotten call while its thread is in here.
        self._lock = threading.RLock()
        self._lanes: dict[LaneKey, _Lane] = {}
        self._tidying: asyncio.Task[None] | None = None
        self._closed = False

    def draw(self, key: LaneKey, need: Amounts) -> Slice | None:
        """Take so much from a slice that is held; None when none has as much. It never waits for anybody."""
        lane = self._lanes.get(key)
        if lane is None:
            return None
        renew = False
        with self._lock:
            now = self._clock()
            for found in lane.slices:
                if (
                    found.picousd >= need.picousd
                    and found.credits_nano >= need.credits_nano
                    and now < found.drawn_until
                ):
                    break
            else:
                return None
            found.picousd -= need.picousd
            found.credits_nano -= need.credits_nano
            found.open_calls += 1
            lane.drawn_at = now
            lane.average_picousd += (need.picousd - lane.average_picousd) >> _AVERAGE_SHIFT
            lane.average_nano += (need.credits_nano - lane.average_nano) >> _AVERAGE_SHIFT
            newest = lane.slices[-1]
            if (newest.picousd < lane.low.picousd or newest.credits_nano < lane.low.credits_nano) and not lane.renewing:
                renew = lane.renewing = True
            if not (found.picousd or found.credits_nano):
                # Its last call ends it.
                found.retired = True
                lane.slices.remove(found)
        if renew:
            self._submit(self._renew(lane))
        return found

    def settle(self, drawn: Slice, record: Callable[[bool], str]) -> str:
        """Record the call that has drawn. `record` is told whether further calls settle the same reservation, and what
        it returns is returned. When it raises, the call is still open.
        """
        with self._lock:
            # Nobody else can begin or end a call of it then, so this one's usage ends the reservation.
            is_last = drawn.retired and drawn.open_calls == 1
        told = record(not is_last)
        self._leave(drawn, ended=is_last)
        return told

    def give_back(self, drawn: Slice, need: Amounts) -> None:
        """The call that has drawn so much is not made: others may draw it."""
        with self._lock:
            drawn.picousd += need.picousd
            drawn.credits_nano += need.credits_nano
        self._leave(drawn, ended=False)

    async def obtain(self, key: LaneKey, need: Amounts) -> "Slice | Decision":
        """As `draw`, but asks a worker for a slice when none is held. A decision that denies is returned.

        Raises what asking raises: UnavailableError, InvalidEventError.
        """
        lane = self._lanes.get(key)
        if lane is None:
            with self._lock:
                made = _Lane(key, average_picousd=need.picousd, average_nano=need.credits_nano)
                lane = self._lanes.setdefault(key, made)
        self._tidy_up()
        lane.waiting = _sum(lane.waiting, need)
        try:
            while True:
                found = self.draw(key, need)
                if found is not None:
                    return found
                # One that is done has not answered this caller.
                if lane.asking is None or lane.asking.done():
                    lane.asking = self._begin(lane, need)
                # Shielded: others wait for the same answer.
                denied = await self._answered(lane.asking)
                if denied is not None and need.covers(denied.need):
                    return denied.decision
        finally:
            lane.waiting = _less(lane.waiting, need)

    async def _answered(self, asking: "asyncio.Task[Denied | None]") -> Denied | None:
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            if self._closed and asking.cancelled():
                raise UnavailableError("the client is being closed") from None
            raise

    async def close(self) -> None:
        """Give back every slice that no call has open. The others end with their last call, or by themselves."""
        self._closed = True
        tidying, self._tidying = self._tidying, None
        if tidying is not None:
            tidying.cancel()
        asking = [lane.asking for lane in self._lanes.values() if lane.asking is not None]
        if asking:
            # What is granted now is given back at once. A release that is sent before its grant would be lost.
            _, late = await asyncio.wait(asking, timeout=_CLOSE_SECONDS_MAX)
            for task in late:
                task.cancel()
            await asyncio.wait(asking)
        for lane in list(self._lanes.values()):
            self._retire(lane, lane.slices.copy())

    def _leave(self, drawn: Slice, *, ended: bool) -> None:
        with self._lock:
            drawn.open_calls -= 1
            is_over = drawn.retired and not drawn.open_calls and not ended
        if is_over:
            self._end(drawn.user, drawn.id)

    def _retire(self, lane: _Lane, slices: list[Slice]) -> None:
        """Let nobody draw on these any more."""
        over = []
        with self._lock:
            for one in slices:
                if not one.retired:
                    one.retired = True
                    lane.slices.remove(one)
                    if not one.open_calls:
                        over.append(one)
        for one in over:
            self._end(one.user, one.id)

    async def _renew(self, lane: _Lane) -> None:
        """Ask for the next slice before this one is used up. Without an answer, the next call that finds none asks."""
        try:
            if (lane.asking is None or lane.asking.done()) and not self._closed:
                lane.asking = self._begin(lane, None)
                await self._answered(lane.asking)
        except SdkError as error:
            log.debug("a slice was not renewed: %s", error)
        finally:
            lane.renewing = False

    def _begin(self, lane: _Lane, need: Amounts | None) -> "asyncio.Task[Denied | None]":
        task = asyncio.create_task(self._supply(lane, need), name="tollgate-slice")

        def done(ended: "asyncio.Task[Denied | None]") -> None:
            if lane.asking is ended:
                lane.asking = None
            if not ended.cancelled():
                # All who waited may have gone.
                ended.exception()

        task.add_done_callback(done)
        return task

    async def _supply(self, lane: _Lane, need: Amounts | None) -> Denied | None:
        """Ask for the next slice, smaller when it is denied, at last for what one call needs. None: for a renewal,
        which is tried once.
        """
        asked = self._next_size(lane, need or NOTHING)
        denied: Denied | None = None
        for left in reversed(range(_TRIES_MAX)):
            decision, begun = await self._ask_for(lane.key, asked)
            if decision.granted:
                self._add(lane, decision.reservation_id, asked, begun)
                return None
            lane.calls, lane.shy_until = max(1, lane.calls // 4), self._clock() + _SHY_SECONDS
            denied = Denied(asked, decision)
            if need is None or asked == need or self._closed:
                return denied
            asked = need if left == 1 else _larger(need, _smaller_than(asked, decision))
        return denied

    async def _ask_for(self, key: LaneKey, asked: Amounts) -> "tuple[Decision, float]":
        reservation_id = self._new_id()
        data = {
            "amount_usd": format_usd(asked.picousd) if key.in_usd else None,
            "credits": format_amount(asked.credits_nano) if key.in_credits else None,
            "ttl_seconds": key.ttl_seconds,
            **dict(key.names),
        }
        # Before it is asked for: the worker's clock for it begins later.
        begun = self._clock()
        try:
            async with asyncio.timeout(self._ask_seconds_max):
                return await self._ask(reservation_id, key.user, data), begun
        except (TimeoutError, UnavailableError, asyncio.CancelledError) as error:
            # It may be granted all the same.
            self._end(key.user, reservation_id)
            if isinstance(error, TimeoutError):
                raise UnavailableError(f"no decision on a slice within {self._ask_seconds_max:g} s") from None
            raise

    def _next_size(self, lane: _Lane, need: Amounts) -> Amounts:
        now = self._clock()
        lasted = now - lane.granted_at
        if lasted < _TOO_SHORT_SECONDS and now >= lane.shy_until:
            lane.calls = min(CALLS_MAX, lane.calls * 2)
        elif lasted > _TOO_LONG_SECONDS:
            lane.calls = max(1, lane.calls // 2)
        if lane.calls == 1:
            return _larger(need, lane.waiting)
        expected = Amounts(lane.average_picousd * lane.calls, lane.average_nano * lane.calls)
        return _larger(need, _larger(expected, lane.waiting))

    def _add(self, lane: _Lane, reservation_id: str, granted: Amounts, begun: float) -> None:
        key = lane.key
        until = begun + key.ttl_seconds * DRAWN_SHARE
        with self._lock:
            older = lane.slices.copy()
            lane.slices.append(Slice(reservation_id, key.user, granted.picousd, granted.credits_nano, until))
            lane.granted_at = self._clock()
            lane.drawn_at = max(lane.drawn_at, lane.granted_at)
            is_many = lane.calls > 1
            lane.low = Amounts(granted.picousd // 2, granted.credits_nano // 2) if is_many else NOTHING
        # What an older one has left is worth a call, or is given back.
        self._retire(lane, older[:-1] + [one for one in older[-1:] if not _has_a_call(one, lane)])
        if self._closed:
            self._retire(lane, lane.slices.copy())

    def _tidy_up(self) -> None:
        if self._tidying is None and not self._closed:
            self._tidying = asyncio.create_task(self._tidy(), name="tollgate-slices")

    async def _tidy(self) -> None:
        while self._lanes:
            await asyncio.sleep(_TIDY_SECONDS)
            now = self._clock()
            for key, lane in list(self._lanes.items()):
                is_idle = now - lane.drawn_at > IDLE_SECONDS
                self._retire(lane, [one for one in lane.slices if is_idle or now >= one.drawn_until])
                if is_idle and not lane.slices and lane.asking is None and lane.waiting == NOTHING:
                    with self._lock:
                        self._lanes.pop(key, None)
        self._tidying = None


def _sum(one: Amounts, other: Amounts) -> Amounts:
    return Amounts(one.picousd + other.picousd, one.credits_nano + other.credits_nano)


def _less(one: Amounts, other: Amounts) -> Amounts:
    return Amounts(one.picousd - other.picousd, one.credits_nano - other.credits_nano)


def _larger(one: Amounts, other: Amounts) -> Amounts:
    return Amounts(max(one.picousd, other.picousd), max(one.credits_nano, other.credits_nano))


def _has_a_call(one: Slice, lane: _Lane) -> bool:
    return one.picousd >= lane.average_picousd and one.credits_nano >= lane.average_nano


def _smaller_than(asked: Amounts, decision: "Decision") -> Amounts:
    """Half of it, or half of what is left where that is told: others ask for it as well."""
    half = Amounts(asked.picousd // 2, asked.credits_nano // 2)
    if decision.unit == "usd" and decision.available is not None:
        return Amounts(min(half.picousd, parse_usd(decision.available) // 2), half.credits_nano)
    return half
