"""Clients for the tests of services: the same calls as the real ones, kept in memory.

```python
toll = RecordingTollgate()
toll.deny("user/u-42", budget="monthly-user")
answer(request_of("u-42"), toll)
assert toll.events[0].data["usage"] == {"input_tokens": 12}
```
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Self, Unpack

import msgspec

from tollgate.schemas.outputs import FlagState
from tollgate.sdk.call_scopes import names_in, singles_of
from tollgate.sdk.decision import ALLOWED, Decision
from tollgate.sdk.errors import BlockedError
from tollgate.sdk.event_fields import CallNames, RecordFields, SettleFields, Usage
from tollgate.sdk.knowledge import picousd_of
from tollgate.sdk.limits import Limits
from tollgate.sdk.recording import encode_event, new_id
from tollgate.sdk.stats import Stats

_HTTP_STATUS: Final = {
    "usage_limit_exceeded": 429,
    "insufficient_credits": 402,
    "spending_stopped": 503,
    "limits_unknown": 503,
}


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """A usage event as it would have been sent. `data` is the event's `data`; absent fields are not in it."""

    id: str
    user: str
    time: str
    data: Mapping[str, Any]
    value: bytes = field(repr=False)
    """The record's value in Kafka."""


@dataclass(frozen=True, slots=True)
class AskedReservation:
    """A reservation that was asked for, with its end: `settled`, `released`, `denied`, or `open` until then."""

    id: str
    user: str
    usd: str | None
    credits: str | None
    names: Mapping[str, str]
    ttl_seconds: int
    slice: bool
    end: str = "open"


class _Recording:
    def __init__(self, source: str = "tests") -> None:
        self._source = source
        self._answers: dict[str, Decision] = {}
        # Of one thread again and again: the garbage collector may end a forgotten call while its thread is in here.
        self._lock = threading.RLock()
        self._closed = False
        self.events: list[RecordedEvent] = []
        """What was recorded, in order."""
        self.reservations: dict[str, AskedReservation] = {}
        """What was asked for, by id, in order."""
        self.checked: list[Mapping[str, str]] = []
        """The names of every call that `check` was asked about, in order."""

    def deny(self, scope: str, *, error: str = "usage_limit_exceeded", **fields: Any) -> None:
        """From now on deny the calls that have this scope: `user/u-42`, `global`, `user/u-42+model/gpt-4o`.

        `fields` are further fields of the `Decision`: message, budget, limit, spent, unit, until, ….
        """
        state = FlagState.STOPPED if error == "spending_stopped" else FlagState.BLOCKED
        told = {"message": f"{scope} is {state}.", **fields}
        self.answer(scope, Decision(False, state, _HTTP_STATUS[error], error, scope, **told))

    def answer(self, scope: str, decision: Decision) -> None:
        """From now on answer so for the calls that have this scope. Of several scopes the last one set counts."""
        self._answers.pop(scope, None)
        self._answers[scope] = decision

    def allow(self, scope: str) -> None:
        """From now on let the calls of this scope through again."""
        self._answers.pop(scope, None)

    def record(
        self,
        *,
        user: str,
        usage: Usage,
        provider: str | None = None,
        model: str | None = None,
        time: datetime | str | None = None,
        id: str | None = None,  # noqa: A002 # the contract's name
        **fields: Unpack[RecordFields],
    ) -> str:
        """As `Tollgate.record`; the event is in `events`."""
        self._must_be_open()
        event_id = id or new_id()
        data = {"provider": provider, "model": model, "usage": _plain(usage), **fields}
        value = encode_event(self._source, event_id, user, time, {name: _text(given) for name, given in data.items()})
        document = msgspec.json.decode(value)
        with self._lock:
            self.events.append(RecordedEvent(event_id, user, document["time"], document["data"], value))
        return event_id

    def check(
        self,
        *,
        user: str,
        estimate_usd: str | Decimal | None = None,
        **names: Unpack[CallNames],
    ) -> Decision:
        """As `Tollgate.check`; what `deny` and `answer` said, whatever the estimate."""
        self._must_be_open()
        if estimate_usd is not None:
            picousd_of(estimate_usd, "estimate_usd")
        call = {"user": user, **names}
        singles = set(singles_of(call).values())
        with self._lock:
            self.checked.append({name: str(given) for name, given in call.items() if given})
        for scope, decision in reversed(self._answers.items()):
            if singles.issuperset(names_in(scope)):
                return decision
        return ALLOWED

    @property
    def source(self) -> str:
        """The service's name."""
        return self._source

    @property
    def stats(self) -> Stats:
        """As `Tollgate.stats`: everything is sent at once."""
        return Stats(recorded=len(self.events), sent=len(self.events))

    @property
    def knowledge_age_ms(self) -> int | None:
        """As `Tollgate.knowledge_age_ms`: what is known is never old."""
        return 0

    def _must_be_open(self) -> None:
        if self._closed:
            raise TypeError("the client is closed: make a new one, or close it when the service ends")

    def ask(
        self,
        user: str,
        usd: str | Decimal | None,
        credits_: str | Decimal | None,
        ttl_seconds: int,
        reservation_id: str | None,
        in_slices: bool,
        names: CallNames,
    ) -> AskedReservation:
        """What `reserve` was asked for, before it is entered."""
        self._must_be_open()
        # For what it raises of wrong use.
        Limits.wanted(user, usd, credits_, ttl_seconds, reservation_id, 0, in_slices, names)
        given = {name: str(value) for name, value in names.items() if value}
        return AskedReservation(
            reservation_id or new_id(), user, _text(usd), _text(credits_), given, ttl_seconds, in_slices
        )


