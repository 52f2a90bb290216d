"""Entries, decisions, balances, plans and spend of every calendar in ClickHouse: each once."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from tests.integration.clickhouse.stream import Outgoing, everything_committed, publish, query, record, shows, sink

from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic
from tollgate.sinks.clickhouse import connect, migrate
from tollgate.sinks.clickhouse.migrations import migrations

pytestmark = pytest.mark.integration

AT = "2026-11-21T10:00:00Z"


def credit(id_: str, credits_: str, **changes: Any) -> Outgoing:
    """A bonus for u-1."""
    envelope = {"specversion": "1.0", "type": "tollgate.credit.v1", "source": "shop", "id": id_, "subject": "u-1"}
    return record(
        Topic.ENTRIES, "u-1", envelope | {"time": AT, "data": {"credits": credits_, "kind": "bonus"}} | changes
    )


async def test_an_entry_is_one_row_however_often_it_is_sent_and_read(tables: Settings) -> None:
    sent = [credit("c-1", "100"), credit("c-1", "100"), credit("c-2", "-0.000000001"), credit("bad", "x")]
    hidden = credit("m|5|0", "1", type="tollgate.internal.past.v1")
    other = credit("c-1", "7", source="game")
    await publish(tables, *sent, hidden, other)
    for application in (tables.application, f"{tables.application}-again"):
        reader = tables.model_copy(update={"application": application})
        async with sink(reader):
            await everything_committed(reader)
    found = query(tables, "SELECT source, id, user, credits, kind, source_offset FROM entries ORDER BY source_offset")
    assert found == [
        ("shop", "c-1", "u-1", Decimal(100), "bonus", 0),
        ("shop", "c-2", "u-1", Decimal("-0.000000001"), "bonus", 2),
        ("game", "c-1", "u-1", Decimal(7), "bonus", 5),
    ]
    assert query(tables, "SELECT count() FROM dead_letters") == [(0,)]


async def test_an_entry_that_the_worker_refused_is_not_shown(tables: Settings) -> None:
    await publish(tables, credit("c-1", "100", time="2999-01-01T00:00:00Z"), credit("c-1", "5"))
    async with sink(tables):
        await shows(tables, "SELECT credits FROM entries", [(Decimal(100),)])
        (place,) = query(tables, "SELECT source_partition, source_offset FROM entries")
        headers = [
            ("reason", b"future"), ("source_topic", tables.topic(Topic.ENTRIES).encode()),
            ("source_partition", str(place[0]).encode()), ("source_offset", str(place[1]).encode()),
        ]  # fmt: skip
        await publish(tables, Outgoing(Topic.DEAD_LETTERS, b"u-1", b"{}", headers))
        await shows(tables, "SELECT credits FROM entries", [(Decimal(5),)])


async def test_a_decision_that_is_told_again_is_one_row(tables: Settings) -> None:
    granted = {
        "reservation_id": "r-1", "source": "chat", "user": "u-1", "granted": True, "amount_usd": "0.1", "credits": "5",
        "expires_at": "2026-11-21T10:01:00.123Z", "decided_at": "2026-11-21T10:00:00.123Z",
    }  # fmt: skip
    denied = granted | {
        "reservation_id": "r-2", "granted": False, "http_status": 429, "error": "usage_limit_exceeded",
        "scope": "user/u-1", "budget": "b", "limit": "1", "unit": "usd", "spent": "0.4", "reserved": "0.55",
        "available": "0.05", "until": "2026-12-01T00:00:00Z", "message": "wait",
    }  # fmt: skip
    await publish(tables, *(record(Topic.DECISIONS, key, granted) for key in ("a", "b", "c")))
    await publish(tables, record(Topic.DECISIONS, "a", denied))
    async with sink(tables):
        await shows(
            tables,
            "SELECT reservation_id, granted, http_status, error, `limit`, spent, reserved, available, until"
            " FROM decisions ORDER BY reservation_id",
            [
                ("r-1", True, 0, "", None, None, None, None, None),
                ("r-2", False, 429, "usage_limit_exceeded", Decimal(1), Decimal("0.4"), Decimal("0.55"),
                 Decimal("0.05"), datetime(2026, 12, 1, tzinfo=UTC)),
            ],
        )  # fmt: skip


async def test_the_latest_balance_of_a_user_is_shown(tables: Settings) -> None:
    until = "2027-01-01T00:00:00Z"
    balance = {
        "user": "u-1", "available": "15", "reserved": "5", "granted": "30", "burned": "10", "expired": "0",
        "free_today": "5", "free_per_day": "10", "free_until": until, "revision": 1, "updated_at": AT,
        "buckets": [{"kind": "bonus", "left": "9.5", "expires_at": until}, {"kind": "prize", "left": "0.5"}],
    }  # fmt: skip
    await publish(tables, record(Topic.BALANCES, "u-1", balance))
    async with sink(tables):
        await shows(tables, "SELECT available FROM balances", [(Decimal(15),)])
        await publish(tables, record(Topic.BALANCES, "u-1", balance | {"available": "-0.5", "revision": 2}))
        await publish(tables, record(Topic.BALANCES, "u-1", None))
        await shows(tables, "SELECT user, available, revision FROM balances", [("u-1", Decimal("-0.5"), 2)])
    (buckets,) = query(tables, "SELECT buckets FROM balances")[0]
    expected = [("bonus", Decimal("9.5"), datetime(2027, 1, 1, tzinfo=UTC)), ("prize", Decimal("0.5"), None)]
    assert [tuple(bucket.values()) if isinstance(bucket, dict) else bucket for bucket in buckets] == expected


async def test_plans_and_assignments_in_force_are_shown(tables: Settings) -> None:
    limits = [{"feature": "video", "unit": "events", "limit": "10", "window": "month"}, {"limit": "5", "unit": "usd"}]
    plan = {"name": "Free", "limits": limits, "credits_per_day": "10", "actor": "cli:a", "version": 2, "updated_at": AT}
    await publish(
        tables,
        record(Topic.CONTROL, "plan/free", plan | {"limits": []}),
        record(Topic.CONTROL, "plan/free", plan),
        record(Topic.CONTROL, "plan/old", plan),
        record(Topic.CONTROL, "plan/old", None),
        record(Topic.CONTROL, "assignment/default", {"plan": "free"}),
        record(Topic.CONTROL, "assignment/user/a/b", {"plan": "pro", "timezone": "Asia/Tokyo", "month_starts_on": 15}),
        record(Topic.CONTROL, "assignment/user/gone", {"plan": "pro"}),
        record(Topic.CONTROL, "assignment/user/gone", None),
    )
    async with sink(tables):
        await everything_committed(tables)
    video = "arrayMap(l -> (l.feature, l.unit, l.`limit`, l.window), limits)"
    assert query(tables, f"SELECT id, name, {video}, credits_per_day, actor, version FROM plans") == [
        ("free", "Free", [("video", "events", Decimal(10), "month"), ("", "usd", Decimal(5), "month")], Decimal(10),
         "cli:a", 2)
    ]  # fmt: skip
    assert query(tables, "SELECT id, user, plan, timezone, month_starts_on FROM assignments ORDER BY id") == [
        ("default", "", "free", "UTC", 1),
        ("user/a/b", "a/b", "pro", "Asia/Tokyo", 15),
    ]


def spend(scope: str, calendar: str, start: str, spent: str, timezone: str = "UTC") -> Outgoing:
    """A spend record; its window ends at the end of 2026."""
    kind = calendar.partition("@")[0]
    window = {"kind": kind, "start": start, "end": "2026-12-31T00:00:00Z", "timezone": timezone}
    value = {"scope": scope, "window": window, "spent_usd": spent, "events": 1, "updated_at": AT}
    return record(Topic.SPEND, f"{scope}|{calendar}|{start}", value)


async def test_windows_of_two_calendars_with_the_same_start_are_two_rows(tables: Settings) -> None:
    february, user = "2026-02-28T00:00:00Z", "user/u-1"
    await publish(
        tables,
        spend(user, "month@UTC~30", february, "1"),
        spend(user, "month@UTC~31", february, "2"),
        spend(user, "month@UTC~31", february, "3"),
        spend(user, "month", "2026-02-01T00:00:00Z", "4"),
        spend("user/u-1+model/gpt-4o", "month@Asia/Tokyo", "2026-01-31T15:00:00Z", "5", "Asia/Tokyo"),
        spend("user/a%2Bmodel/b", "week@UTC~sunday", february, "6"),
        spend("global", "lifetime", "1970-01-01T00:00:00Z", "7"),
    )
    async with sink(tables):
        await everything_committed(tables)
    found = query(
        tables, "SELECT scope, window, calendar, dimensions, timezone, spent_usd FROM spend ORDER BY spent_usd"
    )
    assert found == [
        ("user/u-1", "month", "month@UTC~30", "user", "UTC", Decimal(1)),
        ("user/u-1", "month", "month@UTC~31", "user", "UTC", Decimal(3)),
        ("user/u-1", "month", "month", "user", "UTC", Decimal(4)),
        ("user/u-1+model/gpt-4o", "month", "month@Asia/Tokyo", "user+model", "Asia/Tokyo", Decimal(5)),
        ("user/a%2Bmodel/b", "week", "week@UTC~sunday", "user", "UTC", Decimal(6)),
        ("global", "lifetime", "lifetime", "global", "UTC", Decimal(7)),
    ]


async def test_a_flag_tells_of_reservations_and_a_budget_of_its_calendar(tables: Settings) -> None:
    flag = {"scope": "user/u", "state": "ok", "blocked": False, "reason": "within_budget", "since": AT, "revision": 1}
    more = {"reserved": "5.8", "can_exceed_by": "0", "except": ["provider/groq", "model/a'b"], "incomplete": True}
    budget = {
        "scope": "user/*+feature/video", "limit": "5", "unit": "events", "window": "week", "timezone": "Asia/Tokyo",
        "week_starts_on": "sunday", "valid_to": "2027-01-01T00:00:00Z", "fail": "closed", "except": ["provider/groq"],
        "owner": "bob", "note": "n", "updated_at": AT,
    }  # fmt: skip
    await publish(
        tables,
        record(Topic.FLAGS, "user/u", flag),
        record(Topic.FLAGS, "user/u", flag | more | {"revision": 2}),
        record(Topic.CONTROL, "budget/b", budget),
        record(Topic.CONTROL, "budget/c", {"scope": "global", "limit": "1", "updated_at": AT}),
    )
    async with sink(tables):
        await everything_committed(tables)
    columns = "reserved, can_exceed_by, `except`, incomplete"
    latest = (Decimal("5.8"), Decimal(0), ["provider/groq", "model/a'b"], True)
    assert query(tables, f"SELECT {columns} FROM flags ORDER BY revision") == [(Decimal(0), None, [], False), latest]
    assert query(tables, f"SELECT {columns} FROM flags_current") == [latest]
    columns = "id, week_starts_on, month_starts_on, valid_from, valid_to, fail, `except`, owner, note"
    assert query(tables, f"SELECT {columns} FROM budgets ORDER BY id") == [
        ("b", "sunday", 1, None, datetime(2027, 1, 1, tzinfo=UTC), "closed", ["provider/groq"], "bob", "n"),
        ("c", "monday", 1, None, None, "open", [], "", ""),
    ]


def test_sums_of_an_earlier_release_are_kept_and_replaced_by_later_ones(clickhouse: str) -> None:
    made = Settings.model_validate({"clickhouse_url": clickhouse, "clickhouse_database": "before_calendars"})
    before = migrations()[:11]
    migrate(made, known=before)
    client = connect(made)
    insert = "INSERT INTO spend_records (scope, window, window_start, timezone, spent_usd, source_offset) VALUES"
    try:
        client.command(f"{insert} ('global', 'month', '2026-11-01 00:00:00', 'UTC', 1, 1)")
        # The first half of the migration twice, as after a crash.
        half = migrations()[11]
        for statement in half.statements[: len(half.statements) // 2]:
            client.command(statement)
        assert migrate(made) == [migration.name for migration in migrations()[11:]]
        assert query(made, "SELECT calendar, spent_usd, reserved_usd FROM spend") == [("month", Decimal(1), Decimal(0))]
        client.command(f"{insert} ('global', 'month', '2026-11-01 00:00:00', 'UTC', 2, 2)")
        assert query(made, "SELECT calendar, spent_usd FROM spend") == [("month", Decimal(2))]
    finally:
        client.command("DROP DATABASE before_calendars")
        client.close()
