"""The console behind a real socket: connections that send nothing, heads without an end, bodies that are refused."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from tests.support.console import ConsoleUnderTest, make_token
from tests.support.probe_room import probe_room
from tests.waiting import eventually

from tollgate.console.server import bounded_protocol, server_config
from tollgate.schemas.tokens import Role

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def served(connections_max: int = 500, request_seconds_max: float = 10) -> AsyncIterator[tuple[int, str]]:
    """The port of a console and an admin's token."""
    made = ConsoleUnderTest([probe_room()])
    token = await make_token(made.control, Role.ADMIN)
    protocol = bounded_protocol(connections_max, request_seconds_max)
    server = uvicorn.Server(server_config(made.app, made.settings, port=0, http=protocol))
    running = asyncio.create_task(server.serve())
    await eventually(lambda: asyncio.sleep(0, server.started), what="the start of the server")
    try:
        yield server.servers[0].sockets[0].getsockname()[1], token
    finally:
        server.should_exit = True
        await running


async def connect(port: int) -> Connection:
    return await asyncio.open_connection("127.0.0.1", port)


def get(token: str, *more: str, path: str = "/api/v1/who") -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {token}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def head(connection: Connection) -> str:
    """The head of the next answer."""
    return (await asyncio.wait_for(connection[0].readuntil(b"\r\n\r\n"), 10)).decode()


async def is_closed(connection: Connection, seconds: float = 10) -> bool:
    """Whether the other side ends the connection within the time."""
    try:
        return await asyncio.wait_for(connection[0].read(), seconds) is not None
    except ConnectionError:
        return True


async def test_a_connection_that_sends_nothing_is_closed() -> None:
    async with served(request_seconds_max=0.2) as (port, _):
        began = time.monotonic()
        assert await is_closed(await connect(port))
        assert time.monotonic() - began < 5


async def test_a_head_that_comes_byte_by_byte_is_given_up() -> None:
    async with served(request_seconds_max=0.3) as (port, token):
        connection = await connect(port)

        async def drip() -> None:
            for byte in get(token):
                connection[1].write(bytes([byte]))
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        try:
            assert await is_closed(connection)
            assert not dripping.done()
        finally:
            dripping.cancel()


async def test_a_connection_is_used_again_and_then_closed_when_idle() -> None:
    async with served(request_seconds_max=0.3) as (port, token):
        connection = await connect(port)
        for _ in range(3):
            connection[1].write(get(token))
            answer = await head(connection)
            assert answer.startswith("HTTP/1.1 200")
            length = int(answer.lower().partition("content-length: ")[2].partition("\r\n")[0])
            await connection[0].readexactly(length)
        assert await is_closed(connection)


async def test_a_thousand_idle_connections_keep_nobody_out() -> None:
    async with served(connections_max=100) as (port, token):
        idle = [await connect(port) for _ in range(1000)]
        connection = await connect(port)
        connection[1].write(get(token))
        assert (await head(connection)).startswith("HTTP/1.1 200")
        closed = [c for c in idle if c[0].at_eof() or c[0].exception() is not None]
        assert len(closed) >= 900
        for _, writer in [*idle, connection]:
            writer.close()


async def test_when_all_connections_are_busy_a_new_one_is_told_to_wait() -> None:
    async with served(connections_max=10) as (port, token):
        busy = [await connect(port) for _ in range(10)]
        for connection in busy:
            connection[1].write(get(token, path="/api/v1/endless"))
        for connection in busy:
            assert (await head(connection)).startswith("HTTP/1.1 200")
        refused = await connect(port)
        answer = await head(refused)
        assert answer.startswith("HTTP/1.1 503")
        assert "Retry-After: 1" in answer
        told = json.loads(await asyncio.wait_for(refused[0].read(), 10))
        assert (told["status"], told["error"]) == (503, "too_many_connections")
        assert told["detail"] == "Too many connections are open, and none of them is idle. Try again in a second."
        busy[0][1].close()
        await is_served_again(port, token)
        for _, writer in busy:
            writer.close()


async def is_served_again(port: int, token: str) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        connection = await connect(port)
        connection[1].write(get(token))
        answer = await head(connection)
        connection[1].close()
        if answer.startswith("HTTP/1.1 200"):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("nobody was served after a place had become free")


async def test_ten_thousand_headers_are_refused() -> None:
    async with served() as (port, token):
        connection = await connect(port)
        connection[1].write(get(token, *(f"x-{number}: 1" for number in range(10_000))))
        answer = await head(connection)
        assert answer.startswith("HTTP/1.1 431"), answer
        assert "application/problem+json" in answer


async def test_a_head_without_an_end_is_refused() -> None:
    async with served() as (port, _):
        connection = await connect(port)
        connection[1].write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nx: " + b"y" * 100_000)
        assert (await head(connection)).startswith("HTTP/1.1 431")
        assert await is_closed(connection)


async def test_what_is_no_http_is_refused() -> None:
    table: list[bytes] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost : b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\x00b\r\n\r\n",
        b"GET /\x7f HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1, 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nTransfer-Encoding: gzip\r\n\r\n",
    ]
    async with served() as (port, _):
        for sent in table:
            connection = await connect(port)
            connection[1].write(sent)
            answer = await head(connection)
            assert answer.startswith(("HTTP/1.1 400", "HTTP/1.1 501")), (sent, answer)


async def test_a_body_that_is_too_large_is_refused_before_it_has_come() -> None:
    async with served(request_seconds_max=1) as (port, token):
        connection = await connect(port)
        length = "Content-Length: 10000000"
        connection[1].write(get(token, length, path="/api/v1/echo").replace(b"GET", b"POST", 1))
        answer = await head(connection)
        assert answer.startswith("HTTP/1.1 413")
        # What comes all the same is thrown away, for a while.
        connection[1].write(b"x" * 1_000_000)
        assert await is_closed(connection)


async def test_the_server_does_not_say_what_it_is() -> None:
    async with served() as (port, token):
        connection = await connect(port)
        connection[1].write(get(token))
        assert "server:" not in (await head(connection)).lower()


def test_requests_of_proxies_are_not_believed_by_the_server() -> None:
    made: Any = ConsoleUnderTest([probe_room()])
    assert server_config(made.app, made.settings).proxy_headers is False
