"""Names that mean something to somebody who does not escape them go through every address that is read, and come out as
they are: in JSON, and in no header and no log.
"""

import csv
import io
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final
from urllib.parse import quote

import pytest
import structlog
from tests.integration.numbers.story import NOW
from tests.integration.numbers.test_hostile_names import FORMULA, hostile  # noqa: F401 # a fixture
from tests.support.console import make_token
from tests.support.hostile_names import HOSTILE_NAMES
from tests.support.live_console import LiveConsole

from tollgate.console.access.callers import Caller
from tollgate.console.document import openapi_document
from tollgate.runtime.settings import Settings
from tollgate.schemas.control import default_budget_id
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.shown_text import safe
from tollgate.schemas.tokens import Role
from tollgate.schemas.vocabulary import WindowKind

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

# It never ends: its frames are read below.
STREAM: Final = "/api/v1/stream"
# What takes a scope is asked about a user of that name.
SCOPES: Final = ("scope",)
# Those that take one of a few words, a number, an instant or a cursor have a table of their own in other tests.
NAMES: Final = {
    *("user", "org", "service", "provider", "model", "agent", "campaign", "feature", "product"),
    *("source", "event_id", "owner", "q", "key", "actor", "dimension"),
}


def reads() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for path, methods in openapi_document()["paths"].items():
        if "get" in methods and path != STREAM:
            yield path, methods["get"].get("parameters", [])


def address(path: str, parameters: list[dict[str, Any]], name: str) -> str:
    """The address with the name wherever a name can be."""
    query = []
    for parameter in parameters:
        value = f"user/{name}" if parameter["name"] in SCOPES else name
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", quote(value, safe=""))
        elif parameter["in"] == "query" and parameter["name"] in NAMES | set(SCOPES):
            query.append(f"{parameter['name']}={quote(value, safe='')}")
    return f"{path}?{'&'.join(query)}"


@pytest.fixture
async def console(hostile: Settings) -> AsyncIterator[LiveConsole]:  # noqa: F811 # the imported fixture
    """Each name is a user with events, a flag, an alert, a budget and a token."""
    made = LiveConsole(
        clickhouse_url=hostile.clickhouse_url,
        clickhouse_database=hostile.clickhouse_database,
        console_requests_per_minute=1_000_000,
    )
    for name in HOSTILE_NAMES:
        made.flag(f"user/{name}")
        made.alert(f"user/{name}")
        await made.budget(f"user/{name}", "100", note=name, owner=name)
        await make_token(made.control, Role.USER, user=name, name=name)
    made.has_read_to(parse_instant(NOW))
    yield made
    await made.numbers.stop()


def texts(node: Any) -> Iterator[str]:
    """Every text in a document, names of fields among them."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield name
            yield from texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from texts(value)
    elif isinstance(node, str):
        yield node


@pytest.mark.parametrize(("path", "parameters"), list(reads()), ids=[path for path, _ in reads()])
async def test_every_address_takes_every_name(
    console: LiveConsole, path: str, parameters: list[dict[str, Any]]
) -> None:
    admin = await console.as_role(Role.ADMIN)
    for name in HOSTILE_NAMES if parameters else HOSTILE_NAMES[:1]:
        with structlog.testing.capture_logs() as lines:
            answer = await admin.get(address(path, parameters, name))
        assert answer.status_code in (200, 404, 422), (path, name, answer.text)
        for header, value in answer.headers.items():
            assert safe(value) == value, (path, name, header)
            assert value.isascii(), (path, name, header)
            assert len(name) < 4 or name not in value, (path, name, header)
        assert answer.headers["x-content-type-options"] == "nosniff"
        kind = answer.headers["content-type"].split(";")[0]
        assert kind in ("application/json", "application/problem+json", "text/csv"), (path, name)
        if kind != "text/csv":
            answer.json()
        for line in lines:
            logged = json.dumps(line, default=repr, ensure_ascii=False)
            # What is asked about in the query is in no log.
            assert "?" not in line.get("path", "") or "?" in name, (path, name)
            assert "{" in path or len(name) < 4 or name not in logged, (path, name, logged)


LISTS: Final = {
    "/api/v1/flags?limit=1000": "user/{}",
    "/api/v1/alerts?limit=1000": "user/{}",
    "/api/v1/budgets?limit=1000": "{}",
    "/api/v1/budgets/status?limit=1000": "user/{}",
    "/api/v1/tokens?limit=1000": "{}",
    "/api/v1/events?limit=1000": "{}",
    "/api/v1/top?by=user&limit=100&from=2026-11-01&to=2026-12-01": "{}",
    "/api/v1/breakdown?by=campaign&limit=100&from=2026-11-01&to=2026-12-01": "{}",
    "/api/v1/reports/export?by=user,model&format=json&from=2026-11-01&to=2026-12-01": "{}",
}


@pytest.mark.parametrize("path", LISTS)
async def test_a_list_has_every_name_as_it_is(console: LiveConsole, path: str) -> None:
    answer = await (await console.as_role(Role.ADMIN)).get(path)
    assert answer.status_code == 200, answer.text
    found = set(texts(answer.json()))
    assert {LISTS[path].format(name) for name in HOSTILE_NAMES} - found == set()


@pytest.mark.parametrize("by", ["user", "user,model,campaign", "event"])
async def test_an_exported_file_has_a_plain_name_and_no_formula(console: LiveConsole, by: str) -> None:
    admin = await console.as_role(Role.ADMIN)
    answer = await admin.get(f"/api/v1/reports/export?by={by}&from=2026-11-01&to=2026-12-01")
    assert answer.headers["content-disposition"] == (
        f'attachment; filename="tollgate-2026-11-01-2026-12-01-by-{by.replace(",", "-")}.csv"'
    )
    header, *rows = csv.reader(io.StringIO(answer.text, newline=""))
    numbers = {header.index(name) for name in header if name.endswith("_usd")}
    for row in rows:
        for column, cell in enumerate(row):
            assert column in numbers or not cell.startswith(FORMULA), cell


async def test_a_users_own_page_is_theirs_whatever_they_are_called(console: LiveConsole) -> None:
    for name in HOSTILE_NAMES:
        me = (await (await console.as_role(Role.USER, user=name)).get("/api/v1/me")).json()
        assert (me["user"], me["numbers"]["user"], me["numbers"]["lifetime"]["events"]) == (name, name, 1)
        budget = default_budget_id(f"user/{name}", WindowKind.MONTH, "usd")
        assert [one["budget"] for one in me["numbers"]["budgets"]] == [budget]


async def test_a_name_ends_no_frame_of_the_stream_and_begins_none(console: LiveConsole) -> None:
    events = []
    found: set[str] = set()
    async for frame in console.live.frames(Caller("ann", Role.VIEWER)):
        event, number, data, *end = frame.encode().split(b"\n")
        assert (event[:7], number[:4], data[:6], end) == (b"event: ", b"id: ", b"data: ", [b"", b""])
        assert b"\r" not in data
        found |= set(texts(json.loads(data[6:])))
        events.append(frame.event)
        if len(events) == 4:
            break
    assert {f"user/{name}" for name in HOSTILE_NAMES} - found == set()
