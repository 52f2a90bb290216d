"""From a service's request to reserve to the decision it reads, beside ordinary events."""

import asyncio
import json
import time
from collections.abc import Set
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from tests.bench.kafka import create_topics, delete_topics, load, partitions_of
from tests.bench.latency import one_user_per_partition
from tests.bench.scene import Layout, Result, Scene
from tests.bench.throughput import say
from tests.bench.workers import Workers, started
from tests.bench.workload import Workload

from tollgate.schemas.partitions import partition_of

RESERVATIONS_PER_SECOND = 500
EVENTS_PER_SECOND = 1_000
SECONDS = 20
# A broker's compiler goes on for so long under this load: a decision takes 160 ms at the median in the first two
# seconds, and 45 ms after 16. A broker in service is warm.
_WARM_UP_SECONDS = 20
_LAST_SECONDS = 60
_USERS = 1_000

_EVENTS = EVENTS_PER_SECOND * (_WARM_UP_SECONDS + SECONDS)

# Large enough that all are granted: what is measured is the way there and back.
_BUDGET = {
    "id": "monthly",
    "scope": "user/*",
    "limit": "1000000",
    "window": "month",
    "updated_at": "2026-11-01T00:00:00Z",
}


def _reservation(name: str, user: str) -> bytes:
    event = {
        "specversion": "1.0",
        "type": "tollgate.reservation.v1",
        "source": "bench",
        "id": name,
        "subject": user,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "data": {"amount_usd": "0.10", "ttl_seconds": 10, "reply_to": "bench", "reply_partition": 0},
    }
    return json.dumps(event).encode()


async def _decisions(servers: str, topic: str, seen: dict[str, float], ready: asyncio.Event) -> None:
    """Note when each decision is read, until cancelled."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers, isolation_level="read_committed", enable_auto_commit=False, fetch_max_wait_ms=100
    )
    await consumer.start()
    try:
        parts = await partitions_of(consumer, topic)
        consumer.assign(parts)
        await consumer.seek_to_beginning(*parts)
        ready.set()
        while True:
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                now = time.perf_counter()
                for record in records:
                    decision = json.loads(record.value)
                    if not decision["granted"]:
                        raise AssertionError(f"denied: {decision['message']}")
                    seen.setdefault(decision["reservation_id"], now)
    finally:
        await consumer.stop()


async def decisions(scene: Scene) -> list[Result]:
    """p50 and p99 of the time from the producing call to the decision at a read-committed reader."""
    prefix, partitions = "decisions.", Layout().partitions
    await create_topics(scene.servers, prefix, partitions)
    await load(scene.servers, f"{prefix}control", [(b"budget/monthly", json.dumps(_BUDGET).encode())])
    await load(scene.servers, f"{prefix}usage", Workload(scene.sizes.seed, 50_000, scene.sizes.users).records())
    beside = list(Workload(scene.sizes.seed + 1, _EVENTS, _USERS, duplicates_per_mille=0).records())
    seen: dict[str, float] = {}
    ready = asyncio.Event()
    with started(scene, prefix, Layout()) as workers:
        reader = asyncio.create_task(_decisions(scene.servers, f"{prefix}decisions", seen, ready))
        await ready.wait()
        await workers.settled()
        # Every partition has worked off what was there before when it has answered.
        users = one_user_per_partition(partitions)
        await load(scene.servers, f"{prefix}usage", [(u, _reservation(f"w-{u.decode()}", u.decode())) for u in users])
        await _answered(workers, seen, {f"w-{user.decode()}" for user in users})
        called = await _ask(scene.servers, f"{prefix}usage", beside, partitions)
        await _answered(workers, seen, called.keys())
        reader.cancel()
        ended = await asyncio.gather(reader, return_exceptions=True)
        if isinstance(ended[0], Exception):
            raise ended[0]
    missing = called.keys() - seen.keys()
    if missing:
        raise AssertionError(f"{len(missing)} of {len(called)} reservations were never decided")
    await delete_topics(scene.servers, prefix)
    order = list(called)[RESERVATIONS_PER_SECOND * _WARM_UP_SECONDS :]
    found = sorted((seen[one] - called[one]) * 1000 for one in order)
    detail = {"reservations_per_second": RESERVATIONS_PER_SECOND, "events_per_second": EVENTS_PER_SECOND}
    results = [
        Result(f"reservation to decision, {name}", found[int(len(found) * share)], "ms", detail=detail)
        for name, share in {"p50": 0.50, "p99": 0.99}.items()
    ]
    say(f"  decisions: {', '.join(f'{r.ours:.0f}' for r in results)} ms")
    return results


async def _answered(workers: Workers, seen: dict[str, float], names: Set[str]) -> None:
    """Wait until these are decided, at most a minute."""
    deadline = time.monotonic() + _LAST_SECONDS
    while not names <= seen.keys() and time.monotonic() < deadline:
        workers.alive()
        await asyncio.sleep(0.05)


async def _ask(servers: str, topic: str, beside: list[tuple[bytes, bytes]], partitions: int) -> dict[str, float]:
    """Publish events and, after every second one, a reservation; when each reservation was handed over."""
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", linger_ms=2)
    await producer.start()
    called: dict[str, float] = {}
    every = EVENTS_PER_SECOND // RESERVATIONS_PER_SECOND
    try:
        begun = time.perf_counter()
        for number, (key, value) in enumerate(beside):
            due = begun + number / EVENTS_PER_SECOND
            if due > time.perf_counter():
                await asyncio.sleep(due - time.perf_counter())
            await producer.send(topic, value, key=key, partition=partition_of(key, partitions))
            if number % every == 0:
                user = f"u-{number % _USERS:06d}"
                request, home = _reservation(f"r-{number}", user), partition_of(user.encode(), partitions)
                called[f"r-{number}"] = time.perf_counter()
                await producer.send(topic, request, key=user.encode(), partition=home)
        await producer.flush()
    finally:
        await producer.stop()
    return called
