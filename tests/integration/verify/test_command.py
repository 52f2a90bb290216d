"""The command as a user runs it: what it prints of a difference, and how Ctrl-C ends it."""

import asyncio
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from tests.support.tollgate_cli import Tollgate
from tests.support.usage import event
from tests.support.worker import send, working

from tollgate.runtime.kafka import client_options, read_to_end
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic

pytestmark = pytest.mark.integration


def tollgate(settings: Settings, directory: Path) -> Tollgate:
    space = directory / "space"
    space.mkdir()
    given = {f"TOLLGATE_{name.upper()}": str(value) for name, value in settings.model_dump(exclude_unset=True).items()}
    return Tollgate(given | {"TMPDIR": str(space)}, directory)


async def repeat_an_event(settings: Settings) -> None:
    """Put the same event into the usage topic once more with a priced record of its own, as if it had been counted."""
    usage, *_ = [r async for r in read_to_end(settings, settings.topic(Topic.USAGE))]
    priced, *_ = [r async for r in read_to_end(settings, settings.topic(Topic.PRICED))]
    async with AIOKafkaProducer(**client_options(settings)) as producer:
        again = await producer.send_and_wait(
            settings.topic(Topic.USAGE), usage.value, key=usage.key, partition=usage.partition
        )
        old, new = f'"source_offset":{usage.offset},', f'"source_offset":{again.offset},'
        value = (priced.value or b"").replace(old.encode(), new.encode())
        await producer.send_and_wait(settings.topic(Topic.PRICED), value, key=priced.key, partition=priced.partition)


def test_a_repeat_that_was_counted_is_told_with_its_place_and_the_sums_stay_right(
    settings: Settings, tmp_path: Path
) -> None:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    command = tollgate(settings, tmp_path)
    with working(settings, tmp_path / "worker.log"):
        asyncio.run(send(settings, [event("e1", time=now), event("e2", time=now)]))
        told = command.ok("verify", "--no-clickhouse")
        assert "Everything is equal: 2 events, 0.007 USD." in told.out
        assert told.err.splitlines()[-2:] == ["comparing", "ClickHouse was not compared, because of --no-clickhouse."]
        asyncio.run(repeat_an_event(settings))
        found = command.run("verify", "--no-clickhouse", "--json")
        told = command.run("verify", "--no-clickhouse")
    assert (found.status, told.status) == (1, 1)
    report = found.json()
    assert [check["name"] for check in report["checks"] if not check["ok"]] == ["priced events"]
    assert (report["events"], report["cost_usd"], report["first_difference"]) == (2, "0.007", None)
    (wrong,) = report["events_that_differ"]
    assert (wrong["id"], wrong["cost_usd"], wrong["found"]) == ("e1", "0.0035", "one")
    assert wrong["expected"] == "no priced record, for it repeats an earlier event"
    assert f"event e1 at {wrong['place']}, 0.0035 USD: expected no priced record" in told.err
    assert "recomputing" not in found.err
    assert not list((tmp_path / "space").iterdir())


def test_ctrl_c_ends_it_at_once_and_leaves_nothing_behind(settings: Settings, tmp_path: Path) -> None:
    asyncio.run(send(settings, [event("e1")]))
    command = tollgate(settings, tmp_path)
    # Nobody counts the event, so it waits.
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("tollgate")), "verify", "--no-clickhouse", "--wait", "120"],
        env=command.environment(), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    with process:
        while process.stderr.readline() != "waiting for the worker\n":
            assert process.poll() is None
        assert len(list((tmp_path / "space").iterdir())) == 1
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "", "")
    assert not list((tmp_path / "space").iterdir())


@pytest.mark.long
def test_events_that_were_too_old_are_no_difference_and_the_setting_may_change(
    settings: Settings, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    old = [event(f"old-{n}", time=(now - timedelta(days=n)).isoformat()) for n in (1, 2, 4, 400)]
    command = tollgate(settings, tmp_path)
    bounded = settings.model_copy(update={"event_age_days_max": 3})
    bounded.model_fields_set.add("event_age_days_max")
    with working(bounded, tmp_path / "worker.log"):
        asyncio.run(send(settings, old))
        assert "Everything is equal: 2 events, 0.007 USD." in command.ok("verify", "--no-clickhouse").out
    # Without the bound what was refused may come again, and is counted then.
    with working(settings, tmp_path / "worker.log"):
        asyncio.run(send(settings, old))
        told = command.ok("verify", "--no-clickhouse").out
    assert "Everything is equal: 4 events, 0.014 USD." in told
    assert "8 usage records: 4 counted, 2 duplicate, 2 refused, 0 forwarded" in told
