"""`GET /flags`, `/alerts`, `/why`: what is in memory, for whom."""

import time
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from tests.support.live_console import LiveConsole

from tollgate.domain.windows import HOUR_MS
from tollgate.schemas.instants import format_instant
from tollgate.schemas.tokens import Role
from tollgate.schemas.vocabulary import WindowKind

API = "/api/v1"
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "a\"b'c",
    "../..",
    "x|y",
    "\u202eevil",
    "a/b/c",
    "%2F%00",
    "?a=b#c",
    "u" * 256,
]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
def console() -> LiveConsole:
    made = LiveConsole()
    made.has_read_to(now_ms())
    return made


@pytest.fixture
async def viewer(console: LiveConsole) -> httpx.AsyncClient:
    return await console.as_role(Role.VIEWER)


async def get(client: httpx.AsyncClient, path: str, status: int = 200, **params: Any) -> dict[str, Any]:
    answer = await client.get(API + path, params=params)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_flags_in_force_are_listed_by_scope_in_pages(console: LiveConsole, viewer: httpx.AsyncClient) -> None:
    for n in (3, 1, 2):
        console.flag(f"user/u{n}")
    console.flag("user/past", until=format_instant(now_ms() - 1))
    console.flag("user/ok", "ok")
    first = await get(viewer, "/flags", limit=2)
    assert [flag["scope"] for flag in first["items"]] == ["user/u1", "user/u2"]
    assert (first["stale"], first["items"][0]["in_force"], first["items"][0]["spent"]) == (False, True, "104.2")
    second = await get(viewer, "/flags", limit=2, cursor=first["next_cursor"])
    assert [flag["scope"] for flag in second["items"]] == ["user/u3"]
    assert second["next_cursor"] is None


async def test_no_flag_means_ok_and_one_that_is_over_is_not_in_force(
    console: LiveConsole, viewer: httpx.AsyncClient
) -> None:
    found = await get(viewer, "/flags/user/u1")
    assert (found["state"], found["blocked"], found["in_force"], found["spent"]) == ("ok", False, False, None)
    console.flag("user/u1", until=format_instant(now_ms() - 1))
    found = await get(viewer, "/flags/user/u1")
    assert (found["state"], found["in_force"]) == ("blocked", False)


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_scope_of_any_name_is_found_percent_encoded(
    console: LiveConsole, viewer: httpx.AsyncClient, name: str
) -> None:
    console.flag(f"user/{name}")
    for path in ("/flags/", "/why/"):
        found = await get(viewer, path + quote(f"user/{name}", safe=""))
        assert (found["scope"], found["state"]) == (f"user/{name}", "blocked")


@pytest.mark.parametrize("scope", ["nobody", "colour/red", "user/", "user/a%07b", "user/" + "u" * 257])
async def test_what_is_no_scope_is_refused(viewer: httpx.AsyncClient, scope: str) -> None:
    for path in ("/flags/", "/why/"):
        assert (await get(viewer, path + scope, 422))["error"] == "invalid_scope"


async def test_a_user_sees_their_own_flag_and_that_the_company_is_stopped(console: LiveConsole) -> None:
    user = await console.as_role(Role.USER, user="u1")
    for scope in ("user/u1", "user/u2", "agent/SEO"):
        console.flag(scope)
    assert [flag["scope"] for flag in (await get(user, "/flags"))["items"]] == ["user/u1"]
    console.flag("global", "stopped", reason="spending_stopped", note="an invoice of Globex")
    stop = (await get(user, "/flags"))["items"][0]
    assert (stop["scope"], stop["blocked"]) == ("global", True)
    assert stop["spent"] is stop["limit"] is stop["percent"] is stop["budget"] is stop["note"] is None
    assert (await get(user, "/flags/global"))["spent"] is None
    for scope in ("user/u2", "agent/SEO"):
        await get(user, f"/flags/{scope}", 403)
        await get(user, f"/why/{scope}", 403)
    await get(user, "/alerts", 403)


