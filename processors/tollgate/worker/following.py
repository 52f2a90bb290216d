"""Partitions of a topic that are read to their end before anything is counted, then followed."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from tollgate.runtime.kafka import client_options
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic

log = structlog.get_logger("tollgate.worker")

_WAIT_MS: Final = 500
_RETRY_SECONDS: Final = 1


class Following:
    """Hands each committed record to `take`, which returns whether the worker acts on it."""

    def __init__(
        self, settings: Settings, topic: Topic, partitions: Iterable[int], take: Callable[[ConsumerRecord], bool]
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._take = take
        self._tps = [TopicPartition(settings.topic(topic), partition) for partition in partitions]
        self._consumer: AIOKafkaConsumer | None = None

    async def read_all(self) -> None:
        """Everything the partitions hold now. Raises KafkaError when Kafka cannot be reached."""
        consumer = self._consumer = AIOKafkaConsumer(
            **client_options(self._settings),
            isolation_level="read_committed",
            enable_auto_commit=False,
            fetch_max_wait_ms=_WAIT_MS,
        )
        await consumer.start()
        consumer.assign(self._tps)
        await consumer.seek_to_beginning(*self._tps)
        ends = await consumer.end_offsets(self._tps)
        # By position, not by the last record: compaction and transaction markers leave holes in the offsets.
        while any([await consumer.position(tp) < ends[tp] for tp in self._tps]):
            await self._read_some(consumer)

    async def follow(self, changed: Callable[[], None]) -> None:
        """Call `changed` after records that the worker acts on, for ever. `read_all` comes first."""
        consumer = self._consumer
        assert consumer is not None
        while True:
            try:
                if await self._read_some(consumer):
                    changed()
            except KafkaError as error:
                topic = self._settings.topic(self._topic)
                log.warning("a topic cannot be read; trying again in 1 s", topic=topic, error=repr(error))
                await asyncio.sleep(_RETRY_SECONDS)

    async def stop(self) -> None:
        """Close the connection."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def _read_some(self, consumer: AIOKafkaConsumer) -> bool:
        """Take in what has arrived within 0.5 s; True when there was something among it that the worker acts on."""
        acts = False
        for records in (await consumer.getmany(*self._tps, timeout_ms=_WAIT_MS)).values():
            for record in records:
                acts |= self._take(record)
        return acts
