"""One worker on a cold backlog, and the peers on the same topic of the same broker, in turn, several times."""

import statistics
import sys
import time
from dataclasses import dataclass

from tests.bench import processes
from tests.bench.checker import Expected
from tests.bench.curve import TopicEnds, watch
from tests.bench.drain import cpu_seconds
from tests.bench.kafka import create_topic, create_topics, delete_topics, load, read
from tests.bench.scene import Result, Scene, machine_ms, spread
from tests.bench.workload import Workload

from tollgate.schemas.topics import USAGE_PARTITIONS

SPEND_SECONDS = 60
PEER_SECONDS = 60
CEILING = "aiokafka, fetch and decode alone"


@dataclass(frozen=True)
class Peer:
    """A peer's name with what it guarantees, how many outputs are waited for, and the script's arguments.

    Peers get fewer events than we do, because they are slower and only their rate is wanted.
    """

    name: str
    events: int
    arguments: tuple[str, ...] = ()


PEERS = {
    "quix_streams.py": Peer("Quix Streams 3.28, exactly once, one scope", 120_000),
    "bytewax_flow.py": Peer("Bytewax 0.21.1, one scope, at least once", 200_000),
    "faust_table.py": Peer(
        "stock Faust 0.15.3, one table, at least once", 15_000, ("worker", "-l", "error", "--without-web")
    ),
}


def say(text: str) -> None:
    """Progress goes to stderr; stdout has the figures."""
    print(text, file=sys.stderr, flush=True)


async def backlog(scene: Scene, prefix: str) -> int:
    """Fresh topics under the prefix with the workload in `usage`; returns how many records were sent."""
    sizes = scene.sizes
    await create_topics(scene.servers, prefix, sizes.layout.partitions)
    workload = Workload(sizes.seed, sizes.events, sizes.users)
    count, seconds = await load(scene.servers, f"{prefix}usage", workload.records())
    say(f"  {count} records loaded in {seconds:.1f} s ({count / seconds:,.0f}/s, generated meanwhile)")
    return count


async def expected_of(scene: Scene, prefix: str) -> Expected:
    """The right answers, from what really is in the usage topic."""
    return Expected.of([value async for _, value in read(scene.servers, f"{prefix}usage") if value is not None])


async def verify(scene: Scene, prefix: str, expected: Expected) -> None:
    """Raise unless every event is priced once at its cost and the spend topic has the right totals."""
    priced = [value async for _, value in read(scene.servers, f"{prefix}priced") if value is not None]
    faults = expected.faults_of_priced(priced)
    deadline = time.monotonic() + SPEND_SECONDS
    while True:
        latest = {k.decode(): v async for k, v in read(scene.servers, f"{prefix}spend") if v is not None}
        wrong = expected.faults_of_spend(latest)
        if not wrong or time.monotonic() > deadline:
            break
    if faults or wrong:
        raise AssertionError(
            f"not exact: {len(faults)} faults of priced, {len(wrong)} of spend: {(faults + wrong)[:5]}"
        )


async def worker_run(scene: Scene, prefix: str, expected: Expected) -> float:
    """Start one worker on the backlog under the prefix; its steady rate, verified."""
    before_ms = machine_ms()
    async with TopicEnds(scene.servers, f"{prefix}priced") as ends:
        with processes.tollgate("worker", ["worker"], scene.directory, scene.environment(prefix)) as worker:
            started = time.perf_counter()
            broker_before = cpu_seconds(scene.broker_pid)
            curve = await watch(ends.look, expected.count, 180, worker.alive, settle=True)
            offsets = curve.samples[-1][1]
            first = curve.reached(1)
            busy = curve.reached(offsets) - first
            rate = curve.steady_rate(expected.count, offsets)
            cpu = worker.cpu_seconds()
            broker = cpu_seconds(scene.broker_pid) - broker_before
            await verify(scene, prefix, expected)
    say(
        f"  worker {rate:,.0f} events/s steady, {expected.count / busy:,.0f} overall; first output after "
        f"{first - started:.1f} s; processor seconds: worker {cpu:.1f}, broker {broker:.1f} in {busy:.1f} s; "
        f"{offsets - expected.count} transaction markers; exact; machine {before_ms:.0f} ms"
    )
    return rate


async def peer_run(scene: Scene, script: str, peer: Peer, source: str, number: int) -> float | None:
    """Start a peer on the same backlog; its steady rate up to its number of outputs, or None when it came to a halt."""
    name = f"peer-{script.removesuffix('.py').replace('_', '-')}-{number}"
    output = f"{name}.priced"
    await create_topic(scene.servers, output, USAGE_PARTITIONS)
    directory = scene.directory / name
    directory.mkdir()
    env = {
        "BENCH_SERVERS": scene.servers,
        "BENCH_SOURCE": source,
        "BENCH_OUTPUT": output,
        "BENCH_APPLICATION": name,
        "BENCH_DIRECTORY": str(directory),
    }
    async with TopicEnds(scene.servers, output) as ends:
        with processes.peer(script, directory, env, list(peer.arguments)) as program:
            try:
                curve = await watch(ends.look, peer.events, PEER_SECONDS, program.alive, settle=False)
            except TimeoutError as halt:
                # Seen with stock Faust about once in ten runs: it consumes no more, and says nothing.
                say(f"  {script} came to a halt: {halt}")
                return None
            finally:
                await delete_topics(scene.servers, name)
    rate = curve.steady_rate(peer.events, peer.events)
    say(f"  {script} {rate:,.0f} events/s")
    return rate


async def ceiling_run(scene: Scene, source: str) -> float:
    """Fetch and decode alone, in a process of its own."""
    with processes.module(
        "tests.bench.ceiling", [scene.servers, source, str(scene.sizes.events)], scene.directory
    ) as p:
        rate = float(p.output(timeout_seconds=120))
    say(f"  fetch and decode alone {rate:,.0f} events/s")
    return rate


async def worker(scene: Scene) -> list[Result]:
    """Events per second of one worker: the median of all runs."""
    rates = []
    for run in range(scene.sizes.runs):
        prefix = f"throughput-{run}."
        await backlog(scene, prefix)
        expected = await expected_of(scene, prefix)
        rates.append(await worker_run(scene, prefix, expected))
        await delete_topics(scene.servers, prefix)
    detail = {"spread": spread(rates), "events": expected.count, "exact": True}
    return [Result("worker throughput", statistics.median(rates), "events/s", detail=detail)]


async def peers(scene: Scene) -> list[Result]:
    """One worker against its peers; each run has one of each, so that the machine's moods are shared."""
    ours: list[float] = []
    ceiling: list[float | None] = []
    theirs: dict[str, list[float | None]] = {name: [] for name in PEERS}
    for run in range(scene.sizes.runs):
        prefix = f"throughput-{run}."
        await backlog(scene, prefix)
        source = f"{prefix}usage"
        expected = await expected_of(scene, prefix)
        ours.append(await worker_run(scene, prefix, expected))
        ceiling.append(await ceiling_run(scene, source))
        for script, peer in PEERS.items():
            theirs[script].append(await peer_run(scene, script, peer, source, run))
        await delete_topics(scene.servers, prefix)
    results = []
    for name, rates in [*((PEERS[script].name, rates) for script, rates in theirs.items()), (CEILING, ceiling)]:
        if any(rates):
            detail = {"events": expected.count, "exact": True, "peer_halts": rates.count(None)}
            results.append(Result.paired("worker throughput", "events/s", ours, name, rates, **detail))
    return results
