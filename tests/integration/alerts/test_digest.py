"""A storm of alerts from Kafka to a Slack-compatible server: few messages, nothing lost, nothing doubled."""

from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support.alert_records import budget_record
from tests.support.alert_sink import all_sent, notifications, publish, sink_process, sinking, with_slack
from tests.support.slack_server import Fault, SlackServer, running
from tests.waiting import eventually

from tollgate.runtime.settings import Settings
from tollgate.sinks.alerts.notification import Policy

pytestmark = pytest.mark.integration

QUICK: dict[str, Any] = {
    "post_spacing_ms": 20, "edit_spacing_ms": 20, "edit_interval_ms": 300, "settle_ms": 300, "backoff_first_s": 0.1,
    "backoff_max_s": 0.5, "digest_over": 20, "digest_gather_ms": 500, "digest_interval_ms": 2_000,
}  # fmt: skip


@pytest_asyncio.fixture
async def slack() -> AsyncIterator[SlackServer]:
    async with running(SlackServer()) as server:
        yield server


def users(count: int, level: str = "critical", revision: int = 1, first: int = 0) -> list[dict[str, Any]]:
    return [budget_record(level, revision, f"user/{n}") for n in range(first, first + count)]


def headers(slack: SlackServer) -> list[str]:
    return [message.body["blocks"][0]["text"]["text"] for message in slack.messages]


async def test_five_thousand_users_blocked_at_once_are_few_messages_and_each_is_followed(
    settings: Settings, slack: SlackServer
) -> None:
    assert asdict(Policy(**QUICK)).keys() >= QUICK.keys()
    async with sinking(with_slack(settings, slack), Policy(**QUICK)):
        for first in range(0, 5_000, 1_000):
            await publish(settings, users(1_000, first=first))
        await all_sent(settings, users(5_000), seconds=60)
        # One or a few before it was a storm, then a digest every two seconds while they were written.
        posted = len(slack.messages)
        assert posted <= 40
        await publish(settings, users(5_000, "resolved", 2))
        await all_sent(settings, users(5_000, "resolved", 2), seconds=60)

        async def all_over() -> bool:
            return all(header.startswith("✅ RESOLVED") for header in headers(slack))

        await eventually(all_over, 60, "every message says that it is over")
    assert len(slack.messages) == posted
    assert any("all alerts of a storm are over" in header for header in headers(slack))


@pytest.mark.parametrize("arrived", [True, False])
async def test_a_killed_sink_neither_loses_nor_doubles_a_digest(
    settings: Settings, slack: SlackServer, tmp_path: Path, arrived: bool
) -> None:
    slack.faults.append(Fault("delay", "chat.postMessage", accept=arrived, seconds=20))
    configured = with_slack(settings, slack)
    # All is in the topic before the sink starts, so that its first message is the digest.
    await publish(settings, users(200))
    async with sink_process(configured, tmp_path / "log", QUICK) as sink:

        async def posting() -> bool:
            return any(call.method == "chat.postMessage" for call in slack.calls)

        await eventually(posting, 30, "the digest on its way")
        await sink.kill()
    slack.faults.clear()
    assert len(slack.messages) == int(arrived)
    await publish(settings, users(50, "resolved", 2))
    async with sink_process(configured, tmp_path / "log", QUICK) as sink:
        await all_sent(settings, [*users(150, first=50), *users(50, "resolved", 2)])

        async def up_to_date() -> bool:
            return headers(slack) == ["🔴 CRITICAL · 150 alerts at once"]

        await eventually(up_to_date, 30, "one digest with 150 of 200 left")
        assert await sink.stop() == 0
    told = await notifications(settings)
    assert len({found.digest for found in told.values() if not found.key.startswith("digest/")}) == 1
    assert len(slack.messages) == 1


async def test_a_webhook_gets_one_message_for_a_storm(settings: Settings, slack: SlackServer) -> None:
    configured = with_slack(settings, slack, slack_bot_token=None, slack_webhook_url=slack.webhook_url)
    await publish(settings, users(300))
    async with sinking(configured, Policy(**QUICK)):
        await all_sent(settings, users(300))
    assert [body["text"].split(":")[1] for body in slack.webhook_bodies] == [" 300 alerts at once"]
