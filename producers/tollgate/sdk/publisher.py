"""Usage events from a service to Kafka."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tollgate.schemas.topics import Topic, topic_name
from tollgate.sdk.errors import UnavailableError
from tollgate.sdk.recording import encode_event, new_id


class UsagePublisher:
    """Records usage. Use as `async with UsagePublisher(...) as usage:`.

    The producer is idempotent, so its own retries are counted once; events of a user stay in order, because their key
    is the user id. Further keyword arguments go to aiokafka's producer: security, client id.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        source: str,
        topic_prefix: str = "tollgate.",
        timeout_seconds: float = 10,
        **kafka: Any,
    ) -> None:
        self._source = source
        self._topic = topic_name(Topic.USAGE, topic_prefix)
        self._timeout_seconds = timeout_seconds
        self._options = {
            "linger_ms": 5,
            **kafka,
            "bootstrap_servers": bootstrap_servers,
            "acks": "all",
            "enable_idempotence": True,
        }
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect. UnavailableError when Kafka does not answer in time."""
        producer = AIOKafkaProducer(**self._options)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await producer.start()
        except (KafkaError, OSError, TimeoutError) as error:
            await producer.stop()
            raise UnavailableError(f"Kafka cannot be reached: {type(error).__name__}") from error
        self._producer = producer

    async def stop(self) -> None:
        """Send what is on its way and close the connection."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.stop()

    async def record(
        self,
        *,
        user: str,
        usage: Mapping[str, int | str],
        provider: str | None = None,
        model: str | None = None,
        time: datetime | str | None = None,
        id: str | None = None,  # noqa: A002 # the contract's name
        **fields: Any,
    ) -> str:
        """Record one call and return its event id, once Kafka has stored it.

        `usage` holds integers, or decimals as strings: `{"input_tokens": 1200, "video_seconds": "1.5"}`. `time` is when
        the call happened (default: now); `fields` are the event's other names: agent, service, latency_ms, status, ….

        Many calls may be recorded at once (`asyncio.gather`, tasks): they share requests to Kafka. Raises
        InvalidEventError when the worker would refuse the event; UnavailableError when Kafka did not confirm in time:
        the event may or may not be stored, and recording it again with the same `id` counts it once.
        TypeError for an unknown field, and before `start`. A float is refused: there is none on the way of money.
        """
        event_id = id or new_id()
        value = encode_event(
            self._source, event_id, user, time, {"provider": provider, "model": model, "usage": usage} | fields
        )
        await self.send(user, value)
        return event_id

    async def send(self, user: str, value: bytes) -> None:
        """Publish an entry about a user that is encoded already. Raises UnavailableError and TypeError as `record`."""
        if self._producer is None:
            raise TypeError("the publisher is not started: use `async with`, or await start()")
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._producer.send_and_wait(self._topic, value, key=user.encode())
        except (KafkaError, OSError, TimeoutError) as error:
            raise UnavailableError(f"Kafka did not confirm the event: {type(error).__name__}") from error
