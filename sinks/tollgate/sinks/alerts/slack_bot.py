"""Alerts through a Slack app's bot token: posted once, edited in place, looked up after a crash.

The SDK's own retries are switched off: a repeated `chat.postMessage` may post twice, and Slack has no idempotency key.
"""

import logging
from collections.abc import Awaitable, Mapping
from typing import Any, Final

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from tollgate.schemas.instants import parse_instant
from tollgate.sinks.alerts.alert import Alert
from tollgate.sinks.alerts.message import Message
from tollgate.sinks.alerts.notification import Notification, Via
from tollgate.sinks.alerts.outcome import (
    Delivered,
    Found,
    Gone,
    Limited,
    Looked,
    Misconfigured,
    NotFound,
    Rejected,
    Sent,
    Unclear,
    Unsearchable,
    Unsent,
)

EVENT_TYPE: Final = "tollgate_alert"

# Slack answers a post within a second; what takes longer than this is an outage.
REQUEST_SECONDS_MAX: Final = 20
RETRY_AFTER_SECONDS_DEFAULT: Final = 30.0
# The clocks of Slack and of this machine may differ by this much.
CLOCK_SKEW_MS: Final = 10 * 60 * 1000
HISTORY_PAGE: Final = 200
HISTORY_PAGES_MAX: Final = 25

_TOKEN_FIX: Final = "set TOLLGATE_SLACK_BOT_TOKEN to the bot token (xoxb-…) of an installed Slack app"  # noqa: S105 # a sentence
_CHANNEL_FIX: Final = "set TOLLGATE_SLACK_CHANNEL to the channel's ID and invite the app to the channel"
_SCOPE_FIX: Final = "add the scopes chat:write and channels:history to the Slack app and install it again"
_FIXES: Final[Mapping[str, str]] = {
    "invalid_auth": _TOKEN_FIX,
    "not_authed": _TOKEN_FIX,
    "account_inactive": _TOKEN_FIX,
    "token_revoked": _TOKEN_FIX,
    "token_expired": _TOKEN_FIX,
    "not_allowed_token_type": _TOKEN_FIX,
    "org_login_required": _TOKEN_FIX,
    "channel_not_found": _CHANNEL_FIX,
    "not_in_channel": _CHANNEL_FIX,
    "is_archived": _CHANNEL_FIX,
    "restricted_action": _CHANNEL_FIX,
    "restricted_action_read_only_channel": _CHANNEL_FIX,
    "missing_scope": _SCOPE_FIX,
    "no_permission": _SCOPE_FIX,
    "unknown_method": "set TOLLGATE_SLACK_API_URL to an address that answers like Slack's Web API",
}
_GONE: Final = {"message_not_found", "cant_update_message", "edit_window_closed", "thread_not_found"}
_LIMITED: Final = {"ratelimited", "rate_limited", "message_limit_exceeded", "accesslimited"}
_OUTAGE: Final = {"internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org"}

Failure = Limited | Unsent | Unclear | Misconfigured | Gone | Rejected


