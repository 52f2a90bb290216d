"""Reads the control topic to its end and follows it."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from tollgate.control.records import REQUEST_KEY_PREFIX
from tollgate.control.state import AUDIT_HEADER, State
from tollgate.runtime.kafka import client_options
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic

log = structlog.get_logger("tollgate.control")

# How soon a reader notices that it has passed markers of transactions, which arrive without records.
_POLL_MS: Final = 100
_STOP_SECONDS_MAX: Final = 2.0


class Follower:
    """The state of the control topic, kept up with it. Everything raises aiokafka's errors and waits without end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tp = TopicPartition(settings.topic(Topic.CONTROL), 0)
        self.state = State()
        self.as_of_ms = 0
        self._position = 0
        self._moved = asyncio.Condition()
        self._awaited: set[str] = set()
        self._arrived: set[str] = set()
        self._calls: list[Callable[[str], None]] = []
        self._consumer: AIOKafkaConsumer | None = None
        self._latest: AIOKafkaConsumer | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read all that is committed, then follow in a task. UnknownTopicOrPartitionError when a topic is missing."""
        options = client_options(self._settings)
        self._consumer = consumer = AIOKafkaConsumer(
            **options, isolation_level="read_committed", enable_auto_commit=False, auto_offset_reset="earliest"
        )
        # Answers where the partition ends, whatever of it is undecided; it reads nothing.
        self._latest = AIOKafkaConsumer(**options, isolation_level="read_uncommitted", enable_auto_commit=False)
        await consumer.start()
        await self._latest.start()
        existing = await consumer.topics()
        if not {self._settings.topic(topic) for topic in (Topic.CONTROL, Topic.AUDIT)} <= existing:
            raise UnknownTopicOrPartitionError
        consumer.assign([self._tp])
        await consumer.seek_to_beginning(self._tp)
        self.state = State()
        # Not further: what a writer left undecided when it died is ended by the next change, or by Kafka after a while.
        end = (await consumer.end_offsets([self._tp]))[self._tp]
        self._task = asyncio.create_task(self._follow(consumer))
        await self._read_to(end)

    async def stop(self) -> None:
        """Close the connections, whether it started or not."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        for consumer in (self._consumer, self._latest):
            if consumer is not None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(consumer.stop(), _STOP_SECONDS_MAX)
        self._consumer = self._latest = None

    def on_change(self, call: Callable[[str], None]) -> None:
        """Call this with the key of each record that arrives from now on."""
        self._calls.append(call)

    async def read_to_end(self) -> None:
        """Return when the state has everything that the topic holds as of the call.

        Undecided transactions count: what is behind one cannot be read before it has ended.
        """
        assert self._latest is not None
        await self._read_to((await self._latest.end_offsets([self._tp]))[self._tp])

    async def _read_to(self, end: int) -> None:
        async with self._moved:
            await self._moved.wait_for(lambda: self._position >= end)

    def expect(self, change: str) -> None:
        """Remember when the record of this change arrives."""
        self._awaited.add(change)

    def has_arrived(self, change: str) -> bool:
        """Whether the expected record has been read, and so is committed."""
        return change in self._arrived

    async def arrival(self, change: str) -> None:
        """Return when the expected record has been read."""
        async with self._moved:
            await self._moved.wait_for(lambda: change in self._arrived)

    def forget(self, change: str) -> None:
        """The record of this change is expected no more."""
        self._awaited.discard(change)
        self._arrived.discard(change)

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        this = asyncio.current_task()
        # Not for ever: aiokafka loses a cancellation that arrives together with a refused connection.
        while self._task is this:
            try:
                fetched = await consumer.getmany(self._tp, timeout_ms=_POLL_MS)
                position: int = await consumer.position(self._tp)
            except KafkaError as error:
                log.warning("the control topic cannot be read; trying again in 1 s", error=repr(error))
                await asyncio.sleep(1)
                continue
            for records in fetched.values():
                for record in records:
                    self._take(record.key, record.value, record.headers)
            stable = consumer.last_stable_offset(self._tp)
            if stable is not None and position >= stable:
                self.as_of_ms = consumer.last_poll_timestamp(self._tp) or self.as_of_ms
            if fetched or position != self._position:
                self._position = position
                async with self._moved:
                    self._moved.notify_all()

    def _take(self, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, Any]]) -> None:
        text = (key or b"").decode("utf-8", "replace")
        self.state.take(text, value, headers)
        for name, content in headers:
            if name == AUDIT_HEADER and content is not None:
                change = bytes(content).decode("utf-8", "replace")
                if change in self._awaited:
                    self._arrived.add(change)
        if not text.startswith(REQUEST_KEY_PREFIX):
            for call in self._calls:
                call(text)
