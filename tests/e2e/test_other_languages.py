"""The services in `examples/` count, read flags and reserve as those with the SDK do."""

import asyncio
import json
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest
from aiokafka import AIOKafkaProducer
from tests.e2e.conftest import Stack
from tests.support.other_languages import BUILDERS, Service
from tests.support.toolchains import MissingToolError, find, leave_out
from tests.waiting import wait_until

from tollgate.runtime.kafka import client_options, read_to_end
from tollgate.runtime.settings import Settings
from tollgate.runtime.topics_admin import apply_topics, delete_topics
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import Topic
from tollgate.sdk import FlagReader

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SECONDS_MAX = 30
CALL = {"provider": "openai", "model": "gpt-4o", "usage": {"input_tokens": 1200, "output_tokens": 300}}
USED = json.dumps(CALL["usage"])
# 1,200 × 0.0000025 + 300 × 0.00001
COST = "0.006"

Spent = Callable[[str], tuple[str, int]]

FAR, FURTHER = "2098-01-01T00:00:00Z", "2099-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Service]]]:
    """Each language's, as they are built side by side."""
    with ThreadPoolExecutor(len(BUILDERS)) as pool:
        yield {name: pool.submit(build, tmp_path_factory.mktemp(name)) for name, build in BUILDERS.items()}


@pytest.fixture(params=["node", "java", "go"])
def service(request: pytest.FixtureRequest, services: dict[str, Future[Service]]) -> Service:
    """Of one language after the other."""
    try:
        return services[request.param].result()
    except MissingToolError as error:
        leave_out(error)
        raise


@pytest.fixture
def user(request: pytest.FixtureRequest) -> str:
    """Of this test in this language alone."""
    return f"{request.node.name}-ü"


@pytest.fixture
def kafka(stack: Stack) -> dict[str, str]:
    """What leads a service to the stack's Kafka."""
    return {"TOLLGATE_KAFKA_BOOTSTRAP_SERVERS": stack.settings.kafka_bootstrap_servers}


@pytest.fixture(scope="module")
def apart(stack: Stack) -> Iterator[Settings]:
    """Topics that no worker reads, with a number of partitions that is no power of two: a hash of another sign would
    lead elsewhere."""
    settings = stack.settings.model_copy(update={"topic_prefix": "apart.", "usage_partitions": 13})
    asyncio.run(apply_topics(settings))
    yield settings
    asyncio.run(delete_topics(settings))


@pytest.fixture(scope="module")
def spent(stack: Stack) -> Spent:
    """What a user has spent this month, and in how many events, as the console tells it."""
    token = stack.tollgate.ok("token", "create", "--role", "viewer", "--json").json()["token"]
    port = stack.tollgate.ok("status", "--json").json()["ports"]["console"]

    def read(user: str) -> tuple[str, int]:
        scope = quote(f"user/{user}", safe="")
        address = f"http://127.0.0.1:{port}/api/v1/spend?scope={scope}&window=month"
        with urlopen(Request(address, headers={"Authorization": f"Bearer {token}"}), timeout=10) as answer:
            found = json.load(answer)
        return found["spent_usd"], found["events"]

    return read


def test_what_a_service_records_is_counted_exactly(
    stack: Stack, service: Service, kafka: dict[str, str], user: str, spent: Spent
) -> None:
    ids = service.record([{"user": user, **CALL}] * 30, kafka)
    assert len(set(ids)) == 30
    # 30 × 0.006
    wait_until(lambda: spent(user) == ("0.18", 30), SECONDS_MAX, f"the spend of {user}")
    told = stack.tollgate.ok("spend", f"user/{user}", "--json").json()
    assert (told["spent_usd"], told["events"]) == ("0.18", 30)


