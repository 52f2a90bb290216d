"""The prices that were set at run time, read from the control topic."""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from tollgate.cli.services import reaching_kafka
from tollgate.runtime.interrupts import run
from tollgate.runtime.kafka import read_compacted
from tollgate.runtime.reaching import REACH_SECONDS_MAX
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


def _run(settings: Settings, work: Coroutine[Any, Any, T]) -> T:
    # aiokafka would log each attempt at a broker that is down; the error says it in one sentence.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

    async def bounded() -> T:
        async with reaching_kafka(settings), asyncio.timeout(REACH_SECONDS_MAX):
            return await work

    return run(bounded())
