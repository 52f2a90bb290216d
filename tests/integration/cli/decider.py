"""Answers reservations as the contract says, of one limit per user. It stands where a worker would."""

import asyncio
import json
from decimal import Decimal
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tollgate.runtime.kafka import client_options
from tollgate.runtime.settings import Settings
from tollgate.schemas.entries import ReleaseEntry, ReservationEntry, decode_usage_topic
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import Decision
from tollgate.schemas.refusals import Refusal
from tollgate.schemas.topics import Topic
from tollgate.schemas.usage_codec import EventRecord


class Decider:
    """Reads usage from the beginning. A reservation is open until it is settled or released; it does not expire."""

    def __init__(self, settings: Settings, limit: str = "1") -> None:
        self._settings = settings
        self._limit = Decimal(limit)
        self._options = client_options(settings)
        self._task: asyncio.Task[None] | None = None
        self.open: dict[tuple[str, str], tuple[str, Decimal]] = {}
        self.decided: dict[tuple[str, str], dict[str, Any]] = {}
        self.spent: dict[str, Decimal] = {}
        self.seen: list[ReservationEntry | ReleaseEntry | EventRecord] = []

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_exception: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    def ids(self, kind: type) -> list[str]:
        """The ids of what it has read of a kind, in order."""
        return [entry.id for entry in self.seen if isinstance(entry, kind)]

    async def _run(self) -> None:
        consumer = AIOKafkaConsumer(
            self._settings.topic(Topic.USAGE), **self._options, auto_offset_reset="earliest", group_id=None
        )
        transactional = {"transactional_id": f"{self._settings.application}-decider"}
        async with consumer, AIOKafkaProducer(**self._options, **transactional) as producer:
            while True:
                found = await consumer.getmany(timeout_ms=100)
                async with producer.transaction():
                    for records in found.values():
                        for record in records:
                            entry = decode_usage_topic(record.value)
                            assert not isinstance(entry, Refusal), entry
                            await self._take(producer, entry)

    async def _take(self, producer: AIOKafkaProducer, entry: ReservationEntry | ReleaseEntry | EventRecord) -> None:
        self.seen.append(entry)
        if isinstance(entry, EventRecord):
            key = (entry.source, entry.data.reservation_id)
            self.spent[entry.subject] = self.spent.get(entry.subject, Decimal(0)) + Decimal(entry.data.cost_usd or "0")
            if not entry.data.more:
                self.open.pop(key, None)
        elif isinstance(entry, ReleaseEntry):
            self.open.pop((entry.source, entry.data.reservation_id), None)
        else:
            value = self._decide(entry)
            await producer.send_and_wait(
                self._settings.topic(Topic.DECISIONS),
                json.dumps(value).encode(),
                key=(entry.data.reply_to or entry.source).encode(),
                partition=entry.data.reply_partition,
            )

    def _decide(self, entry: ReservationEntry) -> dict[str, Any]:
        key = (entry.source, entry.id)
        if key in self.decided:
            return self.decided[key]
        amount = Decimal(entry.data.amount_usd or "0")
        reserved = sum((held for user, held in self.open.values() if user == entry.subject), Decimal(0))
        spent = self.spent.get(entry.subject, Decimal(0))
        granted = spent + reserved + amount <= self._limit
        value: dict[str, Any] = {
            "reservation_id": entry.id,
            "source": entry.source,
            "user": entry.subject,
            "granted": granted,
            "amount_usd": _text(amount),
            "credits": "0",
            "expires_at": format_instant(entry.time_ms + entry.data.ttl_seconds * 1000),
            "decided_at": format_instant(entry.time_ms),
        }
        if granted:
            self.open[key] = (entry.subject, amount)
        else:
            value |= {
                "http_status": 429,
                "error": "usage_limit_exceeded",
                "scope": f"user/{entry.subject}",
                "budget": "user/*:month:usd",
                "unit": "usd",
                "limit": _text(self._limit),
                "spent": _text(spent),
                "reserved": _text(reserved),
                "available": _text(self._limit - spent - reserved),
                "message": f"user/{entry.subject} has {_text(self._limit - spent - reserved)} usd left this month.",
            }
        self.decided[key] = value
        Decision.model_validate(value)
        return value


def _text(amount: Decimal) -> str:
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
