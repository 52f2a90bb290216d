"""The client of a service: `Tollgate`, and `AsyncTollgate` for code that awaits. One object per process."""

import asyncio
import os
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, Self, Unpack

from tollgate.sdk.decision import Decision
from tollgate.sdk.engine import Engine
from tollgate.sdk.event_fields import CallNames, RecordFields, Usage
from tollgate.sdk.faces import AsyncHeld, Held
from tollgate.sdk.settings import OnError, checked
from tollgate.sdk.stats import Stats


class _Client:
    """What both faces share. Every method returns at once, from any thread."""

    def __init__(
        self,
        kafka: str | None = None,
        *,
        url: str | None = None,
        source: str,
        token: str | None = None,
        topic_prefix: str = "tollgate.",
        spool_dir: str | os.PathLike[str] | None = None,
        spool_bytes_max: int = 1 << 30,
        when_full: Literal["drop_oldest", "block"] = "drop_oldest",
        block_seconds_max: float = 1.0,
        memory_events_max: int = 100_000,
        flush_ms: int = 5,
        when_unknown: Literal["open", "closed"] = "open",
        knowledge_seconds_max: float = 60.0,
        on_error: OnError | None = None,
        **kafka_options: Any,
    ) -> None:
        """Make the client. Nothing is connected and no thread started before it is first used.

        Give `kafka="host:port"`, or `url="http://console:8080"` with a `token` for services that do not reach Kafka;
        or set TOLLGATE_KAFKA_BOOTSTRAP_SERVERS, or TOLLGATE_URL and TOLLGATE_TOKEN. `source` is the service's name:
        1 to 256 characters. `kafka_options` go to aiokafka: security, client id.

        - `spool_dir`: where events wait until they are stored (default: TOLLGATE_SPOOL_DIR, else a private folder of
          this operating system user under the temporary directory). Processes of a host may share it, and should.
        - `spool_bytes_max`: how much of that disk all processes may use, together, in bytes.
        - `when_full`: with `drop_oldest` the oldest events are dropped and counted; with `block`, `record` waits up to
          `block_seconds_max` seconds for room first.
        - `memory_events_max`: how many events may be on their way to the spool; then `when_full` decides likewise.
        - `flush_ms`: how often, in milliseconds, recorded events are written to the spool. That is what a kill -9 of
          the process can lose.
        - `when_unknown`: whether calls go ahead when nothing was heard of limits for `knowledge_seconds_max` seconds.
        - `on_error`: told of every event that is recorded but will not be counted.

        TypeError says what to write instead when neither or both of `kafka` and `url` are given, or a value is not
        one of these.
        """
        settings = checked(
            kafka=kafka,
            url=url,
            source=source,
            token=token,
            topic_prefix=topic_prefix,
            spool_dir=spool_dir,
            spool_bytes_max=spool_bytes_max,
            when_full=when_full,
            block_seconds_max=block_seconds_max,
            memory_events_max=memory_events_max,
            flush_ms=flush_ms,
            when_unknown=when_unknown,
            knowledge_seconds_max=knowledge_seconds_max,
            on_error=on_error,
            kafka_options=kafka_options,
        )
        self._engine = Engine(settings)

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
        """Record one call and return its event id at once. It is written to disk within `flush_ms`, then sent.

        `usage` holds integers, or decimals as strings: `{"input_tokens": 1200, "video_seconds": "1.5"}`. Name
        `provider` and `model`, or `agent`, or give `cost_usd`. `time` is when the call happened: an aware datetime or
        RFC 3339 text; now when absent. The same `id` again counts once; one is made when absent.

        Wrong use raises here, with what to write instead: TypeError for an unknown field and a closed client,
        InvalidEventError for what the worker would refuse (negative usage, a float, a time without offset). Nothing
        else ever raises: while Kafka is away events wait on disk, and what is dropped is counted in `stats`.
        """
        return self._engine.record(user, usage, provider, model, time, id, fields)

    def check(self, *, user: str, estimate_usd: str | Decimal | None = None, **names: Unpack[CallNames]) -> Decision:
        """May this call go ahead? Answers from memory, without any I/O: `check(user="u-42", model="gpt-4o")`.

        Every name of the call counts, and so do `global` and the combinations that have a limit. With `estimate_usd`,
        the cost that is expected, a call that would pass a known limit is denied as well; `reserve` is exact.

        The first call starts to read the limits. Until they are read, and when they are older than
        `knowledge_seconds_max`, the answer is that of `when_unknown`, or of a budget that says `fail: closed`.
        TypeError for a name that is no dimension of a call, and for a closed client.
        """
        return self._engine.limits().check(user, estimate_usd, names)

    @property
    def source(self) -> str:
        """The service's name."""
        return self._engine.source

    @property
    def stats(self) -> Stats:
        """How many events this process recorded, spooled, sent and dropped, and how old the rest is."""
        return self._engine.stats()

    @property
    def knowledge_age_ms(self) -> int | None:
        """How long ago limits were last heard of, in milliseconds; None when never."""
        return self._engine.knowledge_age_ms


