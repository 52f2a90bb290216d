"""The test alert proves what a real alert needs."""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio
from tests.support.slack_server import CHANNEL, TOKEN, Fault, SlackServer, running

from tollgate.runtime.settings import Settings, load_settings
from tollgate.sinks.alerts import send_test_alert


@pytest_asyncio.fixture
async def slack() -> AsyncIterator[SlackServer]:
    async with running(SlackServer()) as server:
        yield server


def bot(server: SlackServer, **changes: object) -> Settings:
    given = {"slack_bot_token": TOKEN, "slack_channel": CHANNEL, "slack_api_url": server.api_url}
    return load_settings(**(given | changes))


async def test_it_is_posted_looked_up_and_resolved_in_place(slack: SlackServer) -> None:
    assert await asyncio.to_thread(send_test_alert, bot(slack)) is None
    assert [call.method for call in slack.calls] == ["chat.postMessage", "conversations.history", "chat.update"]
    assert slack.messages[0].body["text"] == "RESOLVED: global. This is a test of the alerts; nothing is wrong"


async def test_a_missing_scope_is_named(slack: SlackServer) -> None:
    slack.faults.append(Fault("error", "conversations.history", code="missing_scope"))
    sentence = await asyncio.to_thread(send_test_alert, bot(slack))
    assert sentence is not None
    assert "(missing_scope): give the app the scope channels:history" in sentence


async def test_a_wrong_token_is_named_without_being_shown(slack: SlackServer) -> None:
    sentence = await asyncio.to_thread(send_test_alert, bot(slack, slack_bot_token="xoxb-wrong"))
    assert sentence is not None
    assert "(invalid_auth): set TOLLGATE_SLACK_BOT_TOKEN" in sentence
    assert "xoxb-wrong" not in sentence


async def test_a_webhook_gets_one_message(slack: SlackServer) -> None:
    assert await asyncio.to_thread(send_test_alert, load_settings(slack_webhook_url=slack.webhook_url)) is None
    assert len(slack.webhook_bodies) == 1
