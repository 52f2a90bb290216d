"""Names that mean something to SQL, CSV or a spreadsheet go in and come out as they are, and reach nothing else."""

import csv
import io
import json
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.integration.numbers.ledger import Event, write
from tests.integration.numbers.story import NOW
from tests.integration.numbers.test_sums import NOVEMBER, at
from tests.support.hostile_names import HOSTILE_NAMES

from tollgate.console.numbers import EVERYTHING, EventFilter, Numbers, Range, ReportFormat, Restriction, report_keys
from tollgate.runtime.settings import Settings
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.scopes import Dimension
from tollgate.schemas.vocabulary import WindowKind
from tollgate.sinks.clickhouse import connect, migrate

pytestmark = pytest.mark.integration

# Events of before are also there: control characters, which are refused today.
NAMES = (*HOSTILE_NAMES, "tab\there", "line\nbreak", "cr\rhere", "\x1b[31mred", "nul\x00here")
# Where a spreadsheet begins a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝")


def named(name: str) -> dict[str, str]:
    """The name in every dimension but the user."""
    return {dimension.value: name for dimension in Dimension if dimension is not Dimension.USER}


@pytest.fixture(scope="module")
def hostile(clickhouse: str) -> Iterator[Settings]:
    """Each name once as everything: user, org, model, … at a cost of its place."""
    made = Settings(clickhouse_url=clickhouse, clickhouse_database=f"n{uuid.uuid4().hex[:10]}")
    migrate(made)
    client = connect(made)
    events = [
        Event(name, "2026-11-20T10:00:00Z", name, str(place), "0", {"images": "1"}, named(name))
        for place, name in enumerate(NAMES, 1)
    ]
    write(client, events, NOW)
    yield made
    client.command(f"DROP DATABASE `{made.clickhouse_database}`")
    client.close()


@pytest.fixture
async def numbers(hostile: Settings) -> AsyncIterator[Numbers]:
    """Over these names."""
    made = Numbers(hostile, now_ms=lambda: parse_instant(NOW))
    yield made
    await made.stop()


def as_scope(name: str) -> bool:
    """Whether the name can be asked for as a scope: control characters cannot."""
    return not any(ord(c) < 32 for c in name)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
async def test_a_name_is_found_as_itself_and_as_nothing_else(numbers: Numbers, name: str) -> None:
    cost = str(NAMES.index(name) + 1)
    for restriction in (Restriction(user=name), Restriction(name, name)):
        if as_scope(name):
            assert [day.cost_usd for day in (await numbers.daily(restriction, at("11-20"), at("11-21"))).items] == [
                cost
            ]
        for to_ms in (at("11-21"), at("11-20T11")):
            found = await numbers.breakdown(restriction, Dimension.MODEL, at("11-20"), to_ms, 5)
            assert [(share.name, share.cost_usd) for share in found.items] == [(name, cost)]
    within = Range(at("11-20"), at("11-21"))
    page = await numbers.events(EVERYTHING, EventFilter(dict.fromkeys(Dimension, name), within), 5)
    assert [event.event_id for event in page.items] == [name]
    by_id = await numbers.events(EVERYTHING, EventFilter(event_id=name), 5)
    assert [(event.user, event.model, event.cost_usd) for event in by_id.items] == [(name, name, cost)]
    if as_scope(name):
        spend = await numbers.spend_of(f"user/{name}", WindowKind.DAY, at("11-20"))
        assert spend is not None
        assert (spend.scope, spend.spent_usd) == (f"user/{name}", cost)
        assert (await numbers.user(EVERYTHING, name, parse_instant(NOW))).month.cost_usd == cost


async def test_all_names_come_out_as_they_went_in(numbers: Numbers) -> None:
    for to_ms in (NOVEMBER[1], at("11-29T11")):
        found = await numbers.top(EVERYTHING, Dimension.CAMPAIGN, NOVEMBER[0], to_ms, 100)
        assert [share.name for share in found.items] == list(reversed(NAMES))


async def test_pages_go_on_behind_any_name(numbers: Numbers) -> None:
    found, cursor, pages = set(), "", 0
    within = Range(at("11-20"), at("11-21"))
    while pages == 0 or cursor:
        page = await numbers.events(EVERYTHING, EventFilter(within=within), 1, cursor)
        found |= {event.event_id for event in page.items}
        cursor, pages = page.cursor, pages + 1
    assert found == set(NAMES)
    assert pages == len(NAMES)


@pytest.mark.parametrize("by", [["user", "model", "campaign"], ["event"]], ids=str)
async def test_no_cell_of_a_csv_begins_a_formula_and_numbers_stay_numbers(numbers: Numbers, by: list[str]) -> None:
    text = b"".join(
        [part async for part in numbers.export(EVERYTHING, report_keys(by), *NOVEMBER, ReportFormat.CSV)]
    ).decode()
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    assert len(rows) == len(NAMES)
    place = header.index("user")
    names = sorted(name for name in NAMES)
    assert sorted(row[place].removeprefix("'") if row[place][1:] in names else row[place] for row in rows) == names
    for row in rows:
        for column, cell in zip(header, row, strict=True):
            if column == "profit_usd":
                assert cell == f"-{row[header.index('cost_usd')]}"
            else:
                assert not cell.startswith(FORMULA)
    # As RFC 4180 has it: only CR LF ends a line, except within quotes.
    assert text.endswith("\r\n")
    assert text.count("\r\n") == len(NAMES) + 1


@pytest.mark.parametrize("by", [["user", "model", "campaign"], ["event"]], ids=str)
async def test_a_json_report_is_one_json_document_with_names_as_they_are(numbers: Numbers, by: list[str]) -> None:
    text = b"".join([part async for part in numbers.export(EVERYTHING, report_keys(by), *NOVEMBER, ReportFormat.JSON)])
    rows = json.loads(text)
    assert {row["user"] for row in rows} == set(NAMES)
    assert all(isinstance(row["cost_usd"], str) for row in rows)
