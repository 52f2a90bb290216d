"""Inserts: retried for as long as ClickHouse is unavailable, split when it refuses the rows themselves."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import lz4.frame
import structlog
from clickhouse_connect.driver.client import Client

from tollgate.sinks.clickhouse import tables
from tollgate.sinks.clickhouse.connection import sorted_error
from tollgate.sinks.clickhouse.dead_letters import rejection_line
from tollgate.sinks.clickhouse.errors import RefusedError, SinkError, UnavailableError
from tollgate.sinks.clickhouse.metrics import SinkMetrics
from tollgate.sinks.clickhouse.tables import Rejection, Rows, Table, split_by_partition

log = structlog.get_logger(__name__)

# Set one by one, because the server's defaults differ between releases: async_insert is on by default since 26.2.
INSERT_SETTINGS: Final = {
    "async_insert": 0,
    "date_time_input_format": "best_effort",
    "input_format_allow_errors_num": 0,
    "input_format_defaults_for_omitted_fields": 1,
    "input_format_json_read_objects_as_strings": 1,
    "input_format_null_as_default": 1,
    # One thread parses all that one sink reads. More of them cost a tenth more and gain nothing.
    "input_format_parallel_parsing": 0,
    "input_format_skip_unknown_fields": 1,
    # Repeats are replaced by the tables' keys. Skipping equal blocks would add nothing but its own surprises.
    "insert_deduplicate": 0,
    # Repeats within one insert stay until a merge, as those of two inserts do, and the views take neither. To look for
    # them here took over a quarter of an insert's processor time.
    "optimize_on_insert": 0,
    # Rows are divided by partition before, by what the sink can see of them. What it cannot see must not fail.
    "max_partitions_per_insert_block": 0,
}


# After this many attempts with an error code that we do not know, the rows are taken to be at fault.
UNCLEAR_ATTEMPTS = 3


class GaveUpError(SinkError):
    """The process is told to stop while ClickHouse does not take rows; nothing is committed, so nothing is lost."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Waits between attempts: doubled from `first_seconds` up to `seconds_max`, each cut at random by up to half."""

    first_seconds: float = 0.25
    seconds_max: float = 15.0

    def delay_seconds(self, attempt: int) -> float:
        """The wait after the failed attempt with this number, counted from 1."""
        ceiling = min(self.seconds_max, self.first_seconds * 2.0 ** min(attempt - 1, 30))
        return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 # jitter, no secret


class Writer:
    """Writes rows to ClickHouse through one shared client; each insert runs in a thread and does not block the loop."""

    def __init__(
        self,
        connect: Callable[[], Client],
        *,
        stop: asyncio.Event,
        metrics: SinkMetrics,
        retry: RetryPolicy | None = None,
        compress: bool = False,
    ) -> None:
        self._connect = connect
        self._client: Client | None = None
        self._connecting = asyncio.Lock()
        self._stop = stop
        self._metrics = metrics
        self._retry = retry or RetryPolicy()
        self._compress = compress

    async def write(self, rows: Rows) -> list[Rejection]:
        """Insert all rows; return those that ClickHouse refuses for what is in them.

        Waits for as long as ClickHouse is unavailable. Raises GaveUpError when that is so after `stop` was set.
        A refused batch is halved until the bad rows are alone: one bad row of 50,000 costs 32 inserts.
        """
        rejected: list[Rejection] = []
        for some in split_by_partition(rows):
            rejected += await self._write(some)
        return rejected

    async def _write(self, rows: Rows) -> list[Rejection]:
        rejected: list[Rejection] = []
        ranges = [(0, len(rows.lines))]
        while ranges:
            start, end = ranges.pop()
            try:
                await self._insert_until_taken(rows.table, rows.lines[start:end])
            except RefusedError as error:
                if end - start == 1:
                    rejected.append(Rejection(rows.records[start], str(error)))
                else:
                    middle = (start + end) // 2
                    ranges += [(middle, end), (start, middle)]
            else:
                self._metrics.rows.labels(rows.table.name).inc(end - start)
        return rejected

    async def write_rejections(self, rejections: Sequence[Rejection]) -> None:
        """Keep refused records in the dead letters. Raises GaveUpError as `write` does."""
        if not rejections:
            return
        for rejection in rejections:
            record = rejection.record
            log.error(
                "a record cannot become a row and is kept in dead_letters",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                why=rejection.error,
            )
            self._metrics.rejected.labels(record.topic).inc()
        lines = [rejection_line(rejection) for rejection in rejections]
        await self._insert_until_taken(tables.DEAD_LETTERS, lines, refusal_is_final=False)

    async def _insert_until_taken(self, table: Table, lines: Sequence[bytes], *, refusal_is_final: bool = True) -> None:
        attempt = 0
        while True:
            try:
                await self._insert(table, lines)
            except UnavailableError as error:
                reason = error.reason
                if (
                    error.unclear
                    and refusal_is_final
                    and attempt + 1 >= UNCLEAR_ATTEMPTS
                    and await self._is_well(table)
                ):
                    raise RefusedError(error.code or 0, error.name or "unknown") from error
            except RefusedError as error:
                if refusal_is_final:
                    raise
                reason = str(error)
            else:
                if attempt:
                    self._metrics.retrying.set(0)
                    log.info("ClickHouse takes rows again", table=table.name, rows=len(lines), attempts=attempt + 1)
                return
            attempt += 1
            await self._wait(table, len(lines), reason, attempt)

    async def _is_well(self, table: Table) -> bool:
        """Whether the table takes a row that it has taken before, so that an error must be the new rows' fault."""
        assert self._client is not None
        try:
            await asyncio.to_thread(
                self._client.command,
                f"INSERT INTO {table.name} SELECT * FROM {table.name} LIMIT 1",  # noqa: S608 # our own names
            )
        except Exception:  # noqa: BLE001 # whatever the library raises means no
            return False
        return True

    async def _wait(self, table: Table, count: int, reason: str, attempt: int) -> None:
        self._metrics.failures.labels(table.name).inc()
        self._metrics.retrying.set(1)
        if self._stop.is_set():
            raise GaveUpError(reason)
        delay_seconds = self._retry.delay_seconds(attempt)
        log.warning(
            "rows wait, nothing is lost",
            table=table.name,
            rows=count,
            why=reason,
            attempt=attempt,
            retry_in_seconds=round(delay_seconds, 1),
        )
        try:
            async with asyncio.timeout(delay_seconds):
                await self._stop.wait()
        except TimeoutError:
            return

    async def _insert(self, table: Table, lines: Sequence[bytes]) -> None:
        async with self._connecting:
            if self._client is None:
                self._client = await asyncio.to_thread(self._connect)
        await asyncio.to_thread(self._insert_now, self._client, table, lines)

    def _insert_now(self, client: Client, table: Table, lines: Sequence[bytes]) -> None:
        body = b"\n".join((table.statement.encode(), *lines))
        try:
            client.raw_insert(
                # The body brings the statement with it.
                "",
                insert_block=lz4.frame.compress(body) if self._compress else body,
                settings=INSERT_SETTINGS,
                compression="lz4" if self._compress else None,
            )
        except Exception as error:
            raise sorted_error(error) from error

    async def close(self) -> None:
        """Close the client's connections."""
        if self._client is not None:
            await asyncio.to_thread(self._client.close)
            self._client = None
