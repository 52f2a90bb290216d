"""Changes of control records in ClickHouse: who, what, when and why, each once."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from tests.integration.clickhouse.stream import everything_committed, publish, query, record, shows, sink

from tollgate.control import ControlStore
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic
from tollgate.sinks.clickhouse import connect, migrate
from tollgate.sinks.clickhouse.migrations import migrations
from tollgate.sinks.clickhouse.rows import rows_of

pytestmark = pytest.mark.integration

KEY = "budget/global:month:usd"


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[ControlStore]:
    """A control store that has started."""
    store = ControlStore(settings)
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


async def test_every_change_is_a_row_and_the_last_one_stands_beside_the_budget(tables: Settings) -> None:
    async with opened(tables) as store, sink(tables):
        await store.change(KEY, {"scope": "global", "limit": "100"}, actor="cli:alice")
        await store.change(KEY, {"scope": "global", "limit": "150"}, actor="bob", reason='a "holiday"\\')
        await store.change("budget/user/u1:day:usd", {"scope": "user/u1", "limit": "5", "window": "day"}, actor="bob")
        await store.change("budget/user/u1:day:usd", None, actor="cli:alice")
        await shows(
            tables,
            "SELECT actor, action, key, kind, JSONExtractString(before, 'limit'), JSONExtractString(after, 'limit'),"
            " reason, version FROM audit ORDER BY source_offset",
            [
                ("cli:alice", "set", KEY, "budget", "", "100", "", 1),
                ("bob", "set", KEY, "budget", "100", "150", 'a "holiday"\\', 2),
                ("bob", "set", "budget/user/u1:day:usd", "budget", "", "5", "", 1),
                ("cli:alice", "remove", "budget/user/u1:day:usd", "budget", "5", "", "", 2),
            ],
        )
        await shows(
            tables,
            "SELECT id, `limit`, actor, reason, version FROM budgets",
            [("global:month:usd", Decimal(150), "bob", 'a "holiday"\\', 2)],
        )


async def test_a_change_that_is_written_again_is_one_row(tables: Settings) -> None:
    async with opened(tables) as store:
        await store.change(KEY, {"scope": "global", "limit": "100"}, actor="cli:alice")
    # A sink of another group reads everything once more, as after a crash between insert and commit.
    for application in (tables.application, f"{tables.application}-again"):
        reader = tables.model_copy(update={"application": application})
        async with sink(reader):
            await everything_committed(reader)
    assert query(tables, "SELECT count() FROM audit_records") == [(2,)]
    assert query(tables, "SELECT count(), any(version) FROM audit") == [(1, 1)]


async def test_a_price_carries_its_change(tables: Settings) -> None:
    price = {"provider": "openai", "model": "gpt-9", "effective_from": "2026-01-01T00:00:00Z", "updated_at": None}
    rates = [{"dimension": "input_tokens", "usd": "2.5", "per": "1000000"}]
    now = {"actor": "bob", "reason": "contract", "version": 3, "updated_at": "2026-11-21T10:00:00Z"}
    await publish(
        tables,
        record(Topic.CONTROL, "price/old", price | {"rates": rates}),
        record(Topic.CONTROL, "price/new", price | {"rates": rates} | now),
    )
    async with sink(tables):
        await shows(
            tables,
            "SELECT id, actor, reason, version, updated_at FROM prices ORDER BY id",
            [("new", "bob", "contract", 3, datetime(2026, 11, 21, 10, tzinfo=UTC)), ("old", "", "", 1, None)],
        )


def test_budgets_and_prices_of_earlier_releases_are_version_1(clickhouse: str) -> None:
    made = Settings.model_validate({"clickhouse_url": clickhouse, "clickhouse_database": "before_audit"})
    before, to = migrations()[:9], migrations()[:10]
    migrate(made, known=before)
    client = connect(made)
    try:
        client.command("INSERT INTO budget_records (id, `limit`, removed) VALUES ('b', 5, false)")
        client.command("INSERT INTO price_records (id, removed) VALUES ('p', false)")
        assert migrate(made, known=to) == ["010_audit.sql"]
        assert query(made, "SELECT id, `limit`, actor, version FROM budgets") == [("b", Decimal(5), "", 1)]
        assert query(made, "SELECT id, actor, version, updated_at FROM prices") == [("p", "", 1, None)]
    finally:
        client.command("DROP DATABASE before_audit")
        client.close()


@pytest.mark.parametrize("change", [{"version": "2"}, {"before": [1]}, {"actor": None}, {"after": "{}"}])
def test_what_is_no_audit_record_is_rejected(change: dict[str, Any]) -> None:
    class Arrived:
        """A record as the sink reads it."""

        key, partition, offset = b"budget/x", 0, 7

        def __init__(self, value: bytes) -> None:
            self.value = value

    told = {"id": "1", "time": "2026-11-21T10:00:00Z", "actor": "a", "action": "set", "key": "k", "kind": "budget"}
    good, bad = (Arrived(json.dumps(told | {"version": 1} | more).encode()) for more in ({}, change))
    (rows,), (rejection,) = rows_of(Topic.AUDIT, [good, bad])
    assert json.loads(rows.lines[0])["before"] == ""
    assert rejection.record is bad
