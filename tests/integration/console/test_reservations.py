"""Reservations and grants by REST against a real broker; a decider answers where a worker would."""

import json
from collections.abc import AsyncIterator
from types import SimpleNamespace

import httpx
import pytest
from tests.integration.cli.decider import Decider
from tests.support.console import ConsoleUnderTest, bearer, make_token
from tests.waiting import eventually

from tollgate.console import deciding as deciding_rules
from tollgate.console.api import grants, reservations
from tollgate.console.deciding import Deciding
from tollgate.console.ingest import Ingest
from tollgate.console.live import Live
from tollgate.control import ControlStore
from tollgate.runtime.kafka import read_to_end
from tollgate.runtime.settings import Settings
from tollgate.schemas.tokens import Role
from tollgate.schemas.topics import Topic

pytestmark = pytest.mark.integration

API = "/api/v1"
ASKED = {"source": "chat-api", "user": "u-42", "amount_usd": "0.4", "model": "gpt-4o"}


@pytest.fixture
async def console(settings: Settings, live: Live, control: ControlStore) -> AsyncIterator[ConsoleUnderTest]:
    ingest = Ingest(settings)
    deciding = Deciding(settings, ingest)

    async def is_ready() -> bool:
        return deciding._reads and await ingest.is_ready()

    await ingest.start()
    await deciding.start()
    await eventually(is_ready)
    parts = SimpleNamespace(ingest=ingest, deciding=deciding, live=live)
    yield ConsoleUnderTest([reservations.ROOM, grants.ROOM], control, parts=parts)
    await deciding.stop()
    await ingest.stop()


async def as_role(console: ConsoleUnderTest, role: Role) -> httpx.AsyncClient:
    return console.client(headers=bearer(await make_token(console.control, role)))


async def test_reservations_are_granted_settled_released_and_denied(
    console: ConsoleUnderTest, settings: Settings
) -> None:
    service = await as_role(console, Role.SERVICE)
    async with Decider(settings) as decider:
        first = await service.post(f"{API}/reservations", json=ASKED | {"id": "r/1"})
        assert (first.status_code, first.json()["granted"], first.json()["amount_usd"]) == (201, True, "0.4")
        again = await service.post(f"{API}/reservations", json=ASKED | {"id": "r/1"})
        assert again.json() == first.json()
        key = {"Idempotency-Key": "k-1"}
        second = await service.post(f"{API}/reservations", json=ASKED, headers=key)
        repeated = await service.post(f"{API}/reservations", json=ASKED, headers=key)
        assert (second.status_code, repeated.json()) == (201, second.json())
        denied = await service.post(f"{API}/reservations", json=ASKED | {"id": "r-3"})
        body = denied.json()
        assert (denied.status_code, body["error"], body["scope"]) == (429, "usage_limit_exceeded", "user/u-42")
        assert body["granted"] is False
        assert (body["limit"], body["reserved"], body["available"], body["unit"]) == ("1", "0.8", "0.2", "usd")
        assert body["message"] == body["detail"] == "user/u-42 has 0.2 usd left this month."
        used = {"source": "chat-api", "user": "u-42", "cost_usd": "0.3", "usage": {}}
        settled = await service.post(f"{API}/reservations/r%2F1/settle", json=used)
        assert (settled.status_code, settled.json()) == (202, {"reservation_id": "r/1", "event_id": "r/1/settle"})
        whose = {"source": "chat-api", "user": "u-42"}
        freed = await service.post(f"{API}/reservations/{second.json()['reservation_id']}/release", json=whose)
        assert freed.status_code == 202

        async def is_free() -> bool:
            return decider.open == {} and str(decider.spent.get("u-42")) == "0.3"

        await eventually(is_free)
        bad = await service.post(f"{API}/reservations/r-1/settle", json=used | {"usage": {"images": -1}})
        assert (bad.status_code, bad.json()["reason"]) == (422, "negative_usage")


