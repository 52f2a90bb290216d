"""What the answers of Slack mean, over HTTP with a Slack-compatible server; and what the settings choose."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from pydantic import SecretStr
from tests.support.alert_records import budget_record, decoded
from tests.support.slack_server import CHANNEL, TOKEN, Fault, SlackServer, running

from tollgate.runtime.settings import Settings
from tollgate.schemas.instants import format_instant
from tollgate.sinks.alerts.delivery import wall_clock_ms
from tollgate.sinks.alerts.message import Message, render
from tollgate.sinks.alerts.notification import Notification
from tollgate.sinks.alerts.outcome import (
    Delivered,
    Found,
    Gone,
    Limited,
    Misconfigured,
    NotFound,
    Rejected,
    Unclear,
    Unsearchable,
    Unsent,
)
from tollgate.sinks.alerts.pacing import Pace
from tollgate.sinks.alerts.sender import ConfigurationError, Printer, choose_sender
from tollgate.sinks.alerts.slack_bot import SlackBot, retry_after_seconds
from tollgate.sinks.alerts.slack_webhook import SlackWebhook

ALERT = decoded(budget_record())
MESSAGE = render(ALERT)


@pytest_asyncio.fixture
async def slack() -> AsyncIterator[SlackServer]:
    async with running(SlackServer()) as server:
        yield server


def bot(server: SlackServer, token: str = TOKEN, channel: str = CHANNEL) -> SlackBot:
    return SlackBot(token, channel, server.api_url)


def sending(identifier: str = "0a", channel: str = CHANNEL, ts: str = "") -> Notification:
    return Notification(
        key=ALERT.key,
        state="sending",
        via="bot",
        id=identifier,
        channel=channel,
        ts=ts,
        revision=1,
        level="critical",
        sending_at=format_instant(wall_clock_ms()),
    )


async def test_a_post_is_delivered_and_can_be_found_by_its_identifier(slack: SlackServer) -> None:
    posted = await bot(slack).post(ALERT, MESSAGE, sending("0a"))
    assert isinstance(posted, Delivered)
    assert posted.channel == CHANNEL
    assert await bot(slack).find(sending("0a")) == Found(CHANNEL, posted.ts, 1, "critical")
    # Another installation in the same channel has an alert of the same key.
    assert await bot(slack).find(sending("0b")) == NotFound()


async def test_a_message_is_found_among_more_than_one_page_of_history(slack: SlackServer) -> None:
    posted = await bot(slack).post(ALERT, MESSAGE, sending("0a"))
    for number in range(450):
        slack._post({"channel": CHANNEL, "text": f"chatter {number}"})
    assert isinstance(posted, Delivered)
    assert await bot(slack).find(sending("0a")) == Found(CHANNEL, posted.ts, 1, "critical")
    assert slack.accepted("conversations.history") == 3


async def test_a_limit_is_told_with_its_seconds_and_nothing_is_posted(slack: SlackServer) -> None:
    slack.faults.append(Fault("limit", seconds=7))
    assert await bot(slack).post(ALERT, MESSAGE, sending()) == Limited(7.0)
    assert not slack.messages


@pytest.mark.parametrize("accept", [True, False])
@pytest.mark.parametrize("kind", ["status", "drop"])
async def test_a_server_error_and_a_cut_connection_leave_a_doubt(slack: SlackServer, kind: str, accept: bool) -> None:
    slack.faults.append(Fault("status" if kind == "status" else "drop", accept=accept))
    assert isinstance(await bot(slack).post(ALERT, MESSAGE, sending()), Unclear)
    assert len(slack.messages) == accept
    # The SDK would have tried again by itself.
    assert len(slack.calls) == 1


async def test_nobody_listening_is_no_doubt(slack: SlackServer) -> None:
    lonely = SlackBot(TOKEN, CHANNEL, "http://127.0.0.1:1/api/")
    assert isinstance(await lonely.post(ALERT, MESSAGE, sending()), Unsent)


async def test_a_wrong_token_and_a_wrong_channel_name_the_setting_to_mend(slack: SlackServer) -> None:
    answer = await bot(slack, token="xoxb-wrong").post(ALERT, MESSAGE, sending())
    assert isinstance(answer, Misconfigured)
    assert answer.reason == "invalid_auth"
    assert "TOLLGATE_SLACK_BOT_TOKEN" in answer.fix
    answer = await bot(slack, channel="C0OTHER").post(ALERT, MESSAGE, sending())
    assert isinstance(answer, Misconfigured)
    assert "TOLLGATE_SLACK_CHANNEL" in answer.fix


async def test_a_deleted_message_and_a_refused_one_are_told_apart(slack: SlackServer) -> None:
    assert await bot(slack).edit(ALERT, MESSAGE, sending(ts="1.000001")) == Gone("message_not_found")
    too_long = Message("text", [{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}])
    assert await bot(slack).post(ALERT, too_long, sending()) == Rejected("invalid_blocks")


async def test_a_history_that_may_not_be_read_is_told_as_such(slack: SlackServer) -> None:
    slack.faults.append(Fault("error", "conversations.history", code="missing_scope"))
    assert await bot(slack).find(sending()) == Unsearchable("missing_scope")


async def test_a_channel_may_be_named_for_posting(slack: SlackServer) -> None:
    posted = await bot(slack, channel="#alerts").post(ALERT, MESSAGE, sending())
    assert isinstance(posted, Delivered)
    assert posted.channel == CHANNEL


async def test_the_answers_of_a_webhook(slack: SlackServer) -> None:
    webhook = SlackWebhook(slack.webhook_url)
    assert await webhook.post(ALERT, MESSAGE, sending()) == Delivered("webhook")
    slack.faults.append(Fault("limit", "webhook", seconds=3))
    assert await webhook.post(ALERT, MESSAGE, sending()) == Limited(3.0)
    slack.faults.append(Fault("status", "webhook", accept=False))
    assert await webhook.post(ALERT, MESSAGE, sending()) == Unclear("HTTP 500")
    assert isinstance(await SlackWebhook(slack.url + "/services/none").post(ALERT, MESSAGE, sending()), Misconfigured)
    assert isinstance(await SlackWebhook("http://127.0.0.1:1/").post(ALERT, MESSAGE, sending()), Unsent)
    assert len(slack.webhook_bodies) == 1


async def test_an_answer_that_comes_late_is_waited_for(slack: SlackServer) -> None:
    slack.faults.append(Fault("delay", seconds=0.2))
    assert isinstance(await asyncio.wait_for(bot(slack).post(ALERT, MESSAGE, sending()), 10), Delivered)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"retry-after": "7"}, 7.0), ({"Retry-After": "0"}, 1.0), ({}, 30.0), ({"Retry-After": "x"}, 30.0)],
)
def test_retry_after(headers: dict[str, str], seconds: float) -> None:
    assert retry_after_seconds(headers) == seconds


def test_a_lane_backs_off_to_a_limit_and_recovers() -> None:
    pace = Pace(1.0, 1.0, 5.0)
    assert [pace.failed(100.0) for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    pace.done(200.0)
    assert pace.ready_at_s == 201.0
    assert pace.failed(201.0) == 1.0
    pace.pause(202.0, 30.0)
    assert pace.ready_at_s == 232.0


def settings(**given: object) -> Settings:
    return Settings.model_validate({"slack_bot_token": None, "slack_webhook_url": None, "slack_channel": None} | given)


def test_the_settings_choose_the_way_out() -> None:
    token, url = SecretStr(TOKEN), SecretStr("http://127.0.0.1:1/x")
    assert isinstance(choose_sender(settings()), Printer)
    assert isinstance(choose_sender(settings(slack_bot_token=SecretStr(""))), Printer)
    assert isinstance(choose_sender(settings(slack_webhook_url=url)), SlackWebhook)
    assert isinstance(
        choose_sender(settings(slack_bot_token=token, slack_channel="C1", slack_webhook_url=url)), SlackBot
    )


def test_a_token_without_a_channel_is_refused_in_one_sentence() -> None:
    with pytest.raises(ConfigurationError, match="TOLLGATE_SLACK_CHANNEL is not: set it to") as refused:
        choose_sender(settings(slack_bot_token=SecretStr(TOKEN)))
    assert TOKEN not in str(refused.value)
