"""Every way to be known to the console, and what does not count as one."""

import time
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey
from tests.support.console import ConsoleUnderTest, bearer, make_token, now_ms
from tests.support.probe_room import probe_room

from tollgate.console.access import gate
from tollgate.console.access.login import ROOM as LOGIN
from tollgate.schemas.tokens import Role, TokenKind

WHO = "/api/v1/who"
SECRET = "s" * 32
ORIGIN = {"Origin": "http://127.0.0.1:8080"}
HOUR_MS = 3600 * 1000


def console(**settings: Any) -> ConsoleUnderTest:
    return ConsoleUnderTest([LOGIN, probe_room()], **settings)


def signed(**claims: Any) -> str:
    made = {"sub": "u-1", "role": "user", "exp": int(time.time()) + 300, **claims}
    return jwt.encode({"alg": "HS256"}, made, OctKey.import_key(SECRET))


async def test_an_own_token_is_known_by_its_name_role_and_org() -> None:
    made = console()
    token = await make_token(made.control, Role.ANALYST, name="billing", org="acme")
    answer = await made.client().get(WHO, headers=bearer(token))
    expected = {"name": "token:billing", "role": "analyst", "user": "", "org": "acme"}
    assert answer.json() == {**expected, "session": False, "embedded": False}


async def test_the_word_bearer_may_be_written_in_any_case() -> None:
    made = console()
    token = await make_token(made.control, Role.VIEWER)
    assert (await made.client().get(WHO, headers={"Authorization": f"bEARER  {token} "})).status_code == 200


async def test_without_a_token_the_api_says_how_to_send_one() -> None:
    answer = await console().client().get(WHO)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == 'Bearer realm="tollgate"'
    assert answer.json()["error"] == "not_authenticated"


async def test_a_wrong_token_is_nobody() -> None:
    made = console()
    token = await make_token(made.control, Role.ADMIN)
    other = await make_token(made.control, Role.ADMIN)
    mixed = token[:20] + other[20:]
    session = await make_token(made.control, Role.ADMIN, kind=TokenKind.SESSION, lifetime_ms=HOUR_MS)
    link = await make_token(made.control, Role.ADMIN, kind=TokenKind.LOGIN, lifetime_ms=HOUR_MS)
    client = made.client()
    for wrong in (mixed, token[:-1], token + "A", token.upper(), session, link, "tg_", "", "x" * 9000):
        assert (await client.get(WHO, headers=bearer(wrong))).status_code == 401, wrong
    for header in (f"Basic {token}", token, f"Bearer{token}", f"Token {token}"):
        assert (await client.get(WHO, headers={"Authorization": header})).status_code == 401, header


