"""The pages of scopes, alerts, reports, audit and health in a console without Kafka and ClickHouse."""

import re
from collections.abc import AsyncIterator
from html import unescape

import pytest
from tests.support.console import now_ms
from tests.support.hostile_names import HOSTILE_NAMES
from tests.support.live_console import LiveConsole

from tollgate.console.amounts import price
from tollgate.console.pages.shown import path_part, spark
from tollgate.schemas.tokens import Role
from tollgate.schemas.vocabulary import WindowKind

PAGES = {
    "/campaigns": "viewer",
    "/agents": "viewer",
    "/services": "viewer",
    "/models": "viewer",
    "/providers": "viewer",
    "/features": "viewer",
    "/products": "viewer",
    "/orgs": "viewer",
    "/scopes/agent%2FSEO": "viewer",
    "/scopes/global": "viewer",
    "/alerts": "viewer",
    "/health": "viewer",
    "/reports": "analyst",
    "/audit": "admin",
}
"""The least role that may see each page."""
RANK = ("viewer", "analyst", "admin")
# What people of one org may see; the others are about the whole company.
OF_ONE_ORG = {path for path in PAGES if path.startswith("/") and path not in ("/health", "/audit")}
OF_ONE_ORG -= {"/scopes/agent%2FSEO", "/scopes/global"}


@pytest.fixture
async def console() -> AsyncIterator[LiveConsole]:
    """Its topics are read to their ends."""
    made = LiveConsole(console_requests_per_minute=100_000)
    made.has_read_to(now_ms())
    yield made
    await made.numbers.stop()


def text_of(html: str) -> str:
    """What a person reads, in one line."""
    body = re.sub(r"<script.*?</script>", "", html[html.index("<main") :], flags=re.S)
    words = " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())
    return re.sub(r" ([,.])", r"\1", words)


@pytest.mark.parametrize("path", PAGES)
async def test_each_page_has_a_least_role(console: LiveConsole, path: str) -> None:
    for role in Role:
        caller = await console.as_role(role, user="ann" if role is Role.USER else "")
        expected = 200 if role in RANK and RANK.index(role) >= RANK.index(PAGES[path]) else 403
        assert (await caller.get(path)).status_code == expected, role


@pytest.mark.parametrize("path", PAGES)
async def test_nobody_sees_a_page_without_logging_in(console: LiveConsole, path: str) -> None:
    answer = await console.client().get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login?next=/")


@pytest.mark.parametrize("path", PAGES)
async def test_people_of_one_org_see_what_is_theirs(console: LiveConsole, path: str) -> None:
    caller = await console.as_role(Role.ADMIN, org="acme")
    assert (await caller.get(path)).status_code == (200 if path in OF_ONE_ORG else 403)


@pytest.mark.parametrize("path", PAGES)
async def test_without_clickhouse_a_page_says_so_and_shows_no_zero_for_it(console: LiveConsole, path: str) -> None:
    caller = await console.as_role(Role.ADMIN)
    shown = text_of((await caller.get(path)).text)
    assert "ClickHouse" in shown


async def test_sums_come_from_memory_while_clickhouse_is_away(console: LiveConsole) -> None:
    now = now_ms()
    for scope, cost in (("global", "12.5"), ("campaign/a", "2.5"), ("campaign/b", "7.5")):
        console.spent(scope, cost, WindowKind.MONTH, now)
    await console.budget("campaign/b", "10")
    console.flag("campaign/b", "warning")
    shown = text_of((await (await console.as_role(Role.VIEWER)).get("/campaigns")).text)
    assert "These are the sums that the console holds in memory" in shown
    assert re.search(
        r"\bb – \(unknown: trends come from ClickHouse\) \$7\.50 60 % 31 .*75 % of \$10\.00 a month", shown
    )
    assert shown.index("$7.50") < shown.index("$2.50")
    assert "Warning" in shown


