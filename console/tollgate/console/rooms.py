"""The rooms of the console, in the order of the navigation."""

from tollgate.console.access import login
from tollgate.console.api import alerts, budgets, check, flags, prices, settings, stream, tokens, usage, why
from tollgate.console.room import Room

ROOMS: tuple[Room, ...] = (
    login.ROOM,
    usage.ROOM,
    check.ROOM,
    budgets.ROOM,
    flags.ROOM,
    alerts.ROOM,
    why.ROOM,
    stream.ROOM,
    prices.ROOM,
    settings.ROOM,
    tokens.ROOM,
)
