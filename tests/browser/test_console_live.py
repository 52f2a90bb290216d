"""What moves by itself: a limit that holds a second later, money that arrives, tabs, a line that is cut."""

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect
from tests.browser.real_stack import Line, RealStack, event
from tests.browser.visiting import Visitor
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

BUDGET = "/budgets/user%2Fu-live%3Amonth%3Ausd"


@pytest.fixture
def line(stack: RealStack) -> Iterator[Line]:
    """A line to the console that can be cut."""
    made = Line(stack.port)
    yield made
    made.close()


def test_a_limit_that_is_dragged_down_blocks_a_second_later(visitor: Visitor, stack: RealStack) -> None:
    stack.tollgate.ok("budget", "set", "user/u-live", "--limit", "5000")
    stack.publish(event("450", "u-live"))
    tab = visitor.open(BUDGET)
    page = tab.page
    slider = page.locator("input[type=range]")
    slider.focus()
    slider.press("Home")
    expect(page.locator("#f-limit")).to_have_value("100")
    expect(page.locator(".preview")).to_contain_text("user/u-live")
    assert stack.api("/flags/user/u-live")["state"] == "ok"
    page.get_by_label("Reason").first.fill("the pilot is over")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".toast")).to_contain_text("Saved")
    saved_at = time.monotonic()
    wait_until(lambda: stack.api("/flags/user/u-live")["state"] == "blocked", what="the flag")
    # A second is the promise; the rest is for a machine with other work to do.
    assert time.monotonic() - saved_at < 5
    flag = stack.tollgate.ok("flags", "user/u-live", "--json").json()
    assert [one["limit"] for one in (flag if isinstance(flag, list) else [flag])] == ["100"]
    expect(page.locator("#standing")).to_contain_text("Blocked", timeout=15_000)
    assert tab.complaints == []


def test_money_moves_on_a_page_that_nobody_loads_again(visitor: Visitor, stack: RealStack) -> None:
    page = visitor.open("/scopes/campaign%2Flive-one").page
    page.evaluate("window.stayed = true")
    expect(page.locator("#connection")).to_have_text("Live")
    stack.publish(event("12.5", "u-moves", campaign="live-one"))
    expect(page.locator("#sums data[data-live='campaign/live-one|month']").first).to_have_attribute("value", "12.5")
    expect(page.locator("#events tbody tr")).to_have_count(1, timeout=25_000)
    assert page.evaluate("window.stayed") is True


def test_six_tabs_at_once_are_all_live(visitor: Visitor, stack: RealStack) -> None:
    """A browser opens six connections to a host: six streams would leave none for the pages themselves."""
    context = visitor.context()
    paths = ["/", "/campaigns", "/agents", "/alerts", "/scopes/global", "/health"]
    tabs = [visitor.open(path, context=context) for path in paths]
    for tab in tabs:
        expect(tab.page.locator("#connection")).to_have_text("Live")
    seventh = visitor.open("/budgets", context=context)
    expect(seventh.page.locator("main")).to_contain_text("campaign/holiday-2026")
    stack.publish(event("0.5", "u-tabs", campaign="tabs"))
    known = stack.api("/spend", scope="global")["spent_usd"]
    for number, panel in ((0, "#figures"), (4, "#sums")):
        sums = tabs[number].page.locator(f"{panel} data[data-live='global|month']").first
        expect(sums).to_have_attribute("value", known)
    assert [tab.complaints for tab in [*tabs, seventh]] == [[]] * 7


def test_a_line_that_is_cut_is_told_and_found_again(visitor: Visitor, stack: RealStack, line: Line) -> None:
    page = visitor.open("/scopes/campaign%2Fcut", address=line.address).page
    page.evaluate("window.stayed = true")
    connection = page.locator("#connection")
    expect(connection).to_have_text("Live")
    line.cut()
    expect(connection).to_have_text("Connecting…")
    stack.publish(event("3.5", "u-cut", campaign="cut"))
    line.mend()
    expect(connection).to_have_text("Live", timeout=45_000)
    expect(page.locator("#sums data[data-live='campaign/cut|month']").first).to_have_attribute("value", "3.5")
    assert page.evaluate("window.stayed") is True
