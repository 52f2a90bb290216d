"""`python -m tests.bench.clickhouse_sink`: rows per second from a backlog of priced events into ClickHouse.

The sink runs in this process with its own settings, so that a profiler sees it. Without `--kafka` and `--clickhouse`
an embedded broker and server are started. One line of JSON goes to stdout.
"""

import argparse
import asyncio
import contextlib
import cProfile
import json
import pstats
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from tests.bench.kafka import broker, create_topics, delete_topics, load

from tollgate.embedded.children import start_child, stop_child, wait_for
from tollgate.embedded.ports import HOST, accepts_connections, free_ports
from tollgate.runtime.settings import Settings
from tollgate.schemas.outputs_codec import PricedRecord, encode_priced
from tollgate.schemas.topics import Topic
from tollgate.sinks.clickhouse import ClickHouseSink, connect, migrate
from tollgate.sinks.clickhouse.batch import BatchPolicy
from tollgate.sinks.clickhouse.metrics import SinkMetrics


def priced_events(count: int, users: int) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of events as the worker writes them: 620 bytes, spread over twelve hours and the users."""
    for number in range(count):
        user = f"u-{number % users}"
        event = PricedRecord(
            event_id=f"01JD8ZQ4T{number:017d}",
            source="chat-api",
            time=f"2026-11-21T{number // 3600 % 12:02d}:{number // 60 % 60:02d}:{number % 60:02d}.123Z",
            kind="usage",
            user=user,
            org=f"org-{number % 50}",
            service=("chat", "search", "images")[number % 3],
            provider="openai",
            model=("gpt-4o", "gpt-4o-mini")[number % 2],
            agent=("SEO", "CONTENT", "EMAIL", "SUPPORT")[number % 4],
            campaign=f"campaign-{number % 20}",
            feature="chat",
            product="web",
            operation="chat.completion",
            status="success",
            latency_ms=300 + number % 900,
            request_id=f"req-{number:012d}",
            usage={"input_tokens": 1200, "cached_input_tokens": 1000, "output_tokens": 300},
            cost_usd="0.004750000001",
            retail_usd="0.025",
            price_id="openai/gpt-4o@2024-10-01#0a1b2c3d",
            price_status="priced",
            source_partition=number % 8,
            source_offset=number,
            version=1,
        )
        yield user.encode(), encode_priced(event)


async def drain(settings: Settings, count: int, policy: BatchPolicy) -> float:
    """Run the sink until `count` rows are in; rows per second from the first inserted batch to the last."""
    metrics = SinkMetrics()
    stop = asyncio.Event()
    sink = asyncio.create_task(ClickHouseSink(settings, stop=stop, metrics=metrics, policy=policy).serve())
    inserted = metrics.rows.labels("usage_events")
    first: tuple[float, float] | None = None
    while not sink.done():
        rows = inserted._value.get()
        if rows and first is None:
            first = (rows, time.perf_counter())
        if first is not None and rows >= count:
            break
        await asyncio.sleep(0.005)
    elapsed = time.perf_counter()
    stop.set()
    await sink
    assert first is not None
    return (count - first[0]) / (elapsed - first[1])


@contextlib.contextmanager
def clickhouse_server(directory: Path) -> Iterator[str]:
    """The URL of an embedded server. It ends with the block."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tollgate.embedded", "clickhouse", "--data-dir", str(directory / "clickhouse")]
    with (directory / "clickhouse.log").open("wb") as log:
        process = start_child([*command, "--port", str(port)], log)
    try:
        if not wait_for(process, lambda: accepts_connections(port), 60):
            raise RuntimeError("the embedded ClickHouse did not start")
        yield f"http://{HOST}:{port}"
    finally:
        stop_child(process)


@contextlib.asynccontextmanager
async def places(given: argparse.Namespace) -> AsyncIterator[Settings]:
    """Settings of a fresh prefix and database on the given servers, or on embedded ones."""
    name = f"bench{uuid.uuid4().hex[:8]}"
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tollgate-bench-")))
        servers = given.kafka or stack.enter_context(broker(directory))[0]
        url = given.clickhouse or stack.enter_context(clickhouse_server(directory))
        settings = Settings.model_validate(
            {
                "kafka_bootstrap_servers": servers,
                "clickhouse_url": url,
                "topic_prefix": f"{name}.",
                "application": name,
                "clickhouse_database": name,
            }
        )
        await create_topics(servers, settings.topic_prefix)
        migrate(settings)
        try:
            yield settings
        finally:
            connect(settings).command(f"DROP DATABASE {name}")
            await delete_topics(servers, settings.topic_prefix)


async def measure(given: argparse.Namespace) -> dict[str, object]:
    """One run: load, drain, count."""
    async with places(given) as settings:
        records = priced_events(given.rows, given.users)
        loaded, seconds = await load(settings.kafka_bootstrap_servers, settings.topic(Topic.PRICED), records)
        print(f"loaded {loaded} in {seconds:.1f} s", file=sys.stderr)
        profile = cProfile.Profile() if given.profile else None
        if profile:
            profile.enable()
        rate = await drain(settings, given.rows, BatchPolicy(rows_max=given.batch_rows))
        if profile:
            profile.disable()
            pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(25)
        count, cost = connect(settings).query("SELECT count(), toString(sum(cost_usd)) FROM usage").result_rows[0]
        assert count == given.rows, f"{count} rows of {given.rows}"
        return {"figure": "clickhouse sink, priced", "rows": count, "cost_usd": cost, "rows_per_second": round(rate)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.clickhouse_sink", description=__doc__)
    parser.add_argument("--kafka", help="bootstrap servers of a broker that runs")
    parser.add_argument("--clickhouse", help="URL of a server that runs")
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--batch-rows", type=int, default=BatchPolicy().rows_max)
    parser.add_argument("--profile", action="store_true")
    print(json.dumps(asyncio.run(measure(parser.parse_args()))))


if __name__ == "__main__":
    main()
