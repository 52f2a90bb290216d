"""The rooms of the console, in the order of the navigation."""

from tollgate.console.access import login
from tollgate.console.api import (
    alerts,
    audit,
    check,
    dashboard,
    events,
    flags,
    reports,
    spend,
    status,
    stream,
    sums,
    tokens,
    usage,
    users,
    why,
)
from tollgate.console.pages import static_files
from tollgate.console.room import Room

ROOMS: tuple[Room, ...] = (
    login.ROOM,
    static_files.ROOM,
    dashboard.ROOM,
    stream.ROOM,
    spend.ROOM,
    sums.ROOM,
    events.ROOM,
    users.ROOM,
    reports.ROOM,
    flags.ROOM,
    why.ROOM,
    alerts.ROOM,
    audit.ROOM,
    tokens.ROOM,
    status.ROOM,
    usage.ROOM,
    check.ROOM,
)
