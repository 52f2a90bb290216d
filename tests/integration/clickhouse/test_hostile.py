"""Records of other people on topics that the sink reads: it keeps them as dead letters and goes on."""

import asyncio
from hashlib import sha256

import pytest
from aiokafka import AIOKafkaProducer
from tests.integration.clickhouse.stream import Outgoing, everything_committed, priced, publish, query, shows, sink
from tests.property.hostile_records import hostile_wholes

from tollgate.runtime.kafka import client_options
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import LETTER_BYTES_MAX, Topic

pytestmark = pytest.mark.integration

LARGE = 100 << 20


def producing(settings: Settings, compression: str | None = None) -> AIOKafkaProducer:
    """A producer of records of any size."""
    sizes = {"max_request_size": 2 * LARGE, "max_batch_size": 2 * LARGE}
    return AIOKafkaProducer(**client_options(settings), compression_type=compression, **sizes)


async def send(
    settings: Settings, topic: Topic, value: bytes, key: bytes = b"budget/x", stamp_ms: int | None = None
) -> None:
    """One record, compressed."""
    async with producing(settings, "gzip") as producer:
        await producer.send_and_wait(settings.topic(topic), value, key=key, partition=0, timestamp_ms=stamp_ms)


async def test_hostile_values_of_every_topic_become_dead_letters_and_good_rows_go_on(tables: Settings) -> None:
    hostile = [
        Outgoing(topic, key, value)
        for value in hostile_wholes()
        if value is not None and len(value) < 500_000
        for topic, key in (
            (Topic.PRICED, b"u-1"), (Topic.SPEND, b"global|hour|x"), (Topic.FLAGS, b"\xff\xfe"),
            (Topic.ALERTS, b"\x1b"), (Topic.CONTROL, b"budget/\xff"), (Topic.CONTROL, b"price/x"),
            (Topic.AUDIT, b"budget/x"), (Topic.DECISIONS, b"\xff"), (Topic.BALANCES, b"u-1"), (Topic.ENTRIES, b"u-1"),
            (Topic.CONTROL, b"plan/\xff"), (Topic.CONTROL, b"assignment/user/\xff"), (Topic.METERS, b"0|x"),
        )
    ]  # fmt: skip
    async with sink(tables) as task:
        await publish(tables, *hostile, priced(1))
        await everything_committed(tables, 120)
        await publish(tables, priced(2))
        await shows(tables, "SELECT count() FROM usage WHERE source = 'chat-api'", [(2,)])
        assert not task.done()
    (kept,) = query(tables, "SELECT count() FROM dead_letters WHERE reason = 'sink_rejected'")
    assert kept[0] > len(hostile) // 2


async def test_a_dead_letter_of_the_largest_size_and_with_strange_headers_is_kept(tables: Settings) -> None:
    value = b"\xff\0\t\n\\" * (LETTER_BYTES_MAX // 5 - 1000)
    strange = [
        ("reason", b"not_json"), ("error", b"\xff" * 3), ("time", b"2026-11-21T10:00:00Z"), ("source_topic", b"\xfe"),
        ("source_partition", b"9" * 30), ("source_offset", b"-1"), ("ce_id", b"\xff\x1b"), ("", b""),
    ]  # fmt: skip
    async with sink(tables):
        async with producing(tables) as producer:
            topic = tables.topic(Topic.DEAD_LETTERS)
            await producer.send_and_wait(topic, value, key=b"\xff\0key", partition=0, headers=strange)
            # No time, an impossible one, and one that would be a line of its own.
            for time in (b"", b"\xff", b"2026-13-45", b"0000-00-00T00:00:00Z", b"x\ty\nz"):
                await producer.send_and_wait(topic, time, key=b"k", partition=0, headers=[("time", time)])
        found = "SELECT length(value), hex(SHA256(value)), hex(key), reason, source_partition FROM dead_letters"
        digest = sha256(value).hexdigest().upper()
        await shows(
            tables,
            f"{found} WHERE dead_letter_offset = 0",
            [(len(value), digest, b"\xff\0key".hex().upper(), "not_json", -1)],
        )
        await shows(tables, "SELECT count() FROM dead_letters", [(6,)])


async def test_a_record_that_unpacks_to_100_mib_is_cut_and_one_of_any_time_is_kept(tables: Settings) -> None:
    async with sink(tables) as task:
        await send(tables, Topic.CONTROL, b"x" * LARGE)
        stamps = (0, 1, 1_000_000_000_000)
        await asyncio.gather(*(send(tables, Topic.CONTROL, b"{", b"price/x", stamp) for stamp in stamps))
        await shows(
            tables,
            "SELECT length(value), error LIKE '%of 104857600 bytes of value at most%' FROM dead_letters"
            " ORDER BY 1 DESC LIMIT 1",
            [(LETTER_BYTES_MAX, 1)],
            60,
        )
        await shows(tables, "SELECT count() FROM dead_letters", [(1 + len(stamps),)])
        assert not task.done()
