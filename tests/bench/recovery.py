"""How long a worker takes to be ready again, and how much memory it needs: with many users, and after much traffic.

The state is real: a worker counts one event of each user through Kafka. What further events would have left behind is
then written on top, because counting fifty million of them takes a quarter of an hour: each user's state row again and
again in random order, as it stands, and 28 bytes of identity per event.
"""

import argparse
import asyncio
import json
import random
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import numpy as np
import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from tests.bench import processes
from tests.bench.curve import TopicEnds, watch
from tests.bench.kafka import create_topics, load
from tests.bench.scene import Result, Scene, Sizes
from tests.bench.standalone import measure_alone

from tollgate.embedded.ports import free_ports
from tollgate.schemas.plans import DEFAULT_ASSIGNMENT_KEY
from tollgate.schemas.topics import USAGE_PARTITIONS

PREFIX = "recovery."
READY_SECONDS_MAX = 300
IDENTITIES_PER_RECORD = 10_000
# Those that the shipped plans limit.
FEATURES = ("content", "image", "video", "chat")

Row = tuple[bytes, bytes]


def say(text: str) -> None:
    """Progress goes to stderr; stdout has the figures."""
    print(text, file=sys.stderr, flush=True)


def one_event_each(users: int, features: int) -> Iterator[Row]:
    """Key and value of one usage event per user and feature; with one feature the users take turns in the four."""
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for turn, number in product(range(features), range(users)):
        feature = FEATURES[(number + turn) % len(FEATURES)]
        user = f"u-{number:07d}"
        value = (
            f'{{"specversion":"1.0","type":"tollgate.usage.v1","source":"chat-api","id":"{user}-{feature}","subject":'
            f'"{user}","time":"{at}","data":{{"provider":"openai","model":"gpt-4o","org":"acme","feature":"{feature}",'
            f'"usage":{{"input_tokens":{1000 + number % 5000},"cached_input_tokens":100,'
            f'"output_tokens":{number % 900}}}}}}}'
        )
        yield user.encode(), value.encode()


async def count_all(scene: Scene, users: int) -> None:
    """Let a worker count everything in the usage topic, and end it in an orderly way."""
    async with TopicEnds(scene.servers, f"{PREFIX}priced") as ends:
        with processes.tollgate("worker", ["worker"], scene.directory, scene.environment(PREFIX)) as worker:
            await watch(ends.look, users, READY_SECONDS_MAX, worker.alive, settle=True)


async def recovered(scene: Scene) -> tuple[float, float, float]:
    """Start a worker: seconds until it is ready, megabytes it holds then, and a few seconds later."""
    (port,) = free_ports(1)
    env = scene.environment(PREFIX) | {"TOLLGATE_WORKER_PORT": str(port), "TOLLGATE_LOG_LEVEL": "info"}
    started = time.perf_counter()
    with processes.tollgate("worker-again", ["worker"], scene.directory, env) as worker:
        while not await asyncio.to_thread(is_ready, port):
            worker.alive()
            if time.perf_counter() - started > READY_SECONDS_MAX:
                raise TimeoutError(f"not ready after {READY_SECONDS_MAX} s")
            await asyncio.sleep(0.05)
        seconds = time.perf_counter() - started
        at_once = memory_mb(worker.pid)
        await asyncio.sleep(10)
        return seconds, at_once, memory_mb(worker.pid)


