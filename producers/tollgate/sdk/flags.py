"""The flags topic in memory, so that a service answers "may this call go ahead?" without asking anybody."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Self

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from tollgate.schemas.outputs import Flag
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.scopes import GLOBAL_SCOPE, Dimension
from tollgate.schemas.topics import Topic, topic_name
from tollgate.sdk.decision import Decision, HeldFlag, decide
from tollgate.sdk.errors import UnavailableError

log = logging.getLogger("tollgate.sdk")

_POLL_MS: Final = 200
_RETRY_SECONDS: Final = 1.0
_DIMENSIONS: Final = frozenset(dimension.value for dimension in Dimension)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class FlagReader:
    """Follows the compacted flags topic. Use as `async with FlagReader(...) as flags:`; ready on entry.

    `check` and `flag` answer from memory and never block. While Kafka is away they go on with what was last read.
    Further keyword arguments go to aiokafka's consumer: security, client id.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        topic_prefix: str = "tollgate.",
        now_ms: Callable[[], int] = _now_ms,
        **kafka: Any,
    ) -> None:
        self._topic = topic_name(Topic.FLAGS, topic_prefix)
        self._options = {
            **kafka,
            "bootstrap_servers": bootstrap_servers,
            # The worker writes in transactions; a flag of an aborted one must not block anybody.
            "isolation_level": "read_committed",
            "enable_auto_commit": False,
            "group_id": None,
            "auto_offset_reset": "earliest",
        }
        self._now_ms = now_ms
        self._flags: dict[str, HeldFlag] = {}
        self._watchers: set[asyncio.Queue[Flag]] = set()
        self._consumer: AIOKafkaConsumer | None = None
        self._following: asyncio.Task[None] | None = None

    async def start(self, timeout_seconds: float = 10) -> None:
        """Read the topic to its end as of now, then follow it in the background.

        UnavailableError when Kafka does not answer in time or has no such topic.
        """
        consumer = self._consumer = AIOKafkaConsumer(**self._options)
        try:
            async with asyncio.timeout(timeout_seconds):
                await consumer.start()
                # Asking for one topic by name may create it; the list does not.
                if self._topic not in await consumer.topics():
                    raise UnavailableError(f"there is no topic {self._topic}: run `tollgate topics apply`")
                # Without a group this means every partition, those that are added later too.
                consumer.subscribe([self._topic])
                while not consumer.assignment():
                    await self._read_some(consumer)
                ends = await consumer.end_offsets(consumer.assignment())
                # By position: compaction and transaction markers leave holes in the offsets.
                while any([await consumer.position(tp) < end for tp, end in ends.items()]):
                    await self._read_some(consumer)
        except (KafkaError, OSError, TimeoutError) as error:
            await self.stop()
            raise UnavailableError(f"the flags cannot be read from Kafka: {type(error).__name__}") from error
        except BaseException:
            await self.stop()
            raise
        self._following = asyncio.create_task(self._follow(consumer), name="tollgate-flags")

    async def stop(self) -> None:
        """Stop following and close the connection. What was read stays readable."""
        consumer, self._consumer = self._consumer, None
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            await asyncio.wait([following])
        if consumer is not None:
            # While Kafka is away aiokafka's own fetch ends its stop by a cancellation, with the connections still open.
            stopping = asyncio.create_task(consumer.stop())
            await asyncio.wait([stopping])
            if stopping.cancelled():
                await consumer._client.close()  # noqa: SLF001 # a second stop does nothing
            else:
                stopping.result()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.stop()

    def check(self, **dimensions: str | None) -> Decision:
        """May a call with these dimensions go ahead? `check(user="u-42", agent="SEO", model="gpt-4o")`.

        The company's own flag (`global`) always counts. A dimension without value is left out. TypeError for a name
        that is no dimension: user, org, service, provider, model, agent, campaign, feature, product.
        """
        flags = self._flags
        found = [flags[GLOBAL_SCOPE]] if GLOBAL_SCOPE in flags else []
        for dimension, name in dimensions.items():
            if dimension not in _DIMENSIONS:
                raise TypeError(f"{dimension!r} is no dimension of a call")
            held = flags.get(f"{dimension}/{name}") if name else None
            if held is not None:
                found.append(held)
        return decide(found, self._now_ms())

    def flag(self, scope: str) -> Flag | None:
        """The scope's flag as last written, even when it is `ok` or its time is past; None when there is none."""
        held = self._flags.get(scope)
        return None if held is None else held.flag

    def in_force(self) -> list[Flag]:
        """Every flag that warns or blocks now, by scope."""
        now_ms = self._now_ms()
        return [held.flag for _, held in sorted(self._flags.items()) if held.in_force(now_ms)]

    async def changes(self) -> AsyncIterator[Flag]:
        """Every flag that is written from now on, for ever. Ends only when the caller stops asking."""
        queue: asyncio.Queue[Flag] = asyncio.Queue()
        self._watchers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._watchers.discard(queue)

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        # Not for ever: aiokafka loses a cancellation that arrives together with a refused connection.
        while self._consumer is consumer:
            try:
                await self._read_some(consumer)
            except KafkaError as error:
                log.warning("the flags cannot be read now; going on with those in memory: %s", type(error).__name__)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _read_some(self, consumer: AIOKafkaConsumer) -> None:
        for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
            for record in records:
                self.take(bytes(record.key or b"").decode("utf-8", "replace"), record.value)

    def take(self, scope: str, value: bytes | None) -> None:
        """Take in one record of the topic: null removes the flag, an older revision than the one held is ignored."""
        if value is None:
            self._flags.pop(scope, None)
            return
        try:
            taken = read_record(HeldFlag.read, value)
        except UnreadableError as error:
            log.warning("ignored a record of the flags topic that is no flag: %s", error)
            return
        held = self._flags.get(scope)
        if held is not None and held.flag.revision > taken.flag.revision:
            return
        self._flags[scope] = taken
        for watcher in self._watchers:
            watcher.put_nowait(taken.flag)
