"""A reader of the ledger's log on a real Kafka, where a transaction stays open."""

import asyncio
import uuid

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from structlog.testing import capture_logs
from tests.waiting import eventually

from tollgate.ledger import kafka_log
from tollgate.ledger.kafka_log import KafkaLog


async def test_a_reader_says_which_transaction_it_waits_for_too_long(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_log, "_HANGING_SECONDS", 0.1)
    topic = f"reader-{uuid.uuid4().hex[:10]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    log = KafkaLog({"bootstrap_servers": kafka})
    writer = await log.writer(topic)
    for value in (b"committed", b"open"):
        await writer.begin()
        await asyncio.gather(*await writer.send(topic, 0, [(None, value, [])]))
        if value == b"committed":
            await writer.commit()
    with capture_logs() as said:
        async with log.reader() as reader:
            end = asyncio.ensure_future(reader.end(topic, 0))
            await eventually(lambda: asyncio.sleep(0, said), what="a warning")
            await writer.commit()
            assert await end == 4
    await writer.close()
    where = {key: said[0][key] for key in ("log_level", "topic", "partition", "open_at_offset")}
    assert where == {"log_level": "warning", "topic": topic, "partition": 0, "open_at_offset": 2}
