"""`POST /check`: the decision for a call, from memory."""

import time
from typing import Any

import httpx
import pytest
from tests.support.live_console import LiveConsole

from tollgate.domain.windows import LIFETIME_END_MS, window_end, window_start
from tollgate.schemas.instants import format_instant
from tollgate.schemas.tokens import Role
from tollgate.schemas.vocabulary import WindowKind

CHECK = "/api/v1/check"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
def console() -> LiveConsole:
    made = LiveConsole()
    made.has_read_to(now_ms())
    return made


@pytest.fixture
async def service(console: LiveConsole) -> httpx.AsyncClient:
    return await console.as_role(Role.SERVICE)


async def decision(client: httpx.AsyncClient, **asked: Any) -> dict[str, Any]:
    answer = await client.post(CHECK, json=asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_call_within_budget_is_allowed(service: httpx.AsyncClient) -> None:
    found = await decision(service, user="u-42", model="gpt-4o", estimate_usd="0.02")
    assert found.pop("as_of").endswith("Z")
    assert found == {
        "allowed": True,
        "state": "ok",
        "http_status": None,
        "error": None,
        "message": "Within budget.",
        "scope": None,
        "budget": None,
        "limit": None,
        "spent": None,
        "until": None,
        "retry_after_seconds": None,
    }


async def test_a_blocked_user_is_denied_with_the_budgets_numbers(
    console: LiveConsole, service: httpx.AsyncClient
) -> None:
    end_ms = window_end(WindowKind.DAY, window_start(WindowKind.DAY, now_ms()))
    console.flag("user/u-42", until=format_instant(end_ms))
    found = await decision(service, user="u-42", model="gpt-4o")
    assert not found["allowed"]
    assert (found["state"], found["http_status"], found["error"]) == ("blocked", 429, "usage_limit_exceeded")
    assert (found["scope"], found["budget"]) == ("user/u-42", "user/*:month:usd")
    assert (found["spent"], found["limit"]) == ("104.2", "100")
    assert found["until"] == format_instant(end_ms)
    assert abs(found["retry_after_seconds"] - (end_ms - now_ms()) / 1000) < 3
    assert (await decision(service, user="u-43"))["allowed"]


async def test_a_combination_denies_the_calls_that_have_all_of_its_names(
    console: LiveConsole, service: httpx.AsyncClient
) -> None:
    console.flag("user/u-42+model/gpt-4o")
    found = await decision(service, model="gpt-4o", user="u-42", agent="SEO")
    assert (found["http_status"], found["scope"]) == (429, "user/u-42+model/gpt-4o")
    assert (await decision(service, user="u-42", model="gpt-4o-mini"))["allowed"]
    assert (await decision(service, user="u-42"))["allowed"]
    console.flag("user/u-42+model/gpt-4o", "ok", revision=2)
    assert (await decision(service, user="u-42", model="gpt-4o"))["allowed"]


async def test_a_call_that_the_block_excepts_is_allowed(console: LiveConsole, service: httpx.AsyncClient) -> None:
    console.flag("user/u-42", **{"except": ["provider/groq"]})
    assert (await decision(service, user="u-42", provider="groq"))["allowed"]
    assert not (await decision(service, user="u-42", provider="openai"))["allowed"]
    assert not (await decision(service, user="u-42"))["allowed"]


async def test_a_stop_of_the_company_denies_every_call_and_comes_first(
    console: LiveConsole, service: httpx.AsyncClient
) -> None:
    console.flag("user/u-42")
    console.flag("global", "stopped", reason="spending_stopped")
    for asked in ({"user": "u-42"}, {"agent": "SEO"}, {}):
        found = await decision(service, **asked)
        assert (found["http_status"], found["error"], found["scope"]) == (503, "spending_stopped", "global")
    # A lifetime has no end to wait for.
    assert found["retry_after_seconds"] is None
    assert found["until"] == format_instant(LIFETIME_END_MS)


async def test_a_warning_allows_and_tells_its_numbers(console: LiveConsole, service: httpx.AsyncClient) -> None:
    console.flag("agent/SEO", "warning", reason="threshold_reached", spent="80.11")
    found = await decision(service, agent="SEO")
    assert found["allowed"]
    assert (found["state"], found["http_status"], found["spent"]) == ("warning", None, "80.11")
    assert found["message"] == "agent/SEO has a warning: 80.11 of 100 usd in this month."


@pytest.mark.parametrize(("estimate", "allowed"), [("0.5", True), ("0.500000000001", False), ("0", True)])
async def test_an_estimate_may_reach_a_limit_and_not_pass_it(
    console: LiveConsole, service: httpx.AsyncClient, estimate: str, allowed: bool
) -> None:
    console.spent("agent/SEO", "99.5", WindowKind.DAY, now_ms())
    budget = await console.budget("agent/*", "100", window=WindowKind.DAY)
    found = await decision(service, user="u-42", agent="SEO", estimate_usd=estimate)
    assert found["allowed"] is allowed
    if not allowed:
        assert (found["state"], found["http_status"], found["error"]) == ("blocked", 429, "usage_limit_exceeded")
        assert (found["scope"], found["budget"]) == ("agent/SEO", budget)
        assert (found["spent"], found["limit"]) == ("99.5", "100")
        assert 0 < found["retry_after_seconds"] <= 86_400


async def test_an_estimate_past_the_companys_limit_is_a_stop(console: LiveConsole, service: httpx.AsyncClient) -> None:
    await console.budget("global", "10", window=WindowKind.LIFETIME)
    await console.budget("agent/SEO", "1", window=WindowKind.LIFETIME)
    found = await decision(service, agent="SEO", estimate_usd="10.01")
    assert (found["http_status"], found["error"], found["scope"]) == (503, "spending_stopped", "global")
    assert (found["spent"], found["limit"]) == ("0", "10")
    found = await decision(service, agent="SEO", estimate_usd="10")
    assert (found["http_status"], found["scope"]) == (429, "agent/SEO")


async def test_a_budget_that_only_warns_denies_nothing(console: LiveConsole, service: httpx.AsyncClient) -> None:
    only_warn = {"warning": {"percent": "80", "action": "alert"}, "critical": {"percent": "100", "action": "downgrade"}}
    await console.budget("global", "1", thresholds=only_warn)
    await console.budget("global", "1", unit="events")
    assert (await decision(service, estimate_usd="1000"))["allowed"]


@pytest.mark.parametrize(("estimate", "known"), [("20", True), ("20.000000000001", False)])
async def test_a_user_without_a_flag_is_below_every_threshold(
    console: LiveConsole, service: httpx.AsyncClient, estimate: str, known: bool
) -> None:
    await console.budget("user/*", "100")
    found = await decision(service, user="u-42", estimate_usd=estimate)
    assert found["allowed"]
    # ClickHouse is away: what was spent is not taken for nothing.
    by_flags = "Decided by flags alone: what user/u-42 has spent is not known now."
    assert found["message"] == ("Within budget." if known else by_flags)


@pytest.mark.parametrize(("estimate", "allowed"), [("9.5", True), ("9.51", False)])
async def test_a_users_flag_that_warns_tells_what_they_spent(
    console: LiveConsole, service: httpx.AsyncClient, estimate: str, allowed: bool
) -> None:
    budget = await console.budget("user/*", "100")
    console.flag("user/u-42", "warning", budget=budget, spent="90.5", percent="90.50")
    found = await decision(service, user="u-42", estimate_usd=estimate)
    assert found["allowed"] is allowed
    assert (found["spent"], found["limit"], found["budget"]) == ("90.5", "100", budget)
    assert found["state"] == ("warning" if allowed else "blocked")


@pytest.mark.parametrize(("estimate", "allowed"), [("7", True), ("7.01", False)])
async def test_an_estimate_has_no_room_that_reservations_hold(
    console: LiveConsole, service: httpx.AsyncClient, estimate: str, allowed: bool
) -> None:
    budget = await console.budget("user/*", "100")
    console.flag("user/u-42", "warning", budget=budget, spent="90.5", percent="90.50", reserved="2.5")
    assert (await decision(service, user="u-42", estimate_usd=estimate))["allowed"] is allowed


@pytest.mark.parametrize(
    ("call", "allowed"),
    [
        ({"provider": "groq"}, True),
        ({"provider": "openai", "model": "gpt-4o-mini", "user": "u-42"}, True),
        ({"provider": "openai", "model": "gpt-4o-mini", "user": "u-43"}, False),
    ],
)
async def test_an_estimate_is_not_held_against_a_budget_that_excepts_the_call(
    console: LiveConsole, service: httpx.AsyncClient, call: dict[str, str], allowed: bool
) -> None:
    excepted = ["provider/groq", "user/u-42+model/gpt-4o-mini"]
    await console.budget("agent/SEO", "1", window=WindowKind.DAY, **{"except": excepted})
    assert (await decision(service, agent="SEO", estimate_usd="2", **call))["allowed"] is allowed


async def test_while_flags_are_not_known_a_closed_budget_lets_nothing_through() -> None:
    console = LiveConsole()
    service = await console.as_role(Role.SERVICE)
    await console.budget("service/*", "200", fail="closed", **{"except": ["provider/groq"]})
    await console.budget("service/lab", "200")
    found = await decision(service, user="u-42", service="video")
    assert (found["allowed"], found["state"], found["http_status"]) == (False, "blocked", 503)
    assert (found["error"], found["scope"], found["as_of"]) == ("limits_unknown", None, None)
    assert found["message"] == ("Limits are not known now, and this call may not go ahead without them; try again.")
    for call in ({"user": "u-42"}, {"service": "video", "provider": "groq"}, {"service": "lab"}):
        assert (await decision(service, **call))["allowed"]
    console.has_read_to(now_ms() - 59_000)
    assert (await decision(service, service="video"))["allowed"]
    old = LiveConsole()
    await old.budget("service/*", "200", fail="closed")
    old.has_read_to(now_ms() - 60_001)
    old_service = await old.as_role(Role.SERVICE)
    assert (await decision(old_service, service="video", estimate_usd="1"))["error"] == "limits_unknown"
    # What is known holds, however old it is.
    old.flag("service/video")
    assert (await decision(old_service, service="video"))["error"] == "usage_limit_exceeded"


async def test_a_sum_of_any_size_and_sign_is_compared(console: LiveConsole, service: httpx.AsyncClient) -> None:
    await console.budget("agent/*", "99999999999999")
    console.spent("agent/a", "-5.5", WindowKind.MONTH, now_ms())
    console.spent("agent/b", "9" * 26 + ".999999999999", WindowKind.MONTH, now_ms())
    assert (await decision(service, agent="a", estimate_usd="99999999999999"))["allowed"]
    assert not (await decision(service, agent="b", estimate_usd="0"))["allowed"]


async def test_nothing_is_known_before_the_topics_are_read() -> None:
    service = await LiveConsole().as_role(Role.SERVICE)
    found = await decision(service, user="u-42", estimate_usd="1")
    assert (found["allowed"], found["as_of"], found["message"]) == (True, None, "Flags are not read yet.")


async def test_the_oldest_knowledge_is_told(console: LiveConsole, service: httpx.AsyncClient) -> None:
    console.has_read_to(1_795_255_200_000)
    assert (await decision(service, user="u-42"))["as_of"] == "2026-11-21T10:00:00Z"


@pytest.mark.parametrize(
    "asked",
    [
        {"user": "u", "colour": "red"},
        {"user": "u", "estimate_usd": 0.02},
        {"user": "u", "estimate_usd": 1},
        {"user": "u", "estimate_usd": "-1"},
        {"user": "u", "estimate_usd": "1e3"},
        {"user": "u", "estimate_usd": "9" * 100_000},
        {"user": "a\nb"},
        {"user": "u" * 257},
        {"user": 7},
        {"user": {}},
        [],
        "user",
    ],
)
async def test_what_is_no_question_is_refused(service: httpx.AsyncClient, asked: Any) -> None:
    answer = await service.post(CHECK, json=asked)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("role", "status"), [(Role.ADMIN, 200), (Role.VIEWER, 403), (Role.ANALYST, 403)])
