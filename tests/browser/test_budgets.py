"""The pages of budgets in a real browser: what a person sees, drags, saves and is told."""

import pytest
from playwright.sync_api import Page, expect
from tests.browser.conftest import PHONE, Open, faults_of
from tests.browser.previews import Preview, run
from tests.waiting import wait_until

from tollgate.schemas.tokens import Role

pytestmark = [pytest.mark.integration, pytest.mark.browser]

AGENT = "/budgets/agent%2FSEO:month:usd"


def writes(page: Page) -> list[str]:
    """The methods of requests that change something, as they are sent."""
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.method) if request.method in ("PUT", "DELETE") else None)
    return seen


@pytest.mark.parametrize("path", ["/budgets", AGENT, "/budgets/user%2F*:month:usd"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pages_are_accessible_and_quiet(open_tab: Open, path: str, theme: str) -> None:
    tab = open_tab(path, theme=theme)
    assert faults_of(tab.page) == []
    assert tab.complaints == []
    assert tab.elsewhere == []


@pytest.mark.parametrize("path", ["/budgets", AGENT])
def test_they_fit_on_a_phone(open_tab: Open, path: str) -> None:
    page = open_tab(path, size=PHONE).page
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]


def test_the_worst_budget_stands_first_and_can_be_found_by_state(open_tab: Open) -> None:
    page = open_tab("/budgets").page
    names = page.locator("#list .standing .name")
    expect(names.first).to_have_text("user/*")
    expect(page.locator("#list")).to_contain_text("1 blocked, 1 warned")
    page.get_by_role("link", name="Warning").click()
    expect(names).to_have_text(["campaign/holiday-2026", "agent/SEO"])


def test_a_slider_previews_and_writes_only_when_saved(open_tab: Open, preview: Preview) -> None:
    page = open_tab(AGENT).page
    sent = writes(page)
    slider = page.get_by_role("slider")
    slider.focus()
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    expect(page.get_by_label("Limit", exact=True)).to_have_value("200")
    expect(page.locator(".preview")).to_contain_text("Blocks agent/SEO", timeout=10_000)
    expect(page.locator(".preview")).to_have_attribute("data-level", "over")
    slider.evaluate("(s) => { s.value = 600; s.dispatchEvent(new Event('input', {bubbles: true})); }")
    expect(page.locator(".preview")).to_contain_text("Ends the warning of agent/SEO", timeout=10_000)
    assert sent == []
    page.get_by_label("Reason").first.fill("a larger project")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".toast")).to_contain_text("Saved.")
    assert sent == ["PUT"]
    held = preview.console.control.get("budget/agent/SEO:month:usd")
    assert held is not None
    assert (held.value["limit"], held.version, held.reason) == ("600", 2, "a larger project")
    expect(page.locator("#standing")).to_contain_text("$268.80", timeout=10_000)


def test_a_field_takes_what_lies_outside_of_the_slider(open_tab: Open, preview: Preview) -> None:
    page = open_tab("/budgets/service%2Fvideo:day:usd").page
    page.get_by_label("Limit", exact=True).fill("14.5")
    page.get_by_label("Warning: percent of the limit").fill("")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".toast")).to_contain_text("Saved.")
    held = preview.console.control.get("budget/service/video:day:usd")
    assert held is not None
    assert held.value["limit"] == "14.5"
    assert sorted(held.value["thresholds"]) == ["critical", "emergency"]


def test_who_saves_second_is_told_who_was_first(open_tab: Open, preview: Preview) -> None:
    first = open_tab("/budgets/campaign%2Fholiday-2026:month:usd").page
    second = open_tab("/budgets/campaign%2Fholiday-2026:month:usd").page
    first.get_by_label("Limit", exact=True).fill("1300")
    first.get_by_role("button", name="Save").click()
    expect(first.locator(".toast")).to_contain_text("Saved.")
    second.get_by_label("Limit", exact=True).fill("1400")
    second.get_by_role("button", name="Save").click()
    expect(second.get_by_role("alert")).to_contain_text("Changed by token:ann@example.com meanwhile")
    held = preview.console.control.get("budget/campaign/holiday-2026:month:usd")
    assert held is not None
    assert held.value["limit"] == "1300"


def test_what_makes_no_sense_is_refused_in_words_and_stays_in_the_form(open_tab: Open) -> None:
    page = open_tab(AGENT).page
    page.get_by_label("Warning: percent of the limit").fill("120")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("must not be above")
    expect(page.get_by_label("Warning: percent of the limit")).to_have_value("120")


def test_a_budget_of_any_name_can_be_set_seen_and_removed(open_tab: Open, preview: Preview) -> None:
    tab = open_tab("/budgets")
    page = tab.page
    for scope in ("user/<img src=x onerror=alert(1)>", "user/a\"b'c", "user/../..", "user/x|y?z#w%"):
        page.get_by_role("button", name="New budget").click()
        page.get_by_label("Scope", exact=True).fill(scope)
        page.get_by_label("Limit", exact=True).fill("250")
        page.get_by_role("button", name="Set the budget").click()
        page.get_by_role("link", name=scope).click()
        expect(page.locator("h1")).to_contain_text(scope)
        assert preview.console.control.get(f"budget/{scope}:month:usd") is not None
        page.get_by_role("button", name="Remove…").click()
        page.get_by_label("Reason for the removal").fill("no longer needed")
        page.get_by_role("button", name="Remove", exact=True).click()
        expect(page.get_by_role("button", name="New budget")).to_be_visible()
        assert preview.console.control.get(f"budget/{scope}:month:usd") is None
    assert tab.complaints == []


def test_a_viewer_sees_budgets_and_nothing_to_change_them(open_tab: Open, preview: Preview, address: str) -> None:
    context = open_tab("/login").page.context
    context.clear_cookies()
    page = context.new_page()
    page.goto(f"{address}/login")
    page.get_by_label("Token").fill(preview.token(Role.VIEWER))
    page.get_by_role("button", name="Log in").click()
    page.goto(f"{address}{AGENT}")
    expect(page.locator("#change")).to_contain_text("Only an admin may change it.")
    assert page.locator("form[data-api]").count() == 0
    page.goto(f"{address}/budgets")
    expect(page.get_by_role("button", name="New budget")).to_have_count(0)


def test_another_persons_change_arrives_without_a_reload(open_tab: Open, preview: Preview) -> None:
    page = open_tab("/budgets").page
    before = preview.streams
    wait_until(lambda: preview.streams >= max(before, 1))
    run(preview.console.budget("model/gpt-4o", "700"))
    preview.send("budget", {"snapshot": False, "items": [{"id": "model/gpt-4o:month:usd"}], "more": 0})
    expect(page.get_by_role("link", name="model/gpt-4o")).to_be_visible(timeout=10_000)
