"""Who may do what: every route of every room, by role. A route that is not in the table fails here."""

import re

import pytest
from tests.support.console import ConsoleUnderTest, bearer, make_token

from tollgate.console.access.callers import Allow, Anyone, allow
from tollgate.console.app import rules
from tollgate.console.room import Room
from tollgate.console.rooms import ROOMS
from tollgate.schemas.tokens import Role

ANYONE = "anyone"
ADMINS = "admin"
ANALYSTS = "admin analyst"
VIEWERS = "admin analyst viewer"
VIEWERS_AND_USERS = "admin analyst user viewer"
EVERYBODY = "admin analyst service user viewer"
SERVICES = "admin service"

TABLE = {
    "GET /login": ANYONE,
    "POST /login": ANYONE,
    "POST /logout": ANYONE,
    "GET /static/{version}/{name:path}": ANYONE,
    "GET /api/v1/status": VIEWERS,
    "GET /live": ANYONE,
    "GET /ready": ANYONE,
    "GET /metrics": VIEWERS,
    "GET /api/docs": EVERYBODY,
    "GET /api/v1/stream": EVERYBODY,
    "POST /api/v1/usage": SERVICES,
    "POST /api/v1/check": SERVICES,
    "GET /api/v1/flags": EVERYBODY,
    "GET /api/v1/flags/{scope:path}": EVERYBODY,
    "GET /api/v1/why/{scope:path}": VIEWERS_AND_USERS,
    "GET /api/v1/alerts": VIEWERS,
    "GET /api/v1/tokens": ADMINS,
    "POST /api/v1/tokens": ADMINS,
    "DELETE /api/v1/tokens/{id}": ADMINS,
    "GET /api/v1/audit": ADMINS,
    "GET /api/v1/dashboard": VIEWERS,
    "GET /": VIEWERS,
    "GET /api/v1/events": "admin analyst user",
    "GET /api/v1/reports/export": ANALYSTS,
    "GET /api/v1/spend": VIEWERS_AND_USERS,
    "GET /api/v1/summaries/daily": VIEWERS_AND_USERS,
    "GET /api/v1/summaries/monthly": VIEWERS_AND_USERS,
    "GET /api/v1/trends": VIEWERS_AND_USERS,
    "GET /api/v1/breakdown": VIEWERS_AND_USERS,
    "GET /api/v1/top": VIEWERS_AND_USERS,
    "GET /api/v1/projections": VIEWERS_AND_USERS,
    "GET /api/v1/me": VIEWERS_AND_USERS,
    "GET /api/v1/users/{id:path}": VIEWERS_AND_USERS,
    "GET /api/v1/users/{id:path}/usage": VIEWERS_AND_USERS,
    "GET /api/v1/users/{id:path}/credits": VIEWERS_AND_USERS,
    "GET /api/v1/users/{id:path}/plan": VIEWERS_AND_USERS,
    "POST /api/v1/users/{id:path}/credits": ADMINS,
    "PUT /api/v1/users/{id:path}/plan": ADMINS,
    "GET /api/v1/plans": VIEWERS,
    "GET /api/v1/plans/{id}": VIEWERS,
    "PUT /api/v1/plans/{id}": ADMINS,
    "POST /api/v1/reservations": SERVICES,
    "POST /api/v1/reservations/{id:path}/settle": SERVICES,
    "POST /api/v1/reservations/{id:path}/release": SERVICES,
    "GET /api/v1/budgets": EVERYBODY,
    "GET /api/v1/budgets/status": VIEWERS_AND_USERS,
    "GET /api/v1/budgets/{id:path}": VIEWERS_AND_USERS,
    "PUT /api/v1/budgets/{id:path}": ADMINS,
    "DELETE /api/v1/budgets/{id:path}": ADMINS,
    "POST /api/v1/budgets/{id:path}/preview": ANALYSTS,
    "GET /api/v1/prices": VIEWERS,
    "PUT /api/v1/prices": ADMINS,
    "DELETE /api/v1/prices/{id:path}": ADMINS,
    "POST /api/v1/prices/explain": VIEWERS,
    "GET /api/v1/settings": VIEWERS,
    "GET /api/v1/settings/{name}": VIEWERS,
    "PUT /api/v1/settings/{name}": ADMINS,
    "GET /budgets": VIEWERS,
    "GET /budgets/{id:path}": VIEWERS,
    "GET /plans": VIEWERS,
    "GET /plans/{id}": VIEWERS,
    "GET /users": VIEWERS,
    "GET /users/{id:path}": VIEWERS_AND_USERS,
    "GET /me": VIEWERS_AND_USERS,
    "GET /alerts": VIEWERS,
    "GET /campaigns": VIEWERS,
    "GET /agents": VIEWERS,
    "GET /services": VIEWERS,
    "GET /models": VIEWERS,
    "GET /providers": VIEWERS,
    "GET /features": VIEWERS,
    "GET /products": VIEWERS,
    "GET /orgs": VIEWERS,
    "GET /scopes/{scope:path}": VIEWERS,
    "GET /reports": ANALYSTS,
    "GET /prices": VIEWERS,
    "GET /prices/explain": VIEWERS,
    "GET /settings": VIEWERS,
    "GET /audit": ADMINS,
    "GET /health": VIEWERS,
    "GET /api/v1/dead-letters": ANALYSTS,
    "POST /api/v1/dead-letters/replay": ADMINS,
}


def shown(rule: Allow | Anyone | None) -> str:
    assert rule is not None
    return " ".join(sorted(role.value for role in rule.roles)) if isinstance(rule, Allow) else ANYONE


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_the_routes_of_a_room_are_for_the_roles_of_the_table(room: Room) -> None:
    found = {path: shown(rule) for path, rule in rules(room)}
    assert found == {path: TABLE.get(path) for path in found}


CLOSED = [(path, rule) for room in ROOMS for path, rule in rules(room) if isinstance(rule, Allow)]


@pytest.mark.parametrize(("path", "rule"), CLOSED, ids=lambda value: value if isinstance(value, str) else "")
async def test_other_roles_and_nobody_are_turned_away(path: str, rule: Allow) -> None:
    made = ConsoleUnderTest(ROOMS)
    method, _, template = path.partition(" ")
    address = re.sub(r"\{[^}]*\}", "user/u-1", template) if ":path" in template else re.sub(r"\{.*?\}", "x", template)
    answer = await made.client().request(method, address)
    if address.startswith("/api/v1/"):
        assert (answer.status_code, answer.json()["error"]) == (401, "not_authenticated")
    else:
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/login")
    for role in set(Role) - rule.roles:
        token = await make_token(made.control, role, user="u-1" if role is Role.USER else "")
        answer = await made.client().request(method, address, headers=bearer(token))
        assert answer.status_code == 403, role


def test_the_roles_that_include_others_do() -> None:
    admin, analyst = Role.ADMIN, Role.ANALYST
    assert allow(Role.VIEWER).roles == {Role.VIEWER, analyst, admin}
    assert allow(analyst).roles == {analyst, admin}
    assert allow(admin).roles == {admin}
    assert allow(Role.SERVICE).roles == {Role.SERVICE}
    assert allow(Role.USER, Role.VIEWER).roles == {Role.USER, Role.VIEWER, analyst, admin}
