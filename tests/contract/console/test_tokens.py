"""`/tokens`: made once, listed without their secrets, revoked at once."""

from typing import Any

import httpx
import pytest
from tests.support.console import ConsoleUnderTest, bearer, make_token
from tests.support.probe_room import probe_room

from tollgate.console.api.tokens import ROOM
from tollgate.schemas.tokens import Role, TokenKind

TOKENS = "/api/v1/tokens"
HOUR_MS = 3600 * 1000


async def as_admin(org: str = "") -> tuple[ConsoleUnderTest, httpx.AsyncClient]:
    made = ConsoleUnderTest([ROOM, probe_room()])
    return made, made.client(headers=bearer(await make_token(made.control, Role.ADMIN, name="ops", org=org)))


async def test_a_new_token_works_and_its_secret_is_told_once() -> None:
    made, client = await as_admin()
    asked = {"role": "viewer", "name": "dashboard", "org": "acme", "expires_in_days": 30}
    answer = await client.post(TOKENS, json=asked)
    assert answer.status_code == 201
    told = answer.json()
    assert told["token"].startswith(f"tg_{told['id']}_")
    assert (told["role"], told["name"], told["org"], told["created_by"]) == ("viewer", "dashboard", "acme", "token:ops")
    who = await made.client().get("/api/v1/who", headers=bearer(told["token"]))
    assert (who.json()["name"], who.json()["org"]) == ("token:dashboard", "acme")
    listed = await client.get(TOKENS)
    assert told["token"][20:] not in listed.text
    assert "hash" not in listed.text
    assert {token["name"] for token in listed.json()["items"]} == {"ops", "dashboard"}


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"role": "root"},
        {"role": "user"},
        {"role": "viewer", "user": "u-1"},
        {"role": "viewer", "name": "x" * 257},
        {"role": "viewer", "name": "a\nb"},
        {"role": "viewer", "expires_in_days": 0},
        {"role": "viewer", "expires_in_days": "30"},
        {"role": "viewer", "expires_in_days": 10**30},
        {"role": "viewer", "expires": 5},
        [],
        "viewer",
    ],
    ids=str,
)
async def test_a_token_that_makes_no_sense_is_refused(asked: Any) -> None:
    _, client = await as_admin()
    answer = await client.post(TOKENS, json=asked)
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid_request")
    assert len((await client.get(TOKENS)).json()["items"]) == 1


async def test_the_same_request_again_makes_no_second_token() -> None:
    _, client = await as_admin()
    key = {"Idempotency-Key": "k-1"}
    first = await client.post(TOKENS, json={"role": "viewer"}, headers=key)
    again = await client.post(TOKENS, json={"role": "viewer"}, headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert (again.json()["id"], again.json()["token"]) == (first.json()["id"], None)
    other = await client.post(TOKENS, json={"role": "analyst"}, headers=key)
    assert (other.status_code, other.json()["error"]) == (422, "idempotency_key_reused")
    assert len((await client.get(TOKENS)).json()["items"]) == 2


async def test_two_callers_may_use_the_same_key() -> None:
    made, client = await as_admin()
    other = made.client(headers=bearer(await make_token(made.control, Role.ADMIN, name="ops")))
    key = {"Idempotency-Key": "k-1"}
    answers = [await each.post(TOKENS, json={"role": "viewer"}, headers=key) for each in (client, other)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json()["id"] != answers[1].json()["id"]


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ü"])
async def test_an_odd_idempotency_key_is_refused(key: str) -> None:
    _, client = await as_admin()
    answer = await client.post(TOKENS, json={"role": "viewer"}, headers=[(b"Idempotency-Key", key.encode())])
    assert answer.status_code == 422


async def test_a_revoked_token_is_gone() -> None:
    made, client = await as_admin()
    told = (await client.post(TOKENS, json={"role": "viewer"})).json()
    assert (await client.delete(f"{TOKENS}/{told['id']}")).status_code == 204
    assert (await made.client().get("/api/v1/who", headers=bearer(told["token"]))).status_code == 401
    assert (await client.delete(f"{TOKENS}/{told['id']}")).status_code == 404
    assert (await client.delete(f"{TOKENS}/nonsense")).status_code == 404


async def test_logins_are_listed_when_asked_for() -> None:
    made, client = await as_admin()
    await make_token(made.control, Role.VIEWER, kind=TokenKind.SESSION, name="alice", lifetime_ms=HOUR_MS)
    assert [token["name"] for token in (await client.get(TOKENS)).json()["items"]] == ["ops"]
    sessions = await client.get(TOKENS, params={"kind": "session"})
    assert [token["name"] for token in sessions.json()["items"]] == ["alice"]
    assert (await client.delete(f"{TOKENS}/{sessions.json()['items'][0]['id']}")).status_code == 204


async def test_an_admin_of_an_org_sees_and_makes_tokens_of_the_org_alone() -> None:
    made, client = await as_admin("acme")
    other = await make_token(made.control, Role.VIEWER, org="globex", name="theirs")
    whole = await make_token(made.control, Role.ADMIN, name="company")
    for org in ("", "globex"):
        answer = await client.post(TOKENS, json={"role": "admin", "org": org})
        assert (answer.status_code, answer.json()["error"]) == (403, "not_allowed")
    assert (await client.post(TOKENS, json={"role": "viewer", "org": "acme", "name": "ours"})).status_code == 201
    assert {token["name"] for token in (await client.get(TOKENS)).json()["items"]} == {"ops", "ours"}
    for token in (other, whole):
        assert (await client.delete(f"{TOKENS}/{token[3:19]}")).status_code == 404
        assert (await made.client().get("/api/v1/who", headers=bearer(token))).status_code == 200


async def test_tokens_are_listed_in_pages() -> None:
    made, client = await as_admin()
    for number in range(6):
        await make_token(made.control, Role.VIEWER, name=f"t{number}")
    seen: list[str] = []
    cursor = ""
    for _ in range(4):
        page = (await client.get(TOKENS, params={"limit": 3, "cursor": cursor})).json()
        seen += [token["id"] for token in page["items"]]
        cursor = page["next_cursor"] or ""
        if not cursor:
            break
    assert len(seen) == len(set(seen)) == 7
    assert seen == sorted(seen)
    first = (await client.get(TOKENS, params={"limit": 3})).json()["next_cursor"]
    for wrong in (first[:-1], first + "A", "x", "é", first.swapcase(), "W10"):
        assert (await client.get(TOKENS, params={"cursor": wrong})).status_code == 422, wrong
    assert (await client.get(TOKENS, params={"cursor": first, "kind": "session"})).status_code == 422
    for limit in ("0", "1001", "x", "9" * 5000):
        assert (await client.get(TOKENS, params={"limit": limit})).status_code == 422
