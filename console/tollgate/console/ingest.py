"""Usage events of callers without Kafka: from the API to their topic."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tollgate.runtime.kafka import client_options
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic

log = structlog.get_logger("tollgate.console.ingest")

ANSWER_SECONDS_MAX: Final = 10.0
"""A caller waits no longer for Kafka's acknowledgement."""

WAITING_MAX: Final = 20_000
"""Events of all requests that wait for Kafka; further ones are refused at once. Of usual size they take 20 MB."""

_WAITING_BYTES_MAX: Final = 64 * 1024 * 1024
_START_SECONDS_MAX: Final = 2.0
_RETRY_SECONDS: Final = 1.0
_STOP_SECONDS_MAX: Final = 5.0
# Requests that come together share a batch; a caller alone waits this long more.
_LINGER_MS: Final = 2
_BATCH_BYTES_MAX: Final = 256 * 1024


class UnavailableError(Exception):
    """Kafka did not acknowledge every event in time. Some may be stored: repeat them under the same ids."""


class Ingest:
    """Publishes usage events with one idempotent producer, in the partition of their user as every other producer."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._stopped = False
        self._waiting = self._waiting_bytes = 0

    async def start(self) -> None:
        """Connect. Returns after 2 s at the latest, and goes on in the background while Kafka is away."""
        self._stopped = False
        self._connecting = asyncio.create_task(self._connect(), name="tollgate-ingest")
        await asyncio.wait([self._connecting], timeout=_START_SECONDS_MAX)

    async def stop(self) -> None:
        """Send what is on its way, for at most 5 s."""
        self._stopped = True
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
            await asyncio.wait([connecting])
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)

    async def is_ready(self) -> bool:
        """Whether it has reached Kafka since the start."""
        return self._producer is not None

    async def publish(self, events: Iterable[tuple[str, bytes]]) -> None:
        """Return once all replicas of Kafka have these events, each given as user, which is its key, and record.

        UnavailableError when that is not so within 10 s, or when too many events wait already.
        """
        records = [(user.encode(), value) for user, value in events]
        size = sum(len(value) for _, value in records)
        producer = self._producer
        if producer is None:
            raise UnavailableError("Kafka cannot be reached")
        if self._waiting + len(records) > WAITING_MAX or self._waiting_bytes + size > _WAITING_BYTES_MAX:
            raise UnavailableError("too many events wait for Kafka")
        self._waiting += len(records)
        self._waiting_bytes += size
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                name = self._settings.topic(Topic.USAGE)
                stored = [await producer.send(name, value, key=key) for key, value in records]
                await asyncio.gather(*stored)
        except TimeoutError:
            raise UnavailableError("Kafka did not acknowledge the events in time") from None
        except (KafkaError, OSError) as error:
            await self._replace(producer, error)
            raise UnavailableError(f"Kafka did not take the events: {type(error).__name__}") from error
        finally:
            self._waiting -= len(records)
            self._waiting_bytes -= size

    async def _connect(self) -> None:
        told = False
        # A cancellation that comes together with a refused connection is lost in aiokafka.
        while not self._stopped:
            producer = AIOKafkaProducer(
                **client_options(self._settings),
                acks="all",
                enable_idempotence=True,
                linger_ms=_LINGER_MS,
                max_batch_size=_BATCH_BYTES_MAX,
            )
            try:
                await producer.start()
            except (KafkaError, OSError) as error:
                await _stop(producer)
                if not told:
                    log.warning("Kafka cannot be reached; usage is not taken", problem=type(error).__name__)
                    told = True
                await asyncio.sleep(_RETRY_SECONDS)
            except asyncio.CancelledError:
                await _stop(producer)
                raise
            else:
                self._producer = producer
                return

    async def _replace(self, producer: AIOKafkaProducer, error: Exception) -> None:
        """A producer that could not keep its events in order takes no more of them."""
        if self._producer is producer:
            log.warning("a producer failed and is replaced", problem=type(error).__name__)
            self._producer = None
            self._connecting = asyncio.create_task(self._connect(), name="tollgate-ingest")
            await _stop(producer)


async def _stop(producer: AIOKafkaProducer) -> None:
    with suppress(TimeoutError, KafkaError, OSError):
        await asyncio.wait_for(producer.stop(), _STOP_SECONDS_MAX)
