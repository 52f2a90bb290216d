"""The rooms of the console, in the order of the navigation."""

from tollgate.console.api import alerts, check, flags, status, stream, usage, why
from tollgate.console.room import Room

ROOMS: tuple[Room, ...] = (usage.ROOM, check.ROOM, flags.ROOM, alerts.ROOM, why.ROOM, stream.ROOM, status.ROOM)
