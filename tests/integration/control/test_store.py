"""Facts about changes of the control topic on a real broker: many writers, dying writers, and a broker that is away."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerFenced
from tests.waiting import eventually

from tollgate.control import ControlStore, UnreachableError, VersionConflictError, grant_records
from tollgate.control import store as store_module
from tollgate.control.change import OutRecord, new_change
from tollgate.control.follower import Follower
from tollgate.control.writer import Writer, transactional_id
from tollgate.runtime.kafka import client_options, read_compacted, read_to_end
from tollgate.runtime.settings import Settings
from tollgate.schemas.refusals import Refusal
from tollgate.schemas.topics import Topic

pytestmark = pytest.mark.integration

HERE = Path(__file__).parent
KEY = "budget/global:month:usd"


def budget(limit: str) -> dict[str, Any]:
    """A limit on the company's month."""
    return {"scope": "global", "limit": limit}


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[ControlStore]:
    """A store that has started."""
    store = ControlStore(settings)
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition that other tasks bring about."""

    async def holds() -> object:
        return condition()

    await eventually(holds)


async def audit(settings: Settings) -> list[dict[str, Any]]:
    """Everything that the audit says."""
    return [json.loads(record.value) async for record in read_to_end(settings, settings.topic(Topic.AUDIT))]


def process(settings: Settings, name: str, *arguments: str) -> "subprocess.Popen[str]":
    """Start one of the programs beside this file."""
    argv = [sys.executable, str(HERE / name), settings.model_dump_json(exclude_defaults=True), *arguments]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


async def test_of_many_processes_exactly_one_wins_each_version(settings: Settings) -> None:
    contenders = [process(settings, "contender.py", "6") for _ in range(4)]
    won = [await asyncio.to_thread(contender.communicate) for contender in contenders]
    versions = [version for out, _ in won for version in json.loads(out)]
    assert sorted(versions) == list(range(1, 25))
    told = await audit(settings)
    assert [record["version"] for record in told] == list(range(1, 25))
    # What each change found is what the change before it left.
    assert [record["before"] for record in told[1:]] == [record["after"] for record in told[:-1]]
    by_actor = {
        f"process:{contender.pid}": json.loads(out) for contender, (out, _) in zip(contenders, won, strict=True)
    }
    assert {actor: [r["version"] for r in told if r["actor"] == actor] for actor in by_actor} == by_actor


@pytest.mark.parametrize(("moment", "versions"), [("between", [1]), ("uncommitted", [1]), ("committed", [1, 2])])
async def test_a_writer_that_is_killed_leaves_both_records_or_neither(
    settings: Settings, moment: str, versions: list[int]
) -> None:
    dying = process(settings, "killed.py", moment, "change")
    assert await asyncio.to_thread(dying.wait) == -signal.SIGKILL
    began = time.monotonic()
    async with opened(settings) as store:
        changed = await store.change(KEY, budget("20"), actor="next")
        # It does not wait for the dead one's transaction to time out.
        assert time.monotonic() - began < 8
        assert changed.version == versions[-1]
    told = await audit(settings)
    assert [record["version"] for record in told] == versions
    latest = await read_compacted(settings, settings.topic(Topic.CONTROL))
    assert any(key.startswith("request/") for key in latest) == (moment == "committed")
    assert json.loads(latest[KEY])["limit"] == "20"


def granted(actor: str = "ada") -> tuple[OutRecord, ...]:
    """Five credits for u1, under one id."""
    data = {"credits": "5", "kind": "bonus", "note": "a contest"}
    records = grant_records("c-1", "u1", data, source="cli", actor=actor, now_ms=1_764_000_000_000)
    assert not isinstance(records, Refusal)
    return records


async def entries(settings: Settings) -> list[dict[str, Any]]:
    """Everything that was granted."""
    return [json.loads(record.value) async for record in read_to_end(settings, settings.topic(Topic.ENTRIES))]


@pytest.mark.parametrize(("moment", "grants"), [("between", 0), ("uncommitted", 0), ("committed", 1)])
async def test_a_grant_whose_writer_is_killed_leaves_the_credits_and_the_audit_or_neither(
    settings: Settings, moment: str, grants: int
) -> None:
    dying = process(settings, "killed.py", moment, "grant")
    assert await asyncio.to_thread(dying.wait) == -signal.SIGKILL
    await ControlStore(settings).grant(granted("next"))
    told = [(record["actor"], record["key"], record["after"]["credits"]) for record in await audit(settings)]
    assert told == [("dead", "credit/u1/c-1", "5")] * grants + [("next", "credit/u1/c-1", "5")]
    assert [entry["data"].get("note") for entry in await entries(settings)] == [None] * grants + ["a contest"]


async def test_grants_and_changes_of_many_stores_at_once_are_all_made(settings: Settings) -> None:
    async with opened(settings) as one, opened(settings) as other:
        await asyncio.gather(
            *(store.grant(granted(str(n))) for n in range(3) for store in (one, other)),
            *(store.change(KEY, budget("5"), actor="a") for store in (one, other)),
        )
        assert one.get(KEY) is not None
    told = await audit(settings)
    # An answer that was lost has its grant written again, under the id of the first.
    assert len({record["id"] for record in told if record["kind"] == "credit"}) == 3
    assert sorted(record["version"] for record in told if record["kind"] == "budget") == [1, 2]
    assert len(await entries(settings)) == len([record for record in told if record["kind"] == "credit"])


async def test_a_grant_without_kafka_ends_in_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        monkeypatch.setattr(store_module, "CHANGE_SECONDS_MAX", 1.0)
        store = ControlStore(settings.model_copy(update={"kafka_bootstrap_servers": address}))
        with pytest.raises(UnreachableError, match=f"Kafka at {address} cannot be reached"):
            await store.grant(granted())


class Disturbed(Follower):
    """Another writer comes in between at the first change, as soon as the topic has been read."""

    disturbances = 0

    async def read_to_end(self) -> None:
        await super().read_to_end()
        if self.disturbances == 0:
            name = transactional_id(self._settings)
            async with AIOKafkaProducer(**client_options(self._settings), transactional_id=name):
                pass
        self.disturbances += 1


class LosesTheAnswer(Writer):
    """Takes its first commit for failed although it was made."""

    commits = 0

    async def _commit(self, producer: AIOKafkaProducer, records: Sequence[OutRecord]) -> None:
        await super()._commit(producer, records)
        self.commits += 1
        raise ProducerFenced


def asked(limit: str = "30") -> Any:
    """A change that expects to be the first."""
    return new_change(
        "one", KEY, budget(limit), actor="a", reason="", expect_version=0, idempotency_key="", request=None
    )


async def test_a_writer_that_was_shut_out_starts_again(settings: Settings) -> None:
    follower = Disturbed(settings)
    await follower.start()
    try:
        changed = await Writer(settings, follower, asked(), 0).until_done()
        assert changed.version == 1
        # Once at the attempt that was shut out, and once at the one that succeeded.
        assert follower.disturbances == 2
    finally:
        await follower.stop()
    assert [record["version"] for record in await audit(settings)] == [1]


async def test_a_change_whose_answer_was_lost_is_found_and_not_made_twice(settings: Settings) -> None:
    follower = Follower(settings)
    await follower.start()
    try:
        writer = LosesTheAnswer(settings, follower, asked(), 0)
        assert (await writer.until_done()).version == 1
        assert writer.commits == 1
    finally:
        await follower.stop()
    assert [record["version"] for record in await audit(settings)] == [1]


async def test_a_record_that_somebody_else_removed_is_a_conflict(settings: Settings) -> None:
    async with opened(settings) as one, opened(settings) as other:
        await one.change(KEY, budget("10"), actor="one")
        await until(lambda: other.get(KEY) is not None)
        await other.change(KEY, None, actor="other", expect_version=1)
        with pytest.raises(VersionConflictError, match="it does not exist any more"):
            await one.change(KEY, budget("11"), actor="one", expect_version=1)
        assert one.get(KEY) is None


async def test_every_store_follows_the_changes_of_the_others(settings: Settings) -> None:
    async with opened(settings) as one, opened(settings) as other:
        seen: list[str] = []
        other.on_change(seen.append)
        await one.change(KEY, budget("10"), actor="one", reason="first", idempotency_key="k")
        held = one.get(KEY)
        assert held is not None
        assert (held.version, held.actor, held.reason, held.value["limit"]) == (1, "one", "first", "10")
        await until(lambda: other.get(KEY) == held)
        assert other.budgets()["global:month:usd"].limit == "10"
        assert seen == [KEY]
        before = other.as_of_ms
        await until(lambda: other.as_of_ms > before)


async def test_many_changes_at_once_in_one_process_are_made_one_after_the_other(settings: Settings) -> None:
    async with opened(settings) as store:
        made = await asyncio.gather(*(store.change(KEY, budget("5"), actor=str(n)) for n in range(8)))
    assert sorted(changed.version for changed in made) == list(range(1, 9))


async def test_without_kafka_a_store_says_so_in_one_sentence_and_in_time(settings: Settings) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        store = ControlStore(settings.model_copy(update={"kafka_bootstrap_servers": address}))
        began = time.monotonic()
        with pytest.raises(UnreachableError, match=f"Kafka at {address} cannot be reached"):
            await store.start()
        assert time.monotonic() - began < 13


async def test_a_change_without_kafka_ends_in_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(settings) as store:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{nobody.getsockname()[1]}"
            monkeypatch.setattr(store, "_settings", settings.model_copy(update={"kafka_bootstrap_servers": address}))
            monkeypatch.setattr(store_module, "CHANGE_SECONDS_MAX", 1.0)
            began = time.monotonic()
            with pytest.raises(UnreachableError, match="cannot be reached") as raised:
                await store.change(KEY, budget("10"), actor="one")
            assert time.monotonic() - began < 4
            # Nothing was written, so there is nothing to look for.
            assert "may have been made" not in str(raised.value)
        assert store.get(KEY) is None


async def test_a_cluster_without_the_audit_topic_is_told_how_to_get_it(settings: Settings) -> None:
    store = ControlStore(settings.model_copy(update={"topic_prefix": "nobody."}))
    with pytest.raises(UnreachableError, match="tollgate topics apply"):
        await store.start()
