"""A person at the real console: logs in, opens pages, and notes what a page complains of."""

from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Dialog, Page, Request, Response
from tests.browser.real_stack import RealStack

DESKTOP, TABLET, PHONE = (1440, 900), (1024, 768), (390, 844)


@dataclass
class Tab:
    """A page, and what it complained of."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    """Requests to another host."""


class Visitor:
    """Opens pages of one console, each as one of the roles."""

    def __init__(self, browser: Browser, stack: RealStack) -> None:
        self.browser, self.stack = browser, stack
        self._sessions: dict[tuple[str, str], Any] = {}
        self._contexts: list[BrowserContext] = []

    def context(
        self,
        role: str = "admin",
        *,
        theme: Any = "light",
        size: tuple[int, int] = DESKTOP,
        address: str = "",
        **more: Any,
    ) -> BrowserContext:
        """A browser of its own, with the cookies of somebody of this role; of nobody when it is empty."""
        made = self.browser.new_context(
            base_url=address or self.stack.address,
            storage_state=self._session(role, address or self.stack.address) if role else None,
            color_scheme=theme,
            viewport={"width": size[0], "height": size[1]},
            **more,
        )
        made.set_default_timeout(15_000)
        self._contexts.append(made)
        return made

    def open(self, path: str, role: str = "admin", *, context: BrowserContext | None = None, **more: Any) -> Tab:
        """The page at this path."""
        tab = watched((context or self.context(role, **more)).new_page(), self.stack.address)
        tab.page.goto(path)
        return tab

    def close(self) -> None:
        """Close what was opened."""
        for context in self._contexts:
            context.close()
        self._contexts.clear()

    def _session(self, role: str, address: str) -> Any:
        """Cookies, of a login with the role's token as a person does it."""
        if (role, address) not in self._sessions:
            context = self.browser.new_context(base_url=address)
            page = context.new_page()
            page.goto("/login")
            page.get_by_label("Token").fill(self.stack.tokens[role])
            page.get_by_role("button", name="Log in").click()
            page.wait_for_url(lambda url: "/login" not in url)
            self._sessions[role, address] = context.storage_state()
            context.close()
        return self._sessions[role, address]


def watched(page: Any, address: str) -> Tab:
    """The page as a tab: its errors, requests to another host, and dialogs that a name has opened are noted."""
    tab = Tab(page)

    def answered(response: Response) -> None:
        if response.status >= 500:
            tab.complaints.append(f"{response.status} {response.url}")

    def asked(request: Request) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            tab.elsewhere.append(request.url)

    def opened(dialog: Dialog) -> None:
        tab.complaints.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    page.on("console", lambda one: tab.complaints.append(one.text) if one.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: tab.complaints.append(str(error)))
    page.on("response", answered)
    page.on("request", asked)
    page.on("dialog", opened)
    return tab