def test_a_service_sees_a_flag_as_it_is_set_and_as_it_is_lifted(
    stack: Stack, service: Service, kafka: dict[str, str], user: str
) -> None:
    service.record([{"user": user, **CALL}], kafka)
    call = {"user": user, "model": "gpt-4o"}
    with service.flags(kafka) as check:
        assert check(call) == {"allowed": True}
        stack.tollgate.ok("budget", "set", f"user/{user}", "--limit", "0.005")
        wait_until(lambda: not check(call)["allowed"], SECONDS_MAX, f"the block of {user}")
        answer = check(call)
        assert (answer["http_status"], answer["error"]) == (429, "usage_limit_exceeded")
        assert (answer["scope"], answer["retry_after_seconds"] > 0) == (f"user/{user}", True)
        # One who comes later reads what was written before.
        with service.flags(kafka) as later:
            assert not later(call)["allowed"]
        stack.tollgate.ok("budget", "remove", f"user/{user}:month:usd")
        wait_until(lambda: check(call)["allowed"], SECONDS_MAX, f"the end of the block of {user}")


def test_a_reservation_is_released_one_is_settled_and_one_is_denied(
    stack: Stack, service: Service, kafka: dict[str, str], user: str, spent: Spent
) -> None:
    stack.tollgate.ok("budget", "set", f"user/{user}", "--limit", "0.1", "--window", "day")

    def reserve(*used: str) -> dict[str, Any]:
        ran = service.run("reserve", user, "0.1", *used, variables=kafka)
        assert ran.out, ran.err
        decision: dict[str, Any] = json.loads(ran.out[0])
        assert ran.status == (0 if decision["granted"] else 1), ran.err
        return decision

    # The budget may be new to the worker, but then nothing is in the way either.
    released, settled = reserve(), reserve(USED)
    assert (released["granted"], released["amount_usd"], released["user"]) == (True, "0.1", user)
    # Only what was released can be granted again.
    assert settled["granted"]
    wait_until(lambda: spent(user) == (COST, 1), SECONDS_MAX, f"the spend of {user}")
    denied = reserve(USED)
    assert (denied["granted"], denied["http_status"], denied["error"]) == (False, 429, "usage_limit_exceeded")
    assert (denied["limit"], denied["spent"], denied["available"]) == ("0.1", "0.006", "0.094")
    assert spent(user) == (COST, 1)


def keys(seed: int) -> list[str]:
    """A thousand user ids of every length up to 40, in scripts of one to four bytes a character."""
    chance = random.Random(seed)
    scripts = ["abcXYZ019-_./+", "éüßñč", "ключ", "用户標識", "😀🚀𝔘", "﷽ा́"]
    made: set[str] = set()
    while len(made) < 1000:
        alphabet = chance.choice([*scripts, "".join(scripts)])
        made.add("".join(chance.choices(alphabet, k=chance.randint(1, 40))))
    return sorted(made)


def test_a_user_has_the_same_partition_in_every_language(apart: Settings, service: Service) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    asked = keys(seed)
    variables = {
        "TOLLGATE_KAFKA_BOOTSTRAP_SERVERS": apart.kafka_bootstrap_servers,
        "TOLLGATE_TOPIC_PREFIX": apart.topic_prefix,
    }
    ids = dict(zip(service.record([{"user": key, **CALL} for key in asked], variables), asked, strict=True))

    async def places() -> dict[str, int]:
        found = {}
        async for record in read_to_end(apart, apart.topic(Topic.USAGE)):
            event = json.loads(record.value)
            if event["id"] in ids:
                assert record.key.decode() == event["subject"] == ids[event["id"]]
                found[event["subject"]] = record.partition
        return found

    found = asyncio.run(places())
    assert found == {key: partition_of(key.encode(), 13) for key in asked}
    assert set(found.values()) == set(range(13))
    assert any(len(key) < len(key.encode()) for key in asked)


def flag(
    scope: str, revision: int = 1, until: str | None = FAR, spares: tuple[str, ...] = (), **more: Any
) -> tuple[str, bytes | None]:
    """A record of the flags topic: blocked, unless `more` says otherwise."""
    value: dict[str, Any] = {
        "scope": scope,
        "state": "blocked",
        "blocked": True,
        "action": "block",
        "reason": "usage_limit_exceeded",
    }
    value |= {"since": "2026-11-01T00:00:00Z", "until": until, "revision": revision} | more
    if spares:
        value["except"] = spares
    return scope, json.dumps(value, ensure_ascii=False).encode()


