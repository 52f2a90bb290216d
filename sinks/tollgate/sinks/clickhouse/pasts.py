"""Answers the worker's questions of what was spent in meters before they were counted.

The questions are the records of `internal.meters` that are not filled. One is answered once everything that the usage
partition had counted before is written to ClickHouse, by the member of the group that writes the partition's rows.
Questions that are alike are asked together. Answers go to the entries topic. Nothing is remembered: a question that is
still open at the next start is answered again, with the same records, and the worker takes each once.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from itertools import groupby, islice
from typing import Any, Final, TypeVar

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from clickhouse_connect.driver.exceptions import Error as DriverError

from tollgate.runtime.kafka import client_options
from tollgate.runtime.settings import Settings
from tollgate.schemas.meters import MeterRecord
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.topics import Topic
from tollgate.sinks.clickhouse.connection import connect, unavailable
from tollgate.sinks.clickhouse.errors import SinkError
from tollgate.sinks.clickhouse.metrics import SinkMetrics
from tollgate.sinks.clickhouse.past_query import Parts, Shape, ask_pasts
from tollgate.sinks.clickhouse.writer import RetryPolicy

log = structlog.get_logger(__name__)

# Sums over all history may take their time.
_ANSWER_SECONDS_MAX: Final = 3600
# How many questions are one query: a budget for each of 100,000 users is ten. In a query one takes ClickHouse a tenth
# of a millisecond more, and its names are at most 3 kB.
_TOGETHER_MAX: Final = 10_000
# How soon a question is asked after its rows are written, and how often one that waits is looked at.
_POLL_MS: Final = 200

_decode: Final = msgspec.json.Decoder(MeterRecord).decode
_T = TypeVar("_T")


class _Open:
    """A question that is not answered yet."""

    def __init__(self, key: bytes, meter: MeterRecord) -> None:
        self.key = key
        self.meter = meter
        # ValueError when it is no question.
        self.shape = Shape.of(meter)
        # What is to be written first: every offset of the priced partition below this one.
        self.written_to: int | None = None
        self.attempts = 0

    @property
    def alike(self) -> tuple[int, Shape]:
        """Questions of which this is equal may be asked together."""
        return self.attempts, self.shape

    def is_written(self, written: int) -> bool:
        """Whether the answer's rows are in ClickHouse, of a partition that is written up to this offset."""
        return self.written_to is not None and written >= self.written_to


