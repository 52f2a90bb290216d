"""Alerts to people: one Slack message per problem, edited in place."""

from tollgate.sinks.alerts.alert import Alert, decode_alert
from tollgate.sinks.alerts.message import Message, render, render_text
from tollgate.sinks.alerts.notification import Notification, decode_notification
from tollgate.sinks.alerts.sender import ConfigurationError
from tollgate.sinks.alerts.sink import run
from tollgate.sinks.alerts.trial import send_test_alert

__all__ = [
    "Alert",
    "ConfigurationError",
    "Message",
    "Notification",
    "decode_alert",
    "decode_notification",
    "render",
    "render_text",
    "run",
    "send_test_alert",
]
