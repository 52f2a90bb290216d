"""Backlogs that are large or uneven, or that two workers share, each worked off from a cold start."""

import statistics
import time
from collections.abc import Iterable
from dataclasses import replace

from tests.bench import quota
from tests.bench.checker import Expected, Totals
from tests.bench.drain import Drained, drain
from tests.bench.kafka import create_topics, delete_topics, load, read
from tests.bench.scene import Layout, Result, Scene
from tests.bench.throughput import SPEND_SECONDS, say
from tests.bench.workload import Repeated, Workload

BLOCK_EVENTS = 50_000
LARGE_EVENTS = 5_000_000
# Two workers need some seconds to share the partitions, and as much again is to be left when they have.
SHARED_EVENTS = 1_200_000
SKEWED_EVENTS = 1_000_000
# Little enough that two workers and the broker do not fill two cores.
PROCESSORS_EACH = 0.3
# What the compiled memory of identities takes for each, see `tests.bench.identities`.
IDENTITY_BYTES = 32.5


async def worked_off(
    scene: Scene, name: str, block: Workload, events: int, layout: Layout, control: Iterable[tuple[bytes, bytes]] = ()
) -> Drained:
    """Publish the block until there are `events` events, let workers count them, and check everyone's spend.

    `control` are records of the control topic, which are there before.
    """
    prefix = f"{name}."
    await create_topics(scene.servers, prefix, layout.partitions)
    await load(scene.servers, f"{prefix}control", control)
    repeated = Repeated(block, events // block.events)
    count, seconds = await load(scene.servers, f"{prefix}usage", repeated.records())
    say(f"  {count} records loaded in {seconds:.1f} s ({count / seconds:,.0f}/s)")
    expected = Expected.of([value for _, value in Repeated(block, 1).records()]).times(repeated.copies)
    drained = await drain(scene, prefix, expected.count, layout, lambda: check_spend(scene, prefix, expected))
    await delete_topics(scene.servers, prefix)
    say(f"  {name}: {drained}; exact")
    return drained


async def check_spend(scene: Scene, prefix: str, expected: Totals) -> None:
    """Raise unless the spend topic has what each user and all together spent, soon."""
    deadline = time.monotonic() + SPEND_SECONDS
    while True:
        latest = {key.decode(): v async for key, v in read(scene.servers, f"{prefix}spend") if v is not None}
        wrong = expected.faults_of_spend(latest)
        if not wrong:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"not exact: {len(wrong)} faults of spend: {wrong[:5]}")


def usual(scene: Scene) -> Workload:
    """A block of the workload of all figures."""
    return Workload(scene.sizes.seed, BLOCK_EVENTS, scene.sizes.users)


async def large(scene: Scene) -> list[Result]:
    """Five million events at full speed: events per second, and whether the memory stays as it is."""
    drained = await worked_off(scene, "backlog", usual(scene), LARGE_EVENTS, scene.sizes.layout)
    memory = drained.memory_mb
    quarter = max(1, len(memory) // 4)
    first, last = max(memory[:quarter]), max(memory[-quarter:])
    # From the end of the first quarter to the end: by then three quarters of the identities are new.
    identities = LARGE_EVENTS * 0.75 * IDENTITY_BYTES / 1e6
    detail = {
        "events": LARGE_EVENTS,
        "memory_mb_first_quarter": round(first),
        "memory_mb_last_quarter": round(last),
        "memory_mb_each_tenth": [
            round(max(memory[i * len(memory) // 10 :][: len(memory) // 10 + 1])) for i in range(10)
        ],
        "of_the_growth_identities_mb": round(identities),
        "worker_us_per_event": round(drained.worker_us, 1),
        "broker_us_per_event": round(drained.broker_us, 1),
        "exact": True,
    }
    return [
        Result("backlog of 5 million events", drained.rate, "events/s", detail=detail),
        Result("memory at the end of the backlog", last, "MB", "its first quarter", first),
    ]


async def skew(scene: Scene) -> list[Result]:
    """One user sends half of all events, and one campaign takes all of them: each beside the even case."""
    even = usual(scene)
    cases = {
        "even": even,
        "one user sends half": replace(even, one_user_share=0.5),
        "one campaign takes all": replace(even, campaigns=1),
    }
    found: dict[str, list[Drained]] = {name: [] for name in cases}
    for run in range(scene.sizes.runs):
        for name, block in cases.items():
            where = f"skew-{run}-{name.replace(' ', '-')}"
            found[name].append(await worked_off(scene, where, block, SKEWED_EVENTS, scene.sizes.layout))
    rates = {name: [drained.rate for drained in runs] for name, runs in found.items()}
    cost = {name: round(statistics.median(drained.worker_us for drained in runs), 1) for name, runs in found.items()}
    return [
        Result.paired(
            f"worker throughput, {name}",
            "events/s",
            rates[name],
            "the even case",
            [*rates["even"]],
            worker_us_per_event=cost[name],
            peer_us_per_event=cost["even"],
        )
        for name in cases
        if name != "even"
    ]


async def two_workers(scene: Scene) -> list[Result]:
    """Two workers beside one, in turn: with all that the machine has, and each with a part of a processor.

    On two cores one worker and the broker leave nothing over. The second pair shows what more cores would bring.
    """
    results = [await beside_one(scene, "two workers", SHARED_EVENTS, 0)]
    if quota.is_possible():
        name = f"two workers with {PROCESSORS_EACH} of a processor each"
        results.append(await beside_one(scene, name, SHARED_EVENTS // 2, PROCESSORS_EACH))
    else:
        say("  this user may not limit processors: two workers with a part of one each are left out")
    return results


async def beside_one(scene: Scene, name: str, events: int, processors: float) -> Result:
    """The throughput of two workers beside that of one, and what they and the broker take."""
    runs: dict[int, list[Drained]] = {1: [], 2: []}
    for run in range(scene.sizes.runs):
        for workers, found in runs.items():
            layout = Layout(scene.sizes.layout.partitions, workers, processors)
            where = f"workers-{run}-{workers}-{processors}"
            found.append(await worked_off(scene, where, usual(scene), events, layout))
    detail = {f"cores_{name}": shares(found) for name, found in (("one", runs[1]), ("two", runs[2]))}
    ours, theirs = ([drained.rate for drained in runs[workers]] for workers in (2, 1))
    return Result.paired(f"throughput of {name}", "events/s", ours, "one such worker", [*theirs], **detail)


def shares(found: list[Drained]) -> dict[str, float]:
    """Processor seconds per second, medians: of all workers and of the broker."""
    return {
        "workers": round(statistics.median(drained.worker_cpu / drained.seconds for drained in found), 2),
        "broker": round(statistics.median(drained.broker_cpu / drained.seconds for drained in found), 2),
    }
