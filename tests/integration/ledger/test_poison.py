"""A record that ends a real worker whenever it is counted: three times, and then it is put aside."""

import asyncio
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from tests.integration.ledger.test_worker import events, now
from tests.support.usage import event
from tests.support.worker import latest, send, spent, start_worker, working
from tests.waiting import eventually

from tollgate.runtime.kafka import client_options, read_to_end
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic

pytestmark = pytest.mark.integration

EXIT_FATAL = 70


async def limit_priced(settings: Settings, size: int) -> None:
    """As on a cluster whose administrator allows only small records."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        limit = {"max.message.bytes": str(size)}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, settings.topic(Topic.PRICED), limit)])
    finally:
        await admin.close()


async def test_a_record_that_cannot_be_counted_ends_the_worker_three_times_and_is_put_aside(
    settings: Settings, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"data_dir": tmp_path})
    log = tmp_path / "worker.log"
    await limit_priced(settings, 3_000)
    large = event("large", "user-0", time=now(), data={"metadata": {"note": "x" * 10_000}})
    await send(settings, [*events(1, "before", 1), large, *events(1, "after", 1)])
    endings = 0
    while endings < 3:
        process = start_worker(settings, log)
        assert await asyncio.to_thread(process.wait, 60) == EXIT_FATAL
        endings += 1
    with working(settings, log):

        async def there() -> bool:
            return await spent(settings, "user/user-0") == ("0.007", 2)

        await eventually(there, 60, "the two other events")
    letters = [record async for record in read_to_end(settings, settings.topic(Topic.DEAD_LETTERS))]
    ((headers, value),) = [(dict(record.headers), record.value) for record in letters]
    assert headers["reason"] == b"poison"
    assert b"3 times in a row (MessageSizeTooLargeError)" in headers["error"]
    assert b'"large"' in value
    (alert,) = [a for a in (await latest(settings, Topic.ALERTS)).values() if a["kind"] == "poison"]
    assert alert["level"] == "critical"
    text = log.read_text()
    assert "its largest record" in text
    assert "put aside without being counted" in text
    assert "xxxx" not in text
