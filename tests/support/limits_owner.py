"""One user's limit, kept as the contract says, and a client's loop beside it: for tests of what a service holds."""

import asyncio
import json
import threading
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from tollgate.schemas.amounts import format_usd, parse_usd
from tollgate.schemas.outputs import Decision
from tollgate.sdk.errors import UnavailableError
from tollgate.sdk.knowledge import Knowledge
from tollgate.sdk.limits import Limits


class Owner:
    """Decides with exact sums. `clock` is its own time in seconds, by which reservations expire."""

    def __init__(self, limit: str) -> None:
        self.limit = parse_usd(limit)
        self.spent = 0
        self.open: dict[str, tuple[int, float]] = {}
        self.asked: list[dict[str, Any]] = []
        self.ended: list[tuple[str, str]] = []
        """What ended a reservation: its id, and `settled` or `released`."""
        self.seconds = 0.0
        self.is_away = False
        # What is asked and released is read in order.
        self._log = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.answers = asyncio.Event()
        self.answers.set()

    async def start(self) -> None:
        if self.is_away:
            raise UnavailableError("nobody is there")
        if self._loop is not asyncio.get_running_loop():
            self._loop, self._log = asyncio.get_running_loop(), asyncio.Lock()

    async def stop(self) -> None:
        pass

    async def ask(self, reservation_id: str, user: str, data: Mapping[str, Any]) -> Decision:
        if self.is_away:
            raise UnavailableError("nobody is there")
        amount = parse_usd(data["amount_usd"])
        self.asked.append({"id": reservation_id, "user": user, **data})
        # Who asked may be gone when it is decided.
        return await asyncio.shield(asyncio.ensure_future(self._decided(reservation_id, user, data, amount)))

    async def _decided(self, reservation_id: str, user: str, data: Mapping[str, Any], amount: int) -> Decision:
        async with self._log:
            await self.answers.wait()
            await asyncio.sleep(0)
            return self._decide(reservation_id, user, data, amount)

    def _decide(self, reservation_id: str, user: str, data: Mapping[str, Any], amount: int) -> Decision:
        self._expire()
        reserved = self.reserved
        granted = self.spent + reserved + amount <= self.limit
        if granted:
            self.open[reservation_id] = (amount, self.seconds + data["ttl_seconds"])
        left = max(0, self.limit - self.spent - reserved)
        told = {} if granted else {
            "http_status": 429, "error": "usage_limit_exceeded", "scope": f"user/{user}", "unit": "usd",
            "available": format_usd(left), "message": "no",
        }  # fmt: skip
        return Decision.model_validate(
            {
                "reservation_id": reservation_id, "source": "s", "user": user, "granted": granted,
                "amount_usd": data["amount_usd"], "credits": "0", "expires_at": "2026-11-21T10:00:00Z",
                "decided_at": "2026-11-21T10:00:00Z", **told,
            }
        )  # fmt: skip

    @property
    def reserved(self) -> int:
        """What open reservations hold."""
        return sum(amount for amount, _ in self.open.values())

    def usage(self, cost: int, reservation_id: str | None, more: bool) -> None:
        """A usage event."""
        self._expire()
        self.spent += cost
        held = self.open.pop(reservation_id or "", None)
        if held is None:
            return
        if more:
            self.open[reservation_id or ""] = (max(0, held[0] - cost), held[1])
        else:
            self.ended.append((reservation_id or "", "settled"))

    async def release(self, reservation_id: str) -> None:
        """A release. It comes after what was asked for before it."""
        async with self._log:
            if self.open.pop(reservation_id, None) is not None:
                self.ended.append((reservation_id, "released"))

    async def settled(self) -> None:
        """Wait until everything that was sent is read."""
        for _ in range(5):
            await asyncio.sleep(0)
        async with self._log:
            pass

    def _expire(self) -> None:
        self.open = {name: held for name, held in self.open.items() if held[1] > self.seconds}


class Process:
    """A service's process: a loop on a thread of its own, whose records reach the owner in order."""

    source = "s"

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.recorded: list[dict[str, Any]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.is_closed = False

    def submit(self, work: Coroutine[Any, Any, Any]) -> "Future[Any]":
        if self.is_closed:
            raise TypeError("the client is closed")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def record(
        self,
        user: str,
        usage: Mapping[str, Any],
        provider: str | None,  # noqa: ARG002 # the client's parameters
        model: str | None,
        time: Any,  # noqa: ARG002 # the same
        event_id: str | None,
        fields: Mapping[str, Any],
    ) -> str:
        event = {"user": user, "usage": usage, "model": model, **fields}
        self.recorded.append(event)
        cost = parse_usd(event.get("cost_usd", "0"))
        self._loop.call_soon_threadsafe(self.owner.usage, cost, event.get("reservation_id"), bool(event.get("more")))
        return event_id or f"e{len(self.recorded)}"

    def hand(self, user: str, value: bytes) -> None:  # noqa: ARG002 # the client's parameters
        if self.is_closed:
            raise TypeError("the client is closed")
        self.submit(self.owner.release(json.loads(value)["data"]["reservation_id"]))

    def settled(self) -> None:
        """Wait until the owner has read everything."""
        self.submit(self.owner.settled()).result(10)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


class NoFeed:
    """Nothing is known of flags."""

    async def run(self) -> None:
        await asyncio.Event().wait()


@contextmanager
def limits_of(owner: Owner, **knowledge: Any) -> Iterator[tuple[Limits, Process]]:
    """The limits of a client whose reservations this owner decides."""
    process = Process(owner)
    limits = Limits(process, Knowledge(**knowledge), NoFeed(), owner)
    try:
        yield limits, process
    finally:
        process.submit(limits.close()).result(10)
        process.settled()
        process.end()
