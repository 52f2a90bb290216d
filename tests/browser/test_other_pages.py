"""Login, logout, users, the API reference and errors in a real browser."""

from urllib.parse import urljoin

import pytest
from playwright.sync_api import Browser, expect
from tests.browser import examples
from tests.browser.conftest import DESKTOP, PHONE, Open, faults_of
from tests.browser.previews import Preview

from tollgate.console.rooms import ROOMS
from tollgate.schemas.tokens import Role, TokenKind

pytestmark = [pytest.mark.integration, pytest.mark.browser]

PATHS = [
    "/preview/user",
    "/preview/user?data=away",
    "/preview/users",
    "/preview/broken?status=503",
    "/no-such-page",
]


@pytest.mark.parametrize("path", PATHS)
def test_each_page_is_accessible_and_asks_no_other_host(open_tab: Open, path: str) -> None:
    tab = open_tab(path, theme="dark")
    assert faults_of(tab.page) == []
    assert tab.elsewhere == []
    assert [one for one in tab.complaints if "Failed to load resource" not in one] == []


def test_every_page_of_the_navigation_is_accessible_and_fits_also_while_clickhouse_is_away(open_tab: Open) -> None:
    tab = open_tab("/users", theme="dark")
    entries = [entry.path for room in ROOMS for entry in room.entries if Role.ADMIN in entry.roles]
    found = {}
    for path in entries:
        tab.page.goto(urljoin(tab.page.url, path))
        found[path] = faults_of(tab.page)
        assert tab.page.evaluate("document.documentElement.scrollWidth") == DESKTOP[0]
    assert found == {path: [] for path in entries}
    assert tab.elsewhere == []
    assert [one for one in tab.complaints if "Failed to load resource" not in one] == []


@pytest.mark.parametrize("path", ["/preview/user", "/preview/users", "/api/docs"])
def test_each_page_fits_on_a_phone(open_tab: Open, path: str) -> None:
    page = open_tab(path, size=PHONE).page
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_login_is_accessible(browser: Browser, address: str, theme: str) -> None:
    context = browser.new_context(color_scheme="dark" if theme == "dark" else "light")
    page = context.new_page()
    page.goto(f"{address}/budgets?state=blocked")
    assert page.url == f"{address}/login?next=/budgets%3Fstate%3Dblocked"
    assert faults_of(page) == []
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("This token is not valid.")
    assert faults_of(page) == []
    context.close()


def test_a_link_logs_in_once_and_logging_out_ends_it(browser: Browser, address: str, preview: Preview) -> None:
    code = preview.token(Role.ADMIN, kind=TokenKind.LOGIN, name="ann")
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{address}/login?code={code}")
    page.get_by_role("button", name="Log in").click()
    page.goto(f"{address}/budgets")
    page.locator("details.menu summary").click()
    expect(page.locator(".menu-who")).to_contain_text("ann")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    page.goto(f"{address}/budgets")
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    page.goto(f"{address}/login?code={code}")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("This link was used before")
    context.close()


def test_a_user_page_tells_why_somebody_is_blocked_and_what_they_used(open_tab: Open) -> None:
    page = open_tab("/preview/user").page
    expect(page.get_by_role("alert").first).to_contain_text("u-4812 is blocked.")
    expect(page.get_by_role("alert").nth(1)).to_contain_text("user/u-4812+feature/video is")
    expect(page.locator("#card-images")).to_contain_text("912 of 1,000 events a month, until 30 Nov 2026")
    expect(page.locator("#card-videos")).to_contain_text("10 of 10 events a month, until 30 Nov 2026")
    expect(page.locator("#calls tbody tr")).to_have_count(10)


def test_a_user_of_any_name_has_a_page(open_tab: Open) -> None:
    page = open_tab("/users").page
    # A field of a form takes no line break.
    for name in (name for name in examples.HOSTILE if "\n" not in name):
        page.goto(page.url.partition("/users")[0] + "/users")
        page.get_by_label("User id").fill(name)
        page.get_by_role("button", name="Show user").click()
        expect(page.locator("#usage")).to_contain_text("Not known now")
        shown = name.replace("\u202e", "\\u202e")
        assert page.locator("h1").text_content() == shown
        assert page.title() == f"{' '.join(shown.split())} · Tollgate"


def test_the_reference_names_every_path_of_the_api(open_tab: Open, preview: Preview) -> None:
    page = open_tab("/api/docs").page
    paths = preview.console.app.openapi()["paths"]
    wanted = sorted(f"{method.upper()}{path}" for path, methods in paths.items() for method in methods)
    shown = page.locator(".operation > summary").evaluate_all(
        "all => all.map(one => one.querySelector('.method').textContent + one.querySelector('code').textContent)"
    )
    assert sorted(shown) == wanted


def test_an_error_page_says_what_to_do_and_names_the_request(open_tab: Open) -> None:
    page = open_tab("/preview/broken?status=503").page
    expect(page.locator("main")).to_contain_text("ClickHouse cannot be reached.")
    expect(page.locator("main code")).not_to_be_empty()