class _Asked:
    """One reservation of the fake, before its two faces."""

    def __init__(self, toll: _Recording, asked: AskedReservation) -> None:
        self._toll = toll
        self._asked = asked
        self._done = False
        self.id = asked.id
        self.user = asked.user
        self.granted = False

    def enter(self) -> None:
        decision = self._toll.check(user=self.user, **self._asked.names)
        self._end("open" if decision.allowed else "denied")
        if not decision.allowed:
            raise BlockedError.of_check(decision)
        self.granted = True

    def leave(self) -> None:
        if not self._done:
            self._end("released")
            self._done = True

    def settle_now(
        self, usage: Usage, more: bool, time: datetime | str | None, event_id: str | None, fields: Mapping[str, Any]
    ) -> str:
        if self._done:
            raise TypeError("the reservation is settled already: say more=True where several calls share one")
        every: Any = {**self._asked.names, **fields, "reservation_id": self.id, "more": True if more else None}
        recorded = self._toll.record(user=self.user, usage=usage, time=time, id=event_id, **every)
        if not more:
            self._end("settled")
            self._done = True
        return recorded

    def _end(self, end: str) -> None:
        asked = self._asked
        self._toll.reservations[self.id] = AskedReservation(
            asked.id, asked.user, asked.usd, asked.credits, asked.names, asked.ttl_seconds, asked.slice, end
        )


class RecordedHeld(_Asked):
    """A reservation of the fake: `with toll.reserve(...) as held:`."""

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
        return self.settle_now(usage, more, time, id, fields)

    def __enter__(self) -> Self:
        self.enter()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.leave()


class AsyncRecordedHeld(_Asked):
    """A reservation of the awaiting fake: `async with toll.reserve(...) as held:`."""

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
        return self.settle_now(usage, more, time, id, fields)

    async def __aenter__(self) -> Self:
        self.enter()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self.leave()


class RecordingTollgate(_Recording):
    """`Tollgate` for tests: what is recorded is in `events`, and `deny` decides what `check` and `reserve` answer."""

    def reserve(
        self,
        *,
        user: str,
        usd: str | Decimal | None = None,
        credits: str | Decimal | None = None,  # noqa: A002 # the contract's name
        ttl_seconds: int = 60,
        id: str | None = None,  # noqa: A002 # the contract's name
        timeout_seconds: float = 5.0,  # noqa: ARG002 # nobody is waited for
        slice: bool = False,  # noqa: A002 # reads well at the call
        **names: Unpack[CallNames],
    ) -> RecordedHeld:
        """As `Tollgate.reserve`; granted unless `check` would deny the call. What became of it is in `reservations`."""
        return RecordedHeld(self, self.ask(user, usd, credits, ttl_seconds, id, slice, names))

    def ready(self, timeout_seconds: float = 10.0) -> bool:  # noqa: ARG002 # nobody is waited for
        """As `Tollgate.ready`."""
        self._must_be_open()
        return True

    def flush(self, timeout_seconds: float = 10.0) -> bool:  # noqa: ARG002 # nobody is waited for
        """As `Tollgate.flush`."""
        return True

    def close(self, timeout_seconds: float = 2.0) -> None:  # noqa: ARG002 # nobody is waited for
        """As `Tollgate.close`."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class AsyncRecordingTollgate(_Recording):
    """`AsyncTollgate` for tests; else as `RecordingTollgate`."""

    def reserve(
        self,
        *,
        user: str,
        usd: str | Decimal | None = None,
        credits: str | Decimal | None = None,  # noqa: A002 # the contract's name
        ttl_seconds: int = 60,
        id: str | None = None,  # noqa: A002 # the contract's name
        timeout_seconds: float = 5.0,  # noqa: ARG002 # nobody is waited for
        slice: bool = False,  # noqa: A002 # reads well at the call
        **names: Unpack[CallNames],
    ) -> AsyncRecordedHeld:
        """As `AsyncTollgate.reserve`; granted unless `check` would deny the call."""
        return AsyncRecordedHeld(self, self.ask(user, usd, credits, ttl_seconds, id, slice, names))

    async def ready(self, timeout_seconds: float = 10.0) -> bool:  # noqa: ARG002 # nobody is waited for
        """As `AsyncTollgate.ready`."""
        self._must_be_open()
        return True

    async def flush(self, timeout_seconds: float = 10.0) -> bool:  # noqa: ARG002 # nobody is waited for
        """As `AsyncTollgate.flush`."""
        return True

    async def close(self, timeout_seconds: float = 2.0) -> None:  # noqa: ARG002 # nobody is waited for
        """As `AsyncTollgate.close`."""
        self._closed = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()


def _plain(usage: Usage) -> dict[str, Any]:
    return {dimension: _text(amount) for dimension, amount in usage.items()}


def _text(given: Any) -> Any:
    return format(given, "f") if isinstance(given, Decimal) else given
