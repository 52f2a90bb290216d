"""The sums of many scopes at a time, and which scopes have spent about so much."""

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.integration.numbers.ledger import Event, write
from tests.integration.numbers.story import NOW
from tests.support.hostile_names import HOSTILE_NAMES

from tollgate.console.numbers import EVERYTHING, Numbers, Restriction, SpendKey
from tollgate.console.numbers import spends as spends_module
from tollgate.runtime.settings import Settings
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.scopes import Dimension, scope_of
from tollgate.schemas.vocabulary import WindowKind
from tollgate.sinks.clickhouse import connect, migrate

pytestmark = pytest.mark.integration

PICO, NANO = 10**12, 10**9
MONTH = parse_instant("2026-11-01T00:00:00Z")
DAY = parse_instant("2026-11-29T00:00:00Z")
# Sums of combinations: an empty calendar is that of the month in UTC.
COMBINED = [
    ("user/ann+feature/video", "7000", ""),
    ("user/ann+feature/video", "8000", "month@Asia/Tokyo"),
    ("user/bob+feature/video", "9", ""),
    ("user/bob+feature/chat", "7000", ""),
    ("user/bob+feature/video+product/web", "7000", ""),
    ("user/bob+service/x+feature/video", "7000", ""),
]


@pytest.fixture(scope="module")
def filled_by_names(clickhouse: str) -> Iterator[Settings]:
    """Each name once as a user, at a cost of its place, with as many images; twice the second name."""
    made = Settings(clickhouse_url=clickhouse, clickhouse_database=f"n{uuid.uuid4().hex[:10]}")
    migrate(made)
    client = connect(made)
    events = [
        Event(f"e{at}", "2026-11-20T10:00:00Z", name, f"{at}.000000000001", usage={"images": str(at)})
        for at, name in enumerate(HOSTILE_NAMES)
    ]
    write(client, [*events, Event("again", "2026-11-29T10:00:00Z", HOSTILE_NAMES[1], "0.5")], NOW)
    for scope, spent, calendar in COMBINED:
        client.command(
            "INSERT INTO spend_records"
            " (scope, window, window_start, window_end, timezone, calendar, spent_usd, reserved_usd, events)"
            " VALUES ({scope:String}, 'month', '2026-11-01', '2026-12-01', {zone:String}, {calendar:String},"
            " {spent:Decimal(38, 12)}, 0.25, 1)",
            {"scope": scope, "spent": spent, "calendar": calendar, "zone": "Asia/Tokyo" if calendar else "UTC"},
        )
    yield made
    client.command(f"DROP DATABASE `{made.clickhouse_database}`")
    client.close()


@pytest.fixture
async def found(filled_by_names: Settings) -> AsyncIterator[Numbers]:
    numbers = Numbers(filled_by_names)
    yield numbers
    await numbers.stop()


