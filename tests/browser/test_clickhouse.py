"""The embedded ClickHouse server and a real browser on the same machine: no page reaches the engine.

A request that reached it would leave a named session behind, which the server can be asked for.
"""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import urlopen

import pytest
from tests.browser.hostile_page import NAMES, HostileServer

pytestmark = [pytest.mark.integration, pytest.mark.browser]

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
SECONDS_MAX = 40
SESSION_NOT_FOUND = "372"
SQL = "SELECT 'it came through'"

Browse = Callable[[str], str]


@pytest.fixture(scope="session")
def browse(tmp_path_factory: pytest.TempPathFactory) -> Browse:
    """Opens an address as a person would and gives the page's elements when all is loaded; fails without a browser."""
    program = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if program is None:
        pytest.fail("this test needs Chromium: `apt-get install chromium`, or `pytest -m 'not browser'` without it")

    def open_address(address: str) -> str:
        profile = tmp_path_factory.mktemp("profile")
        options = (
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"),
            *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
            *(f"--user-data-dir={profile}", "--host-resolver-rules=MAP evil.test 127.0.0.1"),
            *("--virtual-time-budget=15000", "--dump-dom"),
        )
        process = subprocess.Popen(
            [program, *options, address], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            return process.communicate(timeout=SECONDS_MAX)[0]
        except subprocess.TimeoutExpired:
            # A page whose answers are downloads never ends loading; what the server saw is what counts.
            process.kill()
            return process.communicate()[0]
        finally:
            shutil.rmtree(profile, ignore_errors=True)

    return open_address


@pytest.fixture
def hostile(clickhouse: str) -> Iterator[HostileServer]:
    """Pages that attack the server."""
    server = HostileServer(clickhouse, SQL)
    yield server
    server.stop()


def came_through(clickhouse: str) -> list[str]:
    """The attacks whose session the engine has."""
    return [name for name in NAMES if session_answers(clickhouse, name)]


def session_answers(clickhouse: str, name: str) -> bool:
    """Whether the engine has a session of that name."""
    try:
        with urlopen(f"{clickhouse}/?session_check=1&session_id={name}&query=SELECT+1", timeout=10) as answer:
            return bool(answer.read() == b"1\n")
    except HTTPError as error:
        if error.headers["X-ClickHouse-Exception-Code"] != SESSION_NOT_FOUND:
            raise
        return False


@pytest.mark.parametrize("name", ["127.0.0.1", "evil.test"])
def test_no_page_on_another_port_or_of_another_site_reaches_the_engine(
    clickhouse: str, hostile: HostileServer, browse: Browse, name: str
) -> None:
    browse(f"http://{name}:{hostile.port}/")
    assert came_through(clickhouse) == []
    assert "/done" in hostile.asked
    browse(f"http://{name}:{hostile.port}/navigation")
    assert "/navigation" in hostile.asked
    assert came_through(clickhouse) == []


def test_a_name_that_was_pointed_here_reaches_nothing(clickhouse: str, browse: Browse) -> None:
    port = urlsplit(clickhouse).port
    elements = browse(f"http://evil.test:{port}/?session_id=navigation&query={quote(SQL)}")
    assert came_through(clickhouse) == []
    assert "answers to 127.0.0.1" in elements


def test_a_persons_own_address_line_reaches_it_and_shows_text_alone(
    clickhouse: str, browse: Browse, tmp_path: Path
) -> None:
    page = '<h1>x</h1><script>document.title = "ran"</script>'
    for output_format in ("RawBLOB", "XML"):
        sql = f"SELECT '{page}' FORMAT {output_format}"
        elements = browse(f"{clickhouse}/?session_id=own-{output_format}&query={quote(sql)}")
        assert "<pre" in elements
        assert "h1" in elements
        assert "<h1>" not in elements
        assert "<title>ran" not in elements
    assert session_answers(clickhouse, "own-XML")