async def test_two_tokens_in_one_request_are_nobody() -> None:
    made = console()
    token = await make_token(made.control, Role.ADMIN)
    headers = [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")]
    assert (await made.client().get(WHO, headers=headers)).status_code == 401


async def test_a_token_holds_until_it_expires() -> None:
    made = console()
    over = await make_token(made.control, Role.VIEWER, lifetime_ms=1000, created_ms=now_ms() - 1001)
    left = await make_token(made.control, Role.VIEWER, lifetime_ms=60_000)
    assert (await made.client().get(WHO, headers=bearer(over))).status_code == 401
    assert (await made.client().get(WHO, headers=bearer(left))).status_code == 200


async def test_a_revoked_token_is_nobody_at_once() -> None:
    made = console()
    token = await make_token(made.control, Role.VIEWER)
    assert (await made.client().get(WHO, headers=bearer(token))).status_code == 200
    await made.control.change(f"token/{token[3:19]}", None, actor="test")
    assert (await made.client().get(WHO, headers=bearer(token))).status_code == 401


async def test_a_wrong_bearer_token_beside_a_good_session_is_nobody() -> None:
    made = console()
    client = made.client()
    await log_in(made, client)
    assert (await client.get(WHO)).status_code == 200
    assert (await client.get(WHO, headers=bearer("tg_nonsense"))).status_code == 401


async def test_a_jwt_of_the_identity_provider_is_known() -> None:
    made = console(jwt_secret=SECRET)
    answer = await made.client().get(WHO, headers=bearer(signed(role="viewer", sub="alice", org="acme")))
    assert answer.json() == {
        "name": "jwt:alice",
        "role": "viewer",
        "user": "",
        "org": "acme",
        "session": False,
        "embedded": False,
    }
    assert (await console().client().get(WHO, headers=bearer(signed(role="viewer")))).status_code == 401


async def test_an_identity_provider_that_is_away_is_told_as_such() -> None:
    given = {"jwt_issuer": "i", "jwt_audience": "a"}
    made = console(jwt_jwks_url="http://127.0.0.1:9/keys", **given)
    token = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.e30.eA"
    answer = await made.client().get(WHO, headers=bearer(token))
    assert (answer.status_code, answer.json()["error"]) == (503, "identity_provider_unreachable")
    assert answer.headers["retry-after"] == "10"


# --- a token in the address


async def test_the_own_page_may_be_embedded_with_a_token_in_its_address() -> None:
    made = console(jwt_secret=SECRET, console_frame_ancestors="https://app.example.com, https://b.example")
    answer = await made.client().get("/me", params={"token": signed()})
    assert (answer.status_code, answer.json()["user"], answer.json()["embedded"]) == (200, "u-1", True)
    policy = answer.headers["content-security-policy"]
    assert "frame-ancestors https://app.example.com https://b.example" in policy
    assert "x-frame-options" not in answer.headers


async def test_without_the_setting_nobody_may_embed_it() -> None:
    answer = await console(jwt_secret=SECRET).client().get("/me", params={"token": signed()})
    assert answer.status_code == 200
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/page", WHO, "/api/v1/me"])
async def test_a_token_in_the_address_of_anything_else_is_not_looked_at(path: str) -> None:
    made = console(jwt_secret=SECRET)
    answer = await made.client().get(path, params={"token": signed()})
    assert answer.status_code in (303, 401, 404)


async def test_only_a_jwt_of_the_role_user_may_be_in_an_address() -> None:
    made = console(jwt_secret=SECRET)
    own = await make_token(made.control, Role.USER, user="u-1")
    for token in (own, signed(role="admin"), signed(exp=int(time.time()) - 1), "", "x"):
        answer = await made.client().get("/me", params={"token": token})
        assert answer.status_code == 303, token


async def test_the_page_itself_cannot_be_framed_by_others_with_a_session() -> None:
    made = console(console_frame_ancestors="https://app.example.com")
    client = made.client()
    await log_in(made, client)
    answer = await client.get("/me")
    assert answer.status_code == 200
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "DENY"


# --- logging in and out


async def log_in(made: ConsoleUnderTest, client: httpx.AsyncClient, role: Role = Role.ADMIN) -> None:
    code = await make_token(made.control, role, kind=TokenKind.LOGIN, lifetime_ms=HOUR_MS, name="alice")
    answer = await client.post("/login", data={"code": code}, headers=ORIGIN)
    assert answer.status_code == 303, answer.text


async def test_a_login_link_begins_one_session() -> None:
    made = console()
    client = made.client()
    code = await make_token(made.control, Role.VIEWER, kind=TokenKind.LOGIN, lifetime_ms=HOUR_MS, name="alice")
    shown = await client.get("/login", params={"code": code})
    assert shown.status_code == 200
    assert code in shown.text
    again = await client.get("/login", params={"code": code})
    assert again.status_code == 200
    answer = await client.post("/login", data={"code": code, "next": "/page?x=1"}, headers=ORIGIN)
    assert (answer.status_code, answer.headers["location"]) == (303, "/page?x=1")
    assert (await client.get(WHO)).json()["name"] == "alice"
    used = await made.client().post("/login", data={"code": code}, headers=ORIGIN)
    assert used.status_code == 401
    assert "set-cookie" not in used.headers


async def test_a_login_link_that_expired_begins_none() -> None:
    made = console()
    code = await make_token(
        made.control, Role.VIEWER, kind=TokenKind.LOGIN, lifetime_ms=1000, created_ms=now_ms() - 2000
    )
    assert (await made.client().post("/login", data={"code": code}, headers=ORIGIN)).status_code == 401


async def test_a_pasted_token_begins_a_session_that_ends_with_it() -> None:
    made = console()
    token = await make_token(made.control, Role.VIEWER, name="bob", org="acme")
    client = made.client()
    answer = await client.post("/login", data={"token": f"  {token}\n"}, headers=ORIGIN)
    assert answer.status_code == 303
    told = (await client.get(WHO)).json()
    assert (told["name"], told["role"], told["org"], told["session"]) == ("token:bob", "viewer", "acme", True)
    await made.control.change(f"token/{token[3:19]}", None, actor="test")
    assert (await client.get(WHO)).status_code == 401


async def test_a_session_holds_no_longer_than_the_jwt_that_began_it() -> None:
    made = console(jwt_secret=SECRET)
    token = signed(role="viewer", exp=int(time.time()) + 120)
    answer = await made.client().post("/login", data={"token": token}, headers=ORIGIN)
    assert 100 < int(answer.headers["set-cookie"].split("Max-Age=")[1].split(";")[0]) <= 120


async def test_the_role_user_begins_at_their_own_page() -> None:
    made = console()
    token = await make_token(made.control, Role.USER, user="u-1")
    answer = await made.client().post("/login", data={"token": token}, headers=ORIGIN)
    assert answer.headers["location"] == "/me"


@pytest.mark.parametrize("data", [{}, {"token": "x"}, {"code": "x"}, {"code": "tg_" + "0" * 16 + "_" + "A" * 43}])
async def test_a_wrong_login_shows_the_page_again(data: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tollgate.console.access.sessions._ARRIVAL_SECONDS", 0.01)
    answer = await console().client().post("/login", data=data, headers=ORIGIN)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert answer.headers["content-type"].startswith("text/html")


async def test_the_cookie_is_kept_from_scripts_and_other_sites() -> None:
    made = console()
    token = await make_token(made.control, Role.VIEWER)
    answer = await made.client().post("/login", data={"token": token}, headers=ORIGIN)
    name, _, rest = answer.headers["set-cookie"].partition("=")
    assert name == "tollgate_session"
    parts = {part.strip().lower() for part in rest.split(";")[1:]}
    assert parts == {"httponly", "max-age=43200", "path=/", "samesite=lax"}


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        ({"console_secure_cookies": "always"}, {}),
        ({"console_trusted_proxies": "127.0.0.0/8"}, {"X-Forwarded-Proto": "https"}),
    ],
)
async def test_behind_tls_the_cookie_is_for_this_host_alone(settings: dict[str, str], headers: dict[str, str]) -> None:
    made = console(**settings)
    token = await make_token(made.control, Role.VIEWER)
    sent = {**headers, "Origin": "https://127.0.0.1:8080"}
    answer = await made.client().post("/login", data={"token": token}, headers=sent)
    assert answer.headers["set-cookie"].startswith("__Host-tollgate_session=")
    assert "; Secure" in answer.headers["set-cookie"]
    text = answer.headers["set-cookie"].partition("=")[2].partition(";")[0]
    known = {**headers, "Cookie": f"__Host-tollgate_session={text}"}
    assert (await made.client().get(WHO, headers=known)).status_code == 200
    plain = {**headers, "Cookie": f"tollgate_session={text}"}
    assert (await made.client().get(WHO, headers=plain)).status_code == 401


