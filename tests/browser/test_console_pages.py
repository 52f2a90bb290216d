"""Every page of a console with a real stack behind it: quiet, accessible, within the screen, true to the numbers."""

import csv
import io
import json
import re
from decimal import Decimal
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect
from tests.browser.conftest import DESKTOP, PHONE, faults_of
from tests.browser.real_stack import HOSTILE, SHOTS, RealStack
from tests.browser.visiting import Visitor
from tests.waiting import wait_until

from tollgate.console.pages.shown import path_part, seen

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

PAGES = {
    "overview": "/",
    "budgets": "/budgets",
    "budget": "/budgets/campaign%2Fholiday-2026%3Amonth%3Ausd",
    "users": "/users",
    "user": "/users/u-1",
    "campaigns": "/campaigns",
    "agents": "/agents",
    "models": "/models",
    "scope": "/scopes/campaign%2Fholiday-2026",
    "scope-blocked": "/scopes/agent%2FCONTENT",
    "company": "/scopes/global",
    "alerts": "/alerts",
    "reports": "/reports?by=day&then=service",
    "prices": "/prices",
    "settings": "/settings",
    "audit": "/audit",
    "health": "/health",
    "api": "/api/docs",
    "not-found": "/nothing",
}
# Of these the first screen says enough: their lists are long.
LONG = {"api", "audit", "prices"}
# 42.5 + 17.25 + 8 + 3.125 + 1.000000000001, and nine cents.
HISTORY = Decimal("71.965000000001")
# 42.5 + 17.25
HISTORY_OF_CHAT = Decimal("59.75")


def drawn(page: Page) -> None:
    """Wait until the page is loaded and its visible charts are drawn."""
    undrawn = "[...document.querySelectorAll('[data-chart]')].filter(e => e.clientWidth && !e.firstChild).length"
    page.wait_for_load_state("load")
    wait_until(lambda: page.evaluate(undrawn) == 0, what="the drawing of charts")


@pytest.mark.parametrize(
    ("look", "theme", "size"),
    [
        ("light", "light", DESKTOP),
        pytest.param("dark", "dark", DESKTOP, marks=pytest.mark.long),
        ("phone", "dark", PHONE),
    ],
)
def test_every_page_is_quiet_accessible_and_within_the_screen(
    visitor: Visitor, look: str, theme: str, size: tuple[int, int]
) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    context = visitor.context(theme=theme, size=size)
    found: dict[str, Any] = {}
    for name, path in PAGES.items():
        tab = visitor.open(path, context=context)
        drawn(tab.page)
        shot = SHOTS / f"console-{name}-{look}.png"
        tab.page.screenshot(path=shot, full_page=name not in LONG, animations="disabled")
        # Browsers put an answer that is no page into their console as an error.
        complaints = [one for one in tab.complaints if name != "not-found" or "404" not in one]
        # Both themes have the same elements, and a phone has the same colours as well.
        rules = {"light": (), "dark": ("color-contrast",)}.get(look)
        faults = [*(faults_of(tab.page, *rules) if rules is not None else ()), *complaints, *tab.elsewhere]
        if tab.page.evaluate("document.documentElement.scrollWidth") > size[0]:
            faults.append("wider than the screen")
        if faults:
            found[name] = faults
        tab.page.close()
    assert found == {}


