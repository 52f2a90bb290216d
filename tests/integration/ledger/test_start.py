"""A worker that starts while Kafka comes and goes waits for it, whatever step of its start it is at."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.usage import event
from tests.support.worker import send, spent, working
from tests.waiting import eventually

from tollgate.runtime.settings import Settings

pytestmark = pytest.mark.integration


@contextlib.asynccontextmanager
async def relay(address: str, shut: range) -> AsyncIterator[tuple[str, list[int]]]:
    """A way to Kafka that shuts out the connections with these numbers; its address, and how many came."""
    host, _, port = address.rpartition(":")
    came = [0]
    open_ends: set[asyncio.StreamWriter] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while some := await reader.read(1 << 16):
                writer.write(some)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came[0] += 1
        if came[0] in shut:
            writer.close()
            return
        there, back = await asyncio.open_connection(host, int(port))
        open_ends.update((writer, back))
        await asyncio.gather(copy(reader, back), copy(there, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", came
    finally:
        server.close()
        for end in open_ends:
            end.close()


async def test_a_worker_waits_when_kafka_goes_away_after_the_topics_were_found(
    settings: Settings, tmp_path: Path
) -> None:
    log = tmp_path / "worker.log"
    # The first connection finds the topics; the next ones would compare them.
    async with relay(settings.kafka_bootstrap_servers, range(2, 4)) as (address, came):
        here = settings.model_copy(update={"kafka_bootstrap_servers": address})
        with working(here, log) as worker:
            await send(settings, [event("e1", time=datetime.now(UTC).isoformat(timespec="milliseconds"))])

            async def counted() -> bool:
                assert worker.poll() is None, log.read_text()[-3000:]
                return await spent(settings, "user/u1") == ("0.0035", 1)

            await eventually(counted, 60)
    said = log.read_text()
    assert came[0] > 3
    assert said.count("waiting for Kafka") == 2
    assert "topics are missing" not in said
    assert "Traceback" not in said
