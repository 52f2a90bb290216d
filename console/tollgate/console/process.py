"""The process `tollgate console`: makes the parts, serves the rooms until SIGTERM, and stops in order."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator
from typing import Final

import structlog
import uvicorn

from tollgate.console.access.gate import Access
from tollgate.console.app import create_app
from tollgate.console.deciding import Deciding
from tollgate.console.health import Health
from tollgate.console.ingest import Ingest
from tollgate.console.live import Live
from tollgate.console.numbers import Numbers
from tollgate.console.pages import error_pages, rendering
from tollgate.console.parts import Parts
from tollgate.console.price_books import PriceBooks
from tollgate.console.rooms import ROOMS
from tollgate.console.server import server_config
from tollgate.console.sums import Sums
from tollgate.control import ControlStore
from tollgate.runtime.kafka import wait_for_topics
from tollgate.runtime.logs import configure_logs
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic

log = structlog.get_logger("tollgate.console")

EXIT_USAGE = 2

_TOPICS: Final = (
    Topic.CONTROL,
    Topic.AUDIT,
    Topic.FLAGS,
    Topic.SPEND,
    Topic.ALERTS,
    Topic.USAGE,
    Topic.ENTRIES,
    Topic.DECISIONS,
    Topic.BALANCES,
)


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. While Kafka or its topics are missing at the start, wait and log that."""
    configure_logs(settings.log_level, settings.log_format)
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.run(_serve(settings))
    status: int = uvloop.run(_serve(settings))
    return status


class _Server(uvicorn.Server):
    """uvicorn waits for open answers when it stops; a stream never ends by itself."""

    def __init__(self, config: uvicorn.Config, live: Live) -> None:
        super().__init__(config)
        self._live = live

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then the rest."""
        self._live.end_streams()
        await super().shutdown(sockets)


def _collect_less() -> None:
    """Keep the garbage collector away from what stays for as long as the process: 150,000 objects of routes and models.

    A full collection of them took 80 ms, in which nobody was answered.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


async def _serve(settings: Settings) -> int:
    await wait_for_topics(settings, _TOPICS)
    async with _started(settings) as parts:
        app = create_app(parts, ROOMS, error_pages.page)
        server = _Server(server_config(app, settings), parts.live)
        rendering.compile_all()
        _collect_less()
        try:
            await server.serve()
        except SystemExit:
            # uvicorn's own way to say that the port is taken.
            log.error("the console cannot listen", host=settings.console_host, port=settings.console_port)
            return EXIT_USAGE
    return 0


@contextlib.asynccontextmanager
async def _started(settings: Settings) -> AsyncIterator[Parts]:
    """The parts, started one after the other and stopped in reverse."""
    async with contextlib.AsyncExitStack() as stack:
        control = ControlStore(settings)
        live = Live(settings, control)
        numbers = Numbers(settings)
        ingest = Ingest(settings)
        deciding = Deciding(settings, ingest)
        for part in (control, live, numbers, ingest, deciding):
            stack.push_async_callback(part.stop)
            await part.start()
        yield Parts(
            settings,
            control,
            live,
            numbers,
            Access(settings, control),
            ingest,
            deciding,
            Sums(live, numbers),
            Health(settings, numbers),
            PriceBooks(settings, control),
        )
