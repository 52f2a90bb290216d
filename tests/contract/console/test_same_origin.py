"""Requests that other sites make a browser send: cross-site changes, and names that were pointed at this address."""

from typing import Any

import pytest
from tests.support.console import ConsoleUnderTest, bearer, make_token
from tests.support.probe_room import probe_room

from tollgate.schemas.tokens import Role, TokenKind

ECHO = "/api/v1/echo"
OWN = "http://127.0.0.1:8080"
HOUR_MS = 3600 * 1000


def console(**settings: Any) -> ConsoleUnderTest:
    return ConsoleUnderTest([probe_room()], **settings)


async def cookie(made: ConsoleUnderTest) -> dict[str, str]:
    text = await make_token(made.control, Role.ADMIN, kind=TokenKind.SESSION, lifetime_ms=HOUR_MS, name="alice")
    return {"Cookie": f"tollgate_session={text}"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": OWN}, 200),
        # Where a browser says so, it knows better than the address does.
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, 200),
        ({"Origin": OWN}, 200),
        # A proxy that ends TLS and is not trusted: the browser's scheme is unknown here.
        ({"Origin": "https://127.0.0.1:8080"}, 200),
        ({"Sec-Fetch-Site": "same-site", "Origin": OWN}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": OWN}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Sec-Fetch-Site": ""}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:8081"}, 403),
        ({"Origin": "http://127.0.0.1:8080.evil.example"}, 403),
        ({"Origin": "http://evil.example/127.0.0.1:8080"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "127.0.0.1:8080"}, 403),
        ({"Origin": "ftp://127.0.0.1:8080"}, 403),
        ({"Referer": f"{OWN}/page"}, 403),
        ({}, 403),
    ],
    ids=str,
)
async def test_a_change_with_a_session_comes_from_our_own_pages(headers: dict[str, str], status: int) -> None:
    made = console()
    answer = await made.client().post(ECHO, json={}, headers=await cookie(made) | headers)
    assert answer.status_code == status, answer.text
    if status == 403:
        assert answer.json()["error"] == "cross_site"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "post", "X"])
async def test_every_method_that_may_change_something_is_checked(method: str) -> None:
    made = console()
    headers = await cookie(made) | {"Origin": "http://evil.example"}
    assert (await made.client().request(method, ECHO, headers=headers)).status_code == 403


async def test_two_origins_are_none() -> None:
    made = console()
    headers = [*(await cookie(made)).items(), ("Origin", OWN), ("Origin", OWN)]
    assert (await made.client().post(ECHO, json={}, headers=headers)).status_code == 403


async def test_reading_with_a_session_needs_no_origin() -> None:
    made = console()
    headers = await cookie(made) | {"Sec-Fetch-Site": "cross-site"}
    assert (await made.client().get("/api/v1/who", headers=headers)).status_code == 200