@pytest.mark.parametrize("address_bytes", [200_000, 60])
async def test_many_scopes_are_asked_for_at_a_time(
    found: Numbers, monkeypatch: pytest.MonkeyPatch, address_bytes: int
) -> None:
    monkeypatch.setattr(spends_module, "_ADDRESS_BYTES_MAX", address_bytes)
    months = [SpendKey(f"user/{name}", WindowKind.MONTH, MONTH) for name in HOSTILE_NAMES]
    today = SpendKey(f"user/{HOSTILE_NAMES[1]}", WindowKind.DAY, DAY)
    nobody = SpendKey("user/nobody", WindowKind.MONTH, MONTH)
    sums = await found.spends_of([*months, today, nobody], {"images"})
    expected = [at * PICO + 1 + (PICO // 2 if at == 1 else 0) for at in range(len(HOSTILE_NAMES))]
    assert [sums[key].cost_picousd for key in months] == expected
    assert [sums[key].usage_nano.get("images", 0) for key in months] == [at * NANO for at in range(len(months))]
    assert [sums[key].events for key in months[:3]] == [1, 2, 1]
    assert (sums[today].cost_picousd, sums[today].events) == (PICO // 2, 1)
    assert nobody not in sums
    without = await found.spends_of(months[3:4])
    assert without[months[3]].usage_nano == {}


async def test_more_than_20_000_scopes_are_refused(found: Numbers) -> None:
    keys = [SpendKey(f"user/{at}", WindowKind.MONTH, MONTH) for at in range(20_001)]
    with pytest.raises(ValueError, match="20000 scopes"):
        await found.spends_of(keys)


async def near(found: Numbers, unit: str, *spans: tuple[int, int | None], limit: int = 100) -> list[int]:
    """The places of the names that are near, the highest first."""
    answer = await found.near("user/*", WindowKind.MONTH, MONTH, unit, spans, limit)
    places = [HOSTILE_NAMES.index(scope.removeprefix("user/")) for scope in answer.scopes]
    assert answer.total >= len(places)
    return places


async def test_a_span_begins_with_its_first_value_and_ends_before_its_last(found: Numbers) -> None:
    # Place 5 has spent 5.000000000001, place 6 has spent 6.000000000001.
    assert await near(found, "usd", (5 * PICO + 1, 6 * PICO + 1)) == [5]
    assert await near(found, "usd", (5 * PICO + 2, 6 * PICO + 2)) == [6]
    assert await near(found, "usd", (3 * PICO, 4 * PICO), (5 * PICO, 7 * PICO)) == [6, 5, 3]
    last = len(HOSTILE_NAMES) - 1
    assert await near(found, "usd", (last * PICO, None)) == [last]
    assert await near(found, "images", (2 * NANO, 4 * NANO)) == [3, 2]
    assert await near(found, "events", (2 * NANO, None)) == [1]
    assert await near(found, "nothing", (1, None)) == []


async def test_spans_beyond_every_amount_hold_nobody(found: Numbers) -> None:
    huge = 10**60
    assert await near(found, "usd", (huge, None)) == []
    assert await near(found, "usd") == []
    assert await near(found, "usd", (4 * PICO, huge)) == await near(found, "usd", (4 * PICO, None))
    assert await near(found, "events", (2 * NANO, huge)) == [1]


async def test_of_many_those_with_the_highest_sums_are_told(found: Numbers) -> None:
    answer = await found.near("user/*", WindowKind.MONTH, MONTH, "usd", [(0, None)], 3)
    assert (len(answer.scopes), answer.total) == (3, len(HOSTILE_NAMES))


async def test_combinations_are_near_their_own_pattern_alone(found: Numbers) -> None:
    everything = [(0, None)]
    pairs = await found.near("user/*+feature/video", WindowKind.MONTH, MONTH, "usd", everything, 9)
    assert (pairs.scopes, pairs.total) == (["user/ann+feature/video", "user/bob+feature/video"], 2)
    of_bob = await found.near("user/bob+feature/*", WindowKind.MONTH, MONTH, "usd", everything, 9)
    assert of_bob.scopes == ["user/bob+feature/chat", "user/bob+feature/video"]
    tokyo = await found.near("user/*+feature/video", "month@Asia/Tokyo", MONTH, "usd", everything, 9)
    assert tokyo.scopes == ["user/ann+feature/video"]
    assert not [
        one
        for one in (await found.near("user/*", WindowKind.MONTH, MONTH, "usd", everything, 99)).scopes
        if "+feature/" in one
    ]


async def test_a_sum_is_told_of_its_calendar(found: Numbers) -> None:
    keys = [SpendKey("user/ann+feature/video", calendar, MONTH) for calendar in ("month", "month@Asia/Tokyo")]
    sums = await found.spends_of(keys)
    assert [sums[key].cost_picousd // PICO for key in keys] == [7000, 8000]
    one = await found.spend_of("user/ann+feature/video", "month@Asia/Tokyo", MONTH)
    assert one is not None
    assert (one.spent_usd, one.window.start, one.window.timezone) == ("8000", "2026-11-01T00:00:00Z", "Asia/Tokyo")
    assert (one.reserved_usd, one.revenue_usd) == ("0.25", "0")
    of_eve = Restriction(user="eve")
    assert await found.spend_of("user/ann+feature/video", "month@Asia/Tokyo", MONTH, of_eve) is None


async def test_what_no_worker_counts_is_added_up_from_events(found: Numbers) -> None:
    name = HOSTILE_NAMES[1]
    # 20 November 10:00 and 29 November 10:00 UTC; a week from Sunday the 29th has the second alone.
    week = await found.sum_of(scope_of(Dimension.USER, name), "week@UTC~sunday", DAY)
    assert week is not None
    assert (week.spent_usd, week.events, week.window.end) == ("0.5", 1, "2026-12-06T00:00:00Z")
    assert await found.sum_of("user/nobody+feature/video", "month", MONTH) is None


async def test_combinations_are_no_users(found: Numbers) -> None:
    top = await found.top(EVERYTHING, Dimension.USER, MONTH, parse_instant("2026-12-01T00:00:00Z"), 100)
    assert [share.name for share in top.items if "feature" in share.name] == []
    assert top.items[0].name == HOSTILE_NAMES[-1]
