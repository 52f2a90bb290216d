"""Nothing is lost and nothing is counted twice, whatever happens to ClickHouse, Kafka or the sink."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import pytest
from structlog.testing import capture_logs
from tests.integration.clickhouse.door import Door, Way
from tests.integration.clickhouse.stream import (
    committed_and_end,
    everything_committed,
    priced,
    publish,
    query,
    record,
    shows,
    sink,
)
from tests.waiting import eventually

from tollgate.embedded.ports import free_ports
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic
from tollgate.sinks.clickhouse import migrate
from tollgate.sinks.clickhouse.batch import BatchPolicy

pytestmark = pytest.mark.integration

TOTALS = "SELECT count(), uniqExact(event_id), sum(cost_usd), sum(usage['input_tokens']) FROM usage"
# 200 events of 0.25 USD and 100 tokens each.
TOTALS_OF_200 = [(200, 200, Decimal(50), Decimal(20000))]

SMALL_BATCHES = BatchPolicy(rows_max=20, linger_seconds=0.01, interval_seconds=0)


def through(settings: Settings, url: str) -> Settings:
    """The same installation with ClickHouse behind another address."""
    return settings.model_copy(update={"clickhouse_url": url})


@contextmanager
def sink_process(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """The sink as its own process, as `tollgate sink clickhouse` starts it."""
    environment = {
        f"TOLLGATE_{name.upper()}": str(getattr(settings, name))
        for name in ("kafka_bootstrap_servers", "topic_prefix", "application", "clickhouse_url", "clickhouse_database")
    }
    program = (
        "from tollgate.runtime.settings import load_settings; from tollgate.sinks.clickhouse import run;"
        "raise SystemExit(run(load_settings()))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], env=os.environ | environment)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


async def test_clickhouse_that_is_down_at_the_start_is_waited_for(tables: Settings) -> None:
    (port,) = free_ports(1)
    door = Door(tables.clickhouse_url, port)
    await publish(tables, *(priced(number) for number in range(200)))
    with capture_logs() as logs:
        async with sink(through(tables, door.url)):
            await eventually(lambda: told(logs, "the sink waits for ClickHouse"))
            with door:
                await shows(tables, TOTALS, TOTALS_OF_200)
                await everything_committed(tables)
    entry = next(entry for entry in logs if entry["event"] == "the sink waits for ClickHouse")
    assert entry["why"] == "ClickHouse cannot be reached: Connection refused"
    assert entry["retry_in_seconds"] >= 0


async def told(logs: object, text: str) -> bool:
    assert isinstance(logs, list)
    return any(entry["event"] == text for entry in logs)


async def test_clickhouse_that_goes_down_in_the_middle_loses_nothing(tables: Settings) -> None:
    (port,) = free_ports(1)
    with Door(tables.clickhouse_url, port) as door, capture_logs() as logs:
        async with sink(through(tables, door.url), SMALL_BATCHES):
            await publish(tables, *(priced(number) for number in range(100)))
            await shows(tables, "SELECT count() FROM usage", [(100,)])
            door.way = Way.SHUT
            await publish(tables, *(priced(number) for number in range(100, 200)))
            await eventually(lambda: told(logs, "rows wait, nothing is lost"))
            assert query(tables, "SELECT count() FROM usage") == [(100,)]
            door.way = Way.OPEN
            await shows(tables, TOTALS, TOTALS_OF_200)
            await everything_committed(tables)
    assert any(entry["event"] == "ClickHouse takes rows again" for entry in logs)
    assert query(tables, "SELECT count() FROM dead_letters") == [(0,)]


async def test_a_full_disk_loses_nothing_and_rejects_nothing(tables: Settings) -> None:
    (port,) = free_ports(1)
    with Door(tables.clickhouse_url, port, Way.DISK_FULL) as door, capture_logs() as logs:
        async with sink(through(tables, door.url), SMALL_BATCHES):
            await publish(tables, *(priced(number) for number in range(200)))
            await eventually(lambda: turned_away(door, 5))
            door.way = Way.OPEN
            await shows(tables, TOTALS, TOTALS_OF_200)
            await everything_committed(tables)
    waits = [entry["why"] for entry in logs if entry["event"] == "rows wait, nothing is lost"]
    assert set(waits) == {
        "ClickHouse answered with code 243 (NOT_ENOUGH_SPACE): ClickHouse has no disk space left",
    }
    assert query(tables, "SELECT count() FROM dead_letters") == [(0,)]


async def turned_away(door: Door, count: int) -> bool:
    return door.turned_away >= count


async def test_rows_that_clickhouse_has_lost_come_back_with_a_sink_of_another_name(tables: Settings) -> None:
    async with sink(tables):
        await publish(tables, *(priced(number) for number in range(200)))
        await shows(tables, TOTALS, TOTALS_OF_200)
        await everything_committed(tables)
        for (day,) in query(tables, "SELECT DISTINCT toString(toDate(time)) FROM usage"):
            query(tables, f"ALTER TABLE usage_events DROP PARTITION '{day}'")
        assert query(tables, TOTALS) == [(0, 0, Decimal(0), Decimal(0))]
        # Beside the sink that runs, and twice.
        for name in ("again-1", "again-2"):
            again = tables.model_copy(update={"application": name})
            async with sink(again):
                await everything_committed(again)
            assert query(tables, TOTALS) == TOTALS_OF_200


async def test_an_insert_whose_answer_was_lost_is_repeated_without_effect(tables: Settings) -> None:
    (port,) = free_ports(1)
    with Door(tables.clickhouse_url, port, Way.ANSWER_LOST) as door:
        async with sink(through(tables, door.url), SMALL_BATCHES):
            await publish(tables, *(priced(number) for number in range(200)))
            await eventually(lambda: inserted(door, 4))
            offsets, _ = await committed_and_end(tables)
            assert sum(offsets.values()) == 0
            door.way = Way.OPEN
            await everything_committed(tables)
    # 200 rows in batches of 20 are ten inserts; at least three of the first were repeats.
    assert door.inserted >= 13
    assert query(tables, TOTALS) == TOTALS_OF_200


async def test_an_unknown_error_about_one_row_rejects_that_row_alone(tables: Settings) -> None:
    (port,) = free_ports(1)
    with Door(tables.clickhouse_url, port, Way.ODD_ABOUT_POISON) as door:
        async with sink(through(tables, door.url), SMALL_BATCHES):
            await publish(tables, *(priced(number) for number in range(200)), priced(500, request_id="poison"))
            await everything_committed(tables)
    assert query(tables, TOTALS) == TOTALS_OF_200
    assert query(tables, "SELECT value LIKE '%poison%', error FROM dead_letters") == [
        (1, "ClickHouse refused it with code 4711 (unknown)")
    ]


async def test_an_unknown_error_about_every_row_rejects_none(tables: Settings) -> None:
    (port,) = free_ports(1)
    with Door(tables.clickhouse_url, port, Way.ODD) as door:
        async with sink(through(tables, door.url), SMALL_BATCHES):
            await publish(tables, *(priced(number) for number in range(200)))
            await eventually(lambda: turned_away(door, 10))
            door.way = Way.OPEN
            await shows(tables, TOTALS, TOTALS_OF_200)
            await everything_committed(tables)
    assert query(tables, "SELECT count() FROM dead_letters") == [(0,)]


async def inserted(door: Door, count: int) -> bool:
    return door.inserted >= count


async def test_repeats_in_batches_with_other_borders_change_no_sum(tables: Settings) -> None:
    events = [priced(number) for number in range(200)]
    await publish(tables, *events[:150])
    for application, rows_max in (("a", 7), ("b", 64), ("c", 11)):
        # A new group reads everything from the start.
        anew = tables.model_copy(update={"application": f"{tables.application}{application}"})
        async with sink(anew, BatchPolicy(rows_max=rows_max, linger_seconds=0.01, interval_seconds=0)):
            if application == "c":
                await publish(tables, *events[150:])
            await everything_committed(anew)
    assert query(tables, TOTALS) == TOTALS_OF_200


async def test_a_kill_between_insert_and_commit_repeats_rows_without_effect(tables: Settings) -> None:
    (port,) = free_ports(1)
    await publish(tables, *(priced(number) for number in range(200)))
    spend = {"scope": "global", "spent_usd": "50", "events": 200, "updated_at": "2026-11-21T10:00:00Z"}
    month = {"kind": "month", "start": "2026-11-01T00:00:00Z", "end": "2026-12-01T00:00:00Z", "timezone": "UTC"}
    await publish(tables, record(Topic.SPEND, "global|month|2026-11-01T00:00:00Z", spend | {"window": month}))
    with Door(tables.clickhouse_url, port, Way.ANSWER_HELD) as door, sink_process(through(tables, door.url)) as killed:
        await eventually(lambda: inserted(door, 2))
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        offsets, _ = await committed_and_end(tables)
        assert sum(offsets.values()) == 0
    await shows(tables, TOTALS, TOTALS_OF_200)
    async with sink(tables):
        await everything_committed(tables)
    assert query(tables, TOTALS) == TOTALS_OF_200
    assert query(tables, "SELECT count(), sum(spent_usd) FROM spend") == [(1, Decimal(50))]


async def test_sigterm_writes_and_commits_what_was_read_and_exits_with_0(tables: Settings) -> None:
    await publish(tables, priced(0))
    with sink_process(tables) as process:
        await shows(tables, "SELECT count() FROM usage", [(1,)])
        await publish(tables, *(priced(number) for number in range(1, 200)))
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 20) == 0
    written = query(tables, "SELECT count() FROM usage")[0][0]
    offsets, _ = await committed_and_end(tables)
    # Every row is followed by its commit: a second sink finds exactly the rest.
    async with sink(tables):
        await everything_committed(tables)
    assert query(tables, TOTALS) == TOTALS_OF_200
    assert query(tables, "SELECT count() FROM usage_events") == [(200,)], (written, offsets)


async def test_sigterm_while_clickhouse_is_down_exits_with_0_and_commits_nothing(tables: Settings) -> None:
    (port,) = free_ports(1)
    with Door(tables.clickhouse_url, port, Way.DISK_FULL) as door, sink_process(through(tables, door.url)) as process:
        await publish(tables, *(priced(number) for number in range(200)))
        await eventually(lambda: turned_away(door, 2))
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 20) == 0
    offsets, _ = await committed_and_end(tables)
    assert sum(offsets.values()) == 0
    async with sink(tables):
        await everything_committed(tables)
    assert query(tables, TOTALS) == TOTALS_OF_200


async def test_missing_tables_are_waited_for(clickhouse: str, settings: Settings) -> None:
    assert settings.clickhouse_url == clickhouse
    await publish(settings, *(priced(number) for number in range(200)))
    with capture_logs() as logs:
        async with sink(settings):
            await eventually(lambda: told(logs, "the sink waits for ClickHouse"))
            await asyncio.to_thread(migrate, settings)
            await shows(settings, TOTALS, TOTALS_OF_200)
    entry = next(entry for entry in logs if entry["event"] == "the sink waits for ClickHouse")
    assert entry["why"] == "14 migrations are not applied: run `tollgate clickhouse migrate`"


async def test_kafka_that_is_down_at_the_start_is_waited_for(tables: Settings) -> None:
    (port,) = free_ports(1)
    host, _, broker_port = tables.kafka_bootstrap_servers.partition(":")
    away = tables.model_copy(update={"kafka_bootstrap_servers": f"127.0.0.1:{port}"})
    await publish(tables, *(priced(number) for number in range(200)))

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(host, int(broker_port))
        await asyncio.gather(pump(reader, upstream_writer), pump(upstream_reader, writer))

    async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            target.write(data)
        target.close()

    with capture_logs() as logs:
        async with sink(away):
            await eventually(lambda: told(logs, "the sink waits for Kafka"))
            server = await asyncio.start_server(relay, "127.0.0.1", port)
            await shows(tables, TOTALS, TOTALS_OF_200)
        server.close()
    entry = next(entry for entry in logs if entry["event"] == "the sink waits for Kafka")
    assert entry["why"] == f"Kafka at 127.0.0.1:{port} cannot be reached: KafkaConnectionError"


async def test_missing_topics_are_named_and_waited_for(tables: Settings) -> None:
    elsewhere = tables.model_copy(update={"topic_prefix": "nowhere."})
    with capture_logs() as logs:
        async with sink(elsewhere):
            await eventually(lambda: told(logs, "the sink waits for Kafka"))
    why = next(entry["why"] for entry in logs if entry["event"] == "the sink waits for Kafka")
    assert why.startswith("topics are missing (nowhere.alerts, nowhere.audit, nowhere.balances, nowhere.control, ")
    assert why.endswith("): run `tollgate topics apply`")
