"""The whole console as a process, with everything at once that wears a server out: the others are served meanwhile."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from tests.support.console import bearer
from tests.support.console_process import ConsoleProcess, console_process
from tests.waiting import eventually

from tollgate.runtime.settings import Settings
from tollgate.schemas.tokens import Role

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]

IDLE: Final = 1000
SLOW: Final = 50
ASKED: Final = 100
# Generous, for a machine that does much else: nobody waits for what another one does not send.
SECONDS_MAX: Final = 5.0
# What a console takes with nothing held, and all that it may hold at once: 125 MiB of bodies.
BYTES_MAX: Final = 400 << 20


@pytest.fixture
def console(settings: Settings, tmp_path: Path) -> Iterator[ConsoleProcess]:
    with console_process(
        settings, tmp_path, clickhouse_url="http://127.0.0.1:9", console_requests_per_minute="100000"
    ) as process:
        yield process


def head(console: ConsoleProcess, line: str, *more: str) -> bytes:
    lines = [line, "Host: 127.0.0.1", f"Authorization: Bearer {console.tokens[Role.ADMIN]}", *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


@contextlib.asynccontextmanager
async def worn_out(console: ConsoleProcess) -> AsyncIterator[None]:
    """A thousand connections that say nothing, bodies that stop, heads that do not end, and 10 MB that nobody wants."""
    port = urlsplit(console.address).port
    assert port is not None
    opened: list[Connection] = []

    async def begin(sent: bytes) -> None:
        connection = await asyncio.open_connection("127.0.0.1", port)
        opened.append(connection)
        connection[1].write(sent)

    for _ in range(IDLE):
        await begin(b"")
    for _ in range(SLOW):
        await begin(head(console, "POST /api/v1/usage HTTP/1.1", "Content-Length: 1000000") + b"[" + b" " * 70_000)
        await begin(head(console, "POST /api/v1/check HTTP/1.1", "Content-Length: 10000000") + b"x" * 100_000)
        await begin(head(console, "GET /api/v1/flags HTTP/1.1", *(f"X-{n}: 1" for n in range(10_000))))
        await begin(b"GET /api/v1/flags HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
    try:
        yield
    finally:
        for _, writer in opened:
            writer.close()


async def test_others_are_served_while_one_wears_the_console_out(console: ConsoleProcess) -> None:
    (process,) = [
        one
        for one in psutil.Process().children(recursive=True)
        if any(
            c.laddr.port == urlsplit(console.address).port for c in one.net_connections("tcp") if c.status == "LISTEN"
        )
    ]
    async with httpx.AsyncClient(base_url=console.address, headers=bearer(console.tokens[Role.ADMIN])) as client:
        assert (await client.get("/api/v1/flags")).status_code == 200
        async with worn_out(console):
            took = []
            for _ in range(ASKED):
                began = time.monotonic()
                checked = await client.post("/api/v1/check", json={"user": "u-7"}, timeout=60)
                read = await client.get("/api/v1/budgets", timeout=60)
                took.append(time.monotonic() - began)
                assert (checked.status_code, read.status_code) == (200, 200)
            took.sort()
            print(f"two answers while worn out: median {took[ASKED // 2]:.3f} s, slowest {took[-1]:.3f} s")
            assert took[ASKED * 95 // 100] < SECONDS_MAX
            assert process.memory_info().rss < BYTES_MAX

        async def is_quiet() -> bool:
            return len(process.net_connections("tcp")) < SLOW

        await eventually(is_quiet, 60, "the end of all that was left open")
        assert (await client.get("/api/v1/flags")).status_code == 200
