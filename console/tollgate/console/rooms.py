"""The rooms of the console, in the order of the navigation."""

from tollgate.console.api import (
    alerts,
    audit,
    check,
    dashboard,
    dead_letters,
    events,
    flags,
    reports,
    spend,
    status,
    stream,
    sums,
    usage,
    users,
    why,
)
from tollgate.console.room import Room

ROOMS: tuple[Room, ...] = (
    dashboard.ROOM,
    spend.ROOM,
    sums.ROOM,
    events.ROOM,
    users.ROOM,
    reports.ROOM,
    audit.ROOM,
    dead_letters.ROOM,
    usage.ROOM,
    check.ROOM,
    flags.ROOM,
    alerts.ROOM,
    why.ROOM,
    stream.ROOM,
    status.ROOM,
)