class Tollgate(_Client):
    """Records usage and answers whether calls may go ahead, from any thread. Also a context manager that closes.

    ```python
    toll = Tollgate(kafka="127.0.0.1:9092", source="chat-api")
    toll.record(user="u-42", provider="openai", model="gpt-4o", usage={"input_tokens": 1200, "output_tokens": 300})
    ```

    A process that forks may make it before: the child has a client of its own in the same object.
    """

    def reserve(
        self,
        *,
        user: str,
        usd: str | Decimal | None = None,
        credits: str | Decimal | None = None,  # noqa: A002 # the contract's name
        ttl_seconds: int = 60,
        id: str | None = None,  # noqa: A002 # the contract's name
        timeout_seconds: float = 5.0,
        slice: bool = False,  # noqa: A002 # reads well at the call
        **names: Unpack[CallNames],
    ) -> Held:
        """Set money or credits of a user aside for a call: `with toll.reserve(user="u-42", usd="0.10") as held:`.

        Entry waits for a worker's decision, `timeout_seconds` at most. BlockedError when it is denied. When nobody
        decides in time: UndecidedError where calls fail closed (`when_unknown`, or a budget with `fail: closed`), else
        the call goes ahead with nothing reserved. `held.settle(usage=…)` records the call; leaving without it gives
        back what was set aside. What a process that dies had set aside is free after `ttl_seconds` (1 to 3600).

        With `slice=True` calls of a busy user share reservations that this process draws on and renews by itself, so
        that most of them wait for nobody. `names` become those of the usage event. The same `id` again, while it
        lives, gives the same decision. InvalidEventError when the worker would refuse the reservation.
        """
        limits = self._engine.limits()
        asked = limits.wanted(user, usd, credits, ttl_seconds, id, timeout_seconds, slice, names)
        return limits.reserve(asked)

    def ready(self, timeout_seconds: float = 10.0) -> bool:
        """Read limits and wait until they are known: a service may call it before its first `check`.

        False when they are not known in time. `check` answers all the same, as `when_unknown` says.
        """
        known = self._engine.limits().known()
        try:
            known.result(timeout_seconds)
        except TimeoutError:
            known.cancel()
            return False
        return True

    def flush(self, timeout_seconds: float = 10.0) -> bool:
        """Wait until nothing that was recorded before waits in the spool any more.

        False when that is not so in time: it is not lost then.
        """
        try:
            return self._engine.flush().result(timeout_seconds)
        except TimeoutError:
            return False

    def close(self, timeout_seconds: float = 2.0) -> None:
        """Send what can be sent in the time and end the thread. The rest stays in the spool for the next process.

        It never raises, and closing twice does nothing. Left out, it happens when the interpreter ends.
        """
        self._engine.close(timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class AsyncTollgate(_Client):
    """`Tollgate` for code that awaits. `record` and `check` wait for nothing, so they are plain calls here too.

    Nothing of it runs on the caller's loop, so it may be made before there is one, and used from several.
    """

    def reserve(
        self,
        *,
        user: str,
        usd: str | Decimal | None = None,
        credits: str | Decimal | None = None,  # noqa: A002 # the contract's name
        ttl_seconds: int = 60,
        id: str | None = None,  # noqa: A002 # the contract's name
        timeout_seconds: float = 5.0,
        slice: bool = False,  # noqa: A002 # reads well at the call
        **names: Unpack[CallNames],
    ) -> AsyncHeld:
        """As `Tollgate.reserve`, with `async with`. A caller that is cancelled meanwhile leaves nothing reserved."""
        limits = self._engine.limits()
        asked = limits.wanted(user, usd, credits, ttl_seconds, id, timeout_seconds, slice, names)
        return limits.reserve_async(asked)

    async def ready(self, timeout_seconds: float = 10.0) -> bool:
        """As `Tollgate.ready`."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await asyncio.wrap_future(self._engine.limits().known())
        except TimeoutError:
            return False
        return True

    async def flush(self, timeout_seconds: float = 10.0) -> bool:
        """As `Tollgate.flush`."""
        try:
            async with asyncio.timeout(timeout_seconds):
                return await asyncio.wrap_future(self._engine.flush())
        except TimeoutError:
            return False

    async def close(self, timeout_seconds: float = 2.0) -> None:
        """As `Tollgate.close`."""
        await asyncio.to_thread(self._engine.close, timeout_seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()
