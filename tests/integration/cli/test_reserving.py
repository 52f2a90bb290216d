"""Reservations of the SDK and the command line against a real broker; what a worker answers, `Decider` does."""

import asyncio
import json
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from tests.integration.cli.conftest import Ran, records_of, write
from tests.integration.cli.decider import Decider
from tests.waiting import eventually

from tollgate.cli import reservations
from tollgate.runtime.kafka import client_options
from tollgate.runtime.settings import Settings
from tollgate.schemas.entries import ReleaseEntry, ReservationEntry
from tollgate.schemas.topics import Topic
from tollgate.schemas.usage_codec import EventRecord
from tollgate.sdk import BlockedError, FlagReader, InvalidEventError, UnavailableError, UndecidedError

pytestmark = pytest.mark.integration


def reader(settings: Settings, **more: Any) -> FlagReader:
    given = {"source": "chat-api", "topic_prefix": settings.topic_prefix} | more
    return FlagReader(settings.kafka_bootstrap_servers, **given)


def entries(settings: Settings) -> list[dict[str, Any]]:
    return [json.loads(record.value) for record in records_of(settings, Topic.USAGE)]


async def until_released(decider: Decider, *ids: str) -> None:
    async def seen() -> bool:
        return set(decider.ids(ReleaseEntry)) >= {f"{name}/release" for name in ids}

    await eventually(seen)


async def test_of_forty_at_once_as_many_are_granted_as_fit(settings: Settings) -> None:
    async with Decider(settings) as decider, reader(settings) as flags:
        all_decided = asyncio.Event()
        denied: list[BlockedError] = []
        granted: list[str] = []

        async def call(number: int) -> None:
            try:
                async with flags.reserve(user="u1", usd="0.10", model="gpt-4o", id=f"r-{number}") as held:
                    granted.append(held.id)
                    await all_decided.wait()
            except BlockedError as error:
                denied.append(error)

        async def watch() -> None:
            async def decided() -> bool:
                return len(granted) + len(denied) == 40

            await eventually(decided)
            all_decided.set()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(watch())
            for number in range(40):
                tasks.create_task(call(number))
        assert (len(granted), len(denied)) == (10, 30)
        error = denied[0]
        assert (error.http_status, error.error, error.scope) == (429, "usage_limit_exceeded", "user/u1")
        assert (error.budget, error.limit, error.spent) == ("user/*:month:usd", "1", "0")
        assert (error.reserved, error.available, str(error)) == ("1", "0", "user/u1 has 0 usd left this month.")
        await until_released(decider, *granted)
        # Only what was granted is released.
        assert sorted(decider.ids(ReleaseEntry)) == sorted(f"{name}/release" for name in granted)
        assert decider.open == {}


async def test_settling_records_the_call_and_leaving_releases_nothing_more(settings: Settings) -> None:
    async with Decider(settings) as decider, reader(settings) as flags:
        async with flags.reserve(
            user="u1",
            usd="0.10",
            credits="2.5",
            ttl_seconds=30,
            provider="openai",
            model="gpt-4o",
            feature="chat",
            id="r-1",
        ) as held:
            assert held.decision is not None
            assert (held.decision.granted, held.decision.amount_usd) == (True, "0.1")
            event_id = await held.settle(usage={"output_tokens": 7}, model="gpt-4o-mini", cost_usd="0.04")
            with pytest.raises(TypeError, match="settled already"):
                await held.settle(usage={"output_tokens": 7})

        async def settled() -> bool:
            return decider.open == {} and bool(decider.ids(EventRecord))

        await eventually(settled)
        assert decider.ids(EventRecord) == [event_id]
    [reservation, event] = await asyncio.to_thread(entries, settings)
    assert reservation["type"] == "tollgate.reservation.v1"
    assert (reservation["id"], reservation["source"], reservation["subject"]) == ("r-1", "chat-api", "u1")
    assert reservation["data"].pop("reply_to").startswith("chat-api-")
    assert reservation["data"].pop("reply_partition") in range(8)
    assert reservation["data"] == {
        "amount_usd": "0.10",
        "credits": "2.5",
        "ttl_seconds": 30,
        "provider": "openai",
        "model": "gpt-4o",
        "feature": "chat",
    }
    assert (event["type"], event["id"], event["source"], event["subject"]) == (
        "tollgate.usage.v1",
        event_id,
        "chat-api",
        "u1",
    )
    assert event["data"] == {
        "provider": "openai",
        "model": "gpt-4o-mini",
        "feature": "chat",
        "cost_usd": "0.04",
        "usage": {"output_tokens": 7},
        "reservation_id": "r-1",
    }


