"""Priced events as workers write them to Kafka, in transactions with few or many of them."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from aiokafka import AIOKafkaProducer

from tollgate.schemas.outputs_codec import PricedRecord, encode_priced
from tollgate.schemas.topics import USAGE_PARTITIONS

# Every event costs another amount, so that one in another's place would show in the sum.
_COST_PICOUSD = 4_750_000_000


@dataclass(frozen=True)
class Backlog:
    """A number of priced events, and how a worker wrote them: `batch_records` of each partition per transaction."""

    events: int
    users: int
    batch_records: int

    @property
    def cost_usd(self) -> Decimal:
        """The sum of all costs."""
        return Decimal(self.events * _COST_PICOUSD + self.events * (self.events - 1) // 2).scaleb(-12)


def priced_event(number: int, users: int) -> tuple[bytes, bytes]:
    """Key and value of one event: 620 bytes; neighbours differ in user, model, agent, campaign and cost."""
    user = (
        f"u-{number // USAGE_PARTITIONS % (users // USAGE_PARTITIONS) * USAGE_PARTITIONS + number % USAGE_PARTITIONS}"
    )
    event = PricedRecord(
        event_id=f"01JD8ZQ4T{number:017d}",
        source="chat-api",
        time=f"2026-11-21T{number // 3600 % 12:02d}:{number // 60 % 60:02d}:{number % 60:02d}.123Z",
        kind="usage",
        user=user,
        org=f"org-{number % 50}",
        service=("chat", "search", "images")[number % 3],
        provider="openai",
        model=("gpt-4o", "gpt-4o-mini")[number % 2],
        agent=("SEO", "CONTENT", "EMAIL", "SUPPORT")[number % 4],
        campaign=f"campaign-{number % 20}",
        feature="chat",
        product="web",
        operation="chat.completion",
        status="success",
        latency_ms=300 + number % 900,
        request_id=f"req-{number:012d}",
        usage={"input_tokens": 1200, "cached_input_tokens": 1000, "output_tokens": 300},
        cost_usd=f"0.{_COST_PICOUSD + number:012d}",
        retail_usd="0.025",
        price_id="openai/gpt-4o@2024-10-01#0a1b2c3d",
        price_status="priced",
        source_partition=number % USAGE_PARTITIONS,
        source_offset=number // USAGE_PARTITIONS,
        version=1,
    )
    return user.encode(), encode_priced(event)


async def publish(servers: str, topic: str, backlog: Backlog, numbers: range | None = None) -> None:
    """Write all of it, or the events with these numbers, each partition in transactions of its own producer."""
    numbers = numbers or range(backlog.events)
    await asyncio.gather(
        *(
            _publish_partition(servers, topic, number % USAGE_PARTITIONS, backlog, numbers[place::USAGE_PARTITIONS])
            for place, number in enumerate(numbers[:USAGE_PARTITIONS])
        )
    )


async def _publish_partition(servers: str, topic: str, partition: int, backlog: Backlog, numbers: range) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=servers,
        transactional_id=f"{topic}-{partition}",
        linger_ms=0,
        max_batch_size=4 << 20,
        max_request_size=8 << 20,
    )
    await producer.start()
    try:
        for chunk in _chunks(numbers, backlog.batch_records):
            async with producer.transaction():
                batch = producer.create_batch()
                for number in chunk:
                    key, value = priced_event(number, backlog.users)
                    assert batch.append(key=key, value=value, timestamp=None) is not None
                await (await producer.send_batch(batch, topic, partition=partition))
    finally:
        await producer.stop()


def _chunks(numbers: range, size: int) -> Iterator[range]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]