async def test_services_and_admins_may_ask(console: LiveConsole, role: Role, status: int) -> None:
    client = await console.as_role(role)
    assert (await client.post(CHECK, json={})).status_code == status


@pytest.mark.parametrize("name", ["a/b", "*", "../..", "u|x", "<img src=x>", "\u202e", "u" * 256])
async def test_a_name_may_hold_anything(console: LiveConsole, service: httpx.AsyncClient, name: str) -> None:
    await console.budget("user/*", "100")
    console.flag(f"user/{name}")
    found = await decision(service, user=name, estimate_usd="1")
    assert found["scope"] == f"user/{name}"


async def test_a_token_of_an_org_asks_about_its_calls_alone(console: LiveConsole) -> None:
    console.flag("org/acme", "warning", reason="threshold_reached", spent="90")
    service = await console.as_role(Role.SERVICE, org="acme")
    for asked in ({"user": "u-42"}, {"user": "u-42", "org": "acme"}):
        found = await decision(service, **asked)
        assert (found["scope"], found["state"], found["spent"]) == ("org/acme", "warning", "90")
    for role in (Role.SERVICE, Role.ADMIN):
        client = await console.as_role(role, org="acme")
        answer = await client.post(CHECK, json={"user": "u-42", "org": "globex"})
        assert (answer.status_code, answer.json()["error"]) == (403, "not_allowed")
        assert answer.json()["detail"] == "This token may ask about calls of the org acme alone."
    whole = await console.as_role(Role.SERVICE)
    assert (await decision(whole, user="u-42"))["scope"] is None


async def test_a_token_of_an_org_is_told_no_numbers_of_other_scopes(console: LiveConsole) -> None:
    await console.budget("agent/SEO", "100", window=WindowKind.DAY)
    console.spent("agent/SEO", "99.5", WindowKind.DAY, now_ms())
    console.flag("user/u-9")
    service = await console.as_role(Role.SERVICE, org="acme")
    blocked = await decision(service, user="u-9")
    denied = await decision(service, agent="SEO", estimate_usd="1")
    for found, scope in ((blocked, "user/u-9"), (denied, "agent/SEO")):
        assert (found["allowed"], found["scope"], found["http_status"]) == (False, scope, 429)
        assert found["until"] is not None
        assert found["limit"] is found["spent"] is found["budget"] is None
    assert blocked["message"] == "user/u-9 is blocked."
    assert denied["message"] == "1 usd more would pass the day limit of agent/SEO."
    whole = await console.as_role(Role.SERVICE)
    assert (await decision(whole, user="u-9"))["spent"] == "104.2"
    told = (await decision(whole, agent="SEO", estimate_usd="1"))["message"]
    assert told == "1 usd more would pass the day limit of agent/SEO: 99.5 of 100 usd, 99.50 %."