async def test_of_an_agent_its_rate_is_shown_with_all_digits(console: LiveConsole) -> None:
    console.spent("global", "1", WindowKind.MONTH, now_ms())
    caller = await console.as_role(Role.VIEWER)
    assert "BRAND_VOICE" in text_of((await caller.get("/agents")).text)
    shown = text_of((await caller.get("/scopes/agent%2FSEO")).text)
    assert "Input tokens $0.03 per 1,000" in shown
    assert "No rate is known" in text_of((await caller.get("/scopes/agent%2FNEW")).text)


async def test_a_blocked_scope_says_why_and_until_when(console: LiveConsole) -> None:
    now = now_ms()
    console.spent("agent/SEO", "104.2", WindowKind.MONTH, now)
    await console.budget("agent/SEO", "100")
    console.flag("agent/SEO", budget="agent/SEO:month:usd")
    shown = text_of((await (await console.as_role(Role.VIEWER)).get("/scopes/agent%2FSEO")).text)
    assert "Calls are refused. Services answer 429 usage_limit_exceeded." in shown
    assert "$104.20 of $100.00, 104 %" in shown
    assert "raise it above 104.2" in shown
    assert "Last calls" not in shown


async def test_what_is_not_known_of_a_scope_is_not_zero(console: LiveConsole) -> None:
    """An hour of a scope that memory does not hold, and ClickHouse is away."""
    cold = LiveConsole()
    shown = text_of((await (await cold.as_role(Role.VIEWER)).get("/scopes/agent%2FSEO")).text)
    assert "This month – (unknown: neither Kafka nor ClickHouse tells it now)" in shown
    assert "$0.00" not in shown
    await cold.numbers.stop()


async def test_only_analysts_see_single_calls(console: LiveConsole) -> None:
    for role, sees in ((Role.VIEWER, False), (Role.ANALYST, True)):
        shown = text_of((await (await console.as_role(role)).get("/scopes/agent%2FSEO")).text)
        assert ("Last calls" in shown) is sees


async def test_the_page_of_a_user_is_another_one(console: LiveConsole) -> None:
    answer = await (await console.as_role(Role.VIEWER)).get("/scopes/user%2Fa%2Fb")
    assert (answer.status_code, answer.headers["location"]) == (303, "/users/a%2Fb")


async def test_of_a_blocked_user_the_flag_is_shown_while_clickhouse_is_away(console: LiveConsole) -> None:
    console.flag("user/ann")
    console.flag("user/bob", "warning", percent="91.00")
    viewer, ann = await console.as_role(Role.VIEWER), await console.as_role(Role.USER, user="ann")
    of_org = await console.as_role(Role.ANALYST, org="acme")
    unknown = "Usage, budgets and last calls Not known now ClickHouse cannot be reached"
    blocked = "blocked. Calls are refused until the budget is reset or raised. $104.20 of $100.00"
    for caller, path, told in (
        (viewer, "/users/ann", f"ann is {blocked}"),
        (ann, "/me", f"You are {blocked}"),
        (viewer, "/users/bob", "Close to the limit. 91 % of $100.00"),
    ):
        shown = text_of((await caller.get(path)).text)
        assert told in shown
        assert unknown in shown
    # What a user spent elsewhere is not the org's.
    assert "blocked" not in text_of((await of_org.get("/users/ann")).text)


@pytest.mark.parametrize("scope", ["nothing", "planet/x", "agent/", "agent/a\x1bb", "user/u+model/m" * 50])
async def test_what_is_no_scope_is_refused(console: LiveConsole, scope: str) -> None:
    answer = await (await console.as_role(Role.VIEWER)).get(f"/scopes/{path_part(scope)}")
    assert answer.status_code in (404, 422)


async def test_hostile_names_are_text_wherever_they_stand(console: LiveConsole) -> None:
    now = now_ms()
    console.spent("global", "100", WindowKind.MONTH, now)
    for name in HOSTILE_NAMES:
        console.spent(f"campaign/{name}", "1", WindowKind.MONTH, now)
        console.alert(f"campaign/{name}")
    caller = await console.as_role(Role.ADMIN)
    pages = [(await caller.get(path)).text for path in ("/campaigns", "/campaigns?q=<img", "/alerts")]
    for name in HOSTILE_NAMES:
        answer = await caller.get(f"/scopes/campaign%2F{path_part(name)}")
        assert answer.status_code == 200, name
        pages.append(answer.text)
    for page in pages:
        assert "<img src=x" not in page
        assert "<script>alert" not in page
        assert "\u202e" not in page
    first = pages[0]
    assert "&lt;img src=x onerror=alert(1)&gt;" in first
    assert 'href="/scopes/campaign%2F..%2F..%2Fetc%2Fpasswd"' in first


