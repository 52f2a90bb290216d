"""Logging in and out of a real console, and what each role sees."""

import re

import pytest
from playwright.sync_api import expect
from tests.browser.real_stack import RealStack
from tests.browser.visiting import Visitor, watched

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

ENTRIES = {
    "viewer": {
        "Overview", "Budgets", "Plans", "Users", "Campaigns", "Agents", "Alerts", "Prices", "Settings", "Health", "API",
    },
    "analyst": {"Reports"},
    "admin": {"Reports", "Audit"},
}  # fmt: skip
"""What is in the navigation of a viewer, and what the others have beside it."""


def test_a_login_link_works_once_and_logging_out_ends_the_session(visitor: Visitor, stack: RealStack) -> None:
    link = stack.tollgate.ok("console", "login", "--json").json()["url"]
    assert link.startswith(stack.address)
    context = visitor.context("")
    tab = watched(context.new_page(), stack.address)
    page = tab.page
    page.goto("/audit?kind=budget")
    expect(page).to_have_url(re.compile(r"/login\?next="))
    page.goto(link)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(f"{stack.address}/")
    assert [cookie["httpOnly"] for cookie in context.cookies()] == [True]
    page.locator("details.menu summary").click()
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url(re.compile("/login$"))
    page.goto("/budgets")
    expect(page).to_have_url(re.compile(r"/login\?next=/budgets"))
    page.goto(link)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("was used before")


def test_somebody_who_logs_in_is_led_to_the_page_they_wanted(visitor: Visitor, stack: RealStack) -> None:
    page = visitor.context("").new_page()
    page.goto("/reports?by=model")
    page.get_by_label("Token").fill(stack.tokens["analyst"])
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(f"{stack.address}/reports?by=model")


@pytest.mark.parametrize("role", ["viewer", "analyst", "admin"])
def test_the_navigation_has_what_the_role_may_see(visitor: Visitor, role: str) -> None:
    page = visitor.open("/", role).page
    shown = set(page.locator("#nav li a").all_inner_texts())
    assert shown == ENTRIES["viewer"] | ENTRIES[role]


def test_a_page_of_a_higher_role_says_that_it_may_not_be_seen(visitor: Visitor) -> None:
    for role, path in (("viewer", "/audit"), ("viewer", "/reports"), ("analyst", "/audit")):
        page = visitor.open(path, role).page
        expect(page.locator("body")).to_contain_text("You may not see this")


def test_a_user_sees_their_own_page_and_no_other(visitor: Visitor) -> None:
    tab = visitor.open("/me", "user")
    expect(tab.page.locator("main")).to_contain_text("$8.00")
    assert tab.complaints == []
    for path in ("/", "/users/u-1", "/campaigns", "/scopes/user%2Fu-1", "/alerts"):
        answer = tab.page.goto(path)
        assert answer is not None
        assert answer.status == 403, path
        assert "42.5" not in tab.page.content()
