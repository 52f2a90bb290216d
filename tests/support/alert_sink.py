"""Running the alert sink for tests, in this process or as one that can be killed, and looking at what it did.

As a program: `python -m tests.support.alert_sink '{"post_spacing_ms": 20}'` runs the sink with settings from the
environment and a policy that differs from the default as given.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from tests.support.slack_server import CHANNEL, TOKEN, SlackServer
from tests.waiting import eventually

from tollgate.runtime.kafka import client_options, read_compacted
from tollgate.runtime.logs import configure_logs
from tollgate.runtime.settings import Settings, load_settings
from tollgate.schemas.topics import Topic
from tollgate.sinks.alerts import Notification, decode_notification
from tollgate.sinks.alerts.notification import Policy
from tollgate.sinks.alerts.sender import choose_sender
from tollgate.sinks.alerts.sink import AlertSink

ROOT = Path(__file__).resolve().parents[2]
RUN = """
from tollgate.runtime.settings import load_settings
from tollgate.sinks.alerts import run
raise SystemExit(run(load_settings()))
"""


def with_slack(settings: Settings, server: SlackServer, **changes: Any) -> Settings:
    """The settings of a sink that posts to the server with a bot token."""
    slack = {"slack_bot_token": TOKEN, "slack_channel": CHANNEL, "slack_api_url": server.api_url}
    return load_settings(**(settings.model_dump(exclude_unset=True) | slack | changes))


async def publish(settings: Settings, records: Iterable[dict[str, Any]]) -> None:
    """Write alert records as the worker does: in a transaction, keyed by the alert."""
    producer = AIOKafkaProducer(**client_options(settings), transactional_id=f"{settings.application}-test")
    await producer.start()
    try:
        async with producer.transaction():
            for record in records:
                await producer.send_and_wait(
                    settings.topic(Topic.ALERTS), json.dumps(record).encode(), key=record["key"].encode(), partition=0
                )
    finally:
        await producer.stop()


async def remove(settings: Settings, key: str) -> None:
    """Remove an alert as the worker does when it is long over."""
    async with AIOKafkaProducer(**client_options(settings)) as producer:
        await producer.send_and_wait(settings.topic(Topic.ALERTS), None, key=key.encode(), partition=0)


async def notifications(settings: Settings) -> dict[str, Notification]:
    """What the sink has recorded, by alert key."""
    found = await read_compacted(settings, settings.topic(Topic.NOTIFICATIONS))
    return {key: decode_notification(value) for key, value in found.items()}


async def rewind(settings: Settings) -> None:
    """Make the next sink read the whole topic of alerts again. No sink may be running."""
    partition = TopicPartition(settings.topic(Topic.ALERTS), 0)
    consumer = AIOKafkaConsumer(
        **client_options(settings), group_id=f"{settings.application}-sink-alerts", enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.assign([partition])
        await consumer.commit({partition: 0})
    finally:
        await consumer.stop()


async def committed(settings: Settings) -> int | None:
    """The offset from which the next sink reads."""
    partition = TopicPartition(settings.topic(Topic.ALERTS), 0)
    consumer = AIOKafkaConsumer(
        **client_options(settings), group_id=f"{settings.application}-sink-alerts", enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.assign([partition])
        offset: int | None = await consumer.committed(partition)
        return offset
    finally:
        await consumer.stop()


async def all_sent(settings: Settings, records: Iterable[dict[str, Any]], seconds: float = 30) -> None:
    """Wait until each of the records, or a later one of its key, is recorded as sent, and so is the digest it is in.

    The members of a digest are recorded before the digest is posted: only its own record says that it arrived.
    """
    wanted = {record["key"]: record["revision"] for record in records}

    async def sent() -> bool:
        told = await notifications(settings)
        return all(
            key in told
            and told[key].state == "sent"
            and told[key].revision >= revision
            and (not told[key].digest or told[told[key].digest].state == "sent")
            for key, revision in wanted.items()
        )

    await eventually(sent, seconds, "delivery")


@asynccontextmanager
async def sinking(settings: Settings, policy: Policy | None = None) -> AsyncIterator[AlertSink]:
    """A sink in this process until the block ends; fails if the sink fails."""
    sink = AlertSink(settings, choose_sender(settings), policy)
    task = asyncio.create_task(sink.run())
    try:
        yield sink
    finally:
        sink.stop()
        await asyncio.wait_for(task, 30)


class SinkProcess:
    """The sink as a process of its own, with its log in a file."""

    def __init__(self, settings: Settings, log: Path, policy: dict[str, Any] | None = None) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TOLLGATE_")}
        for name, value in settings.model_dump(exclude_unset=True).items():
            if value is not None:
                text = value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
                environment[f"TOLLGATE_{name.upper()}"] = text
        program = ["-c", RUN] if policy is None else ["-m", "tests.support.alert_sink", json.dumps(policy)]
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, *program], env=environment, cwd=ROOT, stdout=output, stderr=output
            )

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def wait(self, seconds: float = 30) -> int:
        """The exit status."""
        return await asyncio.to_thread(self._process.wait, seconds)

    async def stop(self) -> int:
        """Ask it to end; the exit status."""
        self.signal(signal.SIGTERM)
        return await self.wait()

    async def kill(self) -> None:
        """End it without a chance to do anything."""
        self.signal(signal.SIGKILL)
        await self.wait()

    async def logs(self, text: str, seconds: float = 30) -> None:
        """Wait until its log holds the text."""

        async def found() -> bool:
            return text in self.log_text()

        await eventually(found, seconds, f"{text!r} in the log")

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


@asynccontextmanager
async def sink_process(
    settings: Settings, log: Path, policy: dict[str, Any] | None = None
) -> AsyncIterator[SinkProcess]:
    """A sink process that does not outlive the block."""
    process = SinkProcess(settings, log, policy)
    try:
        yield process
    finally:
        if process._process.poll() is None:
            await process.kill()


async def _main() -> None:
    settings = load_settings()
    configure_logs(settings.log_level, settings.log_format)
    sink = AlertSink(settings, choose_sender(settings), Policy(**json.loads(sys.argv[1])))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, sink.stop)
    await sink.run()


if __name__ == "__main__":
    asyncio.run(_main())
