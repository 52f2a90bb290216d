"""The pages of prices in a real browser: find one, set one, explain one, remove one."""

import pytest
from playwright.sync_api import expect
from tests.browser.conftest import PHONE, Open, faults_of
from tests.browser.previews import Preview, run

pytestmark = [pytest.mark.integration, pytest.mark.browser]

EXPLAINED = "/prices/explain?provider=openai&model=gpt-4o-mini&usage=input_tokens%3D1200%2C+output_tokens%3D300"
PATHS = ["/prices?q=gpt-4o", "/prices?layer=runtime&q=nothing", EXPLAINED, "/prices/explain?event=%7B"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pages_are_accessible_and_quiet(open_tab: Open, path: str, theme: str) -> None:
    tab = open_tab(path, theme=theme)
    assert faults_of(tab.page) == []
    assert tab.complaints == []
    assert tab.elsewhere == []


@pytest.mark.parametrize("path", PATHS)
def test_they_fit_on_a_phone(open_tab: Open, path: str) -> None:
    page = open_tab(path, size=PHONE).page
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]


def test_a_price_is_set_found_explained_and_removed(open_tab: Open, preview: Preview) -> None:
    tab = open_tab("/prices")
    page = tab.page
    page.get_by_role("button", name="New price").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Provider").fill("openai")
    dialog.get_by_label("Model").fill("gpt-4o-mini")
    dialog.get_by_label("Dimension 1").fill("input_tokens")
    dialog.get_by_label("US dollars 1").fill("0.25")
    dialog.get_by_label("Dimension 2").fill("images")
    dialog.get_by_label("US dollars 2").fill("0.04")
    dialog.get_by_label("Per 2").select_option("1")
    dialog.get_by_label("Reason").fill("our contract")
    dialog.get_by_role("button", name="Set the price").click()
    page.wait_for_url("**/prices?layer=runtime")
    row = page.locator("#list tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("$0.25 / 1M input tokens")
    expect(row).to_contain_text("$0.04 each of images")
    expect(row).to_contain_text("by token:ann@example.com: our contract")
    (held,) = preview.console.control.records("price/")
    assert held.value["rates"] == [
        {"dimension": "input_tokens", "usd": "0.25", "per": "1000000"},
        {"dimension": "images", "usd": "0.04", "per": "1"},
    ]

    row.get_by_role("link", name="Explain").click()
    expect(page.locator("#answer")).to_contain_text("$0.25")
    page.get_by_label("Usage").fill("input_tokens=2000000, images=3")
    page.get_by_role("button", name="Explain").click()
    # 2 × 0.25 + 3 × 0.04
    expect(page.locator("#answer .figure .value").first).to_have_text("$0.62")

    page.goto(page.url.split("/prices")[0] + "/prices?layer=runtime")
    page.on("dialog", lambda question: question.accept())
    page.get_by_role("button", name="Remove the price of gpt-4o-mini").click()
    expect(page.get_by_text("No price is set here")).to_be_visible()
    assert preview.console.control.records("price/") == []
    assert tab.complaints == []


def test_what_is_no_event_is_said_beside_the_form(open_tab: Open) -> None:
    page = open_tab("/prices/explain?provider=openai&model=gpt-4o&usage=many+tokens").page
    expect(page.get_by_role("alert")).to_contain_text("'many' is no NAME=VALUE.")
    page.get_by_label("Usage").fill("input_tokens=-5")
    page.get_by_role("button", name="Explain").click()
    expect(page.get_by_role("alert")).to_contain_text("data.usage.input_tokens")


def test_names_that_try_to_be_markup_are_shown_as_text(open_tab: Open, preview: Preview) -> None:
    names = ["<img src=x onerror=alert(1)>", "\u202egnp.exe", "</script><script>alert(1)</script>"]
    body = {"provider": "p", "rates": [{"dimension": "images", "usd": "1"}], "effective_from": "2026-01-01T00:00:00Z"}
    ids = []
    for name in names:
        key = f"price/{name}"
        ids.append(key)
        run(preview.console.control.change(key, body | {"id": name, "model": name}, actor="<b>eve</b>"))
    try:
        tab = open_tab("/prices?layer=runtime")
        shown = tab.page.locator("#list tbody th").all_text_contents()
        assert {text.removesuffix("p") for text in shown} == {names[0], "\\u202egnp.exe", names[2]}
        assert tab.page.locator("#list img, #list b, #list script").count() == 0
        tab.page.get_by_role("link", name="Explain <img").click()
        expect(tab.page.get_by_label("Model")).to_have_value(names[0])
        assert tab.complaints == []
    finally:
        for key in ids:
            run(preview.console.control.change(key, None, actor="test"))
