"""How long the partitions that stay with a worker pause when a second worker joins, with 2,000 events a second."""

import asyncio
import itertools
import re
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from tests.bench import processes
from tests.bench.kafka import create_topics, delete_topics, partitions_of
from tests.bench.scene import Result, Scene
from tests.bench.throughput import say
from tests.bench.workload import Workload

from tollgate.schemas.partitions import partition_of

PREFIX = "rebalance."
RATE = 2_000
# Before the second worker is started, and after: long enough for its start, its joining and its recovery.
ALONE_SECONDS = 10
TOGETHER_SECONDS = 25
READY_SECONDS = 60


async def rebalance(scene: Scene) -> list[Result]:
    """The longest time without a priced event in a partition that stays, from the start of the second worker on."""
    await create_topics(scene.servers, PREFIX, scene.sizes.layout.partitions)
    env = scene.environment(PREFIX) | {"TOLLGATE_LOG_LEVEL": "info"}
    first, second = env | {"TOLLGATE_WORKER_ID": "one"}, env | {"TOLLGATE_WORKER_ID": "two"}
    seconds = ALONE_SECONDS + TOGETHER_SECONDS
    records = list(Workload(scene.sizes.seed, RATE * seconds, scene.sizes.users).records())
    with processes.tollgate("worker-one", ["worker"], scene.directory, first):
        await _something_priced(scene, records[0])
        publishing = asyncio.create_task(_publish(scene, records))
        await asyncio.sleep(ALONE_SECONDS)
        joined_ms = time.time() * 1000
        with processes.tollgate("worker-two", ["worker"], scene.directory, second):
            await publishing
            until_ms = time.time() * 1000
    log = (scene.directory / "worker-two.log").read_text(errors="replace")
    moved = {int(number) for number in re.findall(rf"{PREFIX}usage\.(\d+)", log)}
    gaps = await _gaps(scene, joined_ms, until_ms)
    await delete_topics(scene.servers, PREFIX)
    if not moved:
        raise AssertionError("the second worker got no partition")
    stayed = {p: gap for p, gap in gaps.items() if p not in moved}
    say(f"  stayed {sorted(stayed)}: at most {max(stayed.values()):.0f} ms; moved {sorted(moved)}")
    detail = {"rate": RATE, "stayed": len(stayed), "moved_ms": round(max(gaps[p] for p in moved))}
    return [Result("pause of partitions that stay when a worker joins", max(stayed.values()), "ms", detail=detail)]


async def _something_priced(scene: Scene, record: tuple[bytes, bytes]) -> None:
    """Publish one event and wait until it is priced: the worker is up."""
    await _publish(scene, [record])
    async with AIOKafkaConsumer(bootstrap_servers=scene.servers, isolation_level="read_committed") as consumer:
        partitions = await partitions_of(consumer, f"{PREFIX}priced")
        deadline = time.monotonic() + READY_SECONDS
        while not sum((await consumer.end_offsets(partitions)).values()):
            if time.monotonic() > deadline:
                raise TimeoutError("nothing was priced")
            await asyncio.sleep(0.05)


async def _publish(scene: Scene, records: list[tuple[bytes, bytes]]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=scene.servers, acks="all", linger_ms=2) as producer:
        partitions = scene.sizes.layout.partitions
        started = time.perf_counter()
        for number, (key, value) in enumerate(records):
            due = started + number / RATE - time.perf_counter()
            if due > 0:
                await asyncio.sleep(due)
            partition = partition_of(key, partitions)
            await producer.send(f"{PREFIX}usage", value, key=key, partition=partition)


async def _gaps(scene: Scene, from_ms: float, until_ms: float) -> dict[int, float]:
    """Per partition of priced events, the longest time between two of them in the interval, by the worker's stamps."""
    times: dict[int, list[float]] = {partition: [from_ms] for partition in range(scene.sizes.layout.partitions)}
    async with AIOKafkaConsumer(bootstrap_servers=scene.servers, isolation_level="read_committed") as consumer:
        for tp in await partitions_of(consumer, f"{PREFIX}priced"):
            consumer.assign([TopicPartition(*tp)])
            await consumer.seek_to_beginning(tp)
            end = (await consumer.end_offsets([tp]))[tp]
            while await consumer.position(tp) < end:
                for records in (await consumer.getmany(tp, timeout_ms=200)).values():
                    times[tp.partition] += [r.timestamp for r in records if from_ms <= r.timestamp <= until_ms]
    return {p: max(after - before for before, after in itertools.pairwise(found)) for p, found in times.items()}
