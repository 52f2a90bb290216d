"""The overview in a real browser, with example data in each state that it can be in."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.browser import examples
from tests.browser.conftest import DESKTOP, PHONE, TABLET, Open, faults_of
from tests.browser.previews import Preview
from tests.waiting import wait_until

from tollgate.console.amounts import count, money

pytestmark = [pytest.mark.integration, pytest.mark.browser]

SHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"
WINDOW = {"kind": "month", "start": "2000-01-01T00:00:00Z", "end": "2100-01-01T00:00:00Z", "timezone": "UTC"}


@pytest.fixture(autouse=True)
def _as_it_was(preview: Preview) -> Iterator[None]:
    yield
    preview.data, preview.still = "full", False


def spend(cost: str, retail: str = "6651.15") -> dict[str, object]:
    """The frame of one sum of the company's month."""
    item = {"scope": "global", "window": WINDOW, "spent_usd": cost, "retail_usd": retail, "events": 284_318}
    return {"snapshot": False, "items": [item], "more": 0}


def drawn(page: Page) -> None:
    """Wait until the charts that are visible are drawn."""
    undrawn = "[...document.querySelectorAll('[data-chart]')].filter(e => e.clientWidth && !e.firstChild).length"
    wait_until(lambda: page.evaluate(undrawn) == 0, what="the drawing of charts")


@pytest.mark.parametrize(
    ("data", "theme"), [*((data, "dark") for data in sorted(examples.DASHBOARDS)), ("full", "light"), ("away", "light")]
)
def test_every_state_of_the_overview_is_accessible_and_quiet(open_tab: Open, data: str, theme: str) -> None:
    tab = open_tab(f"/preview/overview?data={data}", theme=theme)
    drawn(tab.page)
    assert faults_of(tab.page) == []
    assert tab.complaints == []
    assert tab.elsewhere == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, TABLET, PHONE], ids=["desktop", "tablet", "phone"])
def test_nothing_is_wider_than_the_screen(open_tab: Open, theme: str, size: tuple[int, int]) -> None:
    tab = open_tab("/preview/overview", theme=theme, size=size)
    drawn(tab.page)
    tab.page.screenshot(path=SHOTS / f"overview-{theme}-{size[0]}.png", full_page=True)
    assert tab.page.evaluate("document.documentElement.scrollWidth") == size[0]
    assert faults_of(tab.page) == []


