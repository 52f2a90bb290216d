"""A consumer that is read in the background until it is stopped."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError

log = logging.getLogger("tollgate.sdk")

_POLL_MS: Final = 200
# Of a topic with a million records many arrive at once; others that use the loop wait no longer than these take, some
# five milliseconds.
_RECORDS_MAX: Final = 500
_RETRY_SECONDS: Final = 1.0


class Following:
    """Hands every record of a consumer to `take`. `seen` is awaited after each look, also when there was nothing."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        take: Callable[[ConsumerRecord], None],
        name: str,
        seen: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._consumer: AIOKafkaConsumer | None = consumer
        self._take = take
        self._seen = seen
        self._name = name
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Read in the background from now on. Kafka's absence is logged and waited out."""
        self._task = asyncio.create_task(self._run(), name=f"tollgate-{self._name}")

    async def read_some(self) -> None:
        """Hand over what is there, or what comes within 0.2 s."""
        if self._consumer is not None:
            for records in (await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=_RECORDS_MAX)).values():
                for record in records:
                    self._take(record)
            if self._seen is not None:
                await self._seen()

    async def stop(self) -> None:
        """Stop reading and close the connection."""
        consumer, self._consumer = self._consumer, None
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        if consumer is not None:
            # While Kafka is away aiokafka's own fetch ends its stop by a cancellation, with the connections still open.
            stopping = asyncio.create_task(consumer.stop())
            await asyncio.wait([stopping])
            if stopping.cancelled():
                await consumer._client.close()  # noqa: SLF001 # a second stop does nothing
            else:
                stopping.result()

    async def _run(self) -> None:
        # Not for ever: aiokafka loses a cancellation that arrives together with a refused connection.
        while self._consumer is not None:
            try:
                await self.read_some()
            except KafkaError as error:
                log.warning(
                    "the %s cannot be read now; going on with what is known: %s", self._name, type(error).__name__
                )
                await asyncio.sleep(_RETRY_SECONDS)