def test_every_entry_of_the_navigation_leads_to_a_page(visitor: Visitor) -> None:
    page = visitor.open("/").page
    links = page.locator("#nav li a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert len(links) >= 12
    for link in links:
        assert page.request.get(link).status == 200, link


def test_the_numbers_of_the_pages_are_those_of_the_command_line(visitor: Visitor, stack: RealStack) -> None:
    total = str(HISTORY + stack.added)
    told = stack.tollgate.ok("spend", "global", "--json").json()
    assert told["spent_usd"] == stack.api("/spend", scope="global")["spent_usd"] == total
    page = visitor.open("/").page
    assert page.locator("#figures data[data-live='global|month']").first.get_attribute("value") == total
    page.goto("/scopes/global")
    expect(page.locator("#sums data[data-live='global|month']").first).to_have_attribute("value", total)
    page.goto("/reports")
    assert page.locator("#total data").first.get_attribute("value") == total
    # 17,000 + 2,400 product tokens for half a cent each
    assert page.locator("#total data").nth(1).get_attribute("value") == told["retail_usd"] == "97"
    page.goto("/campaigns")
    rows = page.locator("#scopes tbody tr")
    shown = {
        row.locator("th").inner_text(): row.locator("data[data-live]").first.get_attribute("value")
        for row in rows.all()
    }
    assert shown["spring-launch"] == "42.5"
    assert shown["holiday-2026"] == "25.25"
    for scope in ("spring-launch", "holiday-2026"):
        assert stack.tollgate.ok("spend", f"campaign/{scope}", "--json").json()["spent_usd"] == shown[scope]


@pytest.mark.parametrize("dimension", ["campaign", "agent", "service", "org"])
def test_hostile_names_are_text_in_lists(visitor: Visitor, dimension: str) -> None:
    tab = visitor.open(f"/{dimension}s")
    shown = tab.page.locator("#scopes th a").all_inner_texts()
    assert {str(seen(name)) for name in HOSTILE} <= set(shown)
    assert tab.page.locator("img:not([src^='/static/'])").count() == 0
    assert tab.complaints == []


def test_a_hostile_name_has_a_page_of_its_own_that_a_link_leads_to(visitor: Visitor) -> None:
    tab = visitor.open("/campaigns")
    for number, name in enumerate(HOSTILE):
        kind = "campaign" if number % 2 else "org"
        tab.page.goto(f"/{kind}s")
        tab.page.locator("#scopes th a", has_text=re.compile(rf"^{re.escape(str(seen(name)))}$")).click()
        tab.page.wait_for_url(f"**/scopes/{path_part(f'{kind}/{name}')}")
        expect(tab.page.locator("#sums data[data-live]").nth(2)).to_have_attribute("value", "0.01")
        of_user = tab.page.request.get(f"/users/{path_part(name)}")
        assert of_user.status == 200
        assert "$0.01" in of_user.text()
        assert tab.complaints == [], name


def test_a_download_of_hostile_names_starts_no_formula(stack: RealStack) -> None:
    query = {"by": "campaign", "format": "csv"}
    headers = {"Authorization": f"Bearer {stack.tokens['analyst']}"}
    answer = httpx.get(f"{stack.address}/api/v1/reports/export", params=query, headers=headers)
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert "'=cmd|'/c calc'!A1" in {row["campaign"] for row in rows}
    assert sum(Decimal(row["cost_usd"]) for row in rows) == HISTORY + stack.added


def test_a_report_is_chosen_downloaded_and_drawn(visitor: Visitor, stack: RealStack) -> None:
    chat = HISTORY_OF_CHAT + stack.added
    page = visitor.open("/reports", "analyst").page
    page.get_by_label("Group by").select_option("service")
    page.get_by_role("button", name="Show the report").click()
    page.wait_for_url(re.compile("by=service"))
    drawn(page)
    first = page.locator("#rows tbody tr").first
    expect(first).to_contain_text("chat-api")
    assert Decimal(first.locator("data").first.get_attribute("value") or "") == chat
    with page.expect_download() as downloading:
        page.get_by_role("link", name="JSON").first.click()
    rows = json.loads(downloading.value.path().read_text(encoding="utf-8"))
    assert {row["service"]: Decimal(row["cost_usd"]) for row in rows}["chat-api"] == chat


def test_the_audit_says_what_became_of_a_limit(visitor: Visitor) -> None:
    page = visitor.open("/audit").page
    page.get_by_label("Record").fill("budget/global:month:usd")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator(".changes > li")).to_have_count(2)
    first = page.locator(".changes > li").first
    expect(first).to_contain_text("less than planned")
    expect(first.locator("del")).to_have_text("$100.00")
    expect(first.locator("ins")).to_have_text("$90.00")


def test_health_knows_the_last_verification(visitor: Visitor) -> None:
    page = visitor.open("/health", "viewer").page
    expect(page.locator("#verify")).to_contain_text("Everything is equal")
    expect(page.locator("#verify")).to_contain_text("$71.97")
    expect(page.locator("#processes tbody tr")).to_have_count(6)


def test_without_scripts_every_page_can_be_read(visitor: Visitor, stack: RealStack) -> None:
    total = f"${HISTORY + stack.added:,.2f}"
    context = visitor.context(java_script_enabled=False)
    words = {"/campaigns": "spring-launch", "/alerts": "agent/CONTENT", "/reports": total, "/audit": "$90.00"}
    for path, word in words.items():
        tab = visitor.open(path, context=context)
        expect(tab.page.locator("main")).to_contain_text(word)
        tab.page.close()