OK: dict[str, Any] = {"state": "ok", "blocked": False, "action": None, "reason": "within_budget"}
WRITTEN = [
    flag("user/blocked", until=FURTHER),
    flag("user/lapsed", until="2026-01-01T00:00:00Z"),
    flag("user/for-good", until=None),
    flag("user/lifetime", until="9999-12-31T23:59:59Z"),
    flag("user/warned", state="warning", blocked=False, action="alert", reason="threshold_reached"),
    flag("user/repeated", 5, **OK),
    flag("user/repeated", 4),
    flag("user/later", 1, **OK),
    flag("user/later", 2),
    flag("user/removed"),
    ("user/removed", None),
    flag("user/garbled"),
    ("user/garbled", b"no flag"),
    flag("user/spared", spares=("provider/groq", "provider/openai+model/small", "global")),
    flag("org/acme"),
    flag("user/pair+model/gpt-4o"),
    flag("user/triple+org/initech+feature/video"),
    flag("user/a%2Bmodel/b"),
    flag("user/c+model/d"),
    flag("user/利用者+ü"),
]
# Two transactions of one producer, so that a reader that looks at its last one alone takes the first for committed.
ABORTED = [[flag("user/aborted", 1), flag("user/later", 3, **OK)], [flag("user/aborted", 2)]]
STOP = [flag("global", until=None, state="stopped", reason="spending_stopped", spares=("service/support",))]

# What blocks each call: nothing, or the flag of a scope.
CALLS: list[tuple[dict[str, str], str | None]] = [
    ({}, None),
    ({"user": "nobody", "org": "", "model": "gpt-4o"}, None),
    ({"user": "blocked"}, "user/blocked"),
    ({"user": "lapsed"}, None),
    ({"user": "for-good"}, "user/for-good"),
    ({"user": "lifetime"}, "user/lifetime"),
    ({"user": "warned"}, None),
    ({"user": "repeated"}, None),
    ({"user": "later"}, "user/later"),
    ({"user": "removed"}, None),
    ({"user": "garbled"}, "user/garbled"),
    ({"user": "aborted"}, None),
    ({"user": "spared"}, "user/spared"),
    ({"user": "spared", "provider": "openai", "model": "large"}, "user/spared"),
    ({"user": "spared", "provider": "groq"}, None),
    ({"user": "spared", "provider": "openai", "model": "small"}, None),
    ({"user": "spared", "provider": "groq", "org": "acme"}, "org/acme"),
    # Of two the one that lasts longer is told.
    ({"user": "blocked", "org": "acme"}, "user/blocked"),
    ({"user": "for-good", "org": "acme"}, "user/for-good"),
    ({"user": "for-good+org/acme", "org": "acme"}, "org/acme"),
    ({"user": "pair", "model": "gpt-4o"}, "user/pair+model/gpt-4o"),
    ({"user": "pair", "org": "x", "service": "y", "model": "gpt-4o"}, "user/pair+model/gpt-4o"),
    ({"user": "pair", "model": "other"}, None),
    ({"user": "triple", "org": "initech", "feature": "video"}, "user/triple+org/initech+feature/video"),
    ({"user": "triple", "feature": "video"}, None),
    # The escaping of a plus that would look like the joint of two names.
    ({"user": "a+model/b"}, "user/a%2Bmodel/b"),
    ({"user": "a", "model": "b"}, None),
    ({"user": "c+model/d"}, None),
    ({"user": "c", "model": "d"}, "user/c+model/d"),
    ({"user": "a%2Bmodel/b"}, None),
    ({"user": "利用者+ü"}, "user/利用者+ü"),
]


