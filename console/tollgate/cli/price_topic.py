"""Prices in the control topic: read them all, write one, remove one."""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import UnknownTopicOrPartitionError

from tollgate.cli.services import REACH_SECONDS_MAX, reaching_kafka
from tollgate.runtime.kafka import client_options, read_compacted
from tollgate.runtime.settings import Settings
from tollgate.schemas.control import PRICE_KEY_PREFIX, PriceRecord
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.topics import Topic

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RuntimePrices:
    """The prices that are set now, and the keys of records that are none."""

    records: tuple[PriceRecord, ...]
    unreadable: tuple[str, ...]


def read_prices(settings: Settings) -> RuntimePrices:
    """Every price set at run time. A control topic that does not exist yet holds none. UnreachableError."""
    latest = _run(settings, read_compacted(settings, settings.topic(Topic.CONTROL)))
    records, unreadable = [], []
    for key, value in latest.items():
        if key.startswith(PRICE_KEY_PREFIX):
            try:
                records.append(read_record(PriceRecord.model_validate_json, value))
            except UnreadableError:
                unreadable.append(key)
    return RuntimePrices(tuple(records), tuple(unreadable))


def write_price(settings: Settings, record: PriceRecord) -> None:
    """Set the price and wait until Kafka has it. UnreachableError, and then nothing is known to have changed."""
    _run(settings, _send(settings, record.id, record.model_dump_json().encode()))


def remove_price(settings: Settings, price_id: str) -> None:
    """Take the price away and wait until Kafka has it. UnreachableError, as for `write_price`."""
    _run(settings, _send(settings, price_id, None))


async def _send(settings: Settings, price_id: str, value: bytes | None) -> None:
    topic = settings.topic(Topic.CONTROL)
    # A producer would wait for a topic that is missing until its time is up, and then blame the broker.
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        if topic not in await admin.list_topics():
            raise UnknownTopicOrPartitionError
    finally:
        await admin.close()
    producer = AIOKafkaProducer(**client_options(settings), acks="all", enable_idempotence=True)
    await producer.start()
    try:
        await producer.send_and_wait(topic, value, key=f"{PRICE_KEY_PREFIX}{price_id}".encode())
    finally:
        await producer.stop()


def _run(settings: Settings, work: Coroutine[Any, Any, T]) -> T:
    # aiokafka would log each attempt at a broker that is down; the error says it in one sentence.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

    async def bounded() -> T:
        async with reaching_kafka(settings), asyncio.timeout(REACH_SECONDS_MAX):
            return await work

    return asyncio.run(bounded())
