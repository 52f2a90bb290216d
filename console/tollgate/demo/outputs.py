"""Tollgate's outputs as the demo shows them: the spend and alert topics in memory, and sums from ClickHouse."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Self

import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from clickhouse_connect.driver.client import Client

from tollgate.runtime.kafka import client_options
from tollgate.runtime.settings import Settings
from tollgate.schemas.amounts import format_usd, parse_usd
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.topics import Topic
from tollgate.sinks.alerts import Alert, decode_alert

_POLL_MS: Final = 500
_RETRY_SECONDS: Final = 1.0
_LOOK_AGAIN_SECONDS: Final = 0.05


class Total(NamedTuple):
    """A number of events and what they cost."""

    events: int
    cost_picousd: int

    def __str__(self) -> str:
        return f"{self.events:,} events  {format_usd(self.cost_picousd)} USD"


class _Spend(msgspec.Struct):
    spent_usd: str
    events: int


class Outputs:
    """Follows `tollgate.spend` and `tollgate.alerts`. Use as `async with Outputs(settings) as outputs:`; on entry all
    that was written before has been read. Raises KafkaError on entry; later it tries again.
    """

    def __init__(self, settings: Settings) -> None:
        self._spend_topic = settings.topic(Topic.SPEND)
        # Without a group it is assigned every partition of its topics.
        self._consumer = AIOKafkaConsumer(
            self._spend_topic,
            settings.topic(Topic.ALERTS),
            **client_options(settings),
            isolation_level="read_committed",
            enable_auto_commit=False,
            group_id=None,
        )
        self._spend: dict[str, _Spend] = {}
        self._alerts: dict[str, Alert] = {}
        self._decode_spend = msgspec.json.Decoder(_Spend).decode
        self._following: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        consumer = self._consumer
        try:
            await consumer.start()
            tps = list(consumer.assignment())
            await consumer.seek_to_beginning(*tps)
            ends = await consumer.end_offsets(tps)
            # By position: compaction and transaction markers leave holes in the offsets.
            while any([await consumer.position(tp) < end for tp, end in ends.items()]):
                await self._read_some()
        except BaseException:
            await consumer.stop()
            raise
        self._following = asyncio.create_task(self._follow(), name="demo-outputs")
        return self

    async def __aexit__(self, *_exception: object) -> None:
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            await asyncio.wait([following])
        await self._consumer.stop()

    def spent(self, scope: str, window: str, start: str = "1970-01-01T00:00:00Z") -> Total:
        """The spend that the worker last wrote for this scope and window; zero when it wrote none."""
        found = self._spend.get(f"{scope}|{window}|{start}")
        return Total(found.events, parse_usd(found.spent_usd)) if found else Total(0, 0)

    def spent_in_all(self, scope: str, window: str) -> Total:
        """The sum over all windows of that kind that have been written."""
        found = [value for key, value in self._spend.items() if key.startswith(f"{scope}|{window}|")]
        return Total(sum(v.events for v in found), sum(parse_usd(v.spent_usd) for v in found))

    def alert(self, scope: str, window: str) -> Alert | None:
        """The scope's newest budget alert for that kind of window."""
        found = [
            alert
            for alert in self._alerts.values()
            if alert.scope == scope and alert.window is not None and alert.window.kind == window
        ]
        return max(found, key=lambda alert: alert.updated_at, default=None)

    async def _follow(self) -> None:
        this = asyncio.current_task()
        # Not for ever: aiokafka loses a cancellation that arrives together with a refused connection.
        while self._following is this:
            try:
                await self._read_some()
            except KafkaError:
                await asyncio.sleep(_RETRY_SECONDS)

    async def _read_some(self) -> None:
        for records in (await self._consumer.getmany(timeout_ms=_POLL_MS)).values():
            for record in records:
                self._take(record.topic, bytes(record.key or b"").decode("utf-8", "replace"), record.value)

    def _take(self, topic: str, key: str, value: bytes | None) -> None:
        latest: dict[str, Any] = self._spend if topic == self._spend_topic else self._alerts
        if value is None:
            latest.pop(key, None)
            return
        try:
            latest[key] = read_record(self._decode_spend, value) if topic == self._spend_topic else decode_alert(value)
        except UnreadableError:
            # What cannot be read cannot be shown; `tollgate verify` complains about it.
            latest.pop(key, None)


async def until(condition: Callable[[], bool], seconds_max: float) -> bool:
    """Wait until the condition holds; False when the time is up first."""
    deadline = time.monotonic() + seconds_max
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
    return True


async def clickhouse_total(client: Client, where: str = "true", **parameters: str) -> Total:
    """The events of the view `usage` that meet a fixed condition with `%(name)s` in it. Raises the client's errors."""
    query = f"SELECT count(), sum(cost_usd) FROM usage WHERE {where}"  # noqa: S608 # our own fixed conditions
    ((events, cost),) = (await asyncio.to_thread(client.query, query, parameters)).result_rows
    return Total(events, parse_usd(f"{cost:f}"))