async def test_alerts_come_the_worst_first_and_page_by_page(console: LiveConsole) -> None:
    for number in range(60):
        console.alert(f"agent/a{number:02}", "critical", percent=f"{100 + number}.00")
    console.alert("agent/worst", "emergency", percent="150.00")
    caller = await console.as_role(Role.VIEWER)
    page = (await caller.get("/alerts")).text
    scopes = re.findall(r'class="name" href="/scopes/agent%2F(\w+)"', page)
    assert scopes[:3] == ["worst", "a59", "a58"]
    assert len(scopes) == 50
    following = re.search(r'href="(/alerts\?cursor=[^"]+)" rel="next"', page)
    assert following is not None
    rest = (await caller.get(unescape(following[1]).partition("#")[0])).text
    assert re.findall(r'class="name" href="/scopes/agent%2F(\w+)"', rest) == [f"a{n:02}" for n in range(10, -1, -1)]


async def test_while_the_alerts_are_being_read_nobody_says_that_there_are_none() -> None:
    cold = LiveConsole()
    shown = text_of((await (await cold.as_role(Role.VIEWER)).get("/alerts")).text)
    assert "nobody knows whether there are none" in shown
    assert "No open alerts" not in shown
    await cold.numbers.stop()


async def test_an_alert_says_what_to_do(console: LiveConsole) -> None:
    console.alert("agent/SEO", budget="agent/SEO:month:usd")
    console.alert(
        "model/new", "warning", kind="unpriced", budget=None, provider="openai", model="new", key="unpriced|x"
    )
    page = (await (await console.as_role(Role.VIEWER)).get("/alerts")).text
    assert '<a href="/budgets/agent%2FSEO%3Amonth%3Ausd">Change the limit</a>' in page
    assert '<a href="/prices?q=new">Set a price</a>' in page


async def test_health_shows_the_last_verification_that_is_kept(console: LiveConsole) -> None:
    caller = await console.as_role(Role.VIEWER)
    assert "No verification is kept" in text_of((await caller.get("/health")).text)
    checks = [
        {
            "name": "spend windows",
            "ok": False,
            "expected": "4",
            "found": "5",
            "difference": "user/<b>: expected 4, found 5",
        }
    ]
    value = {"ok": False, "events": 12_345, "cost_usd": "866.44", "clickhouse": False, "checks": checks}
    await console.control.change(
        "setting/last-verify", {"name": "last-verify", "value": value}, actor="cli:ann", reason=""
    )
    page = (await caller.get("/health")).text
    shown = text_of(page)
    assert "Not everything is equal" in shown
    assert "12,345 events, $866.44" in shown
    assert "by cli:ann. ClickHouse was left out." in shown
    assert "user/<b>: expected 4, found 5" in shown
    assert "<b>:" not in page


async def test_only_admins_are_offered_to_send_records_again(console: LiveConsole) -> None:
    for role in (Role.VIEWER, Role.ANALYST):
        assert "dead-letters/replay" not in (await (await console.as_role(role)).get("/health")).text
    assert "Refused records" not in text_of((await (await console.as_role(Role.VIEWER)).get("/health")).text)


def test_a_price_keeps_its_digits() -> None:
    assert [price(text) for text in ("0.035", "0.1", "2", "1234567.5", "0.000000000001")] == [
        "$0.035",
        "$0.10",
        "$2.00",
        "$1,234,567.50",
        "$0.000000000001",
    ]


def test_a_line_reaches_from_its_highest_amount_to_zero() -> None:
    assert spark(["0", "5", "10"]) == "0.0,26.0 50.0,14.0 100.0,2.0"
    assert spark(["0", "0"]) == "0.0,26.0 100.0,26.0"
    assert spark(["3"]) == "0.0,2.0"
    assert spark([]) == ""
