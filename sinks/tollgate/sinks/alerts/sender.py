"""The ways out: a Slack app, a Slack webhook, or the process's own log. The settings choose one."""

from typing import Protocol, runtime_checkable

import structlog

from tollgate.runtime.logs import Lines
from tollgate.runtime.settings import Settings
from tollgate.sinks.alerts.alert import Alert
from tollgate.sinks.alerts.message import Message, render_text
from tollgate.sinks.alerts.notification import Notification, Via
from tollgate.sinks.alerts.outcome import Delivered, Looked, Sent
from tollgate.sinks.alerts.slack_bot import SlackBot
from tollgate.sinks.alerts.slack_webhook import SlackWebhook


class ConfigurationError(ValueError):
    """The settings contradict each other; the text is one sentence that says what to do."""


class Sender(Protocol):
    """Delivers messages. `paced` says whether the far side limits the rate."""

    via: Via
    channel: str
    paced: bool

    async def post(self, alert: Alert, message: Message, notification: Notification) -> Sent: ...


@runtime_checkable
class Editor(Sender, Protocol):
    """A sender whose messages can be changed and looked up afterwards."""

    async def edit(self, alert: Alert, message: Message, notification: Notification) -> Sent: ...

    async def find(self, notification: Notification) -> Looked: ...


class Printer:
    """Without a Slack token: alerts are printed as text, one block per change of level."""

    via: Via = "log"
    channel = "log"
    paced = False

    def __init__(self, log_format: str) -> None:
        self._log = structlog.get_logger("tollgate.alerts")
        self._json = log_format == "json"

    async def post(self, alert: Alert, message: Message, notification: Notification) -> Sent:  # noqa: ARG002 # a channel's signature
        text = render_text(alert)
        if self._json:
            self._log.warning("alert", key=alert.key, level_now=alert.level, revision=alert.revision, text=text)
        else:
            self._log.warning(Lines(f"alert\n{text}"))
        return Delivered(channel=self.channel)


def choose_sender(settings: Settings) -> Sender:
    """The Slack app if a token is set, else the webhook if its URL is set, else the log.

    Raises ConfigurationError when a token is given without a channel.
    """
    token = settings.slack_bot_token.get_secret_value().strip() if settings.slack_bot_token else ""
    webhook = settings.slack_webhook_url.get_secret_value().strip() if settings.slack_webhook_url else ""
    channel = (settings.slack_channel or "").strip()
    if token and not channel:
        raise ConfigurationError(
            "TOLLGATE_SLACK_BOT_TOKEN is set but TOLLGATE_SLACK_CHANNEL is not: "
            "set it to the ID of the channel that alerts go to, such as C0123456789"
        )
    if token:
        return SlackBot(token, channel, settings.slack_api_url)
    if webhook:
        return SlackWebhook(webhook)
    return Printer(settings.log_format)