async def write_flags(settings: Settings, flags: list[tuple[str, bytes | None]], *, commit: bool = True) -> None:
    """In one transaction, as the worker does."""
    producer = AIOKafkaProducer(**client_options(settings), transactional_id=f"{settings.topic_prefix}flags")
    await producer.start()
    try:
        await producer.begin_transaction()
        for key, value in flags:
            partition = partition_of(key.encode(), settings.usage_partitions)
            await producer.send_and_wait(settings.topic(Topic.FLAGS), value, key=key.encode(), partition=partition)
        await (producer.commit_transaction() if commit else producer.abort_transaction())
    finally:
        await producer.stop()


@pytest.fixture(scope="module")
def written(apart: Settings) -> Settings:
    """Flags of every kind are in the topic, and aborted transactions are the last that were written."""
    asyncio.run(write_flags(apart, WRITTEN))
    for flags in ABORTED:
        asyncio.run(write_flags(apart, flags, commit=False))
    return apart


def told(allowed: bool, status: int | None, error: str | None, scope: str | None) -> tuple[Any, ...]:
    return (True,) if allowed else (False, status, error, scope)


def expected(scope: str | None) -> tuple[Any, ...]:
    return told(scope is None, 429, "usage_limit_exceeded", scope)


STOPPED = (False, 503, "spending_stopped", "global")


def test_the_sdk_reads_flags_by_the_same_rules(written: Settings) -> None:
    async def answers() -> list[tuple[Any, ...]]:
        async with FlagReader(written.kafka_bootstrap_servers, topic_prefix=written.topic_prefix) as reader:
            decisions = [reader.check(**call) for call, _ in CALLS]
        return [told(d.allowed, d.http_status, d.error, d.scope) for d in decisions]

    assert asyncio.run(answers()) == [expected(scope) for _, scope in CALLS]


def test_a_service_reads_flags_by_the_rules(written: Settings, service: Service) -> None:
    variables = {
        "TOLLGATE_KAFKA_BOOTSTRAP_SERVERS": written.kafka_bootstrap_servers,
        "TOLLGATE_TOPIC_PREFIX": written.topic_prefix,
    }

    def answer(call: dict[str, str]) -> tuple[Any, ...]:
        found = check(call)
        return told(found["allowed"], found.get("http_status"), found.get("error"), found.get("scope"))

    with service.flags(variables) as check:
        assert [(call, answer(call)) for call, _ in CALLS] == [(call, expected(scope)) for call, scope in CALLS]
        seconds = datetime.fromisoformat(FURTHER).timestamp() - datetime.now(UTC).timestamp()
        assert abs(check({"user": "blocked"})["retry_after_seconds"] - seconds) < 10
        assert not check({"user": "for-good"}).get("retry_after_seconds")
        assert not check({"user": "lifetime"}).get("retry_after_seconds")
        asyncio.run(write_flags(written, STOP))
        wait_until(lambda: answer({}) == STOPPED, SECONDS_MAX, "the stop of all spending")
        assert {answer(call) for call, _ in CALLS} == {STOPPED}
        assert answer({"user": "nobody", "service": "support"}) == (True,)
        assert answer({"user": "blocked", "service": "support"}) == expected("user/blocked")
        asyncio.run(write_flags(written, [("global", None)]))
        wait_until(lambda: answer({}) == (True,), SECONDS_MAX, "the end of the stop")


def test_a_missing_or_old_program_is_left_out_and_in_ci_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    old = tmp_path / "old-node"
    old.write_text("#!/bin/sh\necho v18.20.1\n")
    old.chmod(0o755)
    assert find("old-node", "nodejs", least=(18, 20)) == str(old)
    with pytest.raises(MissingToolError, match="old-node is older than 20"):
        find("old-node", "nodejs", least=(20,))
    with pytest.raises(MissingToolError, match="no-such-go is missing: apt-get install golang-go"):
        find("no-such-go", "golang-go")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="because"):
        leave_out(MissingToolError("because"))
    monkeypatch.setenv("CI", "true")
    with pytest.raises(AssertionError, match="because"):
        leave_out(MissingToolError("because"))