def test_names_that_try_to_be_markup_are_shown_as_text(open_tab: Open) -> None:
    tab = open_tab("/preview/overview?data=hostile")
    drawn(tab.page)
    shown = tab.page.locator("#calls td:nth-child(2)").all_text_contents()
    assert shown[0] == "<img src=x onerror=alert(1)>"
    assert shown[5] == "\\u202egnp.exe"
    assert shown[7] == "</script><script>alert(1)</script>"
    assert tab.page.locator("img").count() == tab.page.locator("img[src^='/static/']").count() == 1
    links = tab.page.locator("#users a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert links[3:5] == ["/users/..%2F..", "/users/user%2Fx%7Cy"]


def test_amounts_are_exact_to_a_script_and_readable_to_a_person(open_tab: Open) -> None:
    page = open_tab("/preview/overview").page
    cost = page.locator("#figures data[data-live]").first
    expect(cost).to_have_text("$3,912.44")
    assert cost.get_attribute("value") == "3912.441200000012"
    expect(page.locator("#budgets .standing .percent").first).to_have_text("104\u00a0%")
    assert page.locator("#budgets .bar-fill").first.get_attribute("width") == "100%"


def test_a_chart_is_a_table_of_the_same_numbers(open_tab: Open) -> None:
    page = open_tab("/preview/overview").page
    page.locator("#today summary").click()
    rows = page.locator("#today tbody data").evaluate_all("all => all.map(one => one.value)")
    description = json.loads(page.locator("#hourly-data").text_content() or "")
    assert rows == description["series"][0]["values"]
    assert len(rows) == 13


def test_without_scripts_everything_can_be_read(open_tab: Open) -> None:
    page = open_tab("/preview/overview", java_script_enabled=False).page
    expect(page.locator("#figures")).to_contain_text("$3,912.44")
    for key in ("service", "model", "agent", "campaign"):
        expect(page.locator(f"#by-{key}")).to_be_visible()
    page.locator("#today summary").click()
    expect(page.locator("#today tbody tr").first).to_be_visible()


def test_what_is_not_known_is_never_shown_as_zero(open_tab: Open) -> None:
    page = open_tab("/preview/overview?data=away").page
    for panel in ("history", "shares", "users", "calls"):
        expect(page.locator(f"#{panel}")).to_contain_text("ClickHouse cannot be reached")
        assert "$0" not in (page.locator(f"#{panel}").text_content() or "")


def test_a_sum_moves_as_it_arrives(open_tab: Open, preview: Preview) -> None:
    preview.still = True
    page = open_tab("/preview/overview").page
    wait_until(lambda: preview.streams == 1)
    preview.send("spend", spend("4000.000000000001"))
    expect(page.locator("#figures data").first).to_have_text("$4,000.00")
    assert page.locator("#figures data").first.get_attribute("value") == "4000.000000000001"
    expect(page.locator("#month .gauge")).to_have_attribute("data-level", "warn")
    preview.send("spend", spend("5200"))
    expect(page.locator("#month .percent")).to_have_text("104\u00a0%")
    expect(page.locator("#month .gauge")).to_have_attribute("data-level", "over")
    expect(page.locator("#month .gauge-fill")).to_have_attribute("stroke-dasharray", "100 200")
    expect(page.locator("#month [data-show=left]")).to_have_text("\u2212$200.00")


def test_a_sum_of_another_month_changes_nothing(open_tab: Open, preview: Preview) -> None:
    preview.still = True
    page = open_tab("/preview/overview").page
    wait_until(lambda: preview.streams == 1)
    old = spend("1")
    old["items"][0]["window"] = {**WINDOW, "end": "2001-01-01T00:00:00Z"}  # type: ignore[index]
    preview.send("spend", old)
    preview.send("spend", {**spend("3913"), "snapshot": True})
    expect(page.locator("#figures data").first).to_have_text("$3,913.00")


def test_a_panel_greys_when_its_topic_is_old_and_says_of_when_it_is(open_tab: Open, preview: Preview) -> None:
    page = open_tab("/preview/overview").page
    wait_until(lambda: preview.streams == 1)
    now, old = "2026-11-21T12:05:00Z", "2026-11-21T12:03:00Z"
    beat = {"now": now, "as_of": {"spend": old, "flags": now, "alerts": now, "control": now}, "stale": ["spend"]}
    preview.send("heartbeat", beat)
    expect(page.locator("#month")).to_have_attribute("data-stale", "")
    expect(page.locator("#month .as-of time")).to_have_text("13:03:00")
    assert page.locator("#blocked").get_attribute("data-stale") is None
    preview.send("heartbeat", {**beat, "stale": []})
    expect(page.locator("#month")).not_to_have_attribute("data-stale", "")


def test_news_brings_the_page_anew_and_leaves_what_a_person_has_opened(open_tab: Open, preview: Preview) -> None:
    tab = open_tab("/preview/overview")
    page = tab.page
    wait_until(lambda: preview.streams == 1)
    page.locator("#today summary").click()
    page.get_by_role("tab", name="Campaign").click()
    page.locator("#calls").get_by_role("button", name="Cost").click()
    page.get_by_role("tab", name="Campaign").focus()
    preview.data = "stopped"
    preview.send("flag", {"snapshot": False, "items": [{"scope": "global", "state": "stopped"}], "more": 0})
    expect(page.get_by_role("alert")).to_contain_text("All spending is stopped.", timeout=10_000)
    assert page.locator("#today details").get_attribute("open") is not None
    expect(page.locator("#by-campaign")).to_be_visible()
    expect(page.locator("#by-service")).to_be_hidden()
    expect(page.get_by_role("tab", name="Campaign")).to_be_focused()
    assert page.locator("#calls thead [aria-sort]").get_attribute("aria-sort") == "descending"
    assert page.locator("#calls tbody data").first.get_attribute("value") == "0.25"
    assert page.locator("#daily-data + details").count() == 1
    assert page.locator("[data-chart=daily-data] canvas").count() == 1
    assert tab.complaints == []


def test_a_screen_reader_is_told_of_blocks_at_most_each_five_seconds(open_tab: Open, preview: Preview) -> None:
    page = open_tab("/preview/overview").page
    wait_until(lambda: preview.streams == 1)
    page.evaluate(
        "window.said = []; new MutationObserver(() => said.push(document.getElementById('announcer').textContent))"
        ".observe(document.getElementById('announcer'), {childList: true})"
    )
    for number in range(20):
        item = {"scope": f"user/u-{number}", "state": "blocked"}
        preview.send("flag", {"snapshot": False, "items": [item], "more": 0})
    wait_until(lambda: page.evaluate("said.includes('user/u-19 is blocked')"), seconds=15)
    assert page.evaluate("said.length") <= 2


def test_one_stream_a_tab_that_is_closed_while_the_tab_is_hidden(open_tab: Open, preview: Preview) -> None:
    page = open_tab("/preview/overview").page
    wait_until(lambda: preview.streams == 1)
    hide = (
        "(hidden) => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});"
        " document.dispatchEvent(new Event('visibilitychange')); }"
    )
    page.evaluate(hide, True)
    wait_until(lambda: preview.streams == 0)
    expect(page.locator("#connection")).to_have_text("Paused")
    page.evaluate(hide, False)
    wait_until(lambda: preview.streams == 1)
    expect(page.locator("#connection")).to_have_text("Live")


def test_a_stream_that_breaks_off_is_opened_again(open_tab: Open, preview: Preview) -> None:
    tab = open_tab("/preview/overview")
    wait_until(lambda: preview.streams == 1)
    preview.send("bye", {})
    opened = "performance.getEntriesByType('resource').filter(e => e.name.endsWith('/stream')).length"
    wait_until(lambda: tab.page.evaluate(opened) >= 1)
    wait_until(lambda: preview.streams == 1)
    tab.page.context.set_offline(True)
    tab.page.evaluate("window.dispatchEvent(new Event('offline'))")
    tab.page.context.set_offline(False)
    expect(tab.page.locator("#connection")).to_have_text("Live", timeout=15_000)


def test_eight_tabs_share_one_stream_which_another_takes_over(open_tab: Open, preview: Preview) -> None:
    # A browser opens six connections to a host: with a stream for each tab the seventh would never load.
    preview.still, before = True, preview.streams_opened
    first = open_tab("/preview/overview").page
    others = [open_tab("/preview/overview", context=first.context).page for _ in range(7)]
    pages = [first, *others]
    for page in pages:
        expect(page.locator("#figures")).to_contain_text("$3,912.44")
    assert preview.streams == 1
    preview.send("spend", spend("4001"))
    for page in pages:
        expect(page.locator("#figures data").first).to_have_text("$4,001.00")
    first.close()
    wait_until(lambda: preview.streams_opened == before + 2)
    preview.send("spend", spend("4002"))
    for page in others:
        expect(page.locator("#figures data").first).to_have_text("$4,002.00")
        expect(page.locator("#connection")).to_have_text("Live")


def test_tabs_tables_and_theme_by_keyboard(open_tab: Open) -> None:
    page = open_tab("/preview/overview", theme="light").page
    page.get_by_role("tab", name="Service").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#by-model")).to_be_visible()
    page.keyboard.press("End")
    expect(page.locator("#by-campaign")).to_be_visible()
    expect(page.locator("#by-campaign")).to_contain_text("Warning")
    page.locator("#calls").get_by_role("button", name="Cost").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert page.locator("#calls tbody data").first.get_attribute("value") == "0"
    page.get_by_role("button", name="Switch between light and dark").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(14, 16, 19)"
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(14, 16, 19)"


def test_the_first_press_of_tab_leads_past_the_navigation(open_tab: Open) -> None:
    page = open_tab("/preview/overview").page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the page")).to_be_focused()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_the_navigation_of_a_phone_opens_and_closes(open_tab: Open) -> None:
    page = open_tab("/preview/overview", size=PHONE).page
    expect(page.get_by_role("link", name="Budgets", exact=True)).to_be_hidden()
    page.get_by_role("button", name="Open the navigation").click()
    expect(page.get_by_role("link", name="Budgets", exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="Budgets", exact=True)).to_be_hidden()


def test_amounts_read_alike_from_the_server_and_the_script(open_tab: Open) -> None:
    page = open_tab("/preview/overview").page
    amounts = [
        "0",
        "0.000025",
        "0.0042",
        "0.005",
        "0.009999",
        "0.01",
        "0.015",
        "1.005",
        "999.995",
        "1234567.891",
        "-3.5",
        "0.000000000001",
    ]
    script = page.evaluate(
        "async (all) => { const app = document.querySelector('script[type=module]').src;"
        " const { money, count } = await import(app.replace('app.js', 'amounts.js'));"
        " return all.map((one) => [money(one), count(one)]); }",
        amounts,
    )
    assert script == [[money(one), count(one)] for one in amounts]
