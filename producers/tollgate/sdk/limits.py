"""The part of a client that knows limits and sets money aside: what `check` and `reserve` do."""

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Protocol

from tollgate.schemas.amounts import parse_amount
from tollgate.sdk.call_scopes import singles_of
from tollgate.sdk.decision import Decision
from tollgate.sdk.holding import AsyncHolding, Holding, Wanted
from tollgate.sdk.knowledge import Knowledge, picousd_of
from tollgate.sdk.recording import new_id
from tollgate.sdk.slices import Amounts, LaneKey, Slices

if TYPE_CHECKING:
    from tollgate.schemas import outputs
    from tollgate.sdk.asking import Feed, Owner

log = logging.getLogger("tollgate.sdk")

TTL_SECONDS_MAX: Final = 3600
_GIVE_BACK_SECONDS_MAX: Final = 0.4
_LOOK_SECONDS: Final = 0.01


class Client(Protocol):
    """What limits need of the client that they belong to."""

    @property
    def source(self) -> str:
        """The service's name."""

    def record(
        self,
        user: str,
        usage: Mapping[str, Any],
        provider: str | None,
        model: str | None,
        time: Any,
        event_id: str | None,
        fields: Mapping[str, Any],
    ) -> str:
        """Record a usage event on the way that loses nothing, and return its id. Raises as `Tollgate.record`."""

    def hand(self, user: str, value: bytes) -> None:
        """Send an encoded entry about a user on the same way, after what was recorded before. TypeError once closed."""

    def submit(self, work: Coroutine[Any, Any, Any]) -> "Future[Any]":
        """Run it on the client's loop, which is started when it does not run. TypeError once closed."""