class SlackBot:
    """An `Editor` over slack-sdk's Web API client."""

    via: Via = "bot"
    paced = True

    def __init__(self, token: str, channel: str, api_url: str) -> None:
        # At debug level the SDK logs whole requests; ours is silent at any level.
        quiet = logging.getLogger("tollgate.slack-sdk")
        quiet.setLevel(logging.CRITICAL + 1)
        self.channel = channel
        self._client = AsyncWebClient(
            token=token, base_url=api_url, timeout=REQUEST_SECONDS_MAX, retry_handlers=[], logger=quiet
        )

    async def post(self, alert: Alert, message: Message, notification: Notification) -> Sent:
        """`Unclear` means that the message may be in the channel: `find` it before posting again."""
        answer = await _call(
            self._client.chat_postMessage(
                channel=self.channel,
                text=message.text,
                blocks=message.blocks or None,
                metadata=_metadata(alert, notification),
                parse="none",
                link_names=False,
                unfurl_links=False,
                unfurl_media=False,
            )
        )
        return answer if not isinstance(answer, Mapping) else _delivered(answer)

    async def edit(self, alert: Alert, message: Message, notification: Notification) -> Sent:
        """Replaces the message at `notification.ts`; repeating it is harmless."""
        answer = await _call(
            self._client.chat_update(
                channel=notification.channel,
                ts=notification.ts,
                text=message.text,
                blocks=message.blocks or [],
                metadata=_metadata(alert, notification),
                parse="none",
                link_names=False,
            )
        )
        return answer if not isinstance(answer, Mapping) else Delivered(notification.channel, notification.ts)

    async def find(self, notification: Notification) -> Looked:
        """The message that was posted under `notification.id`, if it reached the channel."""
        sending_ms = parse_instant(notification.sending_at)
        cursor: str | None = None
        for _ in range(HISTORY_PAGES_MAX):
            answer = await _call(
                self._client.conversations_history(
                    channel=notification.channel,
                    oldest=str((sending_ms - CLOCK_SKEW_MS) // 1000),
                    latest=str((sending_ms + CLOCK_SKEW_MS) // 1000),
                    include_all_metadata=True,
                    limit=HISTORY_PAGE,
                    cursor=cursor,
                )
            )
            if not isinstance(answer, Mapping):
                return _unsearchable(answer)
            for posted in answer.get("messages") or []:
                found = _match(posted, notification)
                if found is not None:
                    return found
            cursor = (answer.get("response_metadata") or {}).get("next_cursor") or None
            if cursor is None:
                return NotFound()
        return NotFound()


def _metadata(alert: Alert, notification: Notification) -> dict[str, Any]:
    return {
        "event_type": EVENT_TYPE,
        "event_payload": {
            "alert_key": alert.key,
            "notification_id": notification.id,
            "revision": alert.revision,
            "level": alert.level,
        },
    }


def _match(posted: Mapping[str, Any], notification: Notification) -> Found | None:
    metadata = posted.get("metadata") or {}
    payload = metadata.get("event_payload") or {}
    # The identifier tells apart installations that share a channel and have budgets of the same name.
    if payload.get("alert_key") != notification.key or payload.get("notification_id") != notification.id:
        return None
    revision, level = payload.get("revision"), payload.get("level")
    return Found(
        notification.channel,
        str(posted.get("ts", "")),
        revision if isinstance(revision, int) else notification.revision,
        level if isinstance(level, str) else notification.level,
    )


def _delivered(answer: Mapping[str, Any]) -> Sent:
    return Delivered(str(answer.get("channel", "")), str(answer.get("ts", "")))


def _unsearchable(failure: Failure) -> Looked:
    if isinstance(failure, (Misconfigured, Rejected, Gone)):
        return Unsearchable(failure.reason)
    return failure


async def _call(request: Awaitable[AsyncSlackResponse]) -> Mapping[str, Any] | Failure:
    """The answer's body when Slack says ok, else why not. Texts of exceptions hold addresses and stay here."""
    try:
        response = await request
    except SlackApiError as error:
        return _failure(error)
    except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
        return Unsent(type(error).__name__)
    except (aiohttp.ClientError, SlackClientError, TimeoutError, OSError) as error:
        return Unclear(type(error).__name__)
    except (AttributeError, ValueError, TypeError) as error:
        # slack-sdk expects a JSON object, but a proxy or a broken server may answer with anything.
        return Unclear(f"an answer that is not Slack's ({type(error).__name__})")
    body = response.data
    return body if isinstance(body, dict) else Unclear("an answer that is not Slack's")


def _failure(error: SlackApiError) -> Failure:
    response: Any = error.response
    status = int(getattr(response, "status_code", None) or getattr(response, "status", None) or 0)
    body = getattr(response, "data", None)
    code = body.get("error", "") if isinstance(body, dict) else ""
    if status == 429 or code in _LIMITED:
        return Limited(retry_after_seconds(getattr(response, "headers", None)))
    if status >= 500 or code in _OUTAGE:
        return Unclear(f"HTTP {status}" if status >= 500 else code)
    if code in _FIXES:
        return Misconfigured(code, _FIXES[code])
    if code in _GONE:
        return Gone(code)
    if not code:
        return Misconfigured(f"HTTP {status} without Slack's body", _FIXES["unknown_method"])
    return Rejected(code)


def retry_after_seconds(headers: Mapping[str, str] | None) -> float:
    """Slack's `Retry-After` in seconds; half a minute when it is missing or not a number."""
    for name, value in (headers or {}).items():
        if name.lower() == "retry-after" and value.strip().isdigit():
            return max(1.0, float(value))
    return RETRY_AFTER_SECONDS_DEFAULT
