"""A backlog of a million users with 100,000 budgets and a plan for everybody, beside the same with none, in turn; and
with budgets on combinations of names, of which each is a sum of its own for each user.
"""

import json
import statistics
from collections.abc import Iterator, Sequence

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


def control(combinations: Sequence[str] = ()) -> Iterator[tuple[bytes, bytes]]:
    """A budget for every tenth user and on these combinations, and the plan `free` for everybody."""
    yield DEFAULT_ASSIGNMENT_KEY.encode(), json.dumps({"plan": "free"} | _AT).encode()
    users = [f"user/u-{number:06d}" for number in range(0, USERS, USERS // BUDGETS)]
    for number, scope in enumerate((*combinations, *users)):
        budget = {"id": f"b{number}", "scope": scope, "limit": "100", "window": "month"} | _AT
        yield f"budget/b{number}".encode(), json.dumps(budget).encode()


async def budgets(scene: Scene) -> list[Result]:
    """Events per second, and what one costs the worker: with budgets beside none, and with sums by combination too."""
    block = Workload(scene.sizes.seed, EVENTS, USERS)
    with_budgets = f"worker throughput, {BUDGETS:,} budgets and a plan for {USERS:,} users"
    with_combinations = f"{with_budgets}, and budgets on {', '.join(COMBINATIONS)}"
    cases = {"none": None, with_budgets: (), with_combinations: COMBINATIONS}
    found: dict[str, list[Drained]] = {name: [] for name in cases}
    for run in range(scene.sizes.runs):
        for number, (name, combinations) in enumerate(cases.items()):
            records = control(combinations) if combinations is not None else ()
            where = f"budgets-{run}-{number}"
            found[name].append(await worked_off(scene, where, block, EVENTS, scene.sizes.layout, records))
    rates = {name: [drained.rate for drained in runs] for name, runs in found.items()}
    cost = {name: round(statistics.median(drained.worker_us for drained in runs), 1) for name, runs in found.items()}
    return [
        Result.paired(
            name,
            "events/s",
            rates[name],
            "no budgets",
            [*rates["none"]],
            worker_us_per_event=cost[name],
            peer_us_per_event=cost["none"],
        )
        for name in cases
        if name != "none"
    ]
