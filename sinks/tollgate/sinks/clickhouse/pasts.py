"""Answers the worker's question of what was spent in a meter before it was counted.

The questions are the records of `internal.meters` that are not filled. One is answered once everything that the usage
partition had counted before is written to ClickHouse, by the member of the group that writes the partition's rows. The
answer goes to the entries topic. Nothing is remembered: a question that is still open at the next start is answered
again, with the same records, and the worker takes each once.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from itertools import groupby
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
from tollgate.sinks.clickhouse.past_query import Parts, ask_past, question
from tollgate.sinks.clickhouse.writer import RetryPolicy

log = structlog.get_logger(__name__)

# Sums over all history may take their time.
_ANSWER_SECONDS_MAX: Final = 3600
# How soon a question is asked after its rows are written, and how often one that waits is looked at.
_POLL_MS: Final = 200

_decode: Final = msgspec.json.Decoder(MeterRecord).decode
_T = TypeVar("_T")


class _Open:
    """A question that is not answered yet."""

    def __init__(self, meter: MeterRecord) -> None:
        self.meter = meter
        # What is to be written first: every offset of the priced partition below this one.
        self.written_to: int | None = None
        self.attempts = 0
        self.not_before = 0.0


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
        # The offset of the last answer to each question. It stays open until the worker has counted the answer.
        self._answered: dict[bytes, int] = {}

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
        # A record that is replaced later in the topic is not worth an answer.
        end = (await questions.end_offsets([tp]))[tp]
        self._open.clear()
        while True:
            for records in (await questions.getmany(timeout_ms=_POLL_MS)).values():
                for record in records:
                    self._note(record)
            if await questions.position(tp) < end:
                continue
            due = [(key, each) for key, each in self._open.items() if await self._is_due(key, each, ends)]
            for _, together in groupby(sorted(due, key=_one_query), _one_query):
                await self._try(dict(together), producer)
            self._metrics.pasts_waiting.set(sum(map(self._waits, self._open)))

    def _note(self, record: ConsumerRecord) -> None:
        key = record.key or b""
        self._open.pop(key, None)
        if record.value is None:
            self._answered.pop(key, None)
            return
        try:
            meter = read_record(_decode, record.value)
            question([meter])
            if key != f"{meter.partition}|{meter.meter}".encode():
                raise ValueError("its key is that of another")
        except (UnreadableError, ValueError) as error:
            log.error(
                "a record about a meter cannot be read and is ignored", offset=record.offset, why=str(error)[:300]
            )
            return
        if meter.filled:
            self._answered.pop(key, None)
        else:
            self._open[key] = _Open(meter)

    def _waits(self, key: bytes) -> bool:
        """Whether the question has no answer of ours."""
        return self._answered.get(key) != self._open[key].meter.from_offset

    async def _is_due(self, key: bytes, waiting: _Open, ends: AIOKafkaConsumer) -> bool:
        """Whether all rows that belong to the answer are in ClickHouse, and the last failure is long enough ago."""
        meter = waiting.meter
        if not self._waits(key) or time.monotonic() < waiting.not_before:
            return False
        written = self._written(meter.partition)
        if written is None:
            return False
        if waiting.written_to is None:
            # The question was committed with, or after, every event below `from_offset`. So the end of the partition is
            # behind them, but only the end of all records: that of the committed ones may still be on its way.
            tp = TopicPartition(self._settings.topic(Topic.PRICED), meter.partition)
            waiting.written_to = (await ends.end_offsets([tp]))[tp]
        return written >= waiting.written_to

    async def _try(self, asked: dict[bytes, _Open], producer: AIOKafkaProducer) -> None:
        """Answer one meter's question in each of these partitions."""
        began = time.monotonic()
        meters = [each.meter for each in asked.values()]
        try:
            answers = await _in_thread(lambda: self._ask(meters))
            try:
                for key, parts in zip(asked, answers, strict=True):
                    await self._send(parts, producer)
                    self._answered[key] = parts.meter.from_offset
                    self._metrics.pasts.inc()
            finally:
                for parts in answers:
                    parts.close()
        except (SinkError, KafkaError, OSError) as error:
            why = str(error) if isinstance(error, SinkError) else type(error).__name__
        except Exception as error:  # noqa: BLE001 # another meter's answer and the rows must not wait for this one
            why = type(error).__name__
        else:
            log.info(
                "what was spent before a meter began is sent to the worker",
                partitions=[meter.partition for meter in meters],
                rows=sum(parts.rows for parts in answers),
                records=sum(map(len, answers)),
                seconds=round(time.monotonic() - began, 3),
            )
            return
        self._put_off(asked, why)

    async def _send(self, parts: Parts, producer: AIOKafkaProducer) -> None:
        topic, meter = self._settings.topic(Topic.ENTRIES), parts.meter
        for value in parts.values():
            await producer.send_and_wait(topic, value, key=meter.meter.encode(), partition=meter.partition)

    def _put_off(self, asked: dict[bytes, _Open], why: str) -> None:
        attempt = 1 + max(each.attempts for each in asked.values())
        delay_seconds = self._retry.delay_seconds(attempt)
        for each in asked.values():
            each.attempts = attempt
            each.not_before = time.monotonic() + delay_seconds
        log.warning(
            "what was spent before a meter began is asked again",
            partitions=[each.meter.partition for each in asked.values()],
            why=why,
            attempt=attempt,
            retry_in_seconds=round(delay_seconds, 1),
        )

    def _ask(self, meters: list[MeterRecord]) -> list[Parts]:
        """The past of each, in this order."""
        client = connect(self._settings, answer_seconds_max=_ANSWER_SECONDS_MAX)
        answers = [Parts(meter) for meter in meters]
        by_partition = {parts.meter.partition: parts for parts in answers}
        try:
            for partition, row in ask_past(client, meters):
                by_partition[partition].add(row)
        except BaseException as error:
            for parts in answers:
                parts.close()
            if isinstance(error, DriverError):
                raise unavailable(error) from error
            raise
        finally:
            client.close()
        return answers


def _one_query(asked: tuple[bytes, _Open]) -> tuple[str, str, str, str]:
    """Questions with the same are one query. A meter's partitions begin it at almost the same time."""
    meter = asked[1].meter
    return meter.meter, meter.scope, meter.window_start, meter.whole_from


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
