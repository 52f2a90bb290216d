"""The pages of plans and credits in a real browser: what a person sees, types and is told."""

import pytest
from playwright.sync_api import expect
from tests.browser.conftest import PHONE, Open, faults_of
from tests.browser.previews import Preview, run

pytestmark = [pytest.mark.integration, pytest.mark.browser]


@pytest.mark.parametrize("path", ["/plans", "/plans/free", "/preview/user"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pages_are_accessible_and_quiet(open_tab: Open, path: str, theme: str) -> None:
    tab = open_tab(path, theme=theme)
    assert faults_of(tab.page) == []
    assert tab.complaints == []
    assert tab.elsewhere == []


@pytest.mark.parametrize("path", ["/plans", "/plans/free", "/preview/user"])
def test_they_fit_on_a_phone(open_tab: Open, path: str) -> None:
    page = open_tab(path, size=PHONE).page
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]


def test_a_plan_is_changed_and_its_emptied_limit_removed(open_tab: Open, preview: Preview) -> None:
    page = open_tab("/plans/creator").page
    page.get_by_label("Price a month").fill("12.5")
    page.get_by_label("Limit 4").fill("")
    page.get_by_label("Feature 5").fill("voice")
    page.get_by_label("Limit 5").fill("60")
    page.get_by_label("Reason").fill("dearer")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#about")).to_contain_text("dearer")
    plan = preview.console.control.plans()["creator"]
    assert (plan.price_usd, plan.reason, plan.version) == ("12.5", "dearer", 1)
    assert [(limit.feature, limit.limit) for limit in plan.limits] == [
        ("content", "500"),
        ("image", "1000"),
        ("video", "100"),
        ("voice", "60"),
    ]
    page.get_by_role("link", name="Plans").first.click()
    expect(page.locator("#list")).to_contain_text("$12.50")


def test_a_plan_that_somebody_else_changed_is_not_overwritten(open_tab: Open, preview: Preview) -> None:
    run(preview.console.control.change("assignment/user/u-4812", {"plan": "free"}, actor="test"))
    page = open_tab("/preview/user").page
    expect(page.locator("#card-videos")).to_contain_text("10 of 10 events a month")
    expect(page.locator("#credits")).to_contain_text("112.5")
    page.get_by_role("button", name="Give another plan").click()
    page.locator("#set-plan").get_by_label("Plan").select_option("pro")
    page.get_by_label("Time zone").fill("Asia/Tokyo")
    # The page shows version 2, and this is the first one.
    page.get_by_role("button", name="Give the plan").click()
    expect(page.get_by_role("alert").filter(has_text="nothing was saved")).to_be_visible()
    assert preview.console.control.assignments()["user/u-4812"].plan == "free"


def test_a_grant_that_kafka_does_not_take_says_so(open_tab: Open) -> None:
    page = open_tab("/preview/user").page
    page.get_by_role("button", name="Grant credits").click()
    page.locator("#grant-credits").get_by_label("Credits").fill("100")
    page.get_by_role("button", name="Grant", exact=True).click()
    expect(page.get_by_role("alert").filter(has_text="it is granted once")).to_be_visible()


def test_a_budget_of_another_calendar_is_set_with_its_preview(open_tab: Open, preview: Preview) -> None:
    page = open_tab("/budgets").page
    page.get_by_role("button", name="New budget").click()
    page.get_by_label("Scope", exact=True).fill("org/acme+model/gpt-4o")
    page.get_by_text("Calendar, validity and exceptions").click()
    page.get_by_label("Time zone").fill("Mars/Olympus")
    expect(page.locator("dialog .preview")).to_contain_text("no IANA time zone", timeout=10_000)
    page.get_by_label("Time zone").fill("Asia/Tokyo")
    page.get_by_label("Months start on").fill("15")
    page.get_by_label("Except 1").fill("provider/groq")
    page.get_by_role("button", name="Set the budget").click()
    expect(page.locator("#list")).to_contain_text("org/acme+model/gpt-4o")
    held = preview.console.control.budgets()["org/acme+model/gpt-4o:month:usd"]
    assert (held.calendar.text, held.except_) == ("month@Asia/Tokyo~15", ("provider/groq",))
    # What is emptied is removed, and the rest stays.
    page.get_by_role("link", name="org/acme+model/gpt-4o").click()
    page.get_by_label("Except 1").fill("")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#toasts")).to_contain_text("Saved")
    held = preview.console.control.budgets()["org/acme+model/gpt-4o:month:usd"]
    assert (held.calendar.text, held.except_) == ("month@Asia/Tokyo~15", ())
