"""How long the overview takes in a real browser."""

import shutil

from playwright.async_api import Browser, async_playwright
from tests.bench.scene import Result
from tests.bench.throughput import say

VISITS = 20
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
# Scripts run before this event: the page has its numbers, answers to clicks and follows the stream.
_USABLE_MS = "() => performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
_DRAWN_MS = "() => document.querySelector('.chart-canvas canvas') && performance.now()"


async def overview(address: str, token: str) -> list[Result]:
    """Visits of `/`, each in a new tab: the scripts have run, and the charts are drawn. Nothing without Chromium."""
    program = next((found for name in _CHROMIUM if (found := shutil.which(name))), None)
    if program is None:
        say("  no Chromium: the overview is not opened in a browser")
        return []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        visits = await _visits(browser, address, token)
        await browser.close()
    results = []
    for name, column in (("usable", 0), ("charts drawn", 1)):
        times = sorted(visit[column] for visit in visits)
        detail = {"visits": VISITS, "p50": round(times[VISITS // 2], 1), "worst": round(times[-1], 1)}
        figure = f"console: overview in Chromium, {name}"
        results.append(Result(figure, times[VISITS // 2], "ms", detail=detail))
        say(f"  {figure}: {detail}")
    return results


async def _visits(browser: Browser, address: str, token: str) -> list[tuple[float, float]]:
    """Milliseconds since the beginning of each visit. The first has nothing in the browser's cache."""
    context = await browser.new_context(base_url=address)
    page = await context.new_page()
    await page.goto("/login")
    await page.get_by_label("Token").fill(token)
    await page.get_by_role("button", name="Log in").click()
    await page.wait_for_url(f"{address}/")
    found = []
    for _visit in range(VISITS):
        tab = await context.new_page()
        await tab.goto("/", wait_until="domcontentloaded")
        drawn = await (await tab.wait_for_function(_DRAWN_MS)).json_value()
        found.append((float(await tab.evaluate(_USABLE_MS)), float(drawn)))
        await tab.close()
    await context.close()
    return found
