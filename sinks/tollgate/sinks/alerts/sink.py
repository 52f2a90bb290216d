"""The alert sink's process: joins the group, restores its memory, runs both lanes, and starts over when Kafka fails."""

import asyncio
import signal
from collections.abc import Coroutine, Iterable
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from tollgate.runtime.kafka import METADATA_MAX_AGE_MS, client_options
from tollgate.runtime.logs import configure_logs
from tollgate.runtime.settings import Settings
from tollgate.schemas.record_reading import UnreadableError
from tollgate.schemas.topics import Topic
from tollgate.sinks.alerts.alert import decode_alert
from tollgate.sinks.alerts.board import Board, Lane
from tollgate.sinks.alerts.delivery import Delivery
from tollgate.sinks.alerts.memory import Memory
from tollgate.sinks.alerts.notification import Policy
from tollgate.sinks.alerts.pacing import Pace
from tollgate.sinks.alerts.sender import ConfigurationError, Editor, Sender, choose_sender

_log = structlog.get_logger("tollgate.alerts")

# A killed process is replaced after this long; the broker allows no less by default.
SESSION_TIMEOUT_MS = 6_000
# Long enough for a request in hand to be answered and recorded; what is cut off is looked up by the next process.
STOP_SECONDS_MAX = 8.0


class _UnavailableError(Exception):
    """Kafka cannot serve the sink at the moment; the text says what is missing."""


class _Ownership(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka ships no types
    """Tells when the partition of alerts is ours and when it is taken away."""

    def __init__(self) -> None:
        self.gained = asyncio.Event()
        self.lost = asyncio.Event()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        if self.gained.is_set() and list(revoked):
            self.lost.set()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        if list(assigned):
            self.gained.set()


def run(settings: Settings) -> int:
    """Deliver alerts until SIGTERM or SIGINT, then return 0; 2 when the settings contradict each other."""
    configure_logs(settings.log_level, settings.log_format)
    try:
        sender = choose_sender(settings)
    except ConfigurationError as error:
        _log.error(str(error))
        return 2
    return asyncio.run(_serve(settings, sender))


async def _serve(settings: Settings, sender: Sender) -> int:
    sink = AlertSink(settings, sender)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, sink.stop)
    await sink.run()
    return 0


