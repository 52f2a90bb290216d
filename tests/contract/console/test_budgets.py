"""The room of budgets: who may do what, versions, repeated and hostile requests."""

import asyncio
from typing import Any

import pytest
from tests.support.changing_rooms import API, address, changing_console, client_of
from tests.support.console import bearer

from tollgate.schemas.tokens import Role

ID = "user/u-1:month:usd"
BODY = {"scope": "user/u-1", "limit": "100"}

HOSTILE = (
    "user/../../etc/passwd",
    "...",
    "a%2Fb",
    "a/b//c/",
    "\u202eevil",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "=cmd|'/c calc'!A1",
    "a\"b'c\\",
    "user/x|y?z#w&v;u",
    "preview",
    "🤖" * 10,
    "x" * 600,
    " ",
)


async def test_a_budget_is_created_read_replaced_and_removed() -> None:
    console = changing_console()
    admin = await client_of(console)
    made = await admin.put(address(ID), json=BODY | {"reason": "a trial", "owner": "finance", "note": "for tests"})
    assert (made.status_code, made.headers["etag"]) == (201, '"1"'), made.text
    body = made.json()
    assert (body["id"], body["scope"], body["limit"], body["unit"], body["window"]) == (
        ID,
        "user/u-1",
        "100",
        "usd",
        "month",
    )
    assert (body["actor"], body["reason"], body["version"], body["owner"]) == ("token:ada", "a trial", 1, "finance")
    assert body["thresholds"]["warning"] == {"percent": "80", "action": "alert"}
    read = await admin.get(address(ID))
    assert (read.status_code, read.json(), read.headers["etag"]) == (200, body, '"1"')
    assert (await admin.get(address(ID), headers={"If-None-Match": '"1"'})).status_code == 304
    # What was read may be sent back with a change.
    again = await admin.put(address(ID), json=body | {"limit": "150.50"}, headers={"If-Match": '"1"'})
    assert (again.status_code, again.headers["etag"]) == (200, '"2"'), again.text
    assert (again.json()["limit"], again.json()["version"]) == ("150.5", 2)
    assert (await admin.delete(address(ID))).status_code == 428
    gone = await admin.delete(address(ID), params={"reason": "over"}, headers={"If-Match": '"2"'})
    assert (gone.status_code, gone.content) == (204, b"")
    assert (await admin.get(address(ID))).status_code == 404
    assert (await admin.delete(address(ID), headers={"If-Match": '"2"'})).status_code == 404


async def test_a_slash_in_an_id_may_be_encoded_or_not() -> None:
    console = changing_console()
    admin = await client_of(console)
    await admin.put(address(ID), json=BODY)
    for path in (f"{API}/budgets/user/u-1:month:usd", f"{API}/budgets/user%2Fu-1%3Amonth%3Ausd"):
        assert (await admin.get(path)).json()["id"] == ID


@pytest.mark.parametrize("budget_id", HOSTILE)
async def test_an_id_may_hold_anything(budget_id: str) -> None:
    console = changing_console()
    admin = await client_of(console)
    assert (await admin.put(address(budget_id), json=BODY)).status_code == 201
    assert (await admin.get(address(budget_id))).json()["id"] == budget_id
    assert [one["id"] for one in (await admin.get(f"{API}/budgets")).json()["items"]] == [budget_id]
    preview = await admin.post(address(budget_id, "/preview"), json=BODY)
    assert preview.status_code == 200, preview.text
    assert "\u202e" not in preview.json()["sentence"]
    assert (await admin.delete(address(budget_id), headers={"If-Match": "*"})).status_code == 204


@pytest.mark.parametrize(
    ("budget_id", "status"),
    [("x" * 601, 422), ("a\nb", 404), ("a\x9fb", 422), ("a\0b", 400), ("status", 422), ("x/preview", 405)],
)
async def test_an_id_that_cannot_be_is_refused(budget_id: str, status: int) -> None:
    admin = await client_of(changing_console())
    answer = await admin.put(address(budget_id), json=BODY)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


