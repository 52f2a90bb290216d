"""The flags topic in memory, so that a service answers "may this call go ahead?" without asking anybody."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal, Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError

from tollgate.schemas.outputs import Flag
from tollgate.schemas.topics import Topic, topic_name
from tollgate.sdk.call_scopes import singles_of
from tollgate.sdk.decision import Decision
from tollgate.sdk.errors import UnavailableError
from tollgate.sdk.following import Following
from tollgate.sdk.knowledge import KNOWLEDGE_SECONDS_MAX, Knowledge, steady_ms, wall_ms
from tollgate.sdk.read_marks import ReadMarks
from tollgate.sdk.reservation import Reservation
from tollgate.sdk.reserving import DECISION_SECONDS_MAX, TTL_SECONDS, Reserving

log = logging.getLogger("tollgate.sdk")


class FlagReader:
    """Follows the compacted flags topic. Use as `async with FlagReader(...) as flags:`; ready on entry.

    `check` and `flag` answer from memory and never block. While Kafka is away they go on with what was last read, and
    after `knowledge_seconds_max` nothing counts as known. Then, and when a decision on a reservation does not come, a
    call goes ahead unless `when_unknown` is `closed` or a budget that covers the call says `fail: closed`.

    `source` is the name of the service, which `reserve` needs. Further keyword arguments go to aiokafka's clients:
    security, client id. With `knowledge` what is read goes there, and it decides.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        source: str = "",
        topic_prefix: str = "tollgate.",
        when_unknown: Literal["open", "closed"] = "open",
        knowledge_seconds_max: float = KNOWLEDGE_SECONDS_MAX,
        now_ms: Callable[[], int] = wall_ms,
        clock_ms: Callable[[], int] = steady_ms,
        knowledge: Knowledge | None = None,
        **kafka: Any,
    ) -> None:
        # Not by its truth: without any flags it is empty.
        if knowledge is None:
            knowledge = Knowledge(
                when_unknown=when_unknown,
                knowledge_seconds_max=knowledge_seconds_max,
                now_ms=now_ms,
                clock_ms=clock_ms,
            )
        self._knowledge = knowledge
        self._topic = topic_name(Topic.FLAGS, topic_prefix)
        self._control_topic = topic_name(Topic.CONTROL, topic_prefix)
        self._options = {
            **kafka,
            "bootstrap_servers": bootstrap_servers,
            # The worker writes in transactions; a flag of an aborted one must not block anybody.
            "isolation_level": "read_committed",
            "enable_auto_commit": False,
            "group_id": None,
            "auto_offset_reset": "earliest",
        }
        self._reserving = (
            Reserving(bootstrap_servers, source=source, topic_prefix=topic_prefix, **kafka) if source else None
        )
        self._watchers: set[asyncio.Queue[Flag]] = set()
        self._following: Following | None = None

    async def start(self, timeout_seconds: float = 10) -> None:
        """Read the topic to its end as of now, then follow it in the background.

        UnavailableError when Kafka does not answer in time or has no such topic. `check` may be asked all the same,
        and answers as one who knows nothing.
        """
        consumer = AIOKafkaConsumer(**self._options)
        marks = ReadMarks()

        async def see() -> None:
            known_ms = await marks.known_ms(consumer)
            if known_ms:
                self._knowledge.seen(wall_ms() - known_ms)

        following = self._following = Following(consumer, self._take_record, "flags", see)
        try:
            async with asyncio.timeout(timeout_seconds):
                await consumer.start()
                consumer.subscribe(await self._topics(consumer))
                # Without a group this means every partition, those that are added later too.
                while not consumer.assignment():
                    await following.read_some()
                ends = await consumer.end_offsets(consumer.assignment())
                # By position: compaction and transaction markers leave holes in the offsets.
                while any([await consumer.position(tp) < end for tp, end in ends.items()]):
                    await following.read_some()
                if self._reserving is not None:
                    await self._reserving.start()
        except (KafkaError, OSError, TimeoutError) as error:
            await self.stop()
            raise UnavailableError(f"the flags cannot be read from Kafka: {type(error).__name__}") from error
        except BaseException:
            await self.stop()
            raise
        self._knowledge.seen()
        following.begin()

    async def stop(self) -> None:
        """Send the releases that are on their way, stop following and close the connections. What was read stays
        readable.
        """
        following, self._following = self._following, None
        try:
            if self._reserving is not None:
                await self._reserving.stop()
        finally:
            if following is not None:
                await following.stop()

    async def _topics(self, consumer: AIOKafkaConsumer) -> list[str]:
        # Asking for one topic by name may create it; the list does not.
        existing = await consumer.topics()
        if self._topic not in existing:
            raise UnavailableError(f"there is no topic {self._topic}: run `tollgate topics apply`")
        if self._control_topic in existing:
            return [self._topic, self._control_topic]
        log.warning("the topic %s is not there for this service: no budget's `fail` is known", self._control_topic)
        return [self._topic]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.stop()

    @property
    def knowledge_age_ms(self) -> int | None:
        """How long ago everything that was written was known; None when the flags were never read to their end."""
        return self._knowledge.age_ms

    def check(self, **dimensions: str | None) -> Decision:
        """May a call with these dimensions go ahead? `check(user="u-42", agent="SEO", model="gpt-4o")`.

        The company's own flag (`global`) always counts, and so do the flags of combinations (`user/u-42+model/gpt-4o`).
        A flag whose `except` names a scope of the call says nothing about it. A dimension without value is left out.
        TypeError for a name that is no dimension: user, org, service, provider, model, agent, campaign, feature,
        product.
        """
        return self._knowledge.check(dimensions)

    def reserve(
        self,
        *,
        user: str,
        usd: str | None = None,
        credits: str | None = None,  # noqa: A002 # the contract's name
        ttl_seconds: int = TTL_SECONDS,
        id: str | None = None,  # noqa: A002 # the contract's name
        timeout_seconds: float = DECISION_SECONDS_MAX,
        **names: str | None,
    ) -> Reservation:
        """Set money or credits of a user aside for a call: `async with flags.reserve(user="u1", usd="0.10") as held:`.

        On entry the reservation is published and its decision awaited. BlockedError when it is denied. When nobody
        decides within `timeout_seconds`: UndecidedError where calls fail closed (see the class), else the call goes
        ahead with nothing reserved. `await held.settle(usage=...)` records the call; leaving without it releases
        what was set aside. What a process that dies had set aside is free after `ttl_seconds` (1 to 3600).

        `names` are the call's dimensions, and become those of its usage event. The same `id` again, while it lives,
        gives the same decision and reserves nothing twice. InvalidEventError when the worker would refuse it: an
        amount that is no decimal string, no amount at all, a wrong `ttl_seconds`. TypeError without `source`.
        """
        if self._reserving is None:
            raise TypeError("to reserve, name the service: FlagReader(..., source=...)")
        singles = singles_of({"user": user, **names})
        return Reservation(
            self._reserving,
            user=user,
            amounts={"amount_usd": usd, "credits": credits, "ttl_seconds": ttl_seconds},
            names={name: value for name, value in names.items() if value},
            reservation_id=id,
            timeout_seconds=timeout_seconds,
            fails_closed=lambda: self._knowledge.fails_closed(singles),
        )

    def flag(self, scope: str) -> Flag | None:
        """The scope's flag as last written, even when it is `ok` or its time is past; None when there is none."""
        held = self._knowledge.flag(scope)
        return None if held is None else held.flag

    def in_force(self) -> list[Flag]:
        """Every flag that warns or blocks now, by scope."""
        return [held.flag for held in self._knowledge.in_force()]

    async def changes(self) -> AsyncIterator[Flag]:
        """Every flag that is written from now on, for ever. Ends only when the caller stops asking."""
        queue: asyncio.Queue[Flag] = asyncio.Queue()
        self._watchers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._watchers.discard(queue)

    def _take_record(self, record: ConsumerRecord) -> None:
        key = bytes(record.key or b"").decode("utf-8", "replace")
        if record.topic == self._control_topic:
            self._knowledge.take_control(key, record.value)
        else:
            self.take(key, record.value)

    def take(self, scope: str, value: bytes | None) -> None:
        """Take in one record of the topic: null removes the flag, an older revision than the one held is ignored."""
        taken = self._knowledge.take_flag(scope, value)
        if taken is not None and self._watchers:
            flag = taken.flag
            for watcher in self._watchers:
                watcher.put_nowait(flag)
