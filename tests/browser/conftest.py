"""A real browser for the tests of the pages, and a console with example data."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, sync_playwright
from tests.browser.previews import Preview, serving
from tests.browser.real_stack import RealStack, stack
from tests.browser.visiting import DESKTOP, PHONE, TABLET, Tab, Visitor

from tollgate.schemas.tokens import Role

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
AXE = Path(__file__).with_name("vendor") / "axe-4.14.1.min.js"


Open = Callable[..., Tab]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. It ends with the module, because Playwright's loop would be in the way of other tests' own."""
    program = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if program is None:
        pytest.fail("this test needs Chromium: `apt-get install chromium`, or `pytest -m 'not browser'` without it")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def preview() -> Preview:
    """A console with example data."""
    return Preview()


@pytest.fixture(scope="module")
def address(preview: Preview) -> Iterator[str]:
    """Where it is served."""
    with serving(preview) as served:
        yield served


@pytest.fixture(scope="module")
def admin_token(preview: Preview) -> str:
    """A token that may see and change everything."""
    return preview.token(Role.ADMIN, name="ann@example.com")


@pytest.fixture(scope="module")
def session(browser: Browser, address: str, admin_token: str) -> Any:
    """The cookies of somebody who has logged in as a person does."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{address}/login")
    page.get_by_label("Token").fill(admin_token)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{address}/")
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def open_tab(browser: Browser, address: str, session: Any) -> Iterator[Open]:
    """Opens a path as somebody who is logged in: `open_tab("/", theme="dark", size=PHONE, context=…)`."""
    contexts: list[BrowserContext] = []

    def opened(
        path: str,
        *,
        theme: Any = "light",
        size: tuple[int, int] = DESKTOP,
        context: BrowserContext | None = None,
        **more: Any,
    ) -> Tab:
        if context is None:
            context = browser.new_context(
                storage_state=session,
                color_scheme=theme,
                viewport={"width": size[0], "height": size[1]},
                timezone_id="Europe/Berlin",
                **more,
            )
            contexts.append(context)
        tab = Tab(context.new_page())

        def complain(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                tab.complaints.append(message.text)

        def look(request: Request) -> None:
            if not request.url.startswith((address, "data:", "blob:")):
                tab.elsewhere.append(request.url)

        tab.page.on("console", complain)
        tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
        tab.page.on("request", look)
        tab.page.goto(address + path)
        return tab

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture
def visitor(browser: Browser, stack: RealStack) -> Iterator[Visitor]:
    """A person with a browser, at a console with a whole stack behind it."""
    made = Visitor(browser, stack)
    yield made
    made.close()


def faults_of(page: Page, *rules: str) -> list[str]:
    """What axe-core finds wrong with a page, by these rules or by all, one line for each element."""
    # By the debugger, because the page's own policy lets no such script in.
    debugger = page.context.new_cdp_session(page)
    debugger.send("Runtime.evaluate", {"expression": AXE.read_text(encoding="utf-8")})
    run = "async (more) => (await axe.run(document, {resultTypes: ['violations'], ...more})).violations"
    found = page.evaluate(run, {"runOnly": list(rules)} if rules else {})
    debugger.detach()
    return [f"{one['id']}: {' '.join(node['target'])}" for one in found for node in one["nodes"]]


__all__ = ["AXE", "DESKTOP", "PHONE", "TABLET", "Open", "Tab", "faults_of", "stack"]