async def test_one_reservation_serves_many_calls(settings: Settings) -> None:
    async with Decider(settings) as decider, reader(settings) as flags:
        async with flags.reserve(user="u1", usd="1", id="r-1", agent="SEO") as held:
            ids = [await held.settle(usage={}, cost_usd="0.1", more=True) for _ in range(3)]
        await until_released(decider, "r-1")
        assert decider.ids(EventRecord) == ids
        assert len(set(ids)) == 3
        assert all(entry.data.more for entry in decider.seen if isinstance(entry, EventRecord))


async def test_what_ends_a_call_early_releases(settings: Settings) -> None:
    async with Decider(settings) as decider, reader(settings) as flags:
        with pytest.raises(ZeroDivisionError):
            async with flags.reserve(user="u1", usd="0.10", id="r-error"):
                raise ZeroDivisionError
        inside = asyncio.Event()

        async def call() -> None:
            async with flags.reserve(user="u1", usd="0.10", id="r-cancelled"):
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(call())
        await inside.wait()
        task.cancel()
        # Impatient: the second cancellation meets the release on its way.
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await until_released(decider, "r-error", "r-cancelled")
        assert decider.open == {}


async def test_a_call_that_is_cancelled_while_it_waits_releases(settings: Settings) -> None:
    async with reader(settings) as flags:
        task = asyncio.create_task(flags.reserve(user="u1", usd="0.10", id="r-1").__aenter__())

        async def waits() -> bool:
            return ("u1", "r-1") in flags._reserving._waiting  # type: ignore[union-attr] # its source is given

        await eventually(waits)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
    # A worker that comes later finds nothing open.
    async with Decider(settings) as decider:
        await until_released(decider, "r-1")
        assert (decider.ids(ReservationEntry), decider.open) == (["r-1"], {})


async def test_without_a_decision_in_time_calls_fail_as_they_were_told_to(settings: Settings) -> None:
    topic = settings.topic(Topic.CONTROL)
    async with AIOKafkaProducer(**client_options(settings)) as producer:
        budget = b'{"scope": "user/*+feature/video", "limit": "1", "fail": "closed"}'
        await producer.send_and_wait(topic, budget, key=b"budget/b1", partition=0)
    async with reader(settings) as flags:
        async with flags.reserve(user="u1", usd="0.10", id="r-open", timeout_seconds=0.2) as held:
            assert held.decision is None
        with pytest.raises(UndecidedError, match=r"no decision on the reservation within 0\.2 s") as caught:
            async with flags.reserve(user="u1", usd="0.10", feature="video", id="r-closed", timeout_seconds=0.2):
                pytest.fail("the call went ahead")
        assert (caught.value.http_status, caught.value.error) == (503, "limits_unknown")
        assert isinstance(caught.value, UnavailableError)
    async with reader(settings, when_unknown="closed") as flags:
        with pytest.raises(UndecidedError):
            await flags.reserve(user="u1", usd="0.10", id="r-told", timeout_seconds=0.2).__aenter__()
    # The decisions may come later, and must hold nothing then.
    async with Decider(settings) as decider:
        await until_released(decider, "r-open", "r-closed", "r-told")
        assert decider.open == {}