async def test_a_preview_that_is_sent_with_put_becomes_no_budget() -> None:
    console = changing_console()
    admin = await client_of(console)
    answer = await admin.put(address(ID, "/preview"), json=BODY)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert console.control.records("budget/") == []


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"scope": "user/u-1"}, "limit"),
        ({"scope": "user/u-1", "limit": 100}, "limit"),
        ({"scope": "user/u-1", "limit": "-1"}, "limit"),
        ({"scope": "user/u-1", "limit": "0"}, "limit"),
        ({"scope": "user/u-1", "limit": "1e400"}, "limit"),
        ({"scope": "user/u-1", "limit": "9" * 5000}, "limit"),
        ({"scope": "nobody/u-1", "limit": "1"}, "scope"),
        ({"scope": "user/a*", "limit": "1"}, "scope"),
        ({"scope": "user/" + "x" * 257, "limit": "1"}, "scope"),
        ({"scope": "user/u-1", "limit": "1", "window": "year"}, "window"),
        ({"scope": "user/u-1", "limit": "1", "timezone": "Mars/X"}, "timezone"),
        ({"scope": "user/u-1", "limit": "1", "treshold": {}}, "treshold"),
        ({"scope": "user/u-1", "limit": "1", "thresholds": {}}, "thresholds"),
        (
            {
                "scope": "user/u-1",
                "limit": "1",
                "thresholds": {"warning": {"percent": "80", "action": "alert"}, "crtical": {}},
            },
            "crtical",
        ),
        ({"scope": "user/u-1", "limit": "1", "id": "another"}, "id"),
        ({"scope": "user/u-1", "limit": "1", "reason": "a\nb"}, "reason"),
        ({"scope": "user/u-1", "limit": "1", "reason": "x" * 1025}, "reason"),
        ({"scope": "user/u-1", "limit": "1", "owner": "\x07"}, "owner"),
        ([], "body"),
        ("text", "body"),
        (None, "body"),
    ],
)
async def test_what_is_no_budget_is_refused_and_says_where(body: Any, told: str) -> None:
    console = changing_console()
    admin = await client_of(console)
    answer = await admin.put(address(ID), json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json"), answer.text
    assert told in answer.json()["detail"]
    assert console.control.get(f"budget/{ID}") is None


async def test_of_two_changes_of_the_same_version_one_is_told_who_was_first() -> None:
    console = changing_console()
    ada, bob = await client_of(console), await client_of(console, name="bob")
    await ada.put(address(ID), json=BODY)
    match = {"If-Match": '"1"'}
    answers = await asyncio.gather(
        ada.put(address(ID), json=BODY | {"limit": "200"}, headers=match),
        bob.put(address(ID), json=BODY | {"limit": "300"}, headers=match),
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    problem = next(answer for answer in answers if answer.status_code == 409)
    winner = "token:ada" if answers[0].status_code == 200 else "token:bob"
    told = problem.json()
    assert (told["error"], told["version"], told["changed_by"]) == ("version_conflict", 2, winner)
    assert told["changed_at"].endswith("Z")
    assert problem.headers["etag"] == '"2"'


async def test_of_two_who_create_the_same_budget_one_wins() -> None:
    console = changing_console()
    admin = await client_of(console)
    answers = await asyncio.gather(*(admin.put(address(ID), json=BODY) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201, 428, 428, 428, 428]


async def test_a_budget_that_exists_is_not_created_again() -> None:
    console = changing_console()
    admin = await client_of(console)
    new = {"If-None-Match": "*"}
    assert (await admin.put(address(ID), json=BODY, headers=new)).status_code == 201
    again = await admin.put(address(ID), json=BODY, headers=new)
    assert (again.status_code, again.json()["version"]) == (412, 1)
    bare = await admin.put(address(ID), json=BODY)
    assert (bare.status_code, bare.headers["etag"]) == (428, '"1"')
    assert bare.json()["changed_by"] == "token:ada"
    missing = await admin.put(address("none"), json=BODY, headers={"If-Match": '"1"'})
    assert (missing.status_code, missing.json()["version"]) == (409, None)
    assert (await admin.put(address("none"), json=BODY, headers={"If-Match": "*"})).status_code == 412
    both = await admin.put(address(ID), json=BODY, headers={"If-Match": '"1"', "If-None-Match": "*"})
    assert both.status_code == 422
    for wrong in ("1", '"0"', 'W/"1"', '"1", "2"', '"x"', '"' + "9" * 30 + '"'):
        answer = await admin.put(address(ID), json=BODY, headers={"If-Match": wrong})
        assert answer.status_code == 422, wrong


async def test_a_repeated_request_is_done_once() -> None:
    console = changing_console()
    admin, other = await client_of(console), await client_of(console, name="bob")
    key = {"Idempotency-Key": "k-1"}
    first = await admin.put(address(ID), json=BODY, headers=key)
    second = await admin.put(address(ID), json=BODY, headers=key)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    changed = await admin.put(address(ID), json=BODY | {"limit": "7"}, headers=key)
    assert (changed.status_code, changed.json()["error"]) == (422, "idempotency_key_reused")
    # Somebody else's key is another one.
    assert (await other.put(address(ID), json=BODY, headers=key)).status_code == 428
    remove = {"Idempotency-Key": "k-2", "If-Match": '"1"'}
    assert [(await admin.delete(address(ID), headers=remove)).status_code for _ in range(2)] == [204, 204]


async def test_a_replaced_budget_keeps_nothing_of_the_old_one() -> None:
    console = changing_console()
    admin = await client_of(console)
    only_warn = {"warning": {"percent": "50", "action": "alert"}}
    await admin.put(address(ID), json=BODY | {"thresholds": only_warn, "owner": "finance"})
    assert (await admin.get(address(ID))).json()["thresholds"] == only_warn | {"critical": None, "emergency": None}
    await admin.put(address(ID), json=BODY, headers={"If-Match": "*"})
    now = (await admin.get(address(ID))).json()
    assert (now["owner"], now["thresholds"]["critical"]) == (None, {"percent": "100", "action": "block"})


async def test_lists_are_paged_and_filtered() -> None:
    console = changing_console()
    admin = await client_of(console)
    for at in range(7):
        await admin.put(address(f"b{at}"), json={"scope": f"user/u-{at % 2}", "limit": "1", "owner": f"o{at % 3}"})
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await admin.get(f"{API}/budgets", params={"limit": 2, "cursor": cursor})).json()
        seen += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ["b0", "b2", "b4", "b6", "b1", "b3", "b5"]
    one = await admin.get(f"{API}/budgets", params={"scope": "user/u-1", "owner": "o0"})
    assert [item["id"] for item in one.json()["items"]] == ["b3"]
    assert (await admin.get(f"{API}/budgets", params={"cursor": "nonsense"})).status_code == 422
    assert (await admin.get(f"{API}/budgets", params={"limit": 0})).status_code == 422


# Role × path: who is let in (2xx or a 4xx of the request itself) and who is told 403.
ROLES = {
    "GET /budgets": set(Role),
    "GET /budgets/status": {Role.USER, Role.VIEWER, Role.ANALYST, Role.ADMIN},
    "GET /budgets/x": {Role.USER, Role.VIEWER, Role.ANALYST, Role.ADMIN},
    "PUT /budgets/x": {Role.ADMIN},
    "DELETE /budgets/x": {Role.ADMIN},
    "POST /budgets/x/preview": {Role.ANALYST, Role.ADMIN},
    "GET /prices": {Role.VIEWER, Role.ANALYST, Role.ADMIN},
    "PUT /prices": {Role.ADMIN},
    "DELETE /prices/x": {Role.ADMIN},
    "POST /prices/explain": {Role.VIEWER, Role.ANALYST, Role.ADMIN},
    "GET /settings": {Role.VIEWER, Role.ANALYST, Role.ADMIN},
    "GET /settings/stop": {Role.VIEWER, Role.ANALYST, Role.ADMIN},
    "PUT /settings/stop": {Role.ADMIN},
}


async def test_an_id_of_dots_alone_is_refused() -> None:
    admin = await client_of(changing_console())
    for path in ("%2E", "%2E%2E"):
        answer = await admin.put(f"{API}/budgets/{path}", json=BODY)
        assert answer.status_code in (404, 422), path


@pytest.mark.parametrize("route", ROLES)
async def test_a_role_may_do_just_what_the_table_says(route: str) -> None:
    console = changing_console()
    method, path = route.split()
    body: dict[str, Any] | None = {} if method in ("PUT", "POST") else None
    for role in Role:
        client = await client_of(console, role, user="u-1" if role is Role.USER else "")
        answer = await client.request(method, f"{API}{path}", json=body)
        assert (answer.status_code != 403) is (role in ROLES[route]), (role, answer.text)
    nobody = console.client()
    assert (await nobody.request(method, f"{API}{path}", json=body)).status_code == 401
    assert (await nobody.request(method, f"{API}{path}", json=body, headers=bearer("tg_x"))).status_code == 401


async def test_every_route_of_these_rooms_is_in_the_table() -> None:
    made = changing_console()
    routes = {
        f"{method} {route.path.replace('{id:path}', 'x').replace('{name}', 'stop')}"
        for room in made.app.state.rooms
        for route in room.api.routes
        for method in route.methods
    }
    assert routes == set(ROLES)


async def test_an_admin_of_an_org_changes_budgets_of_that_org_alone() -> None:
    console = changing_console()
    company, acme = await client_of(console), await client_of(console, name="eve", org="acme")
    await company.put(address("global"), json={"scope": "global", "limit": "1000"})
    await company.put(address("other"), json={"scope": "org/globex", "limit": "1000"})
    mine = {"scope": "org/acme", "limit": "5"}
    assert (await acme.put(address("mine"), json=mine)).status_code == 201
    for scope in ("global", "org/globex", "org/*", "user/u-1", "user/*", "org/acme+x", "org/Acme"):
        answer = await acme.put(address("new"), json={"scope": scope, "limit": "5"})
        assert (answer.status_code, answer.json()["error"]) == (403, "not_allowed"), scope
        preview = await acme.post(address("new", "/preview"), json={"scope": scope, "limit": "5"})
        assert preview.status_code == 403, scope
    # Not even by giving another scope's budget a scope of one's own.
    assert (await acme.put(address("global"), json=mine, headers={"If-Match": '"1"'})).status_code == 403
    assert (await acme.delete(address("global"), headers={"If-Match": '"1"'})).status_code == 403
    assert (await acme.post(address("global", "/preview"), json=mine)).status_code == 403
    assert [one["id"] for one in (await acme.get(f"{API}/budgets")).json()["items"]] == ["mine"]
    assert (await acme.get(address("global"))).status_code == 404
    assert (await acme.get(address("mine"))).status_code == 200
    assert (await acme.delete(address("mine"), headers={"If-Match": '"1"'})).status_code == 204
    assert (await acme.put(f"{API}/settings/stop", json={"value": {"stopped": True}})).status_code == 403
    assert (await acme.get(f"{API}/settings")).status_code == 403


async def test_a_user_sees_their_own_budgets_alone() -> None:
    console = changing_console()
    admin, user = await client_of(console), await client_of(console, Role.USER, user="u-1")
    await admin.put(address("everyone"), json={"scope": "user/*", "limit": "10", "note": "internal"})
    await admin.put(address("mine"), json={"scope": "user/u-1", "limit": "5", "window": "day"})
    await admin.put(address("yours"), json={"scope": "user/u-2", "limit": "5"})
    assert [one["id"] for one in (await user.get(f"{API}/budgets")).json()["items"]] == ["mine"]
    assert (await user.get(address("yours"))).status_code == 404
    assert (await user.get(address("everyone"))).status_code == 404
    status = (await user.get(f"{API}/budgets/status")).json()["items"]
    assert {(one["id"], one["scope"], one["pattern"]) for one in status} == {
        ("mine", "user/u-1", None),
        ("everyone", "user/u-1", "user/*"),
    }
    assert all(one["scopes"] is None for one in status)


async def test_nobody_gets_hold_of_a_pattern_by_being_called_a_star() -> None:
    console = changing_console()
    company = await client_of(console)
    await company.put(address("orgs"), json={"scope": "org/*", "limit": "10"})
    await company.put(address("users"), json={"scope": "user/*", "limit": "10"})
    org, user = await client_of(console, org="*"), await client_of(console, Role.USER, user="*")
    for client, name in ((org, "orgs"), (user, "users")):
        assert (await client.get(f"{API}/budgets")).json()["items"] == []
        assert (await client.get(address(name))).status_code == 404
        (status,) = (await client.get(f"{API}/budgets/status")).json()["items"]
        assert (status["id"], status["scopes"]) == (name, None)
    for budget_id in ("orgs", "new"):
        answer = await org.put(address(budget_id), json={"scope": "org/*", "limit": "1"}, headers={"If-Match": "*"})
        assert answer.status_code == 403
    assert (await org.delete(address("orgs"), headers={"If-Match": "*"})).status_code == 403


async def test_what_is_not_known_is_not_zero() -> None:
    console = changing_console()
    admin = await client_of(console)
    await admin.put(address(ID), json=BODY)
    page = (await admin.get(f"{API}/budgets/status")).json()
    (one,) = page["items"]
    assert (one["spent"], one["percent"], one["remaining"], one["known"]) == (None, None, None, False)
    assert (page["as_of"], page["stale"]) == (None, True)
    preview = (await admin.post(address(ID, "/preview"), json=BODY | {"limit": "1"})).json()
    assert (preview["estimate"], preview["level"], preview["before"]) == (True, "warn", None)
    assert "not known" in preview["sentence"]


async def test_a_preview_changes_nothing() -> None:
    console = changing_console()
    admin = await client_of(console)
    await admin.put(address(ID), json=BODY)
    await admin.post(address(ID, "/preview"), json=BODY | {"limit": "1"})
    assert (await admin.get(address(ID))).json()["limit"] == "100"
    json = {"Content-Type": "application/json"}
    assert (await admin.post(address("none", "/preview"), content="null", headers=json)).status_code == 404
    assert (await admin.post(address("none", "/preview"), json=BODY | {"limit": "x"})).status_code == 422
