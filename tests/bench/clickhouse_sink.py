"""`python -m tests.bench.clickhouse_sink`: how fast priced events get from Kafka into ClickHouse, and after an outage.

The sink, the broker and ClickHouse are processes of their own, as in production. Without `--outage` the sink starts on
a backlog. With it, the sink runs, ClickHouse is killed, the backlog is written meanwhile, ClickHouse comes back. After
every run the count of events, of identities and the sum of costs must be right. One line of JSON per figure on stdout.
"""

import argparse
import contextlib
import shutil
import statistics
import time
from collections.abc import AsyncIterator
from decimal import Decimal

from tests.bench import processes
from tests.bench.clickhouse import READY_SECONDS_MAX, ClickHouse, peak_mb
from tests.bench.curve import watch
from tests.bench.drain import cpu_seconds
from tests.bench.kafka import create_topics, delete_topics
from tests.bench.priced import Backlog, publish
from tests.bench.scene import Result, Scene, Sizes, spread
from tests.bench.standalone import measure_alone
from tests.bench.throughput import say

from tollgate.runtime.lag import consumer_lag
from tollgate.runtime.settings import Settings

DRAIN_SECONDS_MAX = 600
# Come through before the outage, so that the sink has joined its group and knows its tables.
BEFORE_EVENTS = 1_000
# What a worker leaves that drains a backlog itself: hundreds of records of a partition in one transaction.
BUSY = Backlog(events=1_000_000, users=10_000, batch_records=500)
# An hour of a thousand events a second, in five transactions a second, over eight partitions.
OUTAGE = Backlog(events=3_600_000, users=10_000, batch_records=25)


def verify(server: ClickHouse, backlog: Backlog) -> None:
    """Raise unless every event is there once, at its cost."""
    answer = server.query("SELECT count(), uniqExact(event_id), sum(cost_usd) FROM usage")
    count, identities, cost = answer.split("\t")
    if (int(count), int(identities), Decimal(cost)) != (backlog.events, backlog.events, backlog.cost_usd):
        raise AssertionError(
            f"{count} rows, {identities} identities, {cost} USD; right is {backlog.events}, {backlog.cost_usd}"
        )


async def from_backlog(scene: Scene, prefix: str, number: int, backlog: Backlog) -> float:
    """Start a sink on what is in Kafka; rows per second that become visible, steady; verified."""
    name = f"{prefix}{number}"
    server = ClickHouse(scene, name)
    with server.running() as clickhouse:
        env = server.environment(prefix, name)
        server.migrate()
        before = {"broker": cpu_seconds(scene.broker_pid), "clickhouse": clickhouse.cpu_seconds()}
        with processes.tollgate("sink", ["sink", "clickhouse"], scene.directory, env) as sink:
            curve = await watch(server.rows, backlog.events, DRAIN_SECONDS_MAX, sink.alive, settle=True)
            after = {"broker": cpu_seconds(scene.broker_pid), "clickhouse": clickhouse.cpu_seconds()}
            used = {name: round(after[name] - before[name], 1) for name in after} | {"sink": sink.cpu_seconds()}
            peaks = {p.name: round(peak_mb(p.pid)) for p in (sink, clickhouse)}
        verify(server, backlog)
    shutil.rmtree(scene.directory / name, ignore_errors=True)
    rate = curve.steady_rate(backlog.events, curve.samples[-1][1])
    say(f"  sink {rate:,.0f} rows/s; processor seconds {used}; peak MB {peaks}; exact")
    return rate


async def clickhouse_sink(scene: Scene, backlog: Backlog = BUSY) -> list[Result]:
    """Rows per second of a sink that starts on a backlog: the median of all runs."""
    prefix = "sink."
    async with topics(scene, prefix):
        await publish(scene.servers, f"{prefix}priced", backlog)
        rates = [await from_backlog(scene, prefix, number, backlog) for number in range(scene.sizes.runs)]
    detail = {"rows": backlog.events, "batch_records": backlog.batch_records, "spread": spread(rates), "exact": True}
    return [Result("ClickHouse sink from a backlog", statistics.median(rates), "rows/s", detail=detail)]


@contextlib.asynccontextmanager
async def topics(scene: Scene, prefix: str) -> AsyncIterator[None]:
    """All topics under the prefix, for as long as the block lasts."""
    await create_topics(scene.servers, prefix)
    try:
        yield
    finally:
        await delete_topics(scene.servers, prefix)


async def lag_of(env: dict[str, str]) -> int:
    """Records of priced events that the sink is behind, as `tollgate status` shows it."""
    names = {name.removeprefix("TOLLGATE_").lower(): value for name, value in env.items()}
    settings = Settings.model_validate(names)
    return (await consumer_lag(settings))[f"{settings.application}-sink-clickhouse"][f"{settings.topic_prefix}priced"]


async def clickhouse_outage(scene: Scene, backlog: Backlog = OUTAGE) -> list[Result]:
    """ClickHouse is killed under a running sink and returns when the backlog waits: the way back to no lag."""
    prefix = "outage."
    server = ClickHouse(scene, "outage")
    env = server.environment(prefix, "outage")
    topic = f"{prefix}priced"
    detail: dict[str, object] = {"rows": backlog.events, "batch_records": backlog.batch_records}
    async with topics(scene, prefix):
        with contextlib.ExitStack() as up:
            with server.running() as first:
                server.migrate()
                sink = up.enter_context(processes.tollgate("sink", ["sink", "clickhouse"], scene.directory, env))
                await publish(scene.servers, topic, backlog, range(BEFORE_EVENTS))
                await watch(server.rows, BEFORE_EVENTS, READY_SECONDS_MAX, sink.alive, settle=False)
                first.kill()
            started = time.perf_counter()
            await publish(scene.servers, topic, backlog, range(BEFORE_EVENTS, backlog.events))
            detail["outage_seconds"] = round(time.perf_counter() - started)
            detail["sink_mb_in_outage"] = round(peak_mb(sink.pid))
            detail["lag_at_return"] = await lag_of(env)
            say(f"  the backlog waits: {detail}")
            second = up.enter_context(server.running())
            started = time.perf_counter()
            curve = await watch(server.rows, backlog.events, DRAIN_SECONDS_MAX, sink.alive, settle=False)
            while detail.get("lag_at_end") != 0:
                detail["lag_at_end"] = await lag_of(env)
            seconds = time.perf_counter() - started
            detail["sink_mb"] = round(peak_mb(sink.pid))
            detail["clickhouse_mb"] = round(peak_mb(second.pid))
            detail["log_lines_of_waiting"] = sink.said(b"rows wait, nothing is lost")
            verify(server, backlog)
    detail |= {"seconds_to_no_lag": round(seconds, 1), "exact": True}
    rate = curve.steady_rate(backlog.events, curve.samples[-1][1])
    return [Result("ClickHouse sink after an outage", rate, "rows/s", detail=detail)]


def main() -> None:
    """These figures alone, with sizes of their own."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.clickhouse_sink", description=__doc__)
    parser.add_argument("--rows", type=int, help="of the backlog; by default 1,000,000, and 3,600,000 after an outage")
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=Sizes.runs)
    parser.add_argument("--outage", action="store_true")
    parser.add_argument("--batch-records", type=int, help="records of a partition in one transaction")
    given = parser.parse_args()
    usual = OUTAGE if given.outage else BUSY
    backlog = Backlog(given.rows or usual.events, given.users, given.batch_records or usual.batch_records)
    figure = clickhouse_outage if given.outage else clickhouse_sink
    measure_alone(Sizes(0, runs=given.runs), lambda scene: figure(scene, backlog))


if __name__ == "__main__":
    main()