class AlertSink:
    """Follows `tollgate.alerts` and keeps each alert's message up to date."""

    def __init__(self, settings: Settings, sender: Sender, policy: Policy | None = None) -> None:
        self._settings = settings
        self._sender = sender
        self._policy = policy or Policy(digest_over=settings.alerts_digest_over)
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Makes `run` return once the request in hand is answered and recorded."""
        self._stop.set()

    async def run(self) -> None:
        """Returns after `stop`; an unreachable Kafka is waited for."""
        _log.info("alert sink started", via=self._sender.via, channel=self._sender.channel)
        pace = Pace(0.0, 0.5, 15.0)
        loop = asyncio.get_running_loop()
        while not self._stop.is_set():
            started_s = loop.time()
            try:
                await self._session()
            except (KafkaError, OSError, TimeoutError, _UnavailableError) as error:
                if loop.time() - started_s > 60:
                    pace = Pace(0.0, 0.5, 15.0)
                delay_s = pace.failed(loop.time())
                _log.warning(
                    f"Kafka at {self._settings.kafka_bootstrap_servers} cannot be used; alerts wait",
                    error=str(error) if isinstance(error, _UnavailableError) else type(error).__name__,
                    retry_in_seconds=delay_s,
                )
                await _first_of(delay_s, self._stop.wait())
        _log.info("alert sink stopped")

    async def _session(self) -> None:
        """From joining the group to losing the partition, an error, or `stop`."""
        topic = self._settings.topic(Topic.ALERTS)
        await self._require_topics(topic, self._settings.topic(Topic.NOTIFICATIONS))
        ownership = _Ownership()
        consumer = AIOKafkaConsumer(
            **client_options(self._settings),
            group_id=f"{self._settings.application}-sink-alerts",
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=SESSION_TIMEOUT_MS,
            heartbeat_interval_ms=SESSION_TIMEOUT_MS // 3,
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
        )
        memory = Memory(self._settings)
        try:
            await consumer.start()
            consumer.subscribe([topic], listener=ownership)
            await _first_of(None, ownership.gained.wait(), self._stop.wait(), _polling(consumer, ownership))
            if not self._stop.is_set():
                await self._own(consumer, TopicPartition(topic, 0), memory, ownership)
        finally:
            # The partition is given up last, when nothing can be written under it any more.
            await memory.close()
            await consumer.stop()

    async def _require_topics(self, *topics: str) -> None:
        admin = AIOKafkaAdminClient(**client_options(self._settings))
        try:
            await admin.start()
            missing = sorted(set(topics) - set(await admin.list_topics()))
        finally:
            await admin.close()
        if missing:
            raise _UnavailableError(f"topic {missing[0]} does not exist: run `tollgate topics apply`")

    async def _own(
        self, consumer: AIOKafkaConsumer, partition: TopicPartition, memory: Memory, ownership: _Ownership
    ) -> None:
        can_edit = isinstance(self._sender, Editor)
        board = Board(self._sender.via, can_edit, self._policy)
        delivery = Delivery(board, memory, self._sender, self._policy)
        notifications = list(await memory.open())
        board.restore(notifications)
        for notification in notifications:
            delivery.learn(notification)
        # Everything already written is read before anything is posted: an alert that is over is not posted as firing.
        end = (await consumer.end_offsets([partition]))[partition]
        while await consumer.position(partition) < end and not self._stop.is_set():
            await _read(consumer, partition, board, memory)
        _log.info("alerts restored", delivered=len(notifications), waiting=board.waiting())
        lanes = list(Lane) if can_edit else [Lane.POSTS]
        workers = [asyncio.create_task(delivery.run(lane)) for lane in lanes]
        reader = asyncio.create_task(_follow(consumer, partition, board, memory, delivery))
        try:
            await _first_of(None, self._stop.wait(), ownership.lost.wait(), reader, *workers)
            delivery.stop()
            if not ownership.lost.is_set():
                await asyncio.wait(workers, timeout=STOP_SECONDS_MAX)
        finally:
            for task in (reader, *workers):
                task.cancel()
            ended = await asyncio.gather(reader, *workers, return_exceptions=True)
        for result in ended:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result
        if not ownership.lost.is_set():
            await _commit(consumer, partition, board, None)


async def _polling(consumer: AIOKafkaConsumer, ownership: _Ownership) -> None:
    """Poll while waiting: the group removes a member that does not ask for records for some time."""
    while not ownership.gained.is_set():
        await consumer.getmany(timeout_ms=200, max_records=1)


async def _follow(
    consumer: AIOKafkaConsumer, partition: TopicPartition, board: Board, memory: Memory, delivery: Delivery
) -> None:
    committed: int | None = None
    while True:
        if await _read(consumer, partition, board, memory):
            delivery.wake()
        committed = await _commit(consumer, partition, board, committed)


async def _read(consumer: AIOKafkaConsumer, partition: TopicPartition, board: Board, memory: Memory) -> int:
    """Put what arrives within half a second on the board; how many records it was."""
    records = (await consumer.getmany(partition, timeout_ms=500)).get(partition, [])
    for record in records:
        if record.value is None:
            key = (record.key or b"").decode("utf-8", "replace")
            if board.forget(key, record.offset):
                await memory.forget(key)
            continue
        try:
            board.offer(decode_alert(record.value), record.offset)
        except UnreadableError as error:
            board.skip(record.offset)
            _log.error("a record of alerts cannot be read and is passed over", offset=record.offset, error=str(error))
    return len(records)


async def _commit(
    consumer: AIOKafkaConsumer, partition: TopicPartition, board: Board, committed: int | None
) -> int | None:
    """Commit the offset up to which all is delivered, unless it is already. Returns the offset committed last."""
    offset = board.committable()
    if offset is not None and offset != committed:
        await consumer.commit({partition: offset})
    return offset


async def _first_of(timeout_s: float | None, *waits: asyncio.Task[None] | Coroutine[Any, Any, object]) -> None:
    """Until one of the waits is over or time is up. Waits that were coroutines are cancelled; an error is raised."""
    given = [wait for wait in waits if isinstance(wait, asyncio.Task)]
    made = [asyncio.create_task(wait) for wait in waits if not isinstance(wait, asyncio.Task)]
    try:
        done, _ = await asyncio.wait([*given, *made], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in made:
            task.cancel()
        await asyncio.gather(*made, return_exceptions=True)
    for task in done:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
