"""`GET /stream` behind a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from tests.support.console import bearer, make_token
from tests.support.live_console import LiveConsole
from tests.waiting import eventually

from tollgate.console.live import stream as rules
from tollgate.console.server import server_config
from tollgate.console.streams import STREAMS_OF_A_CALLER_MAX
from tollgate.schemas.tokens import TOKEN_KEY_PREFIX, Role

STREAM = "/api/v1/stream"


@asynccontextmanager
async def served() -> AsyncIterator[tuple[LiveConsole, str]]:
    """A console and its address. It says goodbye to its streams when it stops, as the process does."""
    made = LiveConsole()
    server = uvicorn.Server(server_config(made.app, made.settings, port=0))
    running = asyncio.create_task(server.serve())
    await eventually(lambda: asyncio.sleep(0, server.started), what="the start of the server")
    try:
        yield made, f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        made.live.end_streams()
        server.should_exit = True
        await running


class Tab:
    """One open stream."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()

    async def next(self) -> tuple[str, Any]:
        """The next event's type and data."""
        event, data = "", None
        while line := await asyncio.wait_for(anext(self._lines), 10):
            name, _, value = line.partition(": ")
            if name == "event":
                event = value
            elif name == "data":
                data = json.loads(value)
        return event, data

    async def until(self, event: str) -> Any:
        """The data of the next event of this type."""
        while True:
            found, data = await self.next()
            if found == event:
                return data


@asynccontextmanager
async def tab(address: str, token: str, **headers: str) -> AsyncIterator[Tab]:
    async with (
        httpx.AsyncClient(headers=bearer(token) | headers) as client,
        client.stream("GET", address + STREAM) as answer,
    ):
        yield Tab(answer)


async def test_a_tab_is_sent_a_snapshot_and_then_what_changes() -> None:
    async with served() as (console, address):
        console.flag("user/u1")
        async with tab(address, await make_token(console.control, Role.VIEWER)) as opened:
            assert opened.answer.headers["content-type"].startswith("text/event-stream")
            assert opened.answer.headers["cache-control"] == "no-store"
            assert [item["scope"] for item in (await opened.until("flag"))["items"]] == ["user/u1"]
            beat = await opened.until("heartbeat")
            assert beat["as_of"]["flags"] is None
            assert "flags" in beat["stale"]
            console.flag("user/u2")
            found = await opened.until("flag")
            assert (found["snapshot"], [item["scope"] for item in found["items"]]) == (False, ["user/u2"])


async def test_a_reconnect_begins_with_a_snapshot_whatever_was_seen() -> None:
    async with served() as (console, address):
        console.flag("user/u1")
        token = await make_token(console.control, Role.VIEWER)
        for _ in range(2):
            async with tab(address, token, **{"Last-Event-ID": "999999"}) as opened:
                found = await opened.until("flag")
                assert (found["snapshot"], len(found["items"])) == (True, 1)
        await eventually(lambda: asyncio.sleep(0, console.live.streams == 0), what="the end of both streams")


async def test_a_stop_of_the_process_ends_each_stream_with_bye() -> None:
    async with (
        served() as (console, address),
        tab(address, await make_token(console.control, Role.USER, user="u1")) as opened,
    ):
        await opened.until("heartbeat")
        console.live.end_streams()
        assert await opened.until("bye") == {}
        with pytest.raises(StopAsyncIteration):
            await opened.next()


async def test_a_stream_ends_with_bye_when_its_token_is_revoked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "HEARTBEAT_SECONDS", 0.1)
    async with served() as (console, address):
        token = await make_token(console.control, Role.VIEWER)
        async with tab(address, token) as opened:
            await opened.until("heartbeat")
            (held,) = console.control.records(TOKEN_KEY_PREFIX)
            await console.control.change(held.key, None, actor="test")
            console.flag("user/secret")
            seen: list[str] = []
            while not seen or seen[-1] != "bye":
                seen.append((await opened.next())[0])
            assert "flag" not in seen


async def test_a_caller_has_a_bounded_number_of_streams() -> None:
    async with served() as (console, address):
        token = await make_token(console.control, Role.VIEWER)
        async with httpx.AsyncClient(headers=bearer(token)) as client:
            opened = [
                await client.send(client.build_request("GET", address + STREAM), stream=True)
                for _ in range(STREAMS_OF_A_CALLER_MAX)
            ]
            assert {answer.status_code for answer in opened} == {200}
            refused = await client.get(address + STREAM)
            assert (refused.status_code, refused.json()["error"]) == (503, "too_many_streams")
            for answer in opened:
                await answer.aclose()


async def test_services_have_no_stream() -> None:
    console = LiveConsole()
    client = await console.as_role(Role.SERVICE)
    assert (await client.get(STREAM)).status_code == 403
