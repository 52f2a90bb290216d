"""The page of settings in a real browser: stop and resume, make a token that is shown once, revoke it."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from tests.browser.conftest import DESKTOP, PHONE, Open, faults_of
from tests.browser.previews import Preview

from tollgate.schemas.tokens import Role

pytestmark = [pytest.mark.integration, pytest.mark.browser]

SHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_page_is_accessible_quiet_and_not_too_wide(open_tab: Open, theme: str, size: tuple[int, int]) -> None:
    tab = open_tab("/settings", theme=theme, size=size)
    tab.page.screenshot(path=SHOTS / f"settings-{theme}-{size[0]}.png", full_page=True)
    assert tab.page.evaluate("document.documentElement.scrollWidth") == size[0]
    assert faults_of(tab.page) == []
    assert tab.complaints == []
    assert tab.elsewhere == []


def test_all_spending_is_stopped_and_resumed_with_a_reason(open_tab: Open, preview: Preview) -> None:
    tab = open_tab("/settings")
    page = tab.page
    for button, confirm, reason, shown in (
        ("Stop all spending…", "Stop all spending", "the provider <b>bills</b> twice", "All spending is stopped"),
        ("Resume spending…", "Resume spending", "mended", "Spending goes on"),
        ("Stop all spending…", "Stop all spending", "again", "All spending is stopped"),
        ("Resume spending…", "Resume spending", "mended again", "Spending goes on"),
    ):
        page.get_by_role("button", name=button).click()
        dialog = page.get_by_role("dialog")
        assert faults_of(page) == []
        # Without a reason nothing is sent.
        dialog.get_by_role("button", name=confirm).click()
        expect(dialog).to_be_visible()
        dialog.get_by_label("Why").fill(reason)
        dialog.get_by_role("button", name=confirm).click()
        expect(page.locator("#stop")).to_contain_text(shown)
        expect(page.locator("#stop")).to_contain_text(reason)
    held = preview.console.control.get("setting/stop")
    assert held is not None
    assert (held.value["value"], held.version, held.reason) == ({"stopped": False}, 4, "mended again")
    assert tab.complaints == []


def test_a_token_is_shown_once_and_revoked(open_tab: Open, preview: Preview) -> None:
    tab = open_tab("/settings")
    page = tab.page
    page.get_by_role("button", name="New token").click()
    page.get_by_label("Name").fill("<i>dashboard</i>")
    page.get_by_label("Role").select_option("viewer")
    page.get_by_label("Expires in days").fill("30")
    page.get_by_role("button", name="Make the token").click()
    made = page.get_by_role("dialog", name="Your new token")
    expect(made).to_be_visible()
    secret = made.get_by_label("Token").input_value()
    assert secret.startswith("tg_")
    answer = page.request.get(
        f"{page.url.removesuffix('/settings')}/api/v1/budgets", headers={"Authorization": f"Bearer {secret}"}
    )
    assert answer.ok
    assert faults_of(page) == []
    made.get_by_role("button", name="Done").click()
    expect(made).to_be_hidden()
    expect(page.locator("#secret")).to_have_value("")
    assert secret not in page.content()
    row = page.locator("#tokens tbody tr").filter(has_text="<i>dashboard</i>")
    expect(row).to_be_visible()
    page.on("dialog", lambda question: question.accept())
    row.get_by_role("button").click()
    expect(row).to_have_count(0)
    refused = page.request.get(
        f"{page.url.removesuffix('/settings')}/api/v1/budgets", headers={"Authorization": f"Bearer {secret}"}
    )
    assert refused.status == 401
    assert tab.complaints == []


@pytest.mark.parametrize(
    ("who", "seen", "hidden"),
    [
        ({"role": Role.VIEWER}, ["#stop", "#limits"], ["#tokens", "text=Stop all spending…"]),
        ({"role": Role.ANALYST}, ["#stop", "#limits"], ["#tokens", "text=Stop all spending…"]),
        ({"role": Role.ADMIN, "org": "acme"}, ["#tokens", "#installation"], ["#stop", "#limits", "#topics"]),
    ],
)
def test_each_role_sees_what_it_may(
    open_tab: Open, preview: Preview, who: dict[str, Any], seen: list[str], hidden: list[str]
) -> None:
    token = preview.token(**who)
    page = open_tab("/settings").page
    address = page.url
    page.context.clear_cookies()
    page.goto(address)
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(address)
    for selector in seen:
        expect(page.locator(selector).first).to_be_visible()
    for selector in hidden:
        expect(page.locator(selector)).to_have_count(0)
