"""What a user was granted and what was decided about their reservations, from ClickHouse."""

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from tollgate.console.numbers import Numbers
from tollgate.console.numbers.accounts import Decided, Granted
from tollgate.runtime.settings import Settings
from tollgate.schemas.instants import parse_instant
from tollgate.sinks.clickhouse import connect, migrate

pytestmark = pytest.mark.integration

TEN = parse_instant("2026-11-21T10:00:00Z")
NEW_YEAR = parse_instant("2027-01-01T00:00:00Z")
USER = "ann'\\ %"


@pytest.fixture(scope="module")
def filled(clickhouse: str) -> Iterator[Settings]:
    """Two grants and two decisions of one user, and some of others."""
    made = Settings(clickhouse_url=clickhouse, clickhouse_database=f"n{uuid.uuid4().hex[:10]}")
    migrate(made)
    client = connect(made)
    entry = (
        "INSERT INTO entry_records (type, source, id, user, time, recorded_at, kind, credits, expires_at, note,"
        " source_partition, source_offset) VALUES ('tollgate.credit.v1', 'cli', {id:String}, {user:String},"
        " {at:String}, {at:String}, 'bonus', {credits:Decimal(38, 9)}, {until:Nullable(String)}, 'a contest', 0,"
        " {offset:Int64})"
    )
    at = "2026-11-21 10:00:00"
    for offset, (user, entry_id, given, until) in enumerate(
        [(USER, "g-1", "100.5", "2027-01-01 00:00:00"), (USER, "g-2", "-20", None), ("bob", "g-3", "7", None)]
    ):
        client.command(
            entry,
            {"id": entry_id, "user": user, "at": at, "credits": given, "until": until, "offset": offset},
        )
    decision = (
        "INSERT INTO decision_records (reservation_id, source, user, granted, amount_usd, credits, expires_at, error,"
        " scope, budget, message, decided_at) VALUES ({id:String}, 'chat-api', {user:String}, {granted:Bool}, '0.1',"
        " '0', '2026-11-21 10:01:00', {error:String}, '', '', '', {at:String})"
    )
    for user, reservation, granted in [(USER, "r-1", True), (USER, "r-2", False), ("bob", "r-3", True)]:
        error = "" if granted else "usage_limit_exceeded"
        client.command(decision, {"id": reservation, "user": user, "granted": granted, "error": error, "at": at})
    yield made
    client.command(f"DROP DATABASE `{made.clickhouse_database}`")
    client.close()


@pytest.fixture
async def numbers(filled: Settings) -> AsyncIterator[Numbers]:
    made = Numbers(filled)
    yield made
    await made.stop()


async def test_grants_are_those_of_the_user_page_by_page(numbers: Numbers) -> None:
    second = Granted(TEN, "g-2", "cli", "bonus", "-20", None, "a contest")
    first = Granted(TEN, "g-1", "cli", "bonus", "100.5", NEW_YEAR, "a contest")
    assert await numbers.credit_entries(USER, 10) == [second, first]
    assert await numbers.credit_entries(USER, 1) == [second]
    assert await numbers.credit_entries(USER, 10, (second.time_ms, second.id)) == [first]
    assert await numbers.credit_entries("nobody", 10) == []


async def test_decisions_are_those_of_the_user(numbers: Numbers) -> None:
    until = TEN + 60_000
    assert await numbers.decisions(USER, 10) == [
        Decided(TEN, "r-1", "chat-api", True, "0.1", "0", until, "", "", "", ""),
        Decided(TEN, "r-2", "chat-api", False, "0.1", "0", until, "usage_limit_exceeded", "", "", ""),
    ]
    assert len(await numbers.decisions(USER, 1)) == 1
