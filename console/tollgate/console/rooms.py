"""The rooms of the console, in the order of the navigation."""

from tollgate.console.access import login
from tollgate.console.api import (
    alerts,
    audit,
    budgets,
    check,
    dashboard,
    dead_letters,
    events,
    flags,
    prices,
    reports,
    settings,
    spend,
    status,
    stream,
    sums,
    tokens,
    usage,
    users,
    why,
)
from tollgate.console.pages import api_reference, budget_pages, static_files, user_pages
from tollgate.console.room import Room

ROOMS: tuple[Room, ...] = (
    login.ROOM,
    static_files.ROOM,
    dashboard.ROOM,
    budgets.ROOM,
    budget_pages.ROOM,
    users.ROOM,
    user_pages.ROOM,
    spend.ROOM,
    sums.ROOM,
    events.ROOM,
    flags.ROOM,
    why.ROOM,
    alerts.ROOM,
    reports.ROOM,
    prices.ROOM,
    settings.ROOM,
    tokens.ROOM,
    audit.ROOM,
    dead_letters.ROOM,
    status.ROOM,
    stream.ROOM,
    usage.ROOM,
    check.ROOM,
    api_reference.ROOM,
)
