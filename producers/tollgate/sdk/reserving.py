"""A process's side of reservations: what it asks goes out, and each answer comes back to who waits for it.

However many reservations a process has, it has one producer and one consumer for them, and reads one partition of
`tollgate.decisions`.
"""

import asyncio
import logging
import secrets
from collections.abc import Coroutine, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from tollgate.schemas.outputs import Decision
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.topics import Topic, topic_name
from tollgate.sdk.entries import encode_release, encode_reservation
from tollgate.sdk.errors import UnavailableError
from tollgate.sdk.following import Following
from tollgate.sdk.publisher import UsagePublisher

log = logging.getLogger("tollgate.sdk")

TTL_SECONDS: Final = 60
"""How long a reservation lives unless it is told otherwise: longer than nearly every call of a provider."""
DECISION_SECONDS_MAX: Final = 5.0
"""How long a decision is awaited; it takes a tenth of a second while a worker runs."""
_START_SECONDS_MAX: Final = 10.0


class Reserving:
    """Publishes entries about reservations of one `source`, and receives decisions. To be started before use."""

    def __init__(self, bootstrap_servers: str, *, source: str, topic_prefix: str = "tollgate.", **kafka: Any) -> None:
        self.source = source
        # A reservation waits for nothing that could share its request to Kafka: somebody waits for its answer.
        self._publisher = UsagePublisher(
            bootstrap_servers, source=source, topic_prefix=topic_prefix, **({"linger_ms": 0} | kafka)
        )
        self._topic = topic_name(Topic.DECISIONS, topic_prefix)
        self._options = {
            **kafka,
            "bootstrap_servers": bootstrap_servers,
            # The worker writes in transactions; what an aborted one granted is not granted.
            "isolation_level": "read_committed",
            "enable_auto_commit": False,
            "group_id": None,
            "auto_offset_reset": "latest",
        }
        # Of this process alone: two of one service must not take each other's answers.
        self._reply_to = f"{source[:200]}-{secrets.token_hex(8)}"
        self._partition = 0
        # By user and id: two users' reservations of the same id are two, of two owners perhaps.
        self._waiting: dict[tuple[str, str], set[asyncio.Future[Decision]]] = {}
        self._sending: set[asyncio.Task[Any]] = set()
        self._following: Following | None = None

    async def start(self) -> None:
        """Connect. UnavailableError when Kafka does not answer in time or has no such topic."""
        consumer = AIOKafkaConsumer(**self._options)
        self._following = Following(consumer, self._take, "decisions")
        try:
            await self._publisher.start()
            async with asyncio.timeout(_START_SECONDS_MAX):
                await consumer.start()
                # Asking for one topic by name may create it; the list of all does not.
                cluster = await consumer._client.fetch_all_metadata()  # noqa: SLF001 # aiokafka has no public call for it
                partitions: set[int] | None = cluster.partitions_for_topic(self._topic)
                if not partitions:
                    raise UnavailableError(f"there is no topic {self._topic}: run `tollgate topics apply`")
                self._partition = secrets.choice(sorted(partitions))
                here = TopicPartition(self._topic, self._partition)
                consumer.assign([here])
                consumer.seek(here, (await consumer.end_offsets([here]))[here])
        except (KafkaError, OSError, TimeoutError) as error:
            await self.stop()
            raise UnavailableError(f"decisions cannot be read from Kafka: {type(error).__name__}") from error
        except BaseException:
            await self.stop()
            raise
        self._following.begin()

    async def stop(self) -> None:
        """Send what is on its way and close the connections."""
        following, self._following = self._following, None
        try:
            while self._sending:
                await asyncio.wait(self._sending)
            await self._publisher.stop()
        finally:
            if following is not None:
                await following.stop()

    async def ask(self, reservation_id: str, user: str, data: Mapping[str, Any]) -> Decision:
        """Publish a reservation and wait for its decision, for as long as it takes.

        Raises InvalidEventError when the worker would refuse it, UnavailableError when Kafka does not take it, and
        TypeError before `start`.
        """
        reply = {"reply_to": self._reply_to, "reply_partition": self._partition}
        value = encode_reservation(self.source, reservation_id, user, {**data, **reply})
        answer: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        asked = (user, reservation_id)
        waiting = self._waiting.setdefault(asked, set())
        waiting.add(answer)
        try:
            await self._publisher.send(user, value)
            return await answer
        finally:
            waiting.discard(answer)
            if not waiting and self._waiting.get(asked) is waiting:
                del self._waiting[asked]

    async def settle(self, user: str, value: bytes) -> None:
        """Publish the usage event that settles a reservation. It goes out also when the caller is cancelled meanwhile.

        UnavailableError when Kafka did not confirm it in time.
        """
        await self._to_its_end(self._publisher.send(user, value))

    async def release(self, user: str, reservation_id: str) -> None:
        """Publish a release, also when the caller is cancelled meanwhile. It never fails: what cannot be released is
        free at the end of its time to live.
        """
        await self._to_its_end(self._release(user, reservation_id))

    async def _release(self, user: str, reservation_id: str) -> None:
        try:
            await self._publisher.send(user, encode_release(self.source, reservation_id, user))
        except UnavailableError as error:
            log.warning("a reservation is not released before its time to live ends: %s", error)

    async def _to_its_end(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        await asyncio.shield(task)

    def _take(self, record: ConsumerRecord) -> None:
        if bytes(record.key or b"") != self._reply_to.encode():
            return
        try:
            decision = read_record(Decision.model_validate_json, record.value)
        except UnreadableError as error:
            log.warning("ignored a record of the decisions topic that is no decision: %s", error)
            return
        if decision.source != self.source:
            return
        for answer in self._waiting.pop((decision.user, decision.reservation_id), ()):
            if not answer.done():
                answer.set_result(decision)
