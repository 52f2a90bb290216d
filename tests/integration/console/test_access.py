"""Logging in and out with several processes on a real broker."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from tests.support.console import ConsoleUnderTest, bearer, make_token
from tests.support.probe_room import probe_room
from tests.waiting import eventually

from tollgate.console.access.login import ROOM as LOGIN
from tollgate.console.api.tokens import ROOM as TOKENS
from tollgate.control import ControlStore
from tollgate.runtime.settings import Settings
from tollgate.schemas.tokens import TOKEN_KEY_PREFIX, Role, TokenKind

pytestmark = pytest.mark.integration

WHO = "/api/v1/who"
ORIGIN = {"Origin": "http://127.0.0.1:8080"}
HOUR_MS = 3600 * 1000

Consoles = tuple[ConsoleUnderTest, ConsoleUnderTest]


@pytest.fixture
async def consoles(settings: Settings) -> AsyncIterator[Consoles]:
    """Two consoles of one installation, each with its own store, as two processes have."""
    stores = [ControlStore(settings) for _ in range(2)]
    for store in stores:
        await store.start()
    first, second = (ConsoleUnderTest([LOGIN, TOKENS, probe_room()], store) for store in stores)
    yield first, second
    for store in stores:
        await store.stop()


async def log_in(made: ConsoleUnderTest, code: str) -> httpx.AsyncClient | None:
    client = made.client()
    answer = await client.post("/login", data={"code": code}, headers=ORIGIN)
    assert answer.status_code in (303, 401)
    return client if answer.status_code == 303 else None


async def is_known(client: httpx.AsyncClient) -> bool:
    return (await client.get(WHO)).status_code == 200


async def test_a_login_link_that_is_used_in_two_processes_at_once_begins_one_session(consoles: Consoles) -> None:
    first, second = consoles
    for number in range(1, 6):
        code = await make_token(
            first.control, Role.ADMIN, kind=TokenKind.LOGIN, lifetime_ms=HOUR_MS, name=f"alice{number}"
        )
        # The second process may not have heard of it yet; it waits for a moment.
        clients = await asyncio.gather(*(log_in(made, code) for made in (first, second, first, second)))
        assert len([client for client in clients if client is not None]) == 1
        assert sessions_in(first.control) == number or sessions_in(second.control) == number

    async def both_know() -> bool:
        return sessions_in(first.control) == sessions_in(second.control) == 5

    await eventually(both_know, what="the sessions in both processes")


def sessions_in(control: ControlStore) -> int:
    return len([held for held in control.records(TOKEN_KEY_PREFIX) if held.value["kind"] == "session"])


async def test_a_logout_ends_the_session_in_the_other_process(consoles: Consoles) -> None:
    first, second = consoles
    code = await make_token(first.control, Role.VIEWER, kind=TokenKind.LOGIN, lifetime_ms=HOUR_MS, name="alice")
    client = await log_in(first, code)
    assert client is not None
    elsewhere = second.client(cookies=client.cookies)
    assert await is_known(elsewhere)
    assert (await client.post("/logout", headers=ORIGIN)).status_code == 303

    async def is_gone() -> bool:
        return not await is_known(elsewhere)

    await eventually(is_gone, 5, what="the end of the session")


async def test_a_token_that_was_made_a_moment_ago_is_known_in_the_other_process(consoles: Consoles) -> None:
    first, second = consoles
    admin = first.client(headers=bearer(await make_token(first.control, Role.ADMIN)))
    made = (await admin.post("/api/v1/tokens", json={"role": "viewer"})).json()
    elsewhere = second.client(headers=bearer(made["token"]))
    assert await is_known(elsewhere)
    assert (await admin.delete(f"/api/v1/tokens/{made['id']}")).status_code == 204

    async def is_gone() -> bool:
        return not await is_known(elsewhere)

    await eventually(is_gone, 5, what="the end of the token")