async def test_an_orgs_people_see_what_is_the_orgs(console: LiveConsole) -> None:
    analyst = await console.as_role(Role.ANALYST, org="acme")
    for scope in ("org/acme", "org/globex", "user/u1"):
        console.flag(scope)
        console.alert(scope, key=f"budget/b|{scope}|month|x")
    assert [flag["scope"] for flag in (await get(analyst, "/flags"))["items"]] == ["org/acme"]
    assert [alert["scope"] for alert in (await get(analyst, "/alerts"))["items"]] == ["org/acme"]
    await get(analyst, "/why/org/globex", 403)


async def test_alerts_are_listed_worst_first_in_pages(console: LiveConsole, viewer: httpx.AsyncClient) -> None:
    for n, level in enumerate(["warning", "emergency", "critical", "critical"]):
        console.alert(f"org/o{n}", level, key=f"budget/b|org/o{n}|month|x")
    found: list[str] = []
    cursor = ""
    for _ in range(4):
        page = await get(viewer, "/alerts", limit=1, cursor=cursor)
        found += [alert["scope"] for alert in page["items"]]
        cursor = page["next_cursor"]
    assert found == ["org/o1", "org/o2", "org/o3", "org/o0"]
    assert cursor is None


@pytest.mark.parametrize("cursor", ["x", "WzFd", "e30", "0" * 5000])
async def test_a_cursor_that_is_none_is_refused(viewer: httpx.AsyncClient, cursor: str) -> None:
    for path in ("/flags", "/alerts"):
        await get(viewer, path, 422, cursor=cursor)


async def test_why_tells_the_budget_its_numbers_and_what_to_do(console: LiveConsole, viewer: httpx.AsyncClient) -> None:
    at_ms = now_ms()
    budget = await console.budget("agent/SEO", "100", window=WindowKind.DAY)
    await console.budget("agent/*", "500", window=WindowKind.MONTH)
    console.spent("agent/SEO", "104.2", WindowKind.DAY, at_ms)
    console.flag("agent/SEO", budget=budget, until=format_instant(at_ms + HOUR_MS))
    found = await get(viewer, "/why/agent/SEO")
    assert (found["blocked"], found["blocked_by"], found["http_status"]) == (True, "agent/SEO", 429)
    assert [(b["budget"], b["spent"], b["percent"], b["action"]) for b in found["budgets"]] == [
        (budget, "104.2", "104.20", "block"),
        ("agent/*:month:usd", "0", "0.00", None),
    ]
    assert found["next_steps"][0].startswith("wait until ")
    raised = "tollgate budget set agent/SEO --limit HIGHER --unit usd --window day --id agent/SEO:day:usd"
    assert found["next_steps"][1:] == [
        f"raise it above 104.2: {raised}",
        "or remove it: tollgate budget remove agent/SEO:day:usd",
    ]
    # ClickHouse is away: what happened last is not known, and that is no empty list.
    assert (found["last_events"], found["last_events_from"]) == (None, "nowhere")
    assert found["last_events_problem"].startswith("The last events are not known now. ClickHouse ")
    unasked = await get(viewer, "/why/agent/SEO", events=0)
    assert (unasked["last_events"], unasked["last_events_problem"]) == (None, None)


async def test_why_does_not_take_what_it_does_not_know_for_nothing(
    console: LiveConsole, viewer: httpx.AsyncClient
) -> None:
    await console.budget("user/*", "100")
    console.flag("user/u1")
    found = await get(viewer, "/why/user/u1")
    assert (found["blocked"], found["budgets"], found["unknown_budgets"]) == (True, [], ["user/*:month:usd"])


