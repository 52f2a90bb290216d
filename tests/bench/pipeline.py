"""The whole way: a backlog in Kafka, the worker, the ClickHouse sink, rows that an analyst can query."""

import contextlib
import statistics
import time
from collections.abc import Iterator
from decimal import Decimal
from urllib.request import Request, urlopen

from tests.bench import processes
from tests.bench.curve import watch
from tests.bench.drain import cpu_seconds
from tests.bench.kafka import delete_topics
from tests.bench.scene import Result, Scene, spread
from tests.bench.throughput import backlog, expected_of, say

from tollgate.embedded.ports import free_ports

READY_SECONDS = 60


def query(url: str, sql: str) -> str:
    """The answer to one statement as tab-separated text."""
    with urlopen(Request(url, data=sql.encode()), timeout=60) as response:
        return str(response.read().decode().strip())


@contextlib.contextmanager
def clickhouse(scene: Scene, name: str) -> Iterator[tuple[str, processes.Program]]:
    """An embedded ClickHouse of its own: its address and its process."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    arguments = ["clickhouse", "--data-dir", str(scene.directory / name), "--port", str(port)]
    with processes.module("tollgate.embedded", arguments, scene.directory) as program:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            with contextlib.suppress(OSError):
                if query(url, "SELECT 1") == "1":
                    break
            program.alive()
            if time.monotonic() > deadline:
                raise TimeoutError("ClickHouse did not answer")
            time.sleep(0.1)
        yield url, program


async def pipeline_run(scene: Scene, number: int) -> float:
    """Rows per second that become visible, steady; verified by count and sum."""
    prefix = f"pipeline-{number}."
    database = f"pipeline_{number}"
    await backlog(scene, prefix)
    expected = await expected_of(scene, prefix)
    with clickhouse(scene, database) as (url, server):
        env = scene.environment(prefix) | {"TOLLGATE_CLICKHOUSE_URL": url, "TOLLGATE_CLICKHOUSE_DATABASE": database}
        with processes.tollgate("migrate", ["clickhouse", "migrate"], scene.directory, env) as migration:
            migration.output(timeout_seconds=60)
        with (
            processes.tollgate("sink-clickhouse", ["sink", "clickhouse"], scene.directory, env) as sink,
            processes.tollgate("worker-pipeline", ["worker"], scene.directory, env) as worker,
        ):

            async def rows() -> int:
                return int(query(url, f"SELECT count() FROM {database}.usage_events"))

            def alive() -> None:
                for program in (server, sink, worker):
                    program.alive()

            broker_before = cpu_seconds(scene.broker_pid)
            curve = await watch(rows, expected.count, 240, alive, settle=True)
            used = {p.name: round(p.cpu_seconds(), 1) for p in (worker, sink, server)}
            used["broker"] = round(cpu_seconds(scene.broker_pid) - broker_before, 1)
            counted, total = query(url, f"SELECT count(), sum(cost_usd) FROM {database}.usage").split("\t")
    if int(counted) != expected.count or Decimal(total) != expected.total:
        raise AssertionError(
            f"ClickHouse has {counted} rows of {total} USD; right is {expected.count}, {expected.total}"
        )
    rate = curve.steady_rate(expected.count, curve.samples[-1][1])
    say(f"  pipeline {rate:,.0f} rows/s; processor seconds {used}; exact")
    await delete_topics(scene.servers, prefix)
    return rate


async def pipeline(scene: Scene) -> list[Result]:
    """The median of all runs."""
    rates = [await pipeline_run(scene, number) for number in range(scene.sizes.runs)]
    detail = {"spread": spread(rates), "exact": True}
    return [Result("whole pipeline into ClickHouse", statistics.median(rates), "rows/s", detail=detail)]
