"""The rooms of the console, in the order of the navigation."""

from tollgate.console.access import login
from tollgate.console.api import alerts, check, flags, stream, tokens, usage, why
from tollgate.console.pages import static_files
from tollgate.console.room import Room

ROOMS: tuple[Room, ...] = (
    login.ROOM,
    static_files.ROOM,
    stream.ROOM,
    usage.ROOM,
    check.ROOM,
    flags.ROOM,
    why.ROOM,
    alerts.ROOM,
    tokens.ROOM,
)
