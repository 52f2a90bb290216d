"""What users of a client may rely on, whichever it is: the real one, the awaiting one or the fake of `testing`."""

from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Protocol, Self, Unpack, runtime_checkable

from tollgate.sdk.decision import Decision
from tollgate.sdk.event_fields import CallNames, RecordFields, SettleFields, Usage


class Held(Protocol):
    """Money or credits of a user that are set aside for a call. Use as `with toll.reserve(...) as held:`.

    `id` is the reservation's id. `granted` is False when nobody decided in time and the call goes ahead with nothing
    reserved.
    """

    @property
    def id(self) -> str: ...
    @property
    def user(self) -> str: ...
    @property
    def granted(self) -> bool: ...

    def settle(
        self,
        *,
        usage: Usage,
        more: bool = False,
        time: datetime | str | None = None,
        id: str | None = None,  # noqa: A002 # the contract's name
        **fields: Unpack[SettleFields],
    ) -> str:
        """Record the call that the reservation was for, and return its event id at once.

        Its cost is taken from what is reserved, and the rest is free; with `more=True` the rest stays reserved for
        further calls. The names that were reserved for are the event's names where they are not given anew.
        Raises as `Tollgate.record`, and TypeError when the reservation is settled already.
        """

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class AsyncHeld(Protocol):
    """`Held` for code that awaits: `async with toll.reserve(...) as held:`, `await held.settle(usage=…)`."""

    @property
    def id(self) -> str: ...
    @property
    def user(self) -> str: ...
    @property
    def granted(self) -> bool: ...

    async def settle(
        self,
        *,
        usage: Usage,
        more: bool = False,
        time: datetime | str | None = None,
        id: str | None = None,  # noqa: A002 # the contract's name
        **fields: Unpack[SettleFields],
    ) -> str:
        """As `Held.settle`. It does not wait for Kafka either."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class Recorder(Protocol):
    """What both faces and the fake have in common: neither call waits for anything. What wrappers ask for."""

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
        """See `Tollgate.record`."""

    def check(self, *, user: str, estimate_usd: str | Decimal | None = None, **names: Unpack[CallNames]) -> Decision:
        """See `Tollgate.check`."""
