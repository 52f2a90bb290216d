"""The sink's memory in Kafka: the compacted topic of notifications, written by one process at a time.

The producer is transactional for one reason: its identity fences. A process that was frozen and replaced cannot write
`sending` any more, and so does not post.
"""

import asyncio
from collections.abc import Iterable

import structlog
from aiokafka import AIOKafkaProducer

from tollgate.runtime.kafka import client_options, read_compacted
from tollgate.runtime.settings import Settings
from tollgate.schemas.record_reading import UnreadableError
from tollgate.schemas.topics import Topic
from tollgate.sinks.alerts.notification import Notification, decode_notification, encode_notification

_log = structlog.get_logger("tollgate.alerts")


class Memory:
    """Notifications by alert key. `open` fences every earlier process; each method raises aiokafka's KafkaError."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = settings.topic(Topic.NOTIFICATIONS)
        self._lock = asyncio.Lock()
        self._producer = AIOKafkaProducer(
            **client_options(settings),
            transactional_id=f"{settings.application}-sink-alerts",
            # aiokafka's 100 ms would be added to each commit.
            retry_backoff_ms=20,
        )

    async def open(self) -> Iterable[Notification]:
        """Become the only writer, then read what was written."""
        await self._producer.start()
        # An empty transaction waits until the broker has fenced the writer before us and ended what it left open.
        await self._producer.begin_transaction()
        await self._producer.commit_transaction()
        found: list[Notification] = []
        for key, value in (await read_compacted(self._settings, self._topic)).items():
            try:
                found.append(decode_notification(value))
            except UnreadableError as error:
                _log.error("a notification record cannot be read and is ignored", key=key, error=str(error))
        return found

    async def write(self, *notifications: Notification) -> None:
        """Returns once the records are committed: all of them or, after a crash, none."""
        async with self._lock, self._producer.transaction():
            sent = [
                await self._producer.send(self._topic, encode_notification(notification), key=notification.key.encode())
                for notification in notifications
            ]
            await asyncio.gather(*sent)

    async def forget(self, key: str) -> None:
        """Remove what was written about an alert key. Returns once that is committed."""
        async with self._lock, self._producer.transaction():
            await self._producer.send_and_wait(self._topic, None, key=key.encode())

    async def close(self) -> None:
        await self._producer.stop()
