"""The whole console as a process, with what wears a server out, and a thousand streams: others are served meanwhile."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from tests.support.console import bearer
from tests.support.console_process import ConsoleProcess, console_process, token_of
from tests.waiting import eventually

from tollgate.console.streams import STREAMS_MAX, STREAMS_OF_A_CALLER_MAX
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


def head(console: ConsoleProcess, line: str, *more: str, token: str = "") -> bytes:
    lines = [line, "Host: 127.0.0.1", f"Authorization: Bearer {token or console.tokens[Role.ADMIN]}", *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def port_of(console: ConsoleProcess) -> int:
    port = urlsplit(console.address).port
    assert port is not None
    return port


@contextlib.asynccontextmanager
async def worn_out(console: ConsoleProcess) -> AsyncIterator[None]:
    """A thousand connections that say nothing, bodies that stop, heads that do not end, and 10 MB that nobody wants."""
    port = port_of(console)
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
    process = psutil.Process(console.pid)
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


class Answered(NamedTuple):
    """The beginning of an answer to `GET /stream`: 200 with its first frame, or a problem and how long to wait."""

    status: int
    retry_after: str
    body: str
    writer: asyncio.StreamWriter


async def open_stream(console: ConsoleProcess, user: str) -> Answered:
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(console))
    writer.write(head(console, "GET /api/v1/stream HTTP/1.1", token=token_of(Role.VIEWER, user)))
    async with asyncio.timeout(60):
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        is_open = "content-length" not in headers
        body = await (reader.readuntil(b"\n\n") if is_open else reader.readexactly(int(headers["content-length"])))
    return Answered(int(status.split()[1]), headers.get("retry-after", ""), body.decode(), writer)


async def open_streams(console: ConsoleProcess, users: Sequence[str]) -> list[Answered]:
    """One stream of each of these users, fifty at a time."""
    turn = asyncio.Semaphore(SLOW)

    async def one(user: str) -> Answered:
        async with turn:
            return await open_stream(console, user)

    return await asyncio.gather(*(one(user) for user in users))


async def test_of_a_thousand_streams_the_bounded_ones_are_open_and_others_are_served(console: ConsoleProcess) -> None:
    process = psutil.Process(console.pid)
    async with httpx.AsyncClient(base_url=console.address, headers=bearer(console.tokens[Role.ADMIN])) as client:
        assert (await client.get("/api/v1/flags")).status_code == 200
        files_before, bytes_before = process.num_fds(), process.memory_info().rss
        # Twenty streams of one caller, and then twenty of each of forty-nine others.
        greedy = await open_streams(console, ["greedy"] * 20)
        others = await open_streams(console, [f"u{n}" for n in range(49)] * 20)
        opened = [one for one in (*greedy, *others) if one.status == 200]
        refused = [one for one in (*greedy, *others) if one.status != 200]
        assert (len(greedy) + len(others), len(opened), len(refused)) == (IDLE, STREAMS_MAX, IDLE - STREAMS_MAX)
        assert sum(one.status == 200 for one in greedy) == STREAMS_OF_A_CALLER_MAX
        assert all("event: spend" in one.body for one in opened)
        assert {(one.status, one.retry_after) for one in refused} == {(503, "5")}
        told = {one.body.partition('"detail":"')[2].partition('"')[0] for one in refused}
        assert told == {"At most 12 streams at once. Close another one first.", "Too many streams are open."}
        took = []
        for _ in range(ASKED):
            began = time.monotonic()
            assert (await client.get("/api/v1/budgets", timeout=60)).status_code == 200
            took.append(time.monotonic() - began)
        grown = process.memory_info().rss - bytes_before
        print(f"an answer beside {len(opened)} streams: slowest {max(took):.3f} s; memory grew by {grown >> 20} MiB")
        assert sorted(took)[ASKED * 95 // 100] < SECONDS_MAX
        assert process.memory_info().rss < BYTES_MAX
        for one in (*opened, *refused):
            one.writer.close()

        async def is_given_back() -> bool:
            return process.num_fds() <= files_before

        await eventually(is_given_back, 30, "the end of the connections")
        again = await open_streams(console, ["greedy"] * STREAMS_OF_A_CALLER_MAX)
        assert [one.status for one in again] == [200] * STREAMS_OF_A_CALLER_MAX
        for one in again:
            one.writer.close()
