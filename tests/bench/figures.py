"""Every figure by its name: its meaning, how long one run takes, and the function that measures it."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.bench.backlogs import large, skew, two_workers
from tests.bench.budgets import budgets
from tests.bench.clickhouse_sink import clickhouse_outage, clickhouse_sink
from tests.bench.decisions import decisions
from tests.bench.latency import latency, many_partitions
from tests.bench.pipeline import pipeline
from tests.bench.rebalance import rebalance
from tests.bench.scene import Result, Scene
from tests.bench.sdk import sdk
from tests.bench.throughput import peers, worker


@dataclass(frozen=True)
class Figure:
    """`seconds` is what one run takes on two cores that nothing else uses; `usual` figures are measured by default."""

    about: str
    seconds: int
    measure: Callable[[Scene], Awaitable[list[Result]]]
    usual: bool = False


def alone(module: str, *options: str) -> Callable[[Scene], Awaitable[list[Result]]]:
    """The output of a module that measures in a separate process, so that memory and processor time are only its own.

    `{runs}` and `{seed}` in the options are those of the scene.
    """

    async def measure(scene: Scene) -> list[Result]:
        filled = [option.format(runs=scene.sizes.runs, seed=scene.sizes.seed) for option in options]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *filled, stdout=asyncio.subprocess.PIPE
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()
        if process.returncode:
            raise RuntimeError(f"{module} ended with status {process.returncode}")
        lines = [line for line in output.decode().splitlines() if line.startswith("{")]
        return [Result.of(json.loads(line)) for line in lines]

    return measure


FIGURES: dict[str, Figure] = {
    "sdk": Figure("what `record` costs its caller beside other clients' calls, and events/s of one process", 40, sdk),
    "sdk-check": Figure(
        "µs of a check with a million flags in memory, its memory, and of a decision from a slice",
        25,
        alone("tests.bench.sdk_check", "--seed", "{seed}"),
    ),
    "worker": Figure("events/s of one worker on a backlog, verified", 35, worker),
    "peers": Figure(
        "the same beside Quix Streams, Bytewax, stock Faust, and aiokafka alone, in turn", 70, peers, usual=True
    ),
    "pipeline": Figure("rows/s from Kafka through worker and sink into ClickHouse", 50, pipeline),
    "latency": Figure("from publishing to the flag, at 1,000, 5,000 and 20,000 events/s", 110, latency, usual=True),
    "decisions": Figure("from a reservation to its decision, at 500/s beside 1,000 events/s", 50, decisions),
    "partitions": Figure("the same with 64 partitions: one worker, eight workers", 200, many_partitions),
    "backlog": Figure("five million events, and the memory meanwhile", 110, large),
    "skew": Figure("one user sends half, one campaign takes all: beside the even case", 75, skew),
    "budgets": Figure("100,000 budgets and a plan for a million users, beside none, in turn", 120, budgets),
    "default_budget": Figure(
        "from a new default budget to the last flag, with a million users",
        190,
        alone("tests.bench.default_budget"),
    ),
    "workers": Figure("two workers beside one: with all there is, and with 0.3 of a processor each", 200, two_workers),
    "rebalance": Figure("the pause of what stays when a second worker joins", 50, rebalance, usual=True),
    "cores": Figure(
        "the compiled core beside the Python one, without Kafka",
        40,
        alone("tests.bench.cores", "--rounds", "{runs}", "--seed", "{seed}"),
        usual=True,
    ),
    "recovery": Figure("a worker's start with a million users", 400, alone("tests.bench.recovery", "--seed", "{seed}")),
    "plans": Figure(
        "a worker's start with a million users on a plan, in four features each",
        400,
        alone(
            "tests.bench.recovery",
            "--seed",
            "{seed}",
            "--rows",
            "0",
            "--identities",
            "0",
            "--plan",
            "free",
            "--features",
            "4",
        ),
    ),
    "identities": Figure("fifty million remembered identities", 60, alone("tests.bench.identities")),
    "verification": Figure(
        "`tollgate verify` on 250,000 and 1,000,000 events",
        120,
        alone("tests.bench.verification", "--seed", "{seed}"),
    ),
    "clickhouse_sink": Figure("rows/s of the sink on a backlog", 60, clickhouse_sink),
    "clickhouse_outage": Figure("the sink's way back after an hour without ClickHouse", 200, clickhouse_outage),
    "console": Figure("the console with ten million events behind it", 260, alone("tests.bench.console")),
    "forecast": Figure(
        "how far a month's forecast was off, on the demo's usage", 15, alone("tests.bench.forecast"), usual=True
    ),
    "queries": Figure(
        "ten million events in ClickHouse, and what people ask", 150, alone("tests.bench.queries", "--runs", "{runs}")
    ),
}