async def test_a_bearer_token_needs_no_origin() -> None:
    made = console()
    token = await make_token(made.control, Role.ADMIN)
    headers = bearer(token) | {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert (await made.client().post(ECHO, json={}, headers=headers)).status_code == 200


async def test_an_empty_bearer_token_does_not_open_the_way_for_the_session() -> None:
    made = console()
    headers = await cookie(made) | {"Authorization": "", "Origin": "http://evil.example"}
    assert (await made.client().post(ECHO, json={}, headers=headers)).status_code == 401


async def test_behind_tls_a_page_of_plain_http_is_another_origin() -> None:
    made = console(console_secure_cookies="always")
    text = await make_token(made.control, Role.ADMIN, kind=TokenKind.SESSION, lifetime_ms=HOUR_MS)
    known = {"Cookie": f"__Host-tollgate_session={text}"}
    for origin, status in (("https://127.0.0.1:8080", 200), (OWN, 403)):
        answer = await made.client().post(ECHO, json={}, headers=known | {"Origin": origin})
        assert answer.status_code == status, origin


# --- names


@pytest.mark.parametrize(
    ("settings", "host", "status"),
    [
        ({}, "127.0.0.1:8080", 200),
        ({}, "127.0.0.1", 200),
        ({}, "localhost:1", 200),
        ({}, "LOCALHOST:8080", 200),
        ({}, "[::1]:8080", 200),
        ({}, "evil.example", 421),
        ({}, "evil.example:8080", 421),
        ({}, "localhost.evil.example", 421),
        ({}, "127.0.0.1.evil.example:8080", 421),
        ({}, "localhost@evil.example", 421),
        ({}, "evil.example@localhost", 421),
        ({}, "localhost/evil", 421),
        ({}, "evil.example#localhost", 421),
        ({}, "localhost,evil.example", 421),
        ({}, "[::1", 421),
        ({}, "localhost:x", 200),
        ({}, "192.0.2.7:8080", 421),
        ({}, "", 421),
        ({"console_host": "192.0.2.7"}, "192.0.2.7:8080", 200),
        ({"console_host": "192.0.2.7"}, "192.0.2.8:8080", 421),
        # On every interface any address is ours, but no name is.
        ({"console_host": "0.0.0.0"}, "192.0.2.7:8080", 200),
        ({"console_host": "::"}, "[2001:db8::7]:8080", 200),
        ({"console_host": "0.0.0.0"}, "evil.example", 421),
        ({"console_hosts": "tollgate.example.com, b.example:8443"}, "tollgate.example.com", 200),
        ({"console_hosts": "tollgate.example.com, b.example:8443"}, "Tollgate.Example.com:9999", 200),
        ({"console_hosts": "tollgate.example.com, b.example:8443"}, "b.example:8443", 200),
        ({"console_hosts": "tollgate.example.com, b.example:8443"}, "b.example:8080", 421),
        ({"console_hosts": "tollgate.example.com"}, "x.tollgate.example.com", 421),
    ],
    ids=str,
)
async def test_the_console_answers_under_its_own_names(settings: dict[str, str], host: str, status: int) -> None:
    made = console(**settings)
    token = await make_token(made.control, Role.VIEWER)
    answer = await made.client().get("/api/v1/who", headers=bearer(token) | {"Host": host})
    assert answer.status_code == status, answer.text


async def test_two_hosts_are_none() -> None:
    answer = await console().client().get("/api/v1/who", headers=[("Host", "localhost"), ("Host", "localhost")])
    assert answer.status_code == 421


async def test_a_proxy_does_not_choose_the_host() -> None:
    headers = {"Host": "evil.example", "X-Forwarded-Host": "localhost"}
    assert (await console().client().get("/api/v1/who", headers=headers)).status_code == 421


# --- scripts of other sites


async def test_scripts_of_other_sites_may_not_read_answers() -> None:
    made = console()
    token = await make_token(made.control, Role.VIEWER)
    headers = bearer(token) | {"Origin": "https://app.example.com"}
    answer = await made.client().get("/api/v1/who", headers=headers)
    assert not [name for name in answer.headers if name.startswith("access-control")]
    asked = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "GET"}
    assert (await made.client().options("/api/v1/who", headers=asked)).status_code == 405


async def test_with_the_setting_they_may_with_a_token_of_their_own() -> None:
    made = console(console_cors_origins="https://app.example.com")
    token = await make_token(made.control, Role.VIEWER)
    for origin, allowed in (("https://app.example.com", True), ("https://evil.example", False)):
        answer = await made.client().get("/api/v1/who", headers=bearer(token) | {"Origin": origin})
        assert (answer.headers.get("access-control-allow-origin") == origin) is allowed
        assert "access-control-allow-credentials" not in answer.headers
        asked = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
        asked["Access-Control-Request-Headers"] = "authorization,if-match"
        answer = await made.client().options("/api/v1/who", headers=asked)
        assert (answer.status_code == 200) is allowed
        assert answer.headers["x-content-type-options"] == "nosniff"