async def test_a_proxy_that_is_not_trusted_says_nothing_of_tls() -> None:
    made = console(console_trusted_proxies="10.0.0.0/8")
    token = await make_token(made.control, Role.VIEWER)
    headers = {**ORIGIN, "X-Forwarded-Proto": "https"}
    answer = await made.client().post("/login", data={"token": token}, headers=headers)
    assert answer.headers["set-cookie"].startswith("tollgate_session=")


async def test_after_logout_the_session_is_gone() -> None:
    made = console()
    client = made.client()
    await log_in(made, client)
    text = client.cookies["tollgate_session"]
    answer = await client.post("/logout", headers=ORIGIN)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert 'tollgate_session=""' in answer.headers["set-cookie"]
    assert (await made.client().get(WHO, headers={"Cookie": f"tollgate_session={text}"})).status_code == 401
    assert (await made.client().post("/logout", headers=ORIGIN)).status_code == 303


async def test_no_other_record_is_a_session() -> None:
    made = console()
    token = await make_token(made.control, Role.ADMIN)
    link = await make_token(made.control, Role.ADMIN, kind=TokenKind.LOGIN, lifetime_ms=HOUR_MS)
    for text in (token, link, "x", "x" * 500, '"', "tg_" + "0" * 16 + "_" + "A" * 43):
        answer = await made.client().get(WHO, headers={"Cookie": f"tollgate_session={text}"})
        assert answer.status_code == 401, text


