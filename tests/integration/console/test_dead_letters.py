"""`POST /dead-letters/replay` on a real broker, and the worker that counts what it sends."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from tests.support.console import ConsoleUnderTest, bearer, make_token
from tests.support.usage import event
from tests.support.worker import send, spent, values, working
from tests.waiting import eventually

from tollgate.console.api import dead_letters
from tollgate.runtime.kafka import client_options, read_to_end
from tollgate.runtime.settings import Settings
from tollgate.schemas.tokens import Role
from tollgate.schemas.topics import Topic

pytestmark = pytest.mark.integration

REPLAY = "/api/v1/dead-letters/replay"


@pytest.fixture
def console(settings: Settings) -> ConsoleUnderTest:
    return ConsoleUnderTest([dead_letters.ROOM], parts=SimpleNamespace(settings=settings))


@pytest.fixture
async def admin(console: ConsoleUnderTest) -> httpx.AsyncClient:
    return await client_of(console, Role.ADMIN)


async def client_of(console: ConsoleUnderTest, role: Role, user: str = "", org: str = "") -> httpx.AsyncClient:
    return console.client(headers=bearer(await make_token(console.control, role, user=user, org=org)))


async def refuse(settings: Settings, *records: tuple[str, dict[str, Any]]) -> None:
    """Letters with these reasons at 0:0, 0:1, …, as the worker writes them."""
    async with AIOKafkaProducer(**client_options(settings)) as producer:
        for offset, (reason, value) in enumerate(records):
            told = {"reason": reason, "error": "time: why", "source_topic": settings.topic(Topic.USAGE)}
            told |= {"source_partition": "0", "source_offset": str(offset), "time": "2026-11-21T10:00:00Z"}
            headers = [(name, text.encode()) for name, text in told.items()]
            user = str(value.get("subject", "")).encode()
            letter = json.dumps(value).encode()
            await producer.send_and_wait(settings.topic(Topic.DEAD_LETTERS), letter, user, 0, headers=headers)


async def replayed(client: httpx.AsyncClient, **asked: Any) -> dict[str, Any]:
    answer = await client.post(REPLAY, json=asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def in_usage(settings: Settings) -> list[tuple[bytes | None, bytes | None]]:
    return [(record.key, record.value) async for record in read_to_end(settings, settings.topic(Topic.USAGE))]


async def test_a_letter_is_sent_again_and_counted_once_however_often(
    settings: Settings, admin: httpx.AsyncClient, tmp_path: Path
) -> None:
    await refuse(settings, ("future", event("e1", "u1")), ("conflict", event("e2", "u1")))
    sent = {"replayed": 1, "would_replay": 1, "places": ["0:0"], "kept_back_total": 0, "kept_back": []}
    with working(settings, tmp_path / "worker.log"):
        assert await replayed(admin, place="0:0") == sent | {"dry_run": False}

        async def counts(cost_and_events: tuple[str, int]) -> bool:
            return await spent(settings, "user/u1") == cost_and_events

        # 1,000 input and 100 output tokens of gpt-4o: 0.0025 + 0.001.
        await eventually(lambda: counts(("0.0035", 1)), 60)
        assert await replayed(admin, place="0:0") == sent | {"dry_run": False}
        assert (await replayed(admin, reason="future"))["places"] == ["0:0"]
        # Whatever is counted of this one comes behind both repeats.
        await send(settings, [event("e3", "u1")])
        await eventually(lambda: counts(("0.007", 2)), 60)
    assert len(await in_usage(settings)) == 4
    # A repeat is no conflict either: the letters are those of the beginning.
    assert len(await values(settings, Topic.DEAD_LETTERS)) == 2


async def test_a_dry_run_and_what_would_be_refused_again_send_nothing(
    settings: Settings, admin: httpx.AsyncClient
) -> None:
    good, bad = event("e1"), {"no": "event"}
    await refuse(settings, ("future", good), ("future", bad), ("future", good))
    why = "would be refused again, missing_field: specversion: is missing"
    kept = {"kept_back_total": 1, "kept_back": [{"place": "0:1", "why": why}]}
    # 0:2 is 0:0 once more.
    dry = {"replayed": 0, "would_replay": 1, "places": ["0:0"], **kept, "dry_run": True}
    assert await replayed(admin, reason="future", dry_run=True) == dry
    none = {"replayed": 0, "would_replay": 0, "places": [], **kept, "dry_run": False}
    assert await replayed(admin, place="0:1") == none
    assert await in_usage(settings) == []
    assert (await replayed(admin, place="0:1", force=True))["replayed"] == 1
    assert await in_usage(settings) == [(b"", json.dumps(bad).encode())]


@pytest.mark.parametrize("place", ["0:1", "0:999999999999999999", "7:0", "999999999:0"])
async def test_a_place_without_a_letter_is_told_in_one_sentence(
    settings: Settings, admin: httpx.AsyncClient, place: str
) -> None:
    await refuse(settings, ("future", event()))
    answer = await admin.post(REPLAY, json={"place": place})
    told = answer.json()
    assert (answer.status_code, told["error"]) == (404, "not_found")
    assert told["detail"] == f"There is no dead letter at {place}: see `tollgate dead-letters list`."
    assert await in_usage(settings) == []


@pytest.mark.parametrize("asked", [{}, {"place": "0:0", "reason": "future"}, {"place": "0"}, {"place": "-1:0"}])
async def test_what_names_no_letter_is_refused(admin: httpx.AsyncClient, asked: dict[str, Any]) -> None:
    answer = await admin.post(REPLAY, json=asked)
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid_request")


async def test_admins_of_the_whole_company_alone_may_send_again(settings: Settings, console: ConsoleUnderTest) -> None:
    await refuse(settings, ("future", event()))
    for client in (
        await client_of(console, Role.USER, user="u1"),
        await client_of(console, Role.VIEWER),
        await client_of(console, Role.ANALYST),
        await client_of(console, Role.SERVICE),
        await client_of(console, Role.ADMIN, org="acme"),
    ):
        answer = await client.post(REPLAY, json={"place": "0:0"})
        assert (answer.status_code, answer.json()["error"]) == (403, "not_allowed")
    assert await in_usage(settings) == []


async def test_without_kafka_the_answer_says_so() -> None:
    console = ConsoleUnderTest([dead_letters.ROOM], kafka_bootstrap_servers="127.0.0.1:9")
    answer = await (await client_of(console, Role.ADMIN)).post(REPLAY, json={"place": "0:0"})
    assert (answer.status_code, answer.json()["error"]) == (503, "kafka_unreachable")
    assert int(answer.headers["retry-after"]) > 0
