"""Reads whole topics to their ends and follows them, for as long as the process lives."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from tollgate.runtime.kafka import client_options
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic

log = structlog.get_logger("tollgate.console.live")

_POLL_MS: Final = 200
_RETRY_SECONDS: Final = 1.0
# How often it is looked whether a topic has more partitions than before.
_LOOK_SECONDS: Final = 30.0
# A slice of the event loop's time: other requests are answered between two of them.
_RECORDS_MAX: Final = 500
# The first reading takes large strides.
_FETCH_BYTES_MAX: Final = 4 * 1024 * 1024
# The broker collects records for this long, instead of answering after each of the workers' transactions.
_FETCH_BYTES_MIN: Final = 256 * 1024
_FETCH_WAIT_MS: Final = 50


@dataclass(frozen=True, slots=True)
class Followed:
    """A topic: what takes its records in, what forgets them all, and its partitions (None: every one)."""

    take: Callable[[bytes, bytes | None], None]
    """Key and value of a record, in the order of the log. Must not raise."""
    forget: Callable[[], None]
    partitions: frozenset[int] | None = None


class Mark:
    """When a partition was last known to be read to its end.

    `end` is what the broker named as its end at `asked_ms`, uncommitted records included. Once the reader is past it,
    everything that was there at that time is known, and the next end is taken.
    """

    __slots__ = ("asked_ms", "complete_ms", "end")

    def __init__(self) -> None:
        self.asked_ms, self.end, self.complete_ms = 0, -1, 0

    def see(self, position: int, end: int, asked_ms: int) -> None:
        if self.end < 0:
            self.asked_ms, self.end = asked_ms, end
        if position >= self.end:
            self.complete_ms = max(self.complete_ms, self.asked_ms)
            self.asked_ms, self.end = asked_ms, end
            if position >= end:
                self.complete_ms = max(self.complete_ms, asked_ms)


class _MadeAnewError(Exception):
    """A topic begins again: it was deleted and created."""


class _MorePartitionsError(Exception):
    """A topic has other partitions than those that are read."""


class Follower:
    """Hands every committed record of some topics to those who take them in.

    It starts at the beginning, and goes on where it was whenever Kafka was away. It never creates a topic.
    """

    def __init__(self, settings: Settings, topics: Mapping[Topic, Followed]) -> None:
        self._settings = settings
        self._topics = {settings.topic(topic): followed for topic, followed in topics.items()}
        self._positions: dict[TopicPartition, int] = {}
        self._marks: dict[TopicPartition, Mark] = {}
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self.complete = asyncio.Event()
        """Set once every topic was read to its end."""

    def start(self) -> None:
        """Begin to read, in the background."""
        self._task = asyncio.create_task(self._run(), name="tollgate-live")

    async def stop(self) -> None:
        """Stop reading. What was taken in stays."""
        self._stopped = True
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def as_of_ms(self, topic: Topic) -> int:
        """Everything that the topic had at this time is taken in; 0 when it was never read to its end."""
        name = self._settings.topic(topic)
        found = [mark.complete_ms for tp, mark in self._marks.items() if tp.topic == name]
        return min(found, default=0)

    async def _run(self) -> None:
        problem = ""
        # A cancellation that comes together with a refused connection is lost in aiokafka.
        while not self._stopped:
            try:
                await self._follow()
            except _MadeAnewError:
                log.warning("a topic begins again; reading everything anew")
                self._forget()
            except _MorePartitionsError:
                continue
            except (KafkaError, OSError, TimeoutError) as error:
                if repr(error) != problem:
                    problem = repr(error)
                    log.warning("the topics cannot be read now; answers are from memory", problem=problem)
            await asyncio.sleep(_RETRY_SECONDS)

    def _forget(self) -> None:
        self._positions.clear()
        self._marks.clear()
        for followed in self._topics.values():
            followed.forget()

    async def _follow(self) -> None:
        consumer = AIOKafkaConsumer(
            **client_options(self._settings),
            # A flag of an aborted transaction must not block anybody.
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=_FETCH_BYTES_MAX,
            fetch_min_bytes=_FETCH_BYTES_MIN,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
        )
        try:
            await consumer.start()
            wanted = await self._partitions(consumer)
            consumer.assign(wanted)
            for tp in wanted:
                consumer.seek(tp, self._positions.get(tp, 0))
                self._marks.setdefault(tp, Mark())
            look_at = time.monotonic() + _LOOK_SECONDS
            while not self._stopped:
                found = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_RECORDS_MAX)
                for tp, records in found.items():
                    self._take(tp, records)
                await self._see(consumer, wanted)
                if time.monotonic() > look_at:
                    if await self._partitions(consumer) != wanted:
                        raise _MorePartitionsError
                    look_at = time.monotonic() + _LOOK_SECONDS
        finally:
            await consumer.stop()

    async def _partitions(self, consumer: AIOKafkaConsumer) -> list[TopicPartition]:
        """Those to read. KafkaError when Kafka is away, OSError when a topic is missing."""
        # Asking for a topic by its name may create it; the list of all does not.
        cluster = await consumer._client.fetch_all_metadata()  # noqa: SLF001 # aiokafka has no public call for it
        wanted = []
        for name, followed in self._topics.items():
            existing: set[int] = cluster.partitions_for_topic(name) or set()
            if not existing:
                raise FileNotFoundError(f"there is no topic {name}: run `tollgate topics apply`")
            chosen = existing if followed.partitions is None else existing & followed.partitions
            wanted += [TopicPartition(name, partition) for partition in sorted(chosen)]
        return wanted

    def _take(self, tp: TopicPartition, records: list[ConsumerRecord]) -> None:
        if records[0].offset < self._positions.get(tp, 0):
            raise _MadeAnewError
        take = self._topics[tp.topic].take
        for record in records:
            take(record.key or b"", record.value)
        self._positions[tp] = records[-1].offset + 1

    async def _see(self, consumer: AIOKafkaConsumer, wanted: list[TopicPartition]) -> None:
        for tp in wanted:
            end, asked_ms = consumer.highwater(tp), consumer.last_poll_timestamp(tp)
            if end is not None and asked_ms is not None:
                self._marks[tp].see(await consumer.position(tp), end, asked_ms)
        if not self.complete.is_set() and all(mark.complete_ms for mark in self._marks.values()):
            self.complete.set()
