"""Alerts through a Slack incoming webhook. It can only post, so a message is sent for each change of level.

A webhook's answer does not contain the message's `ts`, so messages cannot be edited or looked up. When it is not known
after a crash whether a message arrived, it is sent again: two messages are better than none.
"""

import logging
from typing import Final

import aiohttp
from slack_sdk.webhook.async_client import AsyncWebhookClient

from tollgate.sinks.alerts.alert import Alert
from tollgate.sinks.alerts.message import Message
from tollgate.sinks.alerts.notification import Notification, Via
from tollgate.sinks.alerts.outcome import (
    Delivered,
    Limited,
    Misconfigured,
    Rejected,
    Sent,
    Unclear,
    Unsent,
)
from tollgate.sinks.alerts.slack_bot import REQUEST_SECONDS_MAX, retry_after_seconds

_FIX: Final = "create a new incoming webhook in Slack and set TOLLGATE_SLACK_WEBHOOK_URL to it"
# What Slack answers with HTTP 400 when the message, not the webhook, is at fault.
_MESSAGE_FAULTS: Final = {"invalid_payload", "invalid_blocks", "no_text", "too_many_attachments", "user_not_found"}


class SlackWebhook:
    """A `Sender` over slack-sdk's webhook client."""

    via: Via = "webhook"
    channel = "webhook"
    paced = True

    def __init__(self, url: str) -> None:
        # The URL is a secret, and the SDK logs it at debug level.
        quiet = logging.getLogger("tollgate.slack-sdk")
        quiet.setLevel(logging.CRITICAL + 1)
        self._client = AsyncWebhookClient(url, timeout=REQUEST_SECONDS_MAX, retry_handlers=[], logger=quiet)

    async def post(self, alert: Alert, message: Message, notification: Notification) -> Sent:  # noqa: ARG002 # a channel's signature
        """Only types of exceptions are passed on: their texts hold the URL."""
        try:
            response = await self._client.send(
                text=message.text, blocks=message.blocks or None, unfurl_links=False, unfurl_media=False
            )
        except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
            return Unsent(type(error).__name__)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Unclear(type(error).__name__)
        if response.status_code == 200:
            return Delivered(channel=self.channel)
        if response.status_code == 429:
            return Limited(retry_after_seconds(response.headers))
        if response.status_code >= 500:
            return Unclear(f"HTTP {response.status_code}")
        fault = response.body.strip() if len(response.body) < 60 else ""
        if fault in _MESSAGE_FAULTS:
            return Rejected(fault)
        return Misconfigured(f"HTTP {response.status_code} {fault}".strip(), _FIX)
