"""Plans, their users, credits and reservations by REST: versions, numbers, refusals."""

import json
from typing import Any

import httpx
import pytest
from tests.support.console import now_ms
from tests.support.live_console import LiveConsole
from tests.support.live_records import spend_record

from tollgate.schemas.tokens import Role
from tollgate.schemas.vocabulary import WindowKind

API = "/api/v1"
TEAM = {"name": "Team", "price_usd": "49", "limits": [{"feature": "video", "limit": "10"}], "reason": "new"}


@pytest.fixture
def console() -> LiveConsole:
    made = LiveConsole()
    made.has_read_to(now_ms())
    return made


async def test_a_plan_that_stays_was_begun_when_it_was_given(admin: httpx.AsyncClient) -> None:
    async def give(plan: str, version: int = 0, key: str = "", **more: Any) -> dict[str, Any]:
        headers = ({"If-Match": f'"{version}"'} if version else {}) | ({"Idempotency-Key": key} if key else {})
        answer = await admin.put(f"{API}/users/u-42/plan", json={"plan": plan, **more}, headers=headers)
        assert answer.status_code in (200, 201), answer.text
        found: dict[str, Any] = answer.json()
        return found

    first = await give("demo", key="k-1")
    assert first["since"][:10] <= first["updated_at"][:10]
    # Another time zone does not begin the plan's year anew.
    moved = await give("demo", 1, timezone="Asia/Tokyo")
    assert (moved["since"], moved["timezone"], moved["version"]) == (first["since"], "Asia/Tokyo", 2)
    other = await give("pro", 2, since="2026-11-01T00:00:00Z")
    assert other["since"] == "2026-11-01T00:00:00Z"
    again = await give("demo", 3)
    assert again["since"] > first["since"]
    # The first request again, whatever was done meanwhile.
    assert (await give("demo", key="k-1"))["since"] == first["since"]


@pytest.fixture
async def admin(console: LiveConsole) -> httpx.AsyncClient:
    return await console.as_role(Role.ADMIN)


async def test_the_shipped_plans_are_there_and_can_be_replaced(admin: httpx.AsyncClient) -> None:
    found = (await admin.get(f"{API}/plans")).json()["items"]
    assert [(one["id"], one["price_usd"], one["shipped"]) for one in found] == [
        ("creator", "9", True),
        ("demo", "0", True),
        ("free", "0", True),
        ("pro", "19.99", True),
    ]
    shown = await admin.get(f"{API}/plans/free")
    assert "ETag" not in shown.headers
    changed = shown.json() | {"credits_per_day": "20"}
    made = await admin.put(f"{API}/plans/free", json=changed)
    assert (made.status_code, made.headers["ETag"], made.json()["shipped"]) == (201, '"1"', False)
    assert made.json()["credits_per_day"] == "20"


async def test_a_plan_is_changed_by_its_version_alone(admin: httpx.AsyncClient) -> None:
    assert (await admin.put(f"{API}/plans/team", json=TEAM)).status_code == 201
    assert (await admin.put(f"{API}/plans/team", json=TEAM | {"price_usd": "50"})).status_code == 428
    read = (await admin.get(f"{API}/plans/team")).json()
    again = await admin.put(f"{API}/plans/team", json=read | {"price_usd": "50"}, headers={"If-Match": '"1"'})
    assert (again.status_code, again.json()["price_usd"], again.json()["version"]) == (200, "50", 2)
    stale = await admin.put(f"{API}/plans/team", json=TEAM, headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["version"]) == (409, 2)
    same = await admin.get(f"{API}/plans/team", headers={"If-None-Match": '"2"'})
    assert same.status_code == 304


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"name": "Team", "limit": []}, "limit"),
        ({"name": "Team", "limits": [{"feature": "video", "limit": "-1"}]}, "limit"),
        ({"name": "Team", "limits": [{"feature": "video", "limt": "1"}]}, "limt"),
        ({"name": "Team", "id": "other"}, "id: it must be that of the address"),
        ({"name": "Team", "ends_after": "a year"}, "duration"),
    ],
)
async def test_a_plan_that_is_wrong_changes_nothing(admin: httpx.AsyncClient, body: dict[str, Any], text: str) -> None:
    answer = await admin.put(f"{API}/plans/team", json=body)
    assert answer.status_code == 422
    assert text in answer.text
    assert (await admin.get(f"{API}/plans/team")).status_code == 404