class Limits:
    """Of one client. `check` and `reserve` may be called from any thread; `close` runs on the client's loop."""

    def __init__(self, client: Client, knowledge: Knowledge, feed: "Feed", owner: "Owner") -> None:
        self._client = client
        self._knowledge = knowledge
        self._feed = feed
        self._owner = owner
        self._feeding: asyncio.Task[None] | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._follows = False
        # A child of a fork has a client of its own; what the parent holds is not the child's to give back.
        self._process = os.getpid()
        self.slices = Slices(self.ask, self.end, self._submit, new_id)

    @property
    def knowledge_age_ms(self) -> int | None:
        """How long ago limits were last heard of; None when never."""
        return self._knowledge.age_ms

    def check(self, user: str, estimate_usd: str | Decimal | None, names: Mapping[str, object]) -> Decision:
        """As `Tollgate.check`. The first one begins to read limits."""
        self._follow()
        return self._knowledge.check({"user": user, **names}, estimate_usd)

    def known(self) -> "Future[None]":
        """Begin to read limits. Resolved when they are known, for as long as that takes."""
        self._follow()
        return self._client.submit(self._wait_until_known())

    async def _wait_until_known(self) -> None:
        while self._knowledge.age_ms is None:  # noqa: ASYNC110 # any thread may learn of limits
            await asyncio.sleep(_LOOK_SECONDS)

    @staticmethod
    def wanted(
        user: str,
        usd: str | Decimal | None,
        credits_: str | Decimal | None,
        ttl_seconds: int,
        reservation_id: str | None,
        timeout_seconds: float,
        in_slices: bool,
        names: Mapping[str, object],
    ) -> Wanted:
        """What is asked for. TypeError for wrong use, with what to write instead."""
        if usd is None and credits_ is None:
            raise TypeError('say how much to set aside: usd="0.10", credits="5", or both')
        if type(ttl_seconds) is not int or not 1 <= ttl_seconds <= TTL_SECONDS_MAX:
            raise TypeError(f"ttl_seconds must be whole seconds from 1 to {TTL_SECONDS_MAX}; not {ttl_seconds!r}")
        if in_slices and reservation_id is not None:
            raise TypeError("an id is that of one call's reservation: leave it out, or slice=True")
        singles = singles_of({"user": user, **names})
        need = Amounts(0 if usd is None else picousd_of(usd, "usd"), 0 if credits_ is None else _nano_of(credits_))
        given = {name: str(value) for name, value in names.items() if value}
        key = LaneKey(user, tuple(sorted(given.items())), ttl_seconds, usd is not None, credits_ is not None)
        return Wanted(key, need, given, singles, reservation_id, timeout_seconds, in_slices)

    def reserve(self, asked: Wanted) -> Holding:
        """As `Tollgate.reserve`."""
        self._follow()
        return Holding(self, asked)

    def reserve_async(self, asked: Wanted) -> AsyncHolding:
        """As `AsyncTollgate.reserve`."""
        self._follow()
        return AsyncHolding(self, asked)

    def fails_closed(self, singles: Mapping[str, str]) -> bool:
        """Whether a call with these single scopes must not go ahead when nobody decides."""
        return self._knowledge.fails_closed(singles)

    def record(
        self, user: str, usage: Mapping[str, Any], time: Any, event_id: str | None, fields: Mapping[str, Any]
    ) -> str:
        """Record the usage of a call that something was set aside for. Raises as `Tollgate.record`."""
        others = dict(fields)
        provider, model = others.pop("provider", None), others.pop("model", None)
        return self._client.record(user, usage, provider, model, time, event_id, others)

    def submit(self, work: Coroutine[Any, Any, Any]) -> "Future[Any]":
        """Run it on the client's loop."""
        return self._client.submit(work)

    async def ask(self, reservation_id: str, user: str, data: Mapping[str, Any]) -> "outputs.Decision":
        """The decision on a reservation: `asking.Ask`."""
        await self._connected()
        return await self._owner.ask(reservation_id, user, data)

    def end(self, user: str, reservation_id: str) -> None:
        """Release a reservation after everything that was recorded before. It never raises: what is not released is
        free at the end of its time to live.
        """
        if os.getpid() != self._process:
            return
        # Its reader checks what it writes by the worker's models, which take long to import.
        from tollgate.sdk.entries import encode_release

        try:
            self._client.hand(user, encode_release(self._client.source, reservation_id, user))
        except Exception as error:  # noqa: BLE001 # a service that ends a call must not fail by us
            log.warning("a reservation is not released before its time to live ends: %s", type(error).__name__)

    def give_back(self, run: Callable[[Coroutine[Any, Any, None]], "Future[None]"]) -> None:
        """Give back what no call holds, before the client sends what it has. `run` runs it on the client's loop."""
        try:
            run(self.slices.close()).result(_GIVE_BACK_SECONDS_MAX)
        except (TimeoutError, RuntimeError):
            log.warning("slices are not given back before their time to live ends")

    async def close(self) -> None:
        """Give back what no call holds, and stop reading limits."""
        await self.slices.close()
        tasks = [task for task in (self._feeding, self._connecting) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._owner.stop()

    def _follow(self) -> None:
        if not self._follows:
            self._follows = True
            self._submit(self._feed_on())

    async def _feed_on(self) -> None:
        self._feeding = asyncio.create_task(self._feed.run(), name="tollgate-knowledge")

    async def _connected(self) -> None:
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._owner.start(), name="tollgate-reserving")
        connecting = self._connecting
        try:
            await asyncio.shield(connecting)
        except BaseException:
            if connecting.done() and self._connecting is connecting:
                # The next one tries again.
                self._connecting = None
            raise

    def _submit(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            self._client.submit(work)
        except (TypeError, RuntimeError):
            # Closed meanwhile.
            work.close()


def _nano_of(given: str | Decimal) -> int:
    text = format(given, "f") if isinstance(given, Decimal) else given
    try:
        if isinstance(text, str):
            return parse_amount(text)
    except ValueError:
        pass
    raise TypeError(f'credits must be a decimal in text, such as "5", or a Decimal of it; not {given!r:.64}')
