"""`POST /usage` against a real broker, and against one that is killed."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from tests.chaos.services import Broker, cluster
from tests.chaos.victim import is_ready
from tests.integration.console.conftest import write
from tests.support.console import ConsoleUnderTest, bearer, make_token
from tests.support.live_records import flag_record
from tests.support.usage import event
from tests.waiting import eventually

from tollgate.console import ingest as ingest_rules
from tollgate.console.api import usage
from tollgate.console.ingest import Ingest
from tollgate.console.live import Live
from tollgate.console.live import freshness as freshness_rules
from tollgate.control import ControlStore
from tollgate.runtime.kafka import read_to_end
from tollgate.runtime.settings import Settings
from tollgate.runtime.topics_admin import apply_topics
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.tokens import Role
from tollgate.schemas.topics import USAGE_PARTITIONS, Topic

pytestmark = pytest.mark.integration

USAGE = "/api/v1/usage"
BARE = {"source": "chat-api", "subject": "u-42", "data": event()["data"]}


@pytest.fixture
async def ingest(settings: Settings) -> AsyncIterator[Ingest]:
    made = Ingest(settings)
    await made.start()
    await eventually(made.is_ready)
    yield made
    await made.stop()


async def service(ingest: Ingest, org: str = "") -> httpx.AsyncClient:
    console = ConsoleUnderTest([usage.ROOM], parts=SimpleNamespace(ingest=ingest))
    return console.client(headers=bearer(await make_token(console.control, Role.SERVICE, org=org)))


async def in_topic(settings: Settings) -> list[Any]:
    return [record async for record in read_to_end(settings, settings.topic(Topic.USAGE))]


async def test_events_are_in_the_topic_when_the_answer_comes(settings: Settings, ingest: Ingest) -> None:
    client = await service(ingest)
    sent = [event(f"e{n}", f"u{n % 7}") for n in range(100)]
    answer = await client.post(USAGE, json=sent)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 100, "refused": [], "made": []})
    records = await in_topic(settings)
    assert sorted(json.loads(record.value)["id"] for record in records) == sorted(one["id"] for one in sent)
    for record in records:
        assert record.key.decode() == json.loads(record.value)["subject"]
        assert record.partition == partition_of(record.key, USAGE_PARTITIONS)


async def test_good_events_are_taken_and_bad_ones_told_by_index(settings: Settings, ingest: Ingest) -> None:
    client = await service(ingest)
    bad = event("bad", data={"usage": {"input_tokens": -1}})
    answer = await client.post(USAGE, json=[event("e1"), bad, BARE])
    assert answer.status_code == 202
    told = answer.json()
    assert told["accepted"] == 2
    error = "data.usage.input_tokens: must not be negative"
    assert told["refused"] == [{"index": 1, "reason": "negative_usage", "error": error}]
    (made,) = told["made"]
    assert made["index"] == 2
    values = [json.loads(record.value) for record in await in_topic(settings)]
    assert {(value["id"], value["time"]) for value in values} == {
        ("e1", "2026-11-21T10:00:00Z"),
        (made["id"], made["time"]),
    }


async def test_a_token_of_an_org_reports_usage_of_this_org_alone(settings: Settings, ingest: Ingest) -> None:
    client = await service(ingest, org="acme")
    other = event("other", data={"org": "globex"})
    answer = await client.post(USAGE, json=[event("bare"), other, event("own", data={"org": "acme"})])
    assert answer.status_code == 202
    error = "data.org: must be acme or absent, for this token is of that org alone"
    assert answer.json() == {
        "accepted": 2,
        "refused": [{"index": 1, "reason": "not_allowed", "error": error}],
        "made": [],
    }
    alone = await client.post(USAGE, json=other)
    assert (alone.status_code, alone.json()["detail"]) == (422, f"The event was not taken: {error}.")
    values = [json.loads(record.value) for record in await in_topic(settings)]
    assert {(value["id"], value["data"]["org"]) for value in values} == {("bare", "acme"), ("own", "acme")}


async def test_a_repeat_with_the_same_key_has_the_same_ids(settings: Settings, ingest: Ingest) -> None:
    client = await service(ingest)
    body = [BARE, BARE | {"id": "own"}, BARE]
    ids = []
    for key in ("k1", "k1", "k2"):
        answer = await client.post(USAGE, json=body, headers={"Idempotency-Key": key})
        ids.append([made["id"] for made in answer.json()["made"]])
    assert ids[0] == ids[1]
    assert len({ids[0][0], ids[0][2], ids[2][0]}) == 3
    assert ids[0][1] == "own"
    assert len(await in_topic(settings)) == 9


async def test_nothing_is_taken_when_every_event_is_bad(settings: Settings, ingest: Ingest) -> None:
    client = await service(ingest)
    answer = await client.post(USAGE, json={"source": "chat-api", "data": {}})
    assert answer.status_code == 422
    told = answer.json()
    assert (told["error"], told["accepted"], told["refused"][0]["reason"]) == ("all_refused", 0, "missing_field")
    assert (await client.post(USAGE, json=[])).json()["accepted"] == 0
    assert await in_topic(settings) == []


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    (broker,) = cluster(1, tmp_path, own_disks=False)
    broker.start()
    try:
        assert await is_ready(broker, 60), broker.last_words()
        yield broker
    finally:
        broker.stop()


async def test_kafka_is_killed_and_comes_back(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_rules, "ANSWER_SECONDS_MAX", 1.0)
    monkeypatch.setattr(freshness_rules, "STALE_AFTER_MS", 3_000)
    settings = Settings.model_validate(
        {"kafka_bootstrap_servers": broker.address, "topic_prefix": "kill.", "application": "kill"}
    )
    await apply_topics(settings)
    await write(settings, Topic.FLAGS, [(b"user/u1", flag_record("user/u1"))], 3)
    control, ingest = ControlStore(settings), Ingest(settings)
    await control.start()
    live = Live(settings, control)
    await live.start()
    await ingest.start()
    client = await service(ingest)
    try:
        assert live.is_complete
        assert (await client.post(USAGE, json=event("before"))).status_code == 202
        broker.kill()
        answers = await asyncio.gather(*(client.post(USAGE, json=BARE) for _ in range(5)))
        assert {answer.status_code for answer in answers} == {503}
        assert answers[0].headers["retry-after"] == "2"
        ids = [answer.json()["made"][0]["id"] for answer in answers]

        async def is_stale() -> bool:
            return live.freshness("flags").stale and live.freshness("spend").stale

        await eventually(is_stale)
        assert live.decide({"user": "u1"}, time.time_ns() // 1_000_000).http_status == 429
        broker.start()
        assert await is_ready(broker, 60), broker.last_words()
        await write(settings, Topic.FLAGS, [(b"user/u2", flag_record("user/u2"))], 4)

        async def has_caught_up() -> bool:
            return live.flag("user/u2") is not None and not live.freshness("flags").stale

        await eventually(has_caught_up, 60)

        async def is_taken() -> bool:
            repeats = [BARE | {"id": event_id} for event_id in ids]
            return (await client.post(USAGE, json=repeats)).status_code == 202

        await eventually(is_taken, 60)
        found = {json.loads(record.value)["id"] for record in await in_topic(settings)}
        assert found == {"before", *ids}
    finally:
        await ingest.stop()
        await live.stop()
        await control.stop()


async def test_a_console_without_kafka_answers_503_at_once_and_stops() -> None:
    ingest = Ingest(Settings.model_validate({"kafka_bootstrap_servers": "127.0.0.1:9"}))
    await ingest.start()
    client = await service(ingest)
    answer = await client.post(USAGE, json=event())
    assert (answer.status_code, answer.json()["error"]) == (503, "kafka_unavailable")
    await asyncio.wait_for(ingest.stop(), 10)


async def test_no_more_events_wait_than_are_bounded(
    settings: Settings, ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_rules, "WAITING_MAX", 10)
    client = await service(ingest)
    assert (await client.post(USAGE, json=[event(f"e{n}") for n in range(10)])).status_code == 202
    assert (await client.post(USAGE, json=[event(f"e{n}") for n in range(11)])).status_code == 503
    assert len(await in_topic(settings)) == 10
