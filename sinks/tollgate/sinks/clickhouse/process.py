"""The sink as a process: reads the worker's committed outputs and writes them to ClickHouse.

Two tasks share one batch. The reader fills it; the flusher takes it, inserts its rows, and only then commits the
offsets. A crash between the two repeats rows, and the tables' keys replace repeats. While ClickHouse does not take
rows the flusher waits, the batch fills, and the reader stops reading; the group's heartbeats go on by themselves.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from tollgate.runtime.kafka import METADATA_MAX_AGE_MS, client_options
from tollgate.runtime.logs import configure_logs
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import RECORD_BYTES_MAX, Topic
from tollgate.sinks.clickhouse.batch import Batch, BatchPolicy
from tollgate.sinks.clickhouse.connection import connect, is_loopback
from tollgate.sinks.clickhouse.errors import SinkError
from tollgate.sinks.clickhouse.metrics import SinkMetrics
from tollgate.sinks.clickhouse.migrations import migrate
from tollgate.sinks.clickhouse.pasts import Pasts
from tollgate.sinks.clickhouse.rows import TOPICS, rows_of
from tollgate.sinks.clickhouse.tables import Rejection
from tollgate.sinks.clickhouse.writer import GaveUpError, RetryPolicy, Writer

log = structlog.get_logger(__name__)

# A sink that waits for ClickHouse is alive, so the group must not throw it out for not reading. A hung process is still
# found: heartbeats come from the same event loop. The value is the largest that Kafka's protocol holds.
NEVER_MS = 2**31 - 1

# Room for the largest dead letter in one fetch of a partition.
FETCH_BYTES_MAX = 2 * RECORD_BYTES_MAX
FETCH_BYTES_MIN = 1024 * 1024
FETCH_WAIT_MS = 200

# Records are decoded in chunks of this size, which take about 10 ms each. In between the event loop can ask Kafka for
# more and notice that an insert has ended.
READ_ROWS_MAX = 5_000

# Handing partitions over waits this long for the batch to be written; what is left is read again by the new owner.
HANDOVER_SECONDS_MAX = 5.0
SHUTDOWN_SECONDS_MAX = 10.0


def run(settings: Settings) -> int:
    """Run the sink until SIGTERM or SIGINT; then write what was read, commit and return 0."""
    configure_logs(settings.log_level, settings.log_format)
    asyncio.run(_run(settings))
    return 0


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    metrics = SinkMetrics()
    if settings.sink_port:
        metrics.serve(settings.worker_host, settings.sink_port)
    await ClickHouseSink(settings, stop=stop, metrics=metrics).serve()


class ClickHouseSink(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka ships no types
    """One member of the group `<application>-sink-clickhouse`; any number of them share the partitions."""

    def __init__(
        self,
        settings: Settings,
        *,
        stop: asyncio.Event,
        metrics: SinkMetrics | None = None,
        policy: BatchPolicy | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        self._settings = settings
        self._stop = stop
        self._metrics = metrics or SinkMetrics()
        self._policy = policy or BatchPolicy()
        self._retry = retry or RetryPolicy()
        self._topics = {settings.topic(topic): topic for topic in TOPICS}
        self._writer = Writer(
            lambda: connect(settings),
            stop=stop,
            metrics=self._metrics,
            retry=self._retry,
            compress=not is_loopback(urlsplit(settings.clickhouse_url)),
        )
        self._consumer: AIOKafkaConsumer | None = None
        self._batch = Batch()
        self._committed: dict[TopicPartition, int] = {}
        self._assignment = 0
        self._handing_over = False
        self._flushing = False
        # Set when the flusher must look again: the batch changed, is wanted at once, or the process stops.
        self._wake = asyncio.Event()
        # Set while there is room in the batch.
        self._room = asyncio.Event()
        self._room.set()
        # Set while nothing read is unwritten.
        self._drained = asyncio.Event()
        self._drained.set()

    async def serve(self) -> None:
        """Read and write until `stop` is set; then write what was read. Waits for ClickHouse, Kafka and the topics."""
        if not await self._wait_for_tables():
            return
        consumer = await self._wait_for_kafka()
        if consumer is None:
            return
        self._consumer = consumer
        reader = asyncio.create_task(self._read(consumer), name="reader")
        flusher = asyncio.create_task(self._flush_for_ever(consumer), name="flusher")
        pasts = Pasts(self._settings, written=self._written, metrics=self._metrics, retry=self._retry)
        answering = asyncio.create_task(pasts.serve(), name="pasts")
        stopped = asyncio.create_task(self._stop.wait(), name="stop")
        try:
            tasks: set[asyncio.Task[Any]] = {reader, flusher, stopped}
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                # The exception of a task that ended by itself is a fault of ours; a restart reads from the last commit.
                task.result()
            reader.cancel()
            answering.cancel()
            self._wake.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SHUTDOWN_SECONDS_MAX):
                    await asyncio.gather(flusher, return_exceptions=True)
        finally:
            for task in (reader, flusher, answering, stopped):
                task.cancel()
            await asyncio.gather(reader, flusher, answering, stopped, return_exceptions=True)
            with contextlib.suppress(TimeoutError, KafkaError):
                async with asyncio.timeout(SHUTDOWN_SECONDS_MAX):
                    await consumer.stop()
            await self._writer.close()
        log.info("the ClickHouse sink has stopped", unwritten=self._batch.rows)

    # Reading

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        linger_ms = max(1, int(self._policy.linger_seconds * 1000))
        while True:
            await self._room.wait()
            try:
                fetched = await consumer.getmany(
                    timeout_ms=linger_ms, max_records=min(READ_ROWS_MAX, self._policy.rows_max - self._batch.rows)
                )
            except KafkaError as error:
                log.warning("Kafka cannot be read and is tried again", why=type(error).__name__)
                await asyncio.sleep(1)
                continue
            # Nothing is awaited between the fetch and here, so every record before the noted position is in the batch.
            now = time.monotonic()
            for tp, records in fetched.items():
                self._batch.add(self._topics[tp.topic], records, now)
            await self._note_positions(consumer, fetched or consumer.assignment(), now)
            if self._batch.first_at is not None:
                self._drained.clear()
                self._wake.set()
            if self._batch.is_full(self._policy):
                self._room.clear()

    async def _note_positions(
        self, consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition], now: float
    ) -> None:
        """Where to read on. Without records a position may still have moved past the markers of transactions."""
        assignment = self._assignment
        moved = {}
        for tp in partitions:
            try:
                async with asyncio.timeout(0.05):
                    position = await consumer.position(tp)
            except IllegalStateError:
                continue
            except TimeoutError:
                # The partitions were assigned this moment; where to read from is not known yet.
                break
            if position != self._batch.offsets.get(tp, self._committed.get(tp)):
                moved[tp] = position
        # A rebalance meanwhile has dropped the records that these positions have passed.
        if moved and assignment == self._assignment:
            self._batch.reached(moved.items(), now)

    # Writing

    async def _flush_for_ever(self, consumer: AIOKafkaConsumer) -> None:
        previous_at = float("-inf")
        while True:
            await self._wait_until_due(previous_at)
            if self._batch.first_at is None:
                return
            previous_at = time.monotonic()
            batch, self._batch = self._batch, Batch()
            self._room.set()
            self._flushing = True
            try:
                await self._flush(consumer, batch)
            except GaveUpError as error:
                log.warning(
                    "stopped with rows unwritten; the next start reads them again", rows=batch.rows, why=str(error)
                )
                return
            self._flushing = False
            self._metrics.flush_seconds.observe(time.monotonic() - previous_at)
            if self._batch.first_at is None:
                self._drained.set()

    async def _wait_until_due(self, previous_at: float) -> None:
        """Return when the batch is due, or, empty or not, when the process stops."""
        while not self._stop.is_set():
            self._wake.clear()
            delay_seconds: float | None = None
            if self._batch.first_at is not None:
                if self._handing_over or self._batch.is_full(self._policy):
                    return
                delay_seconds = self._policy.due_at(self._batch.first_at, previous_at) - time.monotonic()
                if delay_seconds <= 0:
                    return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_seconds):
                    await self._wake.wait()

    async def _flush(self, consumer: AIOKafkaConsumer, batch: Batch) -> None:
        rejections: list[Rejection] = []
        inserts = []
        for topic, records in batch.records.items():
            rows, rejected = rows_of(topic, records)
            rejections += rejected
            inserts += [self._writer.write(some) for some in rows]
        # All are awaited even if one gives up, so that no insert is left running.
        for result in await asyncio.gather(*inserts, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
            rejections += result
        await self._writer.write_rejections(rejections)
        await self._commit(consumer, batch.offsets)

    async def _commit(self, consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> None:
        mine = consumer.assignment()
        offsets = {tp: offset for tp, offset in offsets.items() if tp in mine}
        if not offsets:
            return
        try:
            await consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError):
            log.info("partitions have moved to another sink, which writes the last rows again")
        except KafkaError as error:
            log.warning("offsets are not committed and will be with the next batch", why=type(error).__name__)
        else:
            self._committed.update(offsets)

    def _written(self, partition: int) -> int | None:
        """Up to which offset a partition of the priced events is written; None while that is not known here."""
        assert self._consumer is not None
        tp = TopicPartition(self._settings.topic(Topic.PRICED), partition)
        return self._committed.get(tp) if tp in self._consumer.assignment() else None

    # Rebalances

    async def on_partitions_revoked(
        self,
        revoked: Iterable[TopicPartition],  # noqa: ARG002 # aiokafka's name
    ) -> None:
        """Write and commit what was read, so that the next owner repeats little; what takes too long is dropped."""
        self._handing_over = True
        self._wake.set()
        try:
            async with asyncio.timeout(HANDOVER_SECONDS_MAX):
                await self._drained.wait()
        except TimeoutError:
            log.info("partitions move on with rows unwritten; their next owner reads them again", rows=self._batch.rows)
        finally:
            self._handing_over = False
            self._assignment += 1
            self._batch = Batch()
            self._room.set()
            if not self._flushing:
                self._drained.set()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Forget what was committed for partitions that may have been elsewhere."""
        self._committed.clear()
        log.info("partitions are assigned", partitions=len(list(assigned)))

    # Starting

    async def _wait_for_tables(self) -> bool:
        """Whether all tables are there; False when the process stops first.

        The sink waits for missing migrations: a table of an older release would silently lack the new columns' values.
        """
        attempt = 0
        while not self._stop.is_set():
            attempt += 1
            try:
                missing = await asyncio.to_thread(migrate, self._settings, dry_run=True)
            except SinkError as error:
                why = str(error)
            else:
                if not missing:
                    return True
                why = f"{len(missing)} migrations are not applied: run `tollgate clickhouse migrate`"
            await self._wait_to_start("ClickHouse", why, attempt)
        return False

    async def _wait_for_kafka(self) -> AIOKafkaConsumer | None:
        """A consumer that has joined the group's topics; None when the process stops first."""
        attempt = 0
        while not self._stop.is_set():
            attempt += 1
            consumer = self._new_consumer()
            try:
                await consumer.start()
                missing = sorted((self._topics.keys() | {self._settings.topic(Topic.METERS)}) - await consumer.topics())
            except (KafkaError, OSError) as error:
                why = f"Kafka at {self._settings.kafka_bootstrap_servers} cannot be reached: {type(error).__name__}"
            else:
                if not missing:
                    consumer.subscribe(list(self._topics), listener=self)
                    return consumer
                why = f"topics are missing ({', '.join(missing)}): run `tollgate topics apply`"
            await consumer.stop()
            await self._wait_to_start("Kafka", why, attempt)
        return None

    async def _wait_to_start(self, what: str, why: str, attempt: int) -> None:
        delay_seconds = self._retry.delay_seconds(attempt)
        log.warning(f"the sink waits for {what}", why=why, attempt=attempt, retry_in_seconds=round(delay_seconds, 1))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_seconds):
                await self._stop.wait()

    def _new_consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            **client_options(self._settings),
            group_id=f"{self._settings.application}-sink-clickhouse",
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_poll_interval_ms=NEVER_MS,
            max_partition_fetch_bytes=FETCH_BYTES_MAX,
            # Rows are written once a second. Without these the broker answers after each of the workers' transactions.
            fetch_min_bytes=FETCH_BYTES_MIN,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
        )
