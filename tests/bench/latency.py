"""From the call that publishes an event to the flag that it causes, at several rates."""

import asyncio
import itertools
import json
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from tests.bench.kafka import create_topics, delete_topics, load, partitions_of
from tests.bench.scene import Layout, Result, Scene
from tests.bench.throughput import say
from tests.bench.workers import Workers, started
from tests.bench.workload import Crossings, Workload

from tollgate.schemas.partitions import partition_of

PER_USER = 10
READY_SECONDS = 60
LAST_FLAG_SECONDS = 20
WARM_UP_SHARE = 0.05

# Every user may make ten calls; the tenth one blocks them. So a tenth of all events cause a flag and an alert.
BUDGET = {
    "id": "calls",
    "scope": "user/*",
    "limit": str(PER_USER),
    "unit": "events",
    "window": "lifetime",
    "timezone": "UTC",
    "thresholds": {"critical": {"percent": "100", "action": "block"}},
    "updated_at": "2026-11-01T00:00:00Z",
}


async def _flags(servers: str, topic: str, seen: dict[str, float], running: asyncio.Event) -> None:
    """Note when the first blocking flag of each user is read, until cancelled."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, isolation_level="read_committed", enable_auto_commit=False)
    await consumer.start()
    try:
        parts = await partitions_of(consumer, topic)
        consumer.assign(parts)
        await consumer.seek_to_beginning(*parts)
        running.set()
        while True:
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                now = time.perf_counter()
                for record in records:
                    user = record.key.decode().removeprefix("user/")
                    if user not in seen and json.loads(record.value)["blocked"]:
                        seen[user] = now
    finally:
        await consumer.stop()


async def _wait_until_counting(scene: Scene, prefix: str, workers: Workers, seen: dict[str, float]) -> None:
    """Wait until the partitions are shared; then, for a user in each, publish ten calls and wait for the flag.

    Then every partition has worked off what was there before, and the budget has been read.
    """
    await workers.settled()
    users = one_user_per_partition(workers.partitions)
    calls = [(user.encode(), value) for user, _, value in Crossings(1, users=1, per_user=PER_USER).records()]
    records = [(user, value.replace(key, user)) for user in users for key, value in calls]
    await load(scene.servers, f"{prefix}usage", records)
    waited_for = {user.decode() for user in users}
    deadline = time.monotonic() + READY_SECONDS
    while not waited_for <= seen.keys():
        workers.alive()
        if time.monotonic() > deadline:
            raise TimeoutError(f"no flag of {sorted(waited_for - seen.keys())}")
        await asyncio.sleep(0.05)


def one_user_per_partition(partitions: int) -> list[bytes]:
    """Users of whom each is in another partition."""
    found: dict[int, bytes] = {}
    for number in itertools.count():
        user = f"warm-up-{number}".encode()
        found.setdefault(partition_of(user, partitions), user)
        if len(found) == partitions:
            break
    return list(found.values())


async def latency(scene: Scene) -> list[Result]:
    """p50, p99 and p99.9 of the time from the producing call to the flag at a read-committed reader, rate by rate."""
    rates, layout = scene.sizes.latency_rates, scene.sizes.layout
    return [result for rate in rates for result in await _at_rate(scene, rate, layout)]


async def many_partitions(scene: Scene) -> list[Result]:
    """The same with 64 partitions, on one worker and shared by eight."""
    return [
        result
        for workers in (1, 8)
        for rate in scene.sizes.many_partitions_rates
        for result in await _at_rate(scene, rate, Layout(64, workers))
    ]


async def _at_rate(scene: Scene, rate: int, layout: Layout) -> list[Result]:
    sizes, prefix = scene.sizes, f"latency-{layout.partitions}-{layout.workers}-{rate}."
    await create_topics(scene.servers, prefix, layout.partitions)
    await load(scene.servers, f"{prefix}control", [(b"budget/calls", json.dumps(BUDGET).encode())])
    # A worker in use has users in memory; an empty one would flatter.
    await load(scene.servers, f"{prefix}usage", Workload(sizes.seed, 50_000, sizes.users).records())
    users = rate * sizes.latency_seconds // PER_USER
    # Encoded beforehand: at 20,000 events/s the publisher would need a whole core.
    events = list(Crossings(sizes.seed, users, PER_USER).records())
    seen: dict[str, float] = {}
    running = asyncio.Event()
    with started(scene, prefix, layout) as workers:
        reader = asyncio.create_task(_flags(scene.servers, f"{prefix}flags", seen, running))
        await running.wait()
        await _wait_until_counting(scene, prefix, workers, seen)
        called, behind = await _publish(scene, f"{prefix}usage", events, rate, layout.partitions)
        deadline = time.monotonic() + LAST_FLAG_SECONDS
        while not called.keys() <= seen.keys() and time.monotonic() < deadline:
            workers.alive()
            await asyncio.sleep(0.05)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
    missing = called.keys() - seen.keys()
    if missing:
        raise AssertionError(f"{len(missing)} of {len(called)} users were never blocked")
    await delete_topics(scene.servers, prefix)
    order = list(called)[int(len(called) * WARM_UP_SHARE) :]
    found = sorted((seen[user] - called[user]) * 1000 for user in order)
    detail = {
        "rate": rate,
        "partitions": layout.partitions,
        "workers": layout.workers,
        "flags": len(found),
        "max": round(found[-1], 1),
        "publisher_late_ms": behind,
    }
    label = "" if layout == Layout() else f", {layout}"
    points = {"p50": 0.50, "p99": 0.99, "p99.9": 0.999}
    results = [
        Result(f"publish to flag at {rate:,}/s{label}, {name}", found[int(len(found) * share)], "ms", detail=detail)
        for name, share in points.items()
    ]
    say(f"  {rate}/s{label}: {', '.join(f'{r.ours:.0f}' for r in results)} ms; publisher at most {behind} ms late")
    return results


async def _publish(
    scene: Scene, topic: str, events: list[tuple[str, bool, bytes]], rate: int, partitions: int
) -> tuple[dict[str, float], float]:
    """Publish at the rate; when each user's crossing event was handed over, and the worst delay in ms."""
    producer = AIOKafkaProducer(bootstrap_servers=scene.servers, acks="all", linger_ms=2)
    await producer.start()
    called: dict[str, float] = {}
    worst = 0.0
    try:
        started = time.perf_counter()
        for number, (user, crosses, value) in enumerate(events):
            due = started + number / rate
            now = time.perf_counter()
            if due > now:
                await asyncio.sleep(due - now)
            else:
                worst = max(worst, now - due)
            key = user.encode()
            if crosses:
                called[user] = time.perf_counter()
            await producer.send(topic, value, key=key, partition=partition_of(key, partitions))
        await producer.flush()
    finally:
        await producer.stop()
    return called, round(worst * 1000, 1)