async def test_a_user_gets_a_plan_and_their_answer_shows_it(console: LiveConsole, admin: httpx.AsyncClient) -> None:
    made = await admin.put(f"{API}/users/u-42/plan", json={"plan": "pro", "timezone": "Asia/Tokyo"})
    assert (made.status_code, made.headers["ETag"]) == (201, '"1"')
    assert (made.json()["user"], made.json()["timezone"]) == ("u-42", "Asia/Tokyo")
    assert (await admin.put(f"{API}/users/u-42/plan", json={"plan": "free"})).status_code == 428
    unknown = await admin.put(f"{API}/users/u-42/plan", json={"plan": "gold"}, headers={"If-Match": '"1"'})
    assert (unknown.status_code, "gold" in unknown.json()["detail"]) == (422, True)
    zone = await admin.put(f"{API}/users/u-9/plan", json={"plan": "free", "timezone": "Mars/Olympus"})
    assert (zone.status_code, "Mars/Olympus" in zone.text) == (422, True)
    shown = await admin.get(f"{API}/users/u-42/plan")
    assert (shown.status_code, shown.json()["id"], shown.json()["version"]) == (200, "pro", 1)
    assert (await admin.get(f"{API}/users/u-9/plan")).status_code == 404
    # ClickHouse is away; why knows the plan all the same.
    why = (await admin.get(f"{API}/why/user%2Fu-42")).json()
    assert (why["plan"]["id"], why["plan"]["assigned"], why["plan"]["timezone"]) == ("pro", True, "Asia/Tokyo")
    assert (why["reservations"], why["credits"]["free_today"]) == (None, "10")


async def test_why_tells_credits_and_the_combinations_that_are_blocked(
    console: LiveConsole, admin: httpx.AsyncClient
) -> None:
    console.credits("u-42", available="12.5", granted="20", burned="7.5")
    console.flag("user/u-42+feature/video", note="10 of 10 video events of the month are used")
    console.flag("user/u-421+feature/video")
    console.flag("org/acme+model/x")
    why = (await admin.get(f"{API}/why/user%2Fu-42")).json()
    assert (why["blocked"], why["credits"]["available"], why["credits"]["burned"]) == (False, "12.5", "7.5")
    assert [one["scope"] for one in why["combinations"]] == ["user/u-42+feature/video"]
    of_pair = (await admin.get(f"{API}/why/user%2Fu-42%2Bfeature%2Fvideo")).json()
    assert (of_pair["blocked"], of_pair["http_status"]) == (True, 429)
    assert of_pair["names"] == ["user/u-42", "feature/video"]
    own = await console.as_role(Role.USER, user="u-42")
    assert (await own.get(f"{API}/why/user%2Fu-42%2Bfeature%2Fvideo")).status_code == 200
    other = await console.as_role(Role.USER, user="u-421")
    assert (await other.get(f"{API}/why/user%2Fu-42%2Bfeature%2Fvideo")).status_code == 403


async def test_an_estimate_is_held_against_budgets_on_combinations(console: LiveConsole) -> None:
    at_ms = now_ms()
    await console.budget("org/acme+model/gpt-4o", "10")
    console.live._take_spend(*spend_record("org/acme+model/gpt-4o", "9.5", WindowKind.MONTH, at_ms))
    service = await console.as_role(Role.SERVICE)
    call = {"org": "acme", "model": "gpt-4o", "provider": "openai"}
    fits = (await service.post(f"{API}/check", json=call | {"estimate_usd": "0.5"})).json()
    assert fits["allowed"] is True
    passes = (await service.post(f"{API}/check", json=call | {"estimate_usd": "0.51"})).json()
    assert (passes["allowed"], passes["http_status"], passes["scope"]) == (False, 429, "org/acme+model/gpt-4o")
    other = (await service.post(f"{API}/check", json=call | {"model": "gpt-5", "estimate_usd": "0.51"})).json()
    assert other["allowed"] is True


async def test_a_budget_leaves_the_scopes_of_its_except_alone(console: LiveConsole) -> None:
    await console.budget("org/acme", "10", **{"except": ["provider/groq"]})
    console.live._take_spend(*spend_record("org/acme", "9.5", WindowKind.MONTH, now_ms()))
    service = await console.as_role(Role.SERVICE)
    call = {"org": "acme", "estimate_usd": "0.51"}
    assert (await service.post(f"{API}/check", json=call | {"provider": "openai"})).json()["allowed"] is False
    assert (await service.post(f"{API}/check", json=call | {"provider": "groq"})).json()["allowed"] is True


