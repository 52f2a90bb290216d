"""A backlog of a million users with 100,000 budgets and a plan for everybody, beside the same with none, in turn."""

import json
import statistics
from collections.abc import Iterator

from tests.bench.backlogs import worked_off
from tests.bench.drain import Drained
from tests.bench.scene import Result, Scene
from tests.bench.workload import Workload

from tollgate.schemas.plans import DEFAULT_ASSIGNMENT_KEY

BUDGETS = 100_000
COMBINATIONS = ("user/*+model/*", "org/*+model/*", "user/*+feature/chat")
USERS = 1_000_000
EVENTS = 300_000

_AT = {"updated_at": "2026-11-01T00:00:00Z"}


def control() -> Iterator[tuple[bytes, bytes]]:
    """A budget for every tenth user, some on combinations, and the plan `free` for everybody."""
    yield DEFAULT_ASSIGNMENT_KEY.encode(), json.dumps({"plan": "free"} | _AT).encode()
    users = [f"user/u-{number:06d}" for number in range(0, USERS, USERS // BUDGETS)]
    for number, scope in enumerate((*COMBINATIONS, *users)):
        budget = {"id": f"b{number}", "scope": scope, "limit": "100", "window": "month"} | _AT
        yield f"budget/b{number}".encode(), json.dumps(budget).encode()


async def budgets(scene: Scene) -> list[Result]:
    """Events per second, and what one costs the worker: with budgets beside none."""
    block = Workload(scene.sizes.seed, EVENTS, USERS)
    found: dict[str, list[Drained]] = {"with": [], "without": []}
    for run in range(scene.sizes.runs):
        for name, records in (("without", ()), ("with", control())):
            where = f"budgets-{run}-{name}"
            found[name].append(await worked_off(scene, where, block, EVENTS, scene.sizes.layout, records))
    rates = {name: [drained.rate for drained in runs] for name, runs in found.items()}
    cost = {name: round(statistics.median(drained.worker_us for drained in runs), 1) for name, runs in found.items()}
    figure = f"worker throughput, {BUDGETS:,} budgets and a plan for {USERS:,} users"
    return [
        Result.paired(
            figure,
            "events/s",
            rates["with"],
            "no budgets",
            [*rates["without"]],
            worker_us_per_event=cost["with"],
            peer_us_per_event=cost["without"],
        )
    ]
