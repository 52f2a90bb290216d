"""Transactions that hold a partition up: behind the first open one, no reader of committed records sees anything."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError, for_code

from tollgate.runtime.broker_limits import TRANSACTION_TIMEOUT_MS
from tollgate.runtime.kafka import CONTROL_WRITER, client_options
from tollgate.runtime.settings import Settings
from tollgate.runtime.transaction_requests import DescribeProducers, DescribeTransactions, ListTransactions
from tollgate.schemas.topics import Topic

# Any transaction is open for a moment. One that is still there after this time is told.
_PATIENCE_SECONDS: Final = 1.0

# Our own are ended by their coordinator after this time, so one that is older is a fault as well.
OWN_SECONDS_MAX: Final = TRANSACTION_TIMEOUT_MS // 1000


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """What holds up one partition from `offset` on, where `records` offsets wait. Unknown is what Kafka does not tell.

    Without a transactional id no coordinator knows the producer: it asked us not to be told, or Kafka has lost track.
    `ours` is whether the id is one of a worker's, or that of the writers of the control topic.
    """

    topic: str
    partition: int
    offset: int
    records: int
    seconds: int | None = None
    producer_id: int | None = None
    transactional_id: str | None = None
    timeout_seconds: int | None = None
    ours: bool = False

    @property
    def sentence(self) -> str:
        """What waits, for how long, and for whom."""
        waits = f" for {self.seconds} s" if self.seconds is not None else ""
        who = f"transaction {self.transactional_id!r}" if self.transactional_id is not None else "a transaction"
        if self.producer_id is not None:
            who += f" of producer {self.producer_id}"
        ends = f"; Kafka aborts it after {self.timeout_seconds} s" if self.timeout_seconds is not None else ""
        return (
            f"{self.topic} partition {self.partition}: {self.records} offsets from {self.offset} on wait{waits}, "
            f"because {who} is open{ends}"
        )

    def fix(self, bootstrap_servers: str) -> str:
        """What to do, with the command of Kafka's own tools that ends the transaction as aborted."""
        if not self.ours:
            first = "end or restart the service"
        elif str(self.transactional_id).endswith(CONTROL_WRITER):
            first = "the next change of a budget ends it"
        else:
            first = "see that the worker runs; its successor ends it"
        return (
            f"{first}, or abort it: kafka-transactions.sh --bootstrap-server {bootstrap_servers} abort "
            f"--topic {self.topic} --partition {self.partition} --start-offset {self.offset}"
        )


async def open_transactions(settings: Settings) -> list[OpenTransaction]:
    """Every partition of this installation whose committed records do not reach its end, and stay short of it.

    Takes a second longer when there is one. Raises KafkaError when Kafka cannot be reached; what it refuses to tell of
    a transaction is left out.
    """
    committed = AIOKafkaConsumer(**client_options(settings), isolation_level="read_committed", enable_auto_commit=False)
    latest = AIOKafkaConsumer(**client_options(settings), isolation_level="read_uncommitted", enable_auto_commit=False)
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        await committed.start()
        await latest.start()
        await admin.start()
        described = {topic["topic"]: topic for topic in await admin.describe_topics()}
        leaders = {
            TopicPartition(name, partition["partition"]): partition["leader"]
            for name in map(settings.topic, Topic)
            for partition in described.get(name, {"partitions": []})["partitions"]
        }
        before, _ = await _held_up(committed, latest, list(leaders))
        if not before:
            return []
        await asyncio.sleep(_PATIENCE_SECONDS)
        after, ends = await _held_up(committed, latest, list(before))
        stuck = {tp: offset for tp, offset in after.items() if offset == before[tp]}
        return [
            await _described(admin, settings, tp, leaders[tp], offset, ends[tp]) for tp, offset in sorted(stuck.items())
        ]
    finally:
        await admin.close()
        await latest.stop()
        await committed.stop()


async def _held_up(
    committed: AIOKafkaConsumer, latest: AIOKafkaConsumer, partitions: list[TopicPartition]
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    """The last stable offsets that lie before the ends, and the ends."""
    # In this order: what is written in between is not taken for held up by a transaction that has ended.
    ends = await latest.end_offsets(partitions)
    stable = await committed.end_offsets(partitions)
    return {tp: stable[tp] for tp in partitions if stable[tp] < ends[tp]}, ends


async def _described(
    admin: AIOKafkaAdminClient, settings: Settings, tp: TopicPartition, leader: int, offset: int, end: int
) -> OpenTransaction:
    plain = OpenTransaction(tp.topic, tp.partition, offset, end - offset)
    try:
        producer = await _producer(admin, tp, leader, offset)
        if producer is None:
            return plain
        found = OpenTransaction(
            tp.topic, tp.partition, offset, end - offset, _since(producer["last_timestamp"]), producer["producer_id"]
        )
        name = await _transactional_id(admin, producer["producer_id"])
        return await _with_times(admin, settings, found, name) if name is not None else found
    except (KafkaError, IncompatibleBrokerVersion, NotImplementedError):
        # An older broker, or one that tells this only to others.
        return plain


async def _producer(admin: AIOKafkaAdminClient, tp: TopicPartition, leader: int, offset: int) -> dict[str, Any] | None:
    """The producer whose transaction is the first open one of the partition."""
    answer = (await admin._send_request(DescribeProducers(tp.topic, tp.partition), leader)).to_object()  # noqa: SLF001 # no public call for a request of ours
    (partition,) = answer["topics"][0]["partitions"]
    if partition["error_code"]:
        raise for_code(partition["error_code"])(partition["error_message"])
    producers: list[dict[str, Any]] = partition["active_producers"]
    return next((found for found in producers if found["current_txn_start_offset"] == offset), None)


async def _transactional_id(admin: AIOKafkaAdminClient, producer_id: int) -> str | None:
    for broker in (await admin.describe_cluster())["brokers"]:
        answer = (await admin._send_request(ListTransactions([producer_id]), broker["node_id"])).to_object()  # noqa: SLF001 # no public call for a request of ours
        for listed in answer["transaction_states"]:
            return str(listed["transactional_id"])
    return None


async def _with_times(
    admin: AIOKafkaAdminClient, settings: Settings, found: OpenTransaction, name: str
) -> OpenTransaction:
    coordinator = await admin.find_coordinator(name, 1)
    answer = (await admin._send_request(DescribeTransactions(name), coordinator)).to_object()  # noqa: SLF001 # no public call for a request of ours
    (state,) = answer["transaction_states"]
    is_known = not state["error_code"] and state["transaction_start_time_ms"] > 0
    workers = tuple(f"{settings.application}.{topic.value}." for topic in (Topic.USAGE, Topic.DELTAS))
    return OpenTransaction(
        found.topic,
        found.partition,
        found.offset,
        found.records,
        _since(state["transaction_start_time_ms"]) if is_known else found.seconds,
        found.producer_id,
        name,
        state["transaction_timeout_ms"] // 1000 if is_known else None,
        name.startswith(workers) or name == settings.application + CONTROL_WRITER,
    )


def _since(moment_ms: int) -> int:
    return max(0, time.time_ns() // 10**9 - moment_ms // 1000)