async def test_why_of_a_scope_that_is_not_blocked(console: LiveConsole, viewer: httpx.AsyncClient) -> None:
    console.flag("user/u1", "warning")
    console.flag("user/u2", until=format_instant(now_ms() - 1))
    for scope, state in (("user/u1", "warning"), ("user/u2", "ok"), ("user/u3", "ok")):
        found = await get(viewer, f"/why/{scope}")
        assert (found["blocked"], found["state"], found["next_steps"]) == (False, state, [])


async def test_a_combination_is_blocked_where_one_of_its_names_is(console: LiveConsole) -> None:
    console.flag("model/gpt-4o")
    user, viewer = await console.as_role(Role.USER, user="u1"), await console.as_role(Role.VIEWER)
    for caller, spent in ((viewer, "104.2"), (user, None)):
        told = await get(caller, "/why/user/u1+model/gpt-4o")
        assert (told["blocked"], told["blocked_by"], told["http_status"]) == (True, "model/gpt-4o", 429)
        assert told["flag"]["spent"] == spent
    console.flag("user/u1", **{"except": ["model/gpt-5"]})
    assert (await get(viewer, "/why/user/u1+model/gpt-4o"))["blocked_by"] == "user/u1"
    assert not (await get(viewer, "/why/user/u1+model/gpt-5"))["blocked"]


async def test_a_stop_of_the_company_is_why_and_its_numbers_are_not_a_users(console: LiveConsole) -> None:
    await console.budget("global", "1", window=WindowKind.LIFETIME)
    console.spent("global", "2", WindowKind.LIFETIME, now_ms())
    console.flag("global", "stopped", reason="spending_stopped")
    console.flag("user/u1")
    user, viewer = await console.as_role(Role.USER, user="u1"), await console.as_role(Role.VIEWER)
    told = await get(viewer, "/why/user/u1")
    assert (told["blocked_by"], told["http_status"], told["budgets"][0]["spent"]) == ("global", 503, "2")
    told = await get(user, "/why/user/u1")
    assert (told["blocked_by"], told["http_status"], told["error"]) == ("global", 503, "spending_stopped")
    assert (told["budgets"], told["next_steps"], told["flag"]["spent"]) == ([], [], None)
    assert (told["last_events"], told["last_events_problem"]) == (None, None)


async def test_status_tells_what_is_away_within_its_time(console: LiveConsole, viewer: httpx.AsyncClient) -> None:
    began = time.monotonic()
    found = await get(viewer, "/status")
    assert time.monotonic() - began < 10
    assert not found["kafka"]["reachable"]
    assert found["kafka"]["problem"].startswith("Kafka does not answer")
    assert not found["clickhouse"]["reachable"]
    assert found["lag"] is found["open_transactions"] is found["written_to"] is None
    assert not found["topics"]["flags"]["stale"]
    assert found["topics"]["control"] == {"as_of": None, "stale": True}
    assert found["processes"] == []


async def test_probes_need_no_token_and_ready_waits_for_the_topics(console: LiveConsole) -> None:
    client = console.client()
    assert (await client.get("/live")).text == "live\n"
    assert (await client.get("/ready")).status_code == 503
    console.live._follower.complete.set()
    assert (await client.get("/ready")).status_code == 200


async def test_metrics_count_by_template_and_not_by_path(console: LiveConsole, viewer: httpx.AsyncClient) -> None:
    for n in range(3):
        await viewer.get(f"{API}/flags/user/u{n}")
    await viewer.get("/nothing-here")
    await viewer.get(f"{API}/flags", params={"limit": "many"})
    text = (await viewer.get("/metrics")).text
    counted = 'tollgate_console_requests_total{method="GET",route="%s",status="%s"} %s'
    assert counted % ("/api/v1/flags/{scope}", 200, "3.0") in text
    assert counted % ("unmatched", 404, "1.0") in text
    assert counted % ("/api/v1/flags", 422, "1.0") in text
    assert "user/u1" not in text
    assert 'tollgate_console_live_age_seconds{topic="control"} -1.0' in text
    assert (await console.client().get("/metrics")).status_code in (303, 401)
