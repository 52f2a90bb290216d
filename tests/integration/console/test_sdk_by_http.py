"""A client without Kafka: what it checks and reserves goes by a console with a real broker behind it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvicorn
from tests.integration.cli.decider import Decider
from tests.integration.console.conftest import write
from tests.support.console import ConsoleUnderTest, make_token
from tests.support.live_records import flag_record
from tests.waiting import eventually

from tollgate.console.api import budgets, flags, reservations, stream, usage
from tollgate.console.deciding import Deciding
from tollgate.console.ingest import Ingest
from tollgate.console.live import Live
from tollgate.console.server import server_config
from tollgate.control import ControlStore
from tollgate.runtime.kafka import read_to_end
from tollgate.runtime.settings import Settings
from tollgate.schemas.entries import ReleaseEntry
from tollgate.schemas.tokens import Role
from tollgate.schemas.topics import Topic
from tollgate.sdk import AsyncTollgate, BlockedError, UndecidedError
from tollgate.sdk.http_api import HttpApi

pytestmark = pytest.mark.integration

Connect = Callable[..., Awaitable[AsyncTollgate]]


@pytest.fixture
async def connect(settings: Settings, live: Live, control: ControlStore, tmp_path: Path) -> AsyncIterator[Connect]:
    """Makes clients of a console on a socket."""
    ingest = Ingest(settings)
    deciding = Deciding(settings, ingest)

    async def is_ready() -> bool:
        return deciding._reads and await ingest.is_ready()

    await ingest.start()
    await deciding.start()
    await eventually(is_ready)
    parts = SimpleNamespace(ingest=ingest, deciding=deciding, live=live)
    rooms = [stream.ROOM, flags.ROOM, budgets.ROOM, reservations.ROOM, usage.ROOM]
    made = ConsoleUnderTest(rooms, control, parts=parts)
    server = uvicorn.Server(server_config(made.app, made.settings, port=0))
    running = asyncio.create_task(server.serve())
    await eventually(lambda: asyncio.sleep(0, server.started), what="the start of the server")
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    clients: list[AsyncTollgate] = []

    async def connect(token: str | None = None, **options: object) -> AsyncTollgate:
        token = token or await make_token(control, Role.SERVICE)
        given = {"source": "chat-api", "spool_dir": tmp_path / "spool"} | options
        client = AsyncTollgate(url=url, token=token, **given)  # type: ignore[arg-type]
        clients.append(client)
        return client

    yield connect
    for client in clients:
        await client.close()
    await deciding.stop()
    await ingest.stop()
    server.should_exit = True
    await running


async def test_flags_are_followed_also_more_than_a_frame_holds(settings: Settings, connect: Connect) -> None:
    names = [f"user/u{number:04d}" for number in range(620)]
    await write(settings, Topic.FLAGS, [(name.encode(), flag_record(name)) for name in names], 3)
    excepting = flag_record("org/acme", **{"except": ["provider/groq"]})  # type: ignore[arg-type]
    await write(settings, Topic.FLAGS, [(b"org/acme", excepting)], 4)
    toll = await connect()
    assert toll.knowledge_age_ms is None

    async def is_known() -> bool:
        blocked = [not toll.check(user=name.removeprefix("user/")).allowed for name in names]
        return all(blocked) and toll.knowledge_age_ms is not None

    await eventually(is_known)
    decision = toll.check(user="u0007")
    assert (decision.http_status, decision.error, decision.scope) == (429, "usage_limit_exceeded", "user/u0007")
    assert (decision.budget, decision.limit, decision.spent) == ("user/*:month:usd", "100", "104.2")
    assert decision.knowledge_age_ms is not None
    assert decision.knowledge_age_ms < 30_000
    assert not toll.check(user="new", org="acme", provider="openai").allowed
    assert toll.check(user="new", org="acme", provider="groq").allowed
    assert toll.check(user="new").allowed
    await write(settings, Topic.FLAGS, [(b"user/u0007", flag_record("user/u0007", "ok", 2))], 3)
    await write(settings, Topic.FLAGS, [(b"user/new", flag_record("user/new"))], 4)

    async def has_changed() -> bool:
        return toll.check(user="u0007").allowed and not toll.check(user="new").allowed

    await eventually(has_changed)


async def test_a_stream_has_what_was_asked_for_and_a_service_may_read(connect: Connect, control: ControlStore) -> None:
    url = (await connect())._engine.settings.url
    assert url is not None

    async def first_kinds(role: Role, query: str) -> list[str]:
        api = HttpApi(url, await make_token(control, role))
        kinds = []
        try:
            async for kind, _ in api.frames(f"/stream{query}", 10):
                kinds.append(kind)
                if kind == "heartbeat":
                    return kinds
        finally:
            await api.close()
        raise AssertionError("the stream has ended")

    assert await first_kinds(Role.SERVICE, "") == ["flag", "budget", "heartbeat"]
    assert await first_kinds(Role.SERVICE, "?kinds=spend&kinds=flag") == ["flag", "heartbeat"]
    assert await first_kinds(Role.VIEWER, "?kinds=spend") == ["spend", "heartbeat"]
    assert await first_kinds(Role.VIEWER, "") == ["spend", "flag", "alert", "budget", "heartbeat"]


async def test_a_client_that_may_not_read_limits_decides_as_it_was_told(
    settings: Settings, connect: Connect, control: ControlStore
) -> None:
    budget = {"id": "b1", "scope": "user/*+feature/video", "limit": "1", "fail": "closed"}
    await control.change("budget/b1", budget, actor="test", expect_version=0)
    toll = await connect(knowledge_seconds_max=0.0)

    async def is_closed() -> bool:
        return toll.check(user="u1", feature="video").error == "limits_unknown"

    await eventually(is_closed)
    assert toll.check(user="u1", feature="chat").allowed
    stranger = await connect("no-token", when_unknown="closed")
    assert stranger.check(user="u1").http_status == 503
    with pytest.raises(UndecidedError, match="the console answers 401: give token=… of the role `service`"):
        async with stranger.reserve(user="u1", usd="0.10"):
            pytest.fail("the call went ahead")


async def test_reservations_and_slices_are_granted_settled_released_and_denied(
    settings: Settings, connect: Connect
) -> None:
    toll = await connect()
    async with Decider(settings) as decider:
        async with toll.reserve(user="u1", usd="0.40", model="gpt-4o", id="r/1") as held:
            assert held.granted
            async with toll.reserve(user="u1", usd="0.60", id="r-2"):
                with pytest.raises(BlockedError) as caught:
                    await toll.reserve(user="u1", usd="0.01").__aenter__()
            error = caught.value
            assert (error.http_status, error.error, error.scope) == (429, "usage_limit_exceeded", "user/u1")
            assert (error.limit, error.available, str(error)) == ("1", "0", "user/u1 has 0 usd left this month.")
            await held.settle(usage={"output_tokens": 7}, cost_usd="0.3")

        async def is_settled() -> bool:
            return decider.open == {} and decider.spent.get("u1") == Decimal("0.3")

        await eventually(is_settled)
        for _ in range(30):
            async with toll.reserve(user="u1", usd="0.01", slice=True, provider="openai", model="m") as held:
                await held.settle(usage={}, cost_usd="0.01")
        assert await toll.flush()
        await toll.close()

        async def is_given_back() -> bool:
            return decider.open == {} and decider.spent.get("u1") == Decimal("0.6")

        await eventually(is_given_back)
        assert decider.ids(ReleaseEntry)
    records = [json.loads(record.value) async for record in read_to_end(settings, settings.topic(Topic.USAGE))]
    asked = [one["data"]["amount_usd"] for one in records if one["type"] == "tollgate.reservation.v1"]
    # Thirty calls in a few slices.
    assert len(asked) < 3 + 15