class Pasts:
    """Follows `internal.meters` and answers. `written` tells up to which offset a partition of the priced events is
    written and committed; None while another member of the group writes it.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        written: Callable[[int], int | None],
        metrics: SinkMetrics,
        retry: RetryPolicy | None = None,
    ) -> None:
        self._settings = settings
        self._written = written
        self._metrics = metrics
        self._retry = retry or RetryPolicy()
        self._open: dict[bytes, _Open] = {}
        # The offset of the last answer to each question, until the worker has counted the answer.
        self._answered: dict[bytes, int] = {}
        # How many questions are asked together: fewer after a failure, because what many need may be too much.
        self._together_max = _TOGETHER_MAX
        # One after another, and until when nothing is asked because of them.
        self._failures = 0
        self._not_before = 0.0

    async def serve(self) -> None:
        """Answer until cancelled. Whatever fails is tried again, with growing pauses, and never ends the process."""
        attempt = 0
        while True:
            try:
                async with contextlib.AsyncExitStack() as stack:
                    questions = await self._started(stack, isolation_level="read_committed")
                    ends = await self._started(stack, isolation_level="read_uncommitted")
                    producer = AIOKafkaProducer(**client_options(self._settings), enable_idempotence=True)
                    stack.push_async_callback(producer.stop)
                    await producer.start()
                    attempt = 0
                    await self._follow(questions, ends, producer)
            except Exception as error:  # noqa: BLE001 # rows go on whatever happens here
                why = type(error).__name__
            attempt += 1
            delay_seconds = self._retry.delay_seconds(attempt)
            log.warning("questions about meters wait for Kafka", why=why, retry_in_seconds=round(delay_seconds, 1))
            await asyncio.sleep(delay_seconds)

    async def _started(self, stack: contextlib.AsyncExitStack, *, isolation_level: str) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            **client_options(self._settings), isolation_level=isolation_level, enable_auto_commit=False
        )
        stack.push_async_callback(consumer.stop)
        await consumer.start()
        return consumer

    async def _follow(self, questions: AIOKafkaConsumer, ends: AIOKafkaConsumer, producer: AIOKafkaProducer) -> None:
        tp = TopicPartition(self._settings.topic(Topic.METERS), 0)
        questions.assign([tp])
        await questions.seek_to_beginning(tp)
        self._open.clear()
        while True:
            # A record that is replaced later in the topic is not worth an answer, and more questions are fewer queries.
            end = (await questions.end_offsets([tp]))[tp]
            is_read = False
            while not is_read:
                for records in (await questions.getmany(timeout_ms=_POLL_MS)).values():
                    for record in records:
                        self._note(record)
                is_read = await questions.position(tp) >= end
            if time.monotonic() >= self._not_before:
                await self._answer(await self._due(ends), producer)
            self._metrics.pasts_waiting.set(len(self._open))

    def _note(self, record: ConsumerRecord) -> None:
        key = record.key or b""
        self._open.pop(key, None)
        if record.value is None:
            self._answered.pop(key, None)
            return
        try:
            meter = read_record(_decode, record.value)
            waiting = _Open(key, meter)
            if key != f"{meter.partition}|{meter.meter}".encode():
                raise ValueError("its key is that of another")
        except (UnreadableError, ValueError) as error:
            log.error(
                "a record about a meter cannot be read and is ignored", offset=record.offset, why=str(error)[:300]
            )
            return
        if meter.filled:
            self._answered.pop(key, None)
        elif self._answered.get(key) != meter.from_offset:
            self._open[key] = waiting

    async def _due(self, ends: AIOKafkaConsumer) -> list[_Open]:
        """Those of which all rows that belong to the answer are in ClickHouse.

        Those that failed less come first, of these the questions of one shape together, and of these those of one user.
        """
        partitions = {each.meter.partition for each in self._open.values()}
        written = {number: offset for number in partitions if (offset := self._written(number)) is not None}
        mine = [each for each in self._open.values() if each.meter.partition in written]
        fresh = [each for each in mine if each.written_to is None]
        if fresh:
            # A question was committed with, or after, every event below `from_offset`. So the end of the partition is
            # behind them, but only the end of all records: that of the committed ones may still be on its way.
            places = {number: TopicPartition(self._settings.topic(Topic.PRICED), number) for number in written}
            found = await ends.end_offsets(places.values())
            for each in fresh:
                each.written_to = found[places[each.meter.partition]]
        due = [each for each in mine if each.is_written(written[each.meter.partition])]
        return sorted(due, key=lambda each: (each.alike, each.meter.scope, each.key))

    async def _answer(self, due: list[_Open], producer: AIOKafkaProducer) -> None:
        """Answer until something fails."""
        for _, alike in groupby(due, lambda each: each.alike):
            while asked := list(islice(alike, self._together_max)):
                if not await self._try(asked, producer):
                    return

    async def _try(self, asked: list[_Open], producer: AIOKafkaProducer) -> bool:
        """Answer these questions, which are of one shape; returns whether that succeeded."""
        began = time.monotonic()
        meters = [each.meter for each in asked]
        records = 0
        try:
            parts = await _in_thread(lambda: self._ask(meters))
            try:
                records = await self._send(meters, parts, producer)
            finally:
                parts.close()
        except (SinkError, KafkaError, OSError) as error:
            why = str(error) if isinstance(error, SinkError) else type(error).__name__
        except Exception as error:  # noqa: BLE001 # other answers and the rows must not wait for these
            why = type(error).__name__
        else:
            for each in asked:
                self._answered[each.key] = each.meter.from_offset
                self._open.pop(each.key, None)
            self._metrics.pasts.inc(len(asked))
            self._together_max = min(2 * self._together_max, _TOGETHER_MAX)
            self._failures = 0
            log.info(
                "what was spent before meters began is sent to the worker",
                meters=len(asked),
                rows=parts.rows,
                records=records,
                seconds=round(time.monotonic() - began, 3),
            )
            return True
        self._put_off(asked, why)
        return False

    async def _send(self, meters: list[MeterRecord], parts: Parts, producer: AIOKafkaProducer) -> int:
        """Send all parts, those of a meter in order; returns how many, once Kafka has them."""
        topic = self._settings.topic(Topic.ENTRIES)
        # Each waits while its partition has a full batch that is not sent yet.
        sent = [
            await producer.send(topic, value, key=meter.meter.encode(), partition=meter.partition)
            for number, meter in enumerate(meters)
            for value in parts.values(number)
        ]
        await asyncio.gather(*sent)
        return len(sent)

    def _put_off(self, asked: list[_Open], why: str) -> None:
        for each in asked:
            each.attempts += 1
        self._together_max = max(1, len(asked) // 2)
        self._failures += 1
        delay_seconds = self._retry.delay_seconds(self._failures)
        self._not_before = time.monotonic() + delay_seconds
        log.warning(
            "what was spent before meters began is asked again",
            meters=len(asked),
            why=why,
            attempt=self._failures,
            retry_in_seconds=round(delay_seconds, 1),
        )

    def _ask(self, meters: list[MeterRecord]) -> Parts:
        """The pasts of these meters, which are of one shape."""
        client = connect(self._settings, answer_seconds_max=_ANSWER_SECONDS_MAX)
        parts = Parts(meters)
        try:
            for number, row in ask_pasts(client, meters):
                parts.add(number, row)
        except BaseException as error:
            parts.close()
            if isinstance(error, DriverError):
                raise unavailable(error) from error
            raise
        finally:
            client.close()
        return parts


async def _in_thread(work: Callable[[], _T]) -> _T:
    """What `work` returns. A thread of asyncio's own would hold up the end of the process until ClickHouse answers."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def tell(result: Any, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def run() -> None:
        result, fault = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 # told to whoever waits
            fault = error
        # The loop may be closed by now: nobody waits any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, result, fault)

    threading.Thread(target=run, name="past", daemon=True).start()
    return await done
