"""Alerts to people: one Slack message per problem, edited in place."""

from tollgate.sinks.alerts.alert import Alert, decode_alert
from tollgate.sinks.alerts.message import Message, render, render_text
from tollgate.sinks.alerts.notification import Notification, decode_notification
from tollgate.sinks.alerts.sink import run

__all__ = ["Alert", "Message", "Notification", "decode_alert", "decode_notification", "render", "render_text", "run"]