async def test_a_sum_is_read_in_the_calendar_of_its_budget(console: LiveConsole, admin: httpx.AsyncClient) -> None:
    at_ms = 1_795_000_000_000  # 2026-11-18T11:06:40Z
    console.live._spend._set_oldest(at_ms)
    key = b"org/acme|month@Asia/Tokyo|2026-10-31T15:00:00Z"
    window = {"kind": "month", "start": "2026-10-31T15:00:00Z", "end": "2026-11-30T15:00:00Z", "timezone": "Asia/Tokyo"}
    value = {
        "scope": "org/acme",
        "window": window,
        "spent_usd": "7",
        "events": 3,
        "updated_at": "2026-11-18T11:00:00Z",
    }
    console.live._take_spend(key, json.dumps(value).encode())
    console.spent("org/acme", "5", WindowKind.MONTH, at_ms)
    await console.budget("org/acme", "10", timezone="Asia/Tokyo")
    asked = {"scope": "org/acme", "at": "2026-11-18T11:06:40Z"}
    tokyo = (await admin.get(f"{API}/spend", params=asked | {"timezone": "Asia/Tokyo"})).json()
    assert (tokyo["spent_usd"], tokyo["window"], tokyo["budgets"][0]["percent"]) == ("7", window, "70.00")
    utc = (await admin.get(f"{API}/spend", params=asked)).json()
    assert (utc["spent_usd"], utc["window"]["timezone"], utc["budgets"]) == ("5", "UTC", [])
    bad = await admin.get(f"{API}/spend", params=asked | {"timezone": "Mars/Olympus"})
    assert (bad.status_code, "no IANA time zone" in bad.json()["detail"]) == (422, True)
    order = await admin.get(f"{API}/spend", params={"scope": "model/x+user/u"})
    assert (order.status_code, order.json()["error"]) == (422, "invalid_scope")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"credits": "1.5e3", "kind": "bonus"}, "credits"),
        ({"credits": 1.5, "kind": "bonus"}, "credits"),
        ({"credits": "0", "kind": "bonus"}, "credits"),
        ({"credits": "1", "kind": "gift"}, "kind"),
        ({"credits": "-1", "kind": "correction", "expires_at": "2027-01-01T00:00:00Z"}, "expire"),
        ({"credits": "1", "kind": "bonus", "expires_at": "soon"}, "expires_at"),
    ],
)
async def test_a_grant_that_is_wrong_is_refused(admin: httpx.AsyncClient, body: dict[str, Any], text: str) -> None:
    answer = await admin.post(f"{API}/users/u-42/credits", json=body)
    assert answer.status_code == 422
    assert text in answer.text


async def test_without_kafka_nothing_is_granted_and_the_answer_says_so(admin: httpx.AsyncClient) -> None:
    answer = await admin.post(f"{API}/users/u-42/credits", json={"credits": "100", "kind": "bonus"})
    assert (answer.status_code, answer.json()["error"]) == (503, "kafka_unavailable")
    assert answer.headers["Retry-After"] == "2"


async def test_credits_are_shown_without_clickhouse(console: LiveConsole, admin: httpx.AsyncClient) -> None:
    console.credits("u-42", available="12.5", granted="20", burned="7.5")
    shown = (await admin.get(f"{API}/users/u-42/credits")).json()
    assert (shown["balance"]["available"], shown["known"], shown["items"]) == ("12.5", True, None)
    assert shown["problem"]
    assert (await admin.put(f"{API}/users/u-7/plan", json={"plan": "free"})).status_code == 201
    free = (await admin.get(f"{API}/users/u-7/credits")).json()["balance"]
    assert (free["available"], free["free_today"], free["free_per_day"], free["buckets"]) == ("10", "10", "10", [])
    nobody = (await admin.get(f"{API}/users/u-1/credits")).json()
    assert (nobody["balance"], nobody["known"]) == (None, True)
    other = await console.as_role(Role.USER, user="u-1")
    assert (await other.get(f"{API}/users/u-42/credits")).status_code == 403
    of_org = await console.as_role(Role.ADMIN, org="acme")
    assert (await of_org.get(f"{API}/users/u-42/credits")).status_code == 403
    assert (await of_org.post(f"{API}/users/u-42/credits", json={"credits": "1", "kind": "bonus"})).status_code == 403


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"source": "s", "user": "u"}, "needs amount_usd, or credits"),
        ({"source": "s", "user": "u", "amount_usd": "-1"}, "amount_usd"),
        ({"source": "s", "user": "u", "amount_usd": "1", "ttl_seconds": 0}, "ttl_seconds"),
        ({"source": "s", "user": "u", "credits": 1.5}, "credits"),
        ({"source": "s", "amount_usd": "1"}, "user"),
        ({"source": "s", "subject": "u", "data": {"amount_usd": "1", "modl": "x"}}, "modl"),
        ({"source": "s", "user": "u", "amount_usd": "1", "modl": "x"}, "modl"),
    ],
)
async def test_a_reservation_that_is_wrong_is_refused(console: LiveConsole, body: dict[str, Any], text: str) -> None:
    service = await console.as_role(Role.SERVICE)
    answer = await service.post(f"{API}/reservations", json=body)
    assert answer.status_code == 422
    assert text in answer.text


async def test_a_token_of_an_org_reserves_for_its_org_alone(console: LiveConsole) -> None:
    service = await console.as_role(Role.SERVICE, org="acme")
    body = {"source": "s", "user": "u", "amount_usd": "1", "org": "globex"}
    assert (await service.post(f"{API}/reservations", json=body)).status_code == 403
    assert (await service.post(f"{API}/reservations/r-1/settle", json=body)).status_code == 403
    away = await service.post(f"{API}/reservations", json=body | {"org": "acme"})
    assert (away.status_code, away.json()["error"]) == (503, "kafka_unavailable")