async def test_the_same_id_from_another_process_repeats_the_decision(settings: Settings) -> None:
    async with Decider(settings) as decider, reader(settings) as one, reader(settings) as other:
        first = one.reserve(user="u1", usd="0.60", id="r-1")
        second = other.reserve(user="u1", usd="0.60", id="r-1")
        both = one.reserve(user="u1", usd="0.60", id="r-1")
        await asyncio.gather(*(held.__aenter__() for held in (first, second, both)))
        assert first.decision == second.decision == both.decision
        assert len(decider.open) == 1
        assert one._reserving._waiting == {}  # type: ignore[union-attr] # its source is given
        for held in (first, second, both):
            await held.__aexit__(None, None, None)


async def test_answers_that_are_not_for_this_reservation_are_passed_over(settings: Settings) -> None:
    async with reader(settings) as flags:
        assert flags._reserving is not None
        reply_to, partition = flags._reserving._reply_to.encode(), flags._reserving._partition
        granted = {
            "reservation_id": "r-1",
            "source": "chat-api",
            "user": "u1",
            "granted": True,
            "amount_usd": "0.1",
            "credits": "0",
            "expires_at": "2026-11-21T10:00:00Z",
            "decided_at": "2026-11-21T10:00:00Z",
        }
        waiting = asyncio.create_task(flags.reserve(user="u1", usd="0.10", id="r-1").__aenter__())
        topic = settings.topic(Topic.DECISIONS)
        options = client_options(settings) | {"transactional_id": f"{settings.application}-test"}
        async with AIOKafkaProducer(**options) as producer:

            async def send(key: bytes | None, value: dict[str, Any] | bytes | None) -> None:
                value = json.dumps(value).encode() if isinstance(value, dict) else value
                await producer.send_and_wait(topic, value, key=key, partition=partition)

            async with producer.transaction():
                await send(b"chat-api-another", granted)
                await send(None, granted)
                await send(reply_to, None)
                await send(reply_to, b"{")
                await send(reply_to, granted | {"granted": "yes"})
                await send(reply_to, granted | {"reservation_id": "r-2"})
                await send(reply_to, granted | {"source": "another"})
            await producer.begin_transaction()
            await send(reply_to, granted)
            await producer.abort_transaction()
            async with producer.transaction():
                await send(reply_to, granted | {"granted": False, "http_status": 402, "error": "insufficient_credits"})
        with pytest.raises(BlockedError, match="the reservation is denied") as caught:
            await waiting
        assert (caught.value.http_status, caught.value.error) == (402, "insufficient_credits")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "amount_usd"),
        ({"usd": "-1"}, "amount_usd"),
        ({"usd": 0.1}, "amount_usd"),
        ({"credits": 0.5}, "credits"),
        ({"usd": "1", "ttl_seconds": 0}, "ttl_seconds"),
        ({"usd": "1", "ttl_seconds": 3601}, "ttl_seconds"),
        ({"usd": "1", "id": "r" * 249}, "id"),
    ],
)
async def test_what_the_worker_would_refuse_is_not_sent(given: dict[str, Any], field: str) -> None:
    held = FlagReader("127.0.0.1:9", source="chat-api").reserve(user="u1", **given)
    with pytest.raises(InvalidEventError, match=field):
        await held.__aenter__()


async def test_a_reader_says_that_the_topic_of_decisions_is_missing(settings: Settings) -> None:
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    await admin.delete_topics([settings.topic(Topic.DECISIONS)])
    await admin.close()

    async def said() -> bool:
        try:
            async with reader(settings):
                return False
        except UnavailableError as error:
            return f"there is no topic {settings.topic(Topic.DECISIONS)}: run `tollgate topics apply`" in str(error)

    await eventually(said)
    async with FlagReader(settings.kafka_bootstrap_servers, topic_prefix=settings.topic_prefix) as flags:
        assert flags.check(user="u1").allowed


@pytest.fixture
def worker(settings: Settings) -> Any:
    """A decider in a thread of its own, for commands that run in this one."""
    loop = asyncio.new_event_loop()
    decider = Decider(settings)
    ready, done = threading.Event(), asyncio.Event()

    async def live() -> None:
        async with decider:
            ready.set()
            await done.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(live()))
    thread.start()
    ready.wait(20)
    yield decider
    loop.call_soon_threadsafe(done.set)
    thread.join(20)
    loop.close()