def is_ready(port: int) -> bool:
    """Whether the worker says that it owns its partitions and has their state."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2) as answer:
            return int(json.load(answer)["partitions"]) > 0
    except OSError:
        return False


def memory_mb(pid: int) -> float:
    """Resident memory of a process."""
    return float(psutil.Process(pid).memory_info().rss) / 1e6


async def state_rows(servers: str, partition: int) -> list[Row]:
    """The newest state row of each user of a partition."""
    rows: dict[bytes, bytes] = {}
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers,
        isolation_level="read_committed",
        enable_auto_commit=False,
        max_partition_fetch_bytes=8 << 20,
    )
    await consumer.start()
    try:
        tp = TopicPartition(f"{PREFIX}internal.user-state", partition)
        consumer.assign([tp])
        await consumer.seek_to_beginning(tp)
        end = (await consumer.end_offsets([tp]))[tp]
        while await consumer.position(tp) < end:
            for records in (await consumer.getmany(tp, timeout_ms=200)).values():
                rows.update((r.key, r.value) for r in records if r.key.startswith(b"s|"))
    finally:
        await consumer.stop()
    return list(rows.items())


async def write_on_top(servers: str, rows: int, identities: int, seed: int) -> tuple[float, float]:
    """Write these numbers of state rows and identities, spread over all partitions; returns bytes per row of both."""
    rnd = random.Random(seed)
    random_bytes = np.random.default_rng(seed)
    producer = AIOKafkaProducer(
        bootstrap_servers=servers, acks=1, max_batch_size=1 << 20, max_request_size=8 << 20, linger_ms=0
    )
    await producer.start()
    sizes = 0
    try:
        for partition in range(USAGE_PARTITIONS):
            own = await state_rows(servers, partition)
            sizes += sum(len(key) + len(value) for key, value in own) // len(own)
            await _send_rows(producer, own, rows // USAGE_PARTITIONS, partition, rnd)
            topic = f"{PREFIX}internal.identities"
            for _ in range(identities // USAGE_PARTITIONS // IDENTITIES_PER_RECORD):
                packed = random_bytes.integers(0, 256, (IDENTITIES_PER_RECORD, 28), dtype=np.uint8)
                packed[:, 24:] = np.frombuffer(np.uint32(time.time()).tobytes(), np.uint8)
                await producer.send(topic, packed.tobytes(), partition=partition)
        await producer.flush()
    finally:
        await producer.stop()
    return sizes / USAGE_PARTITIONS, 28.0


async def _send_rows(
    producer: AIOKafkaProducer, own: list[Row], count: int, partition: int, rnd: random.Random
) -> None:
    topic = f"{PREFIX}internal.user-state"
    batch = producer.create_batch()
    sent: list[asyncio.Future[object]] = []
    while count > 0:
        for key, value in rnd.sample(own, min(count, len(own))):
            if batch.append(key=key, value=value, timestamp=None) is None:
                sent.append(await producer.send_batch(batch, topic, partition=partition))
                batch = producer.create_batch()
                batch.append(key=key, value=value, timestamp=None)
        count -= len(own)
        await asyncio.gather(*sent)
        sent.clear()
    await producer.send_batch(batch, topic, partition=partition)


def log_mb(directory: Path, topic: str) -> float:
    """Size of the topic's segments on disk, all partitions."""
    return sum(file.stat().st_size for file in directory.glob(f"kafka/log/{PREFIX}{topic}-*/*.log")) / 1e6


async def recovery(
    scene: Scene, users: int, rows: int, identities: int, plan: str | None = None, features: int = 1
) -> list[Result]:
    """Seconds until a worker is ready: with that many users, and with that much written on top of their state.

    Everybody has the `plan`, if given, and one event in each of so many `features`.
    """
    await create_topics(scene.servers, PREFIX)
    if plan is not None:
        assignment = json.dumps({"plan": plan, "updated_at": "2026-11-01T00:00:00Z"})
        await load(scene.servers, f"{PREFIX}control", [(DEFAULT_ASSIGNMENT_KEY.encode(), assignment.encode())])
    await load(scene.servers, f"{PREFIX}usage", one_event_each(users, features))
    await count_all(scene, users * features)
    say(f"  {users} users counted; user state {log_mb(scene.directory, 'internal.user-state'):,.0f} MB on disk")
    results = []
    on_plan = f" on plan {plan} in {features} of 4 features" if plan is not None else ""
    for label, on_top in ((on_plan, False), (f"{on_plan} after more traffic", True))[: 1 + bool(rows)]:
        detail: dict[str, float] = {"users": users}
        if on_top:
            started = time.perf_counter()
            row_bytes, _ = await write_on_top(scene.servers, rows, identities, scene.sizes.seed)
            detail |= {"state_rows_on_top": rows, "identities": identities, "bytes_per_state_row": round(row_bytes)}
            say(f"  {rows} state rows and {identities} identities written in {time.perf_counter() - started:.0f} s")
        detail["state_mb_on_disk"] = round(log_mb(scene.directory, "internal.user-state"))
        seconds, at_once, later = await recovered(scene)
        detail |= {"memory_mb": round(at_once), "memory_mb_10_s_later": round(later)}
        say(f"  ready after {seconds:.1f} s{label}: {detail}")
        results.append(Result(f"recovery of the state{label}", seconds, "s", detail=detail))
    return results


def main() -> None:
    """This figure alone, with sizes of its own."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.recovery", description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=20_000_000, help="state rows written on top; 0: no more traffic")
    parser.add_argument("--plan", help="the plan of everybody, such as free")
    parser.add_argument("--features", type=int, default=1, choices=range(1, len(FEATURES) + 1), metavar="1 to 4")
    parser.add_argument("--identities", type=int, default=50_000_000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    given = parser.parse_args()
    say(f"seed {given.seed}")
    sizes = (given.users, given.rows, given.identities)
    measure_alone(Sizes(given.seed), lambda scene: recovery(scene, *sizes, given.plan, given.features))


if __name__ == "__main__":
    main()
