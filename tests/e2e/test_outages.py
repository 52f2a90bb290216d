"""What is down comes back: no process gives up, and nothing is lost meanwhile."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.chaos.roles import RoleProcess
from tests.e2e.conftest import SlackProcess, alert_of
from tests.support.services import Service
from tests.support.slack_server import CHANNEL, TOKEN
from tests.support.usage import event
from tests.support.worker import send, spent
from tests.waiting import wait_until

from tollgate.embedded.ports import HOST, free_ports
from tollgate.runtime.settings import Settings
from tollgate.runtime.topics_admin import apply_topics
from tollgate.schemas.control import BudgetRecord
from tollgate.schemas.topics import Topic
from tollgate.sinks.clickhouse import UnavailableError, connect, migrate
from tollgate.verification import verify

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SINK, ALERTS, WORKER = "sinks.clickhouse", "sinks.alerts", "worker"


def events(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Events of 0.0035 USD each."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return [event(f"e{start + n}", "u1", time=now) for n in range(count)]


@contextmanager
def running(settings: Settings, directory: Path, *roles: str) -> Iterator[dict[str, RoleProcess]]:
    """The roles as processes, each of which must end with 0."""
    processes = {role: RoleProcess(role, settings, directory, "worker-0" if role == WORKER else "") for role in roles}
    for process in processes.values():
        process.start()
    try:
        yield processes
    finally:
        ended = {role: process.stop() for role, process in processes.items()}
    assert set(ended.values()) == {0}, ended


def says(process: RoleProcess, text: str) -> None:
    wait_until(lambda: text in process.log.read_text(errors="replace"), 60, f"{text!r} in {process.log}")


def test_processes_that_start_before_kafka_wait_for_it_and_then_count(tmp_path: Path) -> None:
    kafka = Service("kafka", tmp_path)
    settings = Settings.model_validate({"kafka_bootstrap_servers": kafka.address, "data_dir": tmp_path / "data"})
    try:
        with running(settings, tmp_path, WORKER, ALERTS) as processes:
            says(processes[WORKER], "waiting for Kafka")
            says(processes[ALERTS], "Kafka")
            kafka.start()
            # The topics come later still.
            says(processes[WORKER], "topics are missing")
            asyncio.run(apply_topics(settings))
            asyncio.run(send(settings, events(3)))
            wait_until(lambda: asyncio.run(spent(settings, "user/u1")) == ("0.0105", 3), 60, "the spend")
    finally:
        kafka.stop()


def test_events_counted_while_clickhouse_is_down_arrive_when_it_is_back(settings: Settings, tmp_path: Path) -> None:
    clickhouse = Service("clickhouse", tmp_path)
    here = settings.model_copy(update={"clickhouse_url": f"http://{clickhouse.address}"})

    def arrived() -> int:
        try:
            ((count,),) = connect(here).query("SELECT count() FROM usage").result_rows
        except UnavailableError:
            return -1
        return int(count)

    try:
        clickhouse.start()
        migrate(here)
        with running(here, tmp_path, WORKER, SINK) as processes:
            asyncio.run(send(here, events(10)))
            wait_until(lambda: arrived() == 10, 60, "the first events")
            clickhouse.kill()
            asyncio.run(send(here, events(10, 10)))
            says(processes[SINK], "warning")
            wait_until(lambda: asyncio.run(spent(here, "user/u1")) == ("0.07", 20), 60, "the spend in Kafka")
            clickhouse.start()
            wait_until(lambda: arrived() == 20, 90, "the events of the outage")
            report = asyncio.run(verify(here, 30, clickhouse=True, progress=lambda _what, _done, _total: None))
            assert report.ok, report.as_json()
    finally:
        clickhouse.stop()


def test_an_alert_of_a_time_without_slack_is_posted_once_when_slack_is_back(settings: Settings, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    slack_settings = {
        "slack_bot_token": TOKEN,
        "slack_channel": CHANNEL,
        "slack_api_url": f"http://{HOST}:{port}/api/",
    }
    here = Settings.model_validate(settings.model_dump(exclude_unset=True) | slack_settings)
    budget = BudgetRecord.model_validate({"scope": "user/u1", "limit": "0.01", "updated_at": "2026-01-01T00:00:00Z"})
    with running(here, tmp_path, WORKER, ALERTS) as processes:
        asyncio.run(_set(here, budget))
        # Three events are 105 % of the budget.
        asyncio.run(send(here, events(3)))
        says(processes[ALERTS], "warning")
        asyncio.run(send(here, events(2, 3)))
        wait_until(lambda: asyncio.run(spent(here, "user/u1")) == ("0.0175", 5), 60, "the spend")
        slack = SlackProcess(tmp_path / "slack.log", port)
        try:
            # 0.0175 of 0.01 USD is 175 %.
            def levels() -> list[str]:
                return [alert_of(m["body"])["level"] for m in slack.messages()]

            wait_until(lambda: levels() == ["emergency"], 90, "one message")
            processes[ALERTS].kill()
            processes[ALERTS].start()
            asyncio.run(send(here, events(1, 5)))
            wait_until(lambda: "0.021" in json.dumps(slack.messages()[0]["body"]), 60, "the message with new numbers")
            assert len(slack.messages()) == 1
        finally:
            slack.stop()


async def _set(settings: Settings, budget: BudgetRecord) -> None:
    from aiokafka import AIOKafkaProducer

    from tollgate.runtime.kafka import client_options

    async with AIOKafkaProducer(**client_options(settings)) as producer:
        value = budget.model_dump_json().encode()
        await producer.send_and_wait(settings.topic(Topic.CONTROL), value, key=f"budget/{budget.id}".encode())
