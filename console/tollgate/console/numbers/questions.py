"""Questions to ClickHouse, one HTTP request each: read-only, bounded, cancelled with the task that asks.

A value reaches ClickHouse as a server-side parameter, `{name:String}`, and never as part of the SQL.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import aiohttp
import msgspec
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import Error as DriverError

from tollgate.console.numbers.errors import TOO_LARGE, TOO_SLOW, TooLargeError, UnavailableError
from tollgate.runtime.settings import Settings
from tollgate.sinks.clickhouse import UnavailableError as SinkUnavailableError
from tollgate.sinks.clickhouse.connection import connect_async, unavailable

Row = list[Any]

# Two cores serve a dashboard: more questions at a time make each of them slower and none of them sooner.
QUESTIONS_AT_ONCE_MAX: Final = 8
STREAMS_AT_ONCE_MAX: Final = 2
# Somebody who has waited this long for their turn is told to come back later.
TURN_SECONDS_MAX: Final = 5.0
# A page's question; reports may take longer.
SECONDS_MAX: Final = 4
STREAM_SECONDS_MAX: Final = 600
ROWS_MAX: Final = 20_000
MEMORY_BYTES_MAX: Final = 1_000_000_000
# Groups and sorts of a report that need more go to ClickHouse's disk.
SPILL_BYTES: Final = 300_000_000
# After a failure nobody waits for a server that is away. Then one question tries it again.
PAUSE_SECONDS: Final = 1.0
# What the answer may take beyond ClickHouse's own limit, until the connection counts as lost.
GRACE_SECONDS: Final = 2

_FORMAT: Final = "JSONCompactEachRow"
_row: Final = msgspec.json.Decoder(Row).decode


def now_ms() -> int:
    """This machine's time."""
    return time.time_ns() // 1_000_000


class Questions:
    """Asks ClickHouse. Connects with the first question, and again after ClickHouse was away."""

    def __init__(self, settings: Settings, now_ms: Callable[[], int] = now_ms) -> None:
        self.now_ms = now_ms
        self._settings = settings
        self._client: AsyncClient | None = None
        self._connecting = asyncio.Lock()
        self._turns = asyncio.Semaphore(QUESTIONS_AT_ONCE_MAX)
        self._streams = asyncio.Semaphore(STREAMS_AT_ONCE_MAX)
        self._down = ""
        self._down_at = 0.0
        self._retry_at = 0.0

    async def stop(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def rows(self, sql: str, parameters: Mapping[str, Any], *, seconds_max: int = SECONDS_MAX) -> list[Row]:
        """The whole answer, at most 20,000 rows. Raises UnavailableError and TooLargeError."""
        async with self._turn(self._turns), self._sorted_errors():
            client = await self._connected()
            # The driver's own limit is one for all questions; ClickHouse may also stop answering altogether.
            async with asyncio.timeout(seconds_max + GRACE_SECONDS):
                answer = await client.raw_query(
                    sql, dict(parameters), settings=_bounds(seconds_max, max_result_rows=ROWS_MAX), fmt=_FORMAT
                )
            return [_row(line) for line in answer.splitlines()]

    async def stream(self, sql: str, parameters: Mapping[str, Any]) -> AsyncIterator[list[Row]]:
        """The answer, of any length, in parts of some thousand rows. Raises UnavailableError and TooLargeError, also in
        its midst: whoever passes the rows on must not end as if they were all.
        """
        more = {"max_bytes_before_external_group_by": SPILL_BYTES, "max_bytes_before_external_sort": SPILL_BYTES}
        async with self._turn(self._streams), self._sorted_errors():
            client = await self._connected()
            answer = await client.raw_stream(
                sql, dict(parameters), settings=_bounds(STREAM_SECONDS_MAX, **more), fmt=_FORMAT
            )
            async with answer as parts:
                left = b""
                async for part in parts:
                    *lines, left = (left + part).split(b"\n")
                    if lines:
                        yield _rows_of(lines)
                if left:
                    yield _rows_of([left])

    @contextlib.asynccontextmanager
    async def _turn(self, turns: asyncio.Semaphore) -> AsyncIterator[None]:
        asked_at = time.monotonic()
        if self._down:
            if asked_at < self._retry_at:
                raise UnavailableError(self._down)
            # This question tries; those beside it need not wait for what it finds.
            self._retry_at = asked_at + SECONDS_MAX + GRACE_SECONDS
        try:
            async with asyncio.timeout(TURN_SECONDS_MAX):
                await turns.acquire()
        except TimeoutError:
            raise UnavailableError("ClickHouse has more questions to answer than it can now.") from None
        try:
            self._check_since(asked_at)
            yield
        finally:
            turns.release()

    @contextlib.asynccontextmanager
    async def _sorted_errors(self) -> AsyncIterator[None]:
        """Turn the library's errors into ours, and remember whether ClickHouse is there."""
        try:
            yield
        except SinkUnavailableError as error:
            raise self._is_down(f"{error.reason}.") from error
        except DriverError as error:
            code = error.code
            if code in TOO_SLOW:
                self._down = ""
                raise UnavailableError(
                    "ClickHouse did not answer in time: try again later, or ask for a shorter range."
                ) from error
            if code in TOO_LARGE:
                self._down = ""
                raise TooLargeError(f"This question {TOO_LARGE[code]}: ask for a shorter range.") from error
            raise self._is_down(f"{unavailable(error).reason}.") from error
        except (TimeoutError, OSError, aiohttp.ClientError, msgspec.DecodeError) as error:
            raise self._is_down("ClickHouse does not answer.") from error
        except (asyncio.CancelledError, GeneratorExit):
            if self._down:
                # This one found nothing out: the next may try.
                self._retry_at = 0.0
            raise
        else:
            self._down = ""

    def _is_down(self, reason: str) -> UnavailableError:
        self._down = reason
        self._down_at = time.monotonic()
        self._retry_at = self._down_at + PAUSE_SECONDS
        return UnavailableError(reason)

    def _check_since(self, asked_at: float) -> None:
        """Raise what another question has found while this one waited: it need not find the same again."""
        if self._down and self._down_at > asked_at:
            raise UnavailableError(self._down)

    async def _connected(self) -> AsyncClient:
        asked_at = time.monotonic()
        async with self._connecting:
            self._check_since(asked_at)
            if self._client is None:
                async with asyncio.timeout(SECONDS_MAX):
                    self._client = await connect_async(
                        self._settings, connections_max=QUESTIONS_AT_ONCE_MAX + STREAMS_AT_ONCE_MAX
                    )
            return self._client


def _bounds(seconds_max: int, **more: int) -> dict[str, Any]:
    return {
        # Reading, and settings like these; no statement that changes anything.
        "readonly": 2,
        "max_execution_time": seconds_max,
        "max_memory_usage": MEMORY_BYTES_MAX,
        "cancel_http_readonly_queries_on_client_close": 1,
        # A row's partition follows from its key, in every table that is asked, so that no repeat is in another one.
        "do_not_merge_across_partitions_select_final": 1,
        **more,
    }


def _rows_of(lines: list[bytes]) -> list[Row]:
    # An error in the midst of an answer stands at its end and is no JSON.
    return [_row(line) for line in lines]