async def test_what_the_usage_topic_takes_is_taken_as_it_is(console: ConsoleUnderTest, settings: Settings) -> None:
    service = await as_role(console, Role.SERVICE)
    event = {"specversion": "1.0", "source": "chat-api", "subject": "u-42", "time": "2026-11-21T10:00:00Z"}
    data = {"amount_usd": "0.4", "ttl_seconds": 60, "reply_to": "chat-api-7f3", "reply_partition": 3, "model": "gpt-4o"}
    async with Decider(settings) as decider:
        asked = event | {"type": "tollgate.reservation.v1", "id": "r-1", "data": data}
        first = await service.post(f"{API}/reservations", json=asked)
        assert (first.status_code, first.json()["reservation_id"], first.json()["user"]) == (201, "r-1", "u-42")
        used = event | {"type": "tollgate.usage.v1", "id": "e-1", "data": {"cost_usd": "0.3", "reservation_id": "r-1"}}
        settled = await service.post(f"{API}/reservations/r-1/settle", json=used)
        assert (settled.status_code, settled.json()) == (202, {"reservation_id": "r-1", "event_id": "e-1"})

        async def is_settled() -> bool:
            return decider.open == {} and str(decider.spent.get("u-42")) == "0.3"

        await eventually(is_settled)


async def test_a_reservation_that_was_granted_here_is_settled_and_released_by_its_id_alone(
    console: ConsoleUnderTest, settings: Settings
) -> None:
    service = await as_role(console, Role.SERVICE)
    async with Decider(settings) as decider:
        for name in ("r-1", "r-2", "r-3"):
            made = await service.post(f"{API}/reservations", json={"user": "u-42", "amount_usd": "0.1", "id": name})
            assert (made.status_code, made.json()["source"]) == (201, "console")
        settled = await service.post(f"{API}/reservations/r-1/settle", json={"cost_usd": "0.05", "usage": {}})
        freed = await service.post(f"{API}/reservations/r-2/release")
        also = await service.post(f"{API}/reservations/r-3/release", json={})
        assert (settled.status_code, freed.status_code, also.status_code) == (202, 202, 202)

        async def is_free() -> bool:
            return decider.open == {} and str(decider.spent.get("u-42")) == "0.05"

        await eventually(is_free)
        unknown = await service.post(f"{API}/reservations/r-9/release")
        assert (unknown.status_code, unknown.json()["detail"]) == (
            422,
            "Name the source and the user of the reservation.",
        )
        # Two of one id are told apart by their source.
        for source in ("a", "b"):
            asked = {"source": source, "user": "u-42", "amount_usd": "0.1", "id": "r-4"}
            assert (await service.post(f"{API}/reservations", json=asked)).status_code == 201
        assert (await service.post(f"{API}/reservations/r-4/release")).status_code == 422
        assert (await service.post(f"{API}/reservations/r-4/release", json={"source": "b"})).status_code == 202
        acme = console.client(headers=bearer(await make_token(console.control, Role.SERVICE, org="acme")))
        assert (await acme.post(f"{API}/reservations/r-4/release")).status_code == 422


async def test_without_a_worker_the_answer_comes_in_time_and_says_what_to_do(
    console: ConsoleUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deciding_rules, "DECISION_SECONDS_MAX", 0.3)
    service = await as_role(console, Role.SERVICE)
    answer = await service.post(f"{API}/reservations", json=ASKED | {"id": "r-9"})
    assert (answer.status_code, answer.json()["error"]) == (503, "no_decision")
    assert (answer.json()["reservation_id"], answer.headers["Retry-After"]) == ("r-9", "2")


async def test_a_grant_is_an_entry_of_the_user_and_stands_in_the_audit(
    console: ConsoleUnderTest, settings: Settings
) -> None:
    admin = await as_role(console, Role.ADMIN)
    body = {"credits": "100.5", "kind": "bonus", "note": "a contest"}
    key = {"Idempotency-Key": "k-1"}
    made = [await admin.post(f"{API}/users/u-42/credits", json=body, headers=key) for _ in range(2)]
    assert [one.status_code for one in made] == [201, 201]
    entries = [record async for record in read_to_end(settings, settings.topic(Topic.ENTRIES))]
    assert [record.key for record in entries] == [b"u-42", b"u-42"]
    first, second = (json.loads(record.value) for record in entries)
    assert first["id"] == second["id"] == made[0].json()["id"]
    assert (first["type"], first["source"], first["subject"]) == ("tollgate.credit.v1", "console", "u-42")
    assert first["data"] == {"credits": "100.5", "kind": "bonus", "note": "a contest"}
    told = [json.loads(record.value) async for record in read_to_end(settings, settings.topic(Topic.AUDIT))]
    found = [one for one in told if one["kind"] == "credit"]
    assert len({one["id"] for one in found}) == 1
    assert (found[0]["key"], found[0]["actor"][:6]) == (f"credit/u-42/{first['id']}", "token:")
    assert found[0]["after"] == {"user": "u-42", "credits": "100.5", "kind": "bonus", "note": "a contest"}
