"""Two sinks share the partitions; joining, leaving and dying change no sum."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.integration.clickhouse.stream import everything_committed, priced, publish, query, sink
from tests.integration.clickhouse.test_faults import sink_process
from tests.waiting import eventually

from tollgate.runtime.settings import Settings
from tollgate.sinks.clickhouse.batch import BatchPolicy

pytestmark = pytest.mark.integration

# Of priced, entries, spend, flags, decisions and balances 8 each; of alerts, control, audit and dead letters 1 each.
ALL_PARTITIONS = 52
OFTEN = BatchPolicy(rows_max=1000, linger_seconds=0.01, interval_seconds=0)


@pytest.mark.long
async def test_sinks_that_join_leave_and_die_under_load_keep_every_sum_exact(tables: Settings) -> None:
    enough = asyncio.Event()

    async def load() -> int:
        published = 0
        while not enough.is_set():
            await publish(tables, *(priced(number, users=50) for number in range(published, published + 50)))
            published += 50
        return published

    loading = asyncio.create_task(load())
    with capture_logs() as logs:
        async with sink(tables, OFTEN):
            await eventually(lambda: assigned(logs, [ALL_PARTITIONS]))
            async with sink(tables, OFTEN):
                await eventually(lambda: shared(logs, 2))
            await eventually(lambda: alone(logs))
            with sink_process(tables) as process:
                # The other half belongs to the process, whose log is elsewhere.
                await eventually(lambda: shared(logs, 1))
                process.kill()
            await eventually(lambda: alone(logs), seconds=40)
            enough.set()
            count = await loading
            await everything_committed(tables, seconds=60)
    assert query(tables, "SELECT count(), uniqExact(event_id), sum(cost_usd) FROM usage") == [
        (count, count, Decimal(count) / 4)
    ]


def assignments(logs: Sequence[Any]) -> list[int]:
    """How many partitions each assignment so far gave."""
    return [entry["partitions"] for entry in logs if entry["event"] == "partitions are assigned"]


async def assigned(logs: Sequence[Any], expected: list[int]) -> bool:
    return assignments(logs) == expected


async def shared(logs: Sequence[Any], sinks: int) -> bool:
    latest = assignments(logs)[-sinks:]
    return len(latest) == sinks and all(0 < partitions < ALL_PARTITIONS for partitions in latest)


async def alone(logs: Sequence[Any]) -> bool:
    return assignments(logs)[-1] == ALL_PARTITIONS