def test_a_reservation_by_hand_is_granted_denied_and_released(worker: Decider, tollgate: Callable[..., Ran]) -> None:
    granted = tollgate("reserve", "u1", "--usd", "0.60", "--model", "gpt-4o", "--id", "r-1", "--json")
    assert (granted.status, granted.json["granted"], granted.json["amount_usd"]) == (0, True, "0.6")
    assert (granted.json["http_status"], granted.json["error"], granted.json["scope"]) == (None, None, None)
    denied = tollgate("reserve", "u1", "--usd", "0.60", "--id", "r-2")
    assert denied.status == 1
    assert denied.out.splitlines() == [
        "denied (429 usage_limit_exceeded): user/u1 has 0.4 usd left this month.",
        "user/u1: limit 1, spent 0, reserved 0.6, left 0.4",
    ]
    assert tollgate("reserve", "u1", "--usd", "0.60", "--id", "r-1", "--json").json == granted.json
    assert tollgate("release", "r-2").status == 1
    assert tollgate("release", "nobody's").err == (
        'tollgate: no reservation "nobody\'s" was granted within the last two hours.\n'
    )
    assert tollgate("release", "r-1").out == "released r-1 of u1\n"
    again = tollgate("reserve", "u1", "--usd", "0.60", "--id", "r-3")
    assert again.status == 0
    first, second = again.out.splitlines()
    assert re.fullmatch(r"granted: 0\.6 usd of u1 until \S+Z, as r-3", first)
    assert second == "end it before with: tollgate release r-3"


def test_without_a_worker_nothing_stays_reserved(
    settings: Settings, tollgate: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reservations, "DECISION_SECONDS_MAX", 0.5)
    ran = tollgate("reserve", "u1", "--usd", "0.60", "--id", "r-1")
    assert ran.status == 3
    assert ran.err == (
        "tollgate: no worker has decided on the reservation within 0.5 s, so it is released again. "
        "See `tollgate status`.\n"
    )
    assert [entry["id"] for entry in entries(settings)] == ["r-1", "r-1/release"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "needs amount_usd, or credits"),
        (("--usd", "-1"), "amount_usd"),
        (("--usd", "0.1", "--ttl", "0"), "ttl_seconds"),
        (("--credits", "many"), "credits"),
        (("--usd", "1", "--model", "m" * 257), "model"),
    ],
)
def test_a_reservation_that_cannot_be_is_refused_before_anything_is_asked(
    words: tuple[str, ...], told: str, tollgate: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOLLGATE_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9")
    ran = tollgate("reserve", "u1", *words)
    assert ran.status == 2
    assert told in ran.err
    assert len(ran.err.splitlines()) == 1


def test_when_kafka_is_away_the_status_says_so(tollgate: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOLLGATE_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9")
    assert tollgate("reserve", "u1", "--usd", "1").status == 3
    assert tollgate("release", "r-1").status == 3


def test_of_two_services_with_one_id_it_must_be_said_which(settings: Settings, tollgate: Callable[..., Ran]) -> None:
    decided = {
        "reservation_id": "r-1",
        "user": "u1",
        "granted": True,
        "amount_usd": "0.1",
        "credits": "0",
        "expires_at": "2026-11-21T10:00:00Z",
        "decided_at": "2026-11-21T10:00:00Z",
    }
    sources = ("chat-api", "video-api")
    write(
        settings,
        Topic.DECISIONS,
        *((n, b"x", json.dumps(decided | {"source": name}).encode(), ()) for n, name in enumerate(sources)),
        (0, b"x", b"{", ()),
    )
    ran = tollgate("release", "r-1")
    assert ran.status == 2
    assert "--user 'u1' --source 'chat-api', --user 'u1' --source 'video-api'" in ran.err
    assert tollgate("release", "r-1", "--source", "video-api").status == 0
    assert tollgate("release", "r-1", "--user", "u1", "--source", "chat-api").status == 0
    assert [(entry["source"], entry["id"]) for entry in entries(settings)] == [
        ("video-api", "r-1/release"),
        ("chat-api", "r-1/release"),
    ]
