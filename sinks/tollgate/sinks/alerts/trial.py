"""A test alert: shows that the settings work, before a real one has to."""

import asyncio
import uuid

import msgspec

from tollgate.runtime.settings import Settings
from tollgate.schemas.instants import format_instant
from tollgate.sinks.alerts.alert import Alert
from tollgate.sinks.alerts.delivery import wall_clock_ms
from tollgate.sinks.alerts.message import render
from tollgate.sinks.alerts.notification import Notification
from tollgate.sinks.alerts.outcome import Delivered, Found, Looked, Misconfigured, Sent
from tollgate.sinks.alerts.sender import Editor, choose_sender


def send_test_alert(settings: Settings) -> str | None:
    """Post a test message and, with a bot token, look it up and resolve it in place: all that alerts need.

    None when all went well, else one sentence that says what failed and what to do. Blocks for the time of the
    requests. Raises ConfigurationError as `run` refuses. Kafka is not touched.
    """
    return asyncio.run(_try(settings))


async def _try(settings: Settings) -> str | None:
    sender = choose_sender(settings)
    now = format_instant(wall_clock_ms())
    identifier = uuid.uuid4().hex
    alert = Alert(
        key=f"test/{identifier}",
        kind="test",
        level="warning",
        revision=1,
        scope="global",
        since=now,
        updated_at=now,
        reason="This is a test of the alerts; nothing is wrong",
    )
    notification = Notification(
        key=alert.key,
        state="sending",
        via=sender.via,
        id=identifier,
        channel=sender.channel,
        revision=1,
        level=alert.level,
        sending_at=now,
    )
    posted = await sender.post(alert, render(alert), notification)
    if not isinstance(posted, Delivered):
        return _sentence("posting", posted)
    if not isinstance(sender, Editor):
        return None
    notification = msgspec.structs.replace(notification, channel=posted.channel, ts=posted.ts, state="sent")
    found = await sender.find(notification)
    if not isinstance(found, Found):
        return (
            f"the message was posted but cannot be looked up ({_reason(found)}): give the app the scope "
            "channels:history (groups:history for a private channel) and install it again; a crash may double alerts"
        )
    ended = msgspec.structs.replace(alert, level="resolved", revision=2, updated_at=format_instant(wall_clock_ms()))
    edited = await sender.edit(ended, render(ended), notification)
    return None if isinstance(edited, Delivered) else _sentence("editing", edited)


def _sentence(doing: str, outcome: Sent) -> str:
    fix = f": {outcome.fix}" if isinstance(outcome, Misconfigured) else ""
    return f"{doing} the test alert failed ({_reason(outcome)}){fix}"


def _reason(outcome: Sent | Looked) -> str:
    reason: str = getattr(outcome, "reason", "") or type(outcome).__name__.lower()
    return reason
