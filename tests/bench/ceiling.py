"""How fast one process can fetch and decode, doing nothing with it: `python -m tests.bench.ceiling SERVERS TOPIC N`."""

import sys
import time
from typing import Any

import msgspec
import uvloop
from aiokafka import AIOKafkaConsumer
from tests.bench.kafka import partitions_of


class _Data(msgspec.Struct):
    provider: str
    model: str
    usage: dict[str, int]
    org: str
    service: str
    agent: str
    campaign: str
    feature: str


class _Event(msgspec.Struct):
    source: str
    id: str
    subject: str
    time: str
    data: _Data


async def consume(servers: str, topic: str, events: int) -> float:
    """Events per second from the first fetch that brought something to the last."""
    decode = msgspec.json.Decoder(_Event).decode
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers, enable_auto_commit=False, auto_offset_reset="earliest", max_poll_records=20_000
    )
    await consumer.start()
    try:
        parts = await partitions_of(consumer, topic)
        consumer.assign(parts)
        await consumer.seek_to_beginning(*parts)
        count, started = 0, 0.0
        while count < events:
            fetched: dict[Any, list[Any]] = await consumer.getmany(timeout_ms=200)
            started = started or time.perf_counter()
            for records in fetched.values():
                for record in records:
                    decode(record.value)
                count += len(records)
        return count / (time.perf_counter() - started)
    finally:
        await consumer.stop()


if __name__ == "__main__":
    print(uvloop.run(consume(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