async def test_attempts_to_log_in_are_counted_by_address() -> None:
    made = console()
    client, other = made.client(address="192.0.2.1"), made.client(address="192.0.2.2")
    for _ in range(30):
        assert (await client.post("/login", data={"token": "x"}, headers=ORIGIN)).status_code == 401
    answer = await client.post("/login", data={"token": "x"}, headers=ORIGIN)
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 120
    assert (await other.post("/login", data={"token": "x"}, headers=ORIGIN)).status_code == 401


# --- where a page leads


async def test_a_page_without_a_caller_leads_to_the_login_page_and_back() -> None:
    answer = await console().client().get("/page?a=1&b=%2F%2Fevil")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=/page%3Fa%3D1%26b%3D%252F%252Fevil"


async def test_a_part_of_a_page_leads_the_whole_page_there() -> None:
    headers = {"HX-Request": "true", "HX-Current-URL": "http://127.0.0.1:8080/budgets?x=1"}
    answer = await console().client().get("/page", headers=headers)
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/login?next=/budgets%3Fx%3D1")
    headers["HX-Current-URL"] = "http://evil.example//evil.example"
    answer = await console().client().get("/page", headers=headers)
    assert answer.headers["hx-redirect"] == "/login"


@pytest.mark.parametrize(
    "wanted",
    [
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\/evil.example",
        "https://evil.example",
        "https:evil.example",
        "javascript:alert(1)",
        "/\tevil.example",
        "/\t/evil.example",
        "\t//evil.example",
        "/x\r\nSet-Cookie: a=b",
        "/x\nLocation: //evil.example",
        "/\x00",
        "evil",
        "",
        " /x",
        "/" + "x" * 2048,
    ],
)
async def test_a_login_never_leads_elsewhere(wanted: str) -> None:
    made = console()
    token = await make_token(made.control, Role.VIEWER)
    answer = await made.client().post("/login", data={"token": token, "next": wanted}, headers=ORIGIN)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert len(answer.headers.get_list("set-cookie")) == 1


async def test_a_page_in_another_script_is_led_to_as_an_address() -> None:
    made = console()
    token = await make_token(made.control, Role.VIEWER)
    answer = await made.client().post("/login", data={"token": token, "next": "/users/ü"}, headers=ORIGIN)
    assert answer.headers["location"] == "/users/%C3%BC"


def test_the_embedded_page_is_the_one_of_the_contract() -> None:
    assert gate.EMBEDDED_PATH == "/me"
