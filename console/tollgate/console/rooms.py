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
    grants,
    plans,
    prices,
    reports,
    reservations,
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
from tollgate.console.pages import alerts as alerts_page
from tollgate.console.pages import api_reference, scopes, static_files
from tollgate.console.pages import audit as audit_page
from tollgate.console.pages import budgets as budget_pages
from tollgate.console.pages import health as health_page
from tollgate.console.pages import plans as plan_pages
from tollgate.console.pages import prices as price_pages
from tollgate.console.pages import reports as reports_page
from tollgate.console.pages import settings as settings_page
from tollgate.console.pages import users as user_pages
from tollgate.console.room import Room

# A request is compared with the routes in this order: first what services ask many times a second.
ROOMS: tuple[Room, ...] = (
    check.ROOM,
    usage.ROOM,
    reservations.ROOM,
    login.ROOM,
    static_files.ROOM,
    dashboard.ROOM,
    budgets.ROOM,
    budget_pages.ROOM,
    plans.ROOM,
    plan_pages.ROOM,
    grants.ROOM,
    users.ROOM,
    user_pages.ROOM,
    scopes.ROOM,
    spend.ROOM,
    sums.ROOM,
    events.ROOM,
    flags.ROOM,
    why.ROOM,
    alerts.ROOM,
    alerts_page.ROOM,
    reports.ROOM,
    reports_page.ROOM,
    prices.ROOM,
    price_pages.ROOM,
    settings.ROOM,
    settings_page.ROOM,
    tokens.ROOM,
    audit.ROOM,
    audit_page.ROOM,
    dead_letters.ROOM,
    status.ROOM,
    health_page.ROOM,
    stream.ROOM,
    api_reference.ROOM,
)
