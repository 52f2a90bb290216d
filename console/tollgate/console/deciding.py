"""Reservations of services without Kafka: publishes what they ask, and hands each decision to who waits for it."""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from tollgate.console.ingest import Ingest, UnavailableError
from tollgate.runtime.kafka import client_options
from tollgate.runtime.settings import Settings
from tollgate.schemas.outputs import Decision
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.topics import Topic
from tollgate.sdk.entries import encode_reservation

log = structlog.get_logger("tollgate.console.deciding")

DECISION_SECONDS_MAX: Final = 5.0
"""How long a decision is awaited; it takes a tenth of a second while a worker runs."""
WAITING_MAX: Final = 5_000
"""Reservations of all requests that wait for their decisions; further ones are refused at once."""
GRANTED_MAX: Final = 50_000
"""Reservations whose source and user are remembered, the newest ones; each takes some 0.3 kB."""
_RETRY_SECONDS: Final = 1.0
_POLL_MS: Final = 200

_Asked = tuple[str, str, str]
# Source, user and id of a reservation.


class NoDecisionError(Exception):
    """No worker has decided in time. The same reservation again gets the same decision."""


class Deciding:
    """Asks for decisions in the names of many services, with one reader of one partition for all of them."""

    def __init__(self, settings: Settings, ingest: Ingest) -> None:
        self._settings, self._ingest = settings, ingest
        self._reply_to = f"console-{secrets.token_hex(8)}"
        self._key = self._reply_to.encode()
        self._partition = 0
        self._waiting: dict[_Asked, set[asyncio.Future[Decision]]] = {}
        self._granted: OrderedDict[_Asked, None] = OrderedDict()
        self._by_id: dict[str, set[tuple[str, str]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._reads = False

    async def start(self) -> None:
        """Begin to read decisions, in the background."""
        self._task = asyncio.create_task(self._run(), name="tollgate-deciding")

    async def stop(self) -> None:
        """Stop reading. Whoever still waits is told after their time."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def ask(self, source: str, reservation_id: str, user: str, data: Mapping[str, Any]) -> Decision:
        """The decision about a reservation.

        Raises InvalidEventError when the worker would refuse it, UnavailableError when Kafka does not take it or too
        many wait, and NoDecisionError after 5 s.
        """
        reply = {"reply_to": self._reply_to, "reply_partition": self._partition}
        value = encode_reservation(source, reservation_id, user, {**data, **reply})
        if not self._reads:
            raise UnavailableError("decisions cannot be read from Kafka")
        if len(self._waiting) >= WAITING_MAX:
            raise UnavailableError("too many reservations wait for their decisions")
        asked = (source, user, reservation_id)
        answer: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(asked, set())
        waiting.add(answer)
        try:
            async with asyncio.timeout(DECISION_SECONDS_MAX):
                await self._ingest.publish([(user, value)])
                decision = await answer
        except TimeoutError:
            raise NoDecisionError from None
        finally:
            waiting.discard(answer)
            if not waiting and self._waiting.get(asked) is waiting:
                del self._waiting[asked]
        if decision.granted:
            self._note_granted(asked)
        return decision

    def granted(self, reservation_id: str) -> set[tuple[str, str]]:
        """Source and user of every reservation of this id that was granted here; of old ones they are forgotten."""
        return self._by_id.get(reservation_id, set())

    def _note_granted(self, asked: _Asked) -> None:
        source, user, reservation_id = asked
        self._granted[asked] = None
        self._by_id.setdefault(reservation_id, set()).add((source, user))
        if len(self._granted) > GRANTED_MAX:
            (source, user, reservation_id), _ = self._granted.popitem(last=False)
            whose = self._by_id[reservation_id]
            whose.discard((source, user))
            if not whose:
                del self._by_id[reservation_id]

    async def _run(self) -> None:
        told = False
        while True:
            consumer = AIOKafkaConsumer(
                **client_options(self._settings),
                isolation_level="read_committed",
                enable_auto_commit=False,
                auto_offset_reset="latest",
                fetch_max_wait_ms=50,
            )
            try:
                await self._read(consumer)
            except (KafkaError, OSError, TimeoutError) as error:
                if not told:
                    log.warning("decisions cannot be read; reservations are refused", problem=type(error).__name__)
                    told = True
            finally:
                self._reads = False
                await consumer.stop()
            await asyncio.sleep(_RETRY_SECONDS)

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        topic = self._settings.topic(Topic.DECISIONS)
        await consumer.start()
        # Asking for one topic by name may create it; the list of all does not.
        cluster = await consumer._client.fetch_all_metadata()  # noqa: SLF001 # aiokafka has no public call for it
        partitions: set[int] | None = cluster.partitions_for_topic(topic)
        if not partitions:
            return
        if self._partition not in partitions or not self._reads:
            self._partition = secrets.choice(sorted(partitions))
        here = TopicPartition(topic, self._partition)
        consumer.assign([here])
        consumer.seek(here, (await consumer.end_offsets([here]))[here])
        self._reads = True
        while True:
            found = await consumer.getmany(here, timeout_ms=_POLL_MS)
            for record in found.get(here, ()):
                if record.key is not None and bytes(record.key) == self._key:
                    self._take(record.value)

    def _take(self, value: bytes | None) -> None:
        try:
            decision = read_record(Decision.model_validate_json, value or b"")
        except UnreadableError as error:
            log.warning("a record of the decisions topic is no decision", problem=str(error))
            return
        for answer in self._waiting.pop((decision.source, decision.user, decision.reservation_id), ()):
            if not answer.done():
                answer.set_result(decision)
