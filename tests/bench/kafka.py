"""The benchmark's own Kafka: an embedded broker in a temporary directory, its topics, fast loading and reading."""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tollgate.embedded.kafka import BrokerAddress, wait_until_ready
from tollgate.embedded.ports import free_ports
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import USAGE_PARTITIONS, topic_name, topic_specs

Encoded = tuple[bytes, bytes]


@contextlib.contextmanager
def broker(directory: Path) -> Iterator[tuple[str, int]]:
    """A running broker: its address and its process id. It ends with the block."""
    port, controller_port = free_ports(2)
    address = BrokerAddress(directory / "kafka", port, controller_port)
    command = [sys.executable, "-m", "tollgate.embedded", "kafka", "--data-dir", str(address.data_dir)]
    command += ["--port", str(address.port), "--controller-port", str(address.controller_port)]
    with (directory / "kafka.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until_ready(address, process, timeout_seconds=120)
        yield address.bootstrap_servers, process.pid
    finally:
        process.terminate()
        process.wait(timeout=30)


async def create_topics(servers: str, prefix: str, partitions: int = USAGE_PARTITIONS) -> None:
    """Create all of Tollgate's topics under this prefix, as `topic_specs` has them for this number of partitions."""
    await _create(servers, [(topic_name(s.topic, prefix), s.partitions, s.configs) for s in topic_specs(partitions)])


async def create_topic(servers: str, name: str, partitions: int) -> None:
    """A plain topic, for a peer's output."""
    await _create(servers, [(name, partitions, {})])


async def _create(servers: str, wanted: list[tuple[str, int, dict[str, str]]]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        answer = await admin.create_topics([NewTopic(name, count, 1, topic_configs=c) for name, count, c in wanted])
        failed = [error for error in answer.topic_errors if error[1] != 0]
        if failed:
            raise RuntimeError(f"topics were not created: {failed}")
        await _wait_for_leaders(servers, [name for name, _, _ in wanted])
    finally:
        await admin.close()


async def _wait_for_leaders(servers: str, topics: list[str]) -> None:
    """A new topic is unknown to some requests for a moment; clients would log errors and back off."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, enable_auto_commit=False)
    await consumer.start()
    try:
        for topic in topics:
            while not await consumer.topics() >= {topic}:  # noqa: ASYNC110 # the event is the broker's
                await asyncio.sleep(0.05)
            await consumer.end_offsets(await partitions_of(consumer, topic))
    finally:
        await consumer.stop()


async def delete_topics(servers: str, prefix: str) -> None:
    """Delete everything whose name starts with the prefix, so that one run's clean-up does not slow the next."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        names = [name for name in await admin.list_topics() if name.startswith(prefix)]
        await admin.delete_topics(names)
    finally:
        await admin.close()


async def load(servers: str, topic: str, records: Iterable[Encoded], only: int | None = None) -> tuple[int, float]:
    """Publish the records, each to its key's partition in order, or all to the partition `only`; returns how many there
    were and how long it took.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=servers, acks="all", max_batch_size=1 << 19, max_request_size=8 << 20, linger_ms=0
    )
    await producer.start()
    partitions = len(await producer.partitions_for(topic))
    started = time.perf_counter()
    home: dict[bytes, int] = {}
    open_batches = {p: producer.create_batch() for p in range(partitions)}
    sent: set[asyncio.Future[object]] = set()
    count = 0
    try:
        for key, value in records:
            partition = home.get(key) if only is None else only
            if partition is None:
                partition = home[key] = partition_of(key, partitions)
            batch = open_batches[partition]
            if batch.append(key=key, value=value, timestamp=None) is None:
                sent.add(await producer.send_batch(batch, topic, partition=partition))
                batch = open_batches[partition] = producer.create_batch()
                batch.append(key=key, value=value, timestamp=None)
                if len(sent) > 2 * partitions:
                    done, sent = await asyncio.wait(sent, return_when=asyncio.FIRST_COMPLETED)
                    for future in done:
                        future.result()
            count += 1
        for partition, batch in open_batches.items():
            if batch.record_count():
                sent.add(await producer.send_batch(batch, topic, partition=partition))
        await asyncio.gather(*sent)
    finally:
        await producer.stop()
    return count, time.perf_counter() - started


async def read(servers: str, topic: str) -> AsyncIterator[tuple[bytes, bytes | None]]:
    """Key and value of every committed record up to the topic's end as of now."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers,
        isolation_level="read_committed",
        enable_auto_commit=False,
        max_partition_fetch_bytes=8 << 20,
        max_poll_records=20_000,
    )
    await consumer.start()
    try:
        parts = await partitions_of(consumer, topic)
        consumer.assign(parts)
        await consumer.seek_to_beginning(*parts)
        end = await consumer.end_offsets(parts)
        left = set(parts)
        while left:
            for tp in list(left):
                if await consumer.position(tp) >= end[tp]:
                    left.discard(tp)
                    consumer.pause(tp)
            if left:
                for records in (await consumer.getmany(*left, timeout_ms=200)).values():
                    for record in records:
                        yield record.key, record.value
    finally:
        await consumer.stop()


async def partitions_of(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    """All partitions of the topic, as the broker knows them."""
    consumer.assign([TopicPartition(topic, 0)])
    await consumer._client.force_metadata_update()
    return [TopicPartition(topic, p) for p in sorted(consumer.partitions_for_topic(topic) or {0})]
