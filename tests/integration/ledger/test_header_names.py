"""A record whose header has a name that is no text stops nobody who reads the usage topic."""

import json
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from tests.support.cores import CORES
from tests.support.usage import event
from tests.support.worker import send, spent, working
from tests.waiting import eventually

from tollgate.ledger.core import Core
from tollgate.runtime.kafka import client_options, read_to_end
from tollgate.runtime.settings import Settings
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import Topic
from tollgate.verification import verify

pytestmark = pytest.mark.integration


class RawBatch:
    """What aiokafka's producer sends of a batch, with `@@` in names replaced by bytes that are no text."""

    def __init__(self, user: str, values: Sequence[bytes], name: str) -> None:
        builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, batch_size=1 << 20)
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        for number, value in enumerate(values):
            builder.append(number, now_ms, user.encode(), value, [("text", b"1"), (name, b"2")])
        self._bytes = bytearray(bytes(builder.build()).replace(b"@@", b"\xff\xfe"))
        self._count = len(values)

    def _build(self) -> bytes:
        # The producer does not look into it, so the sender has the checksum right.
        self._bytes[17:21] = struct.pack(">I", calc_crc32c(self._bytes[21:]))
        return bytes(self._bytes)

    def close(self) -> None:
        """Nothing can be appended anyway."""

    def closed(self) -> bool:
        return True

    def size(self) -> int:
        return len(self._bytes)

    def record_count(self) -> int:
        return self._count


async def send_raw(
    settings: Settings, user: str, values: Sequence[bytes], partition: int | None = None, name: str = "@@@@"
) -> None:
    """Publish them to the user's partition, or another."""
    home = partition_of(user.encode(), settings.usage_partitions) if partition is None else partition
    async with AIOKafkaProducer(**client_options(settings)) as producer:
        sent = await producer.send_batch(RawBatch(user, values, name), settings.topic(Topic.USAGE), partition=home)
        await sent


@pytest.mark.parametrize("core", CORES)
async def test_a_header_name_that_is_no_text_stops_nobody(settings: Settings, tmp_path: Path, core: Core) -> None:
    settings = settings.model_copy(update={"core": core})
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    events = [event(f"e{number}", "u1", time=now, data={"agent": "SEO"}) for number in range(9)]
    wire = [json.dumps(each).encode() for each in events]
    elsewhere = (partition_of(b"u1", settings.usage_partitions) + 1) % settings.usage_partitions

    async def counted() -> bool:
        return await spent(settings, "global") == ("0.0315", 9)

    with working(settings, tmp_path / "worker.log"):
        await send(settings, events[:2])
        await send_raw(settings, "u1", [*wire[2:5], wire[2]])
        # The headers of an event in CloudEvents' binary mode are kept with its dead letter.
        await send_raw(settings, "u1", [b"rubbish"], name="ce_@@")
        await send(settings, events[5:7])
        # Forwarded to its partition; the worker writes its headers anew.
        await send_raw(settings, "u1", wire[7:], elsewhere)
        # 9 events of 0.0035 USD, the repeat not among them.
        await eventually(counted, 60, "nine events")
        report = await verify(settings, 30, clickhouse=False, progress=lambda _what, _done, _total: None)
        assert {found.name: found.difference for found in report.checks if not found.ok} == {}
        assert (report.events, report.cost_usd) == (9, "0.0315")
    letters = [record async for record in read_to_end(settings, settings.topic(Topic.DEAD_LETTERS))]
    assert [(letter.value, dict(letter.headers)["ce_\ufffd\ufffd"]) for letter in letters] == [(b"rubbish", b"2")]
    read = [record async for record in read_to_end(settings, settings.topic(Topic.USAGE))]
    names = [tuple(name for name, _ in record.headers) for record in read]
    assert names.count(("text", "\ufffd\ufffd\ufffd\ufffd")) == 6
