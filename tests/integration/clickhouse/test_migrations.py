"""Migrations against a real engine."""

import asyncio
import re
from collections.abc import Iterator
from decimal import Decimal

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from tests.integration.clickhouse.stream import query
from tests.waiting import wait_until

from tollgate.runtime.settings import Settings
from tollgate.schemas.outputs import AlertKind
from tollgate.sinks.clickhouse import MigrationError, connect, migrate, migration_states
from tollgate.sinks.clickhouse.migrations import Migration, migrations, parse_migration

pytestmark = pytest.mark.integration

NAMES = [
    "001_usage_events.sql",
    "002_spend.sql",
    "003_flags_and_alerts.sql",
    "004_dead_letters.sql",
    "005_budgets_and_prices.sql",
    "006_daily_partitions.sql",
    "007_columns_of_dimensions.sql",
    "008_estimated_prices.sql",
    "009_old_days_together.sql",
    "010_audit.sql",
    "011_notes_of_flags.sql",
    "012_entries_and_calendars.sql",
    "013_kind_of_grants.sql",
    "014_entries_counted_again.sql",
]
PUBLIC = [
    "alerts",
    "assignments",
    "audit",
    "balances",
    "budgets",
    "dead_letters",
    "decisions",
    "entries",
    "flags",
    "plans",
]
PUBLIC += ["prices", "spend", "usage", "usage_events"]


@pytest.fixture
def empty(clickhouse: str, request: pytest.FixtureRequest) -> Iterator[Settings]:
    """Settings of a database that does not exist."""
    made = Settings.model_validate(
        {"clickhouse_url": clickhouse, "clickhouse_database": f"m_{abs(hash(request.node.name))}"}
    )
    yield made
    connect(made, with_database=False).command(f"DROP DATABASE IF EXISTS `{made.clickhouse_database}`")


def test_a_dry_run_names_what_is_missing_and_changes_nothing(empty: Settings) -> None:
    assert migrate(empty, dry_run=True) == NAMES
    assert migrate(empty, dry_run=True) == NAMES
    assert [state.applied_at for state in migration_states(empty)] == [None] * len(NAMES)


def test_a_second_run_applies_nothing(empty: Settings) -> None:
    assert migrate(empty) == NAMES
    assert migrate(empty) == []
    assert [state.name for state in migration_states(empty)] == NAMES
    assert all(state.applied_at is not None and state.applied_at.tzinfo for state in migration_states(empty))


def test_the_contracts_tables_exist_and_every_table_and_column_has_a_comment(empty: Settings) -> None:
    migrate(empty)
    assert set(PUBLIC) <= {row[0] for row in query(empty, "SHOW TABLES")}
    for what in ("tables", "columns"):
        uncommented = query(empty, f"SELECT * FROM system.{what} WHERE database = currentDatabase() AND comment = ''")
        assert uncommented == []


def test_usage_events_has_the_columns_of_the_contract(empty: Settings) -> None:
    migrate(empty)
    columns = dict(
        query(
            empty,
            "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = 'usage_events'",
        )
    )
    assert " ".join(columns) == (
        "event_id source time kind user org service provider model agent campaign feature product operation status "
        "latency_ms resource_type resource_id request_id usage options cost_usd retail_usd credits price_id "
        "price_status source_partition source_offset version metadata ingested_at user_hash "
        "input_tokens cached_input_tokens cache_write_tokens output_tokens reasoning_tokens input_audio_tokens "
        "output_audio_tokens images video_seconds audio_seconds characters storage_gb_months egress_gb compute_seconds "
        "requests"
    )
    assert columns["cost_usd"] == columns["retail_usd"] == "Decimal(38, 12)"
    assert columns["usage"] == "Map(LowCardinality(String), Decimal(38, 9))"


def test_a_file_that_changed_after_it_was_applied_is_refused(empty: Settings) -> None:
    migrate(empty)
    first, *others = migrations()
    edited = parse_migration(first.name, "SELECT 1;\n")
    with pytest.raises(MigrationError, match=r"001_usage_events\.sql was applied .* with other content"):
        migrate(empty, known=[edited, *others])


def test_a_file_that_failed_half_way_is_applied_from_its_start(empty: Settings) -> None:
    statement = "CREATE TABLE IF NOT EXISTS a (x Int8) ENGINE = MergeTree ORDER BY x;\n"
    with pytest.raises(MigrationError, match=r"001_a\.sql could not be applied"):
        migrate(empty, known=[parse_migration("001_a.sql", statement + "CREATE NONSENSE;\n")])
    assert migrate(empty, known=[parse_migration("001_a.sql", statement)]) == ["001_a.sql"]


def test_migrations_of_a_later_release_are_left_alone(empty: Settings) -> None:
    migrate(empty, known=[*migrations(), parse_migration("999_later.sql", "SELECT 1;\n")])
    assert migrate(empty) == []


def test_flags_of_an_earlier_release_have_no_note_and_are_kept(empty: Settings) -> None:
    migrate(empty, known=migrations()[:10])
    command(empty, "INSERT INTO flag_records (scope, state, revision) VALUES ('global', 'stopped', 3)")
    assert migrate(empty, known=migrations()[:11]) == ["011_notes_of_flags.sql"]
    for view in ("flags", "flags_current"):
        assert query(empty, f"SELECT scope, state, note, revision FROM {view}") == [("global", "stopped", "", 3)]


def test_the_kinds_of_alerts_are_those_that_the_worker_writes(empty: Settings) -> None:
    migrate(empty)
    told = query(
        empty,
        "SELECT table, comment FROM system.columns WHERE database = currentDatabase() AND name = 'kind' "
        "AND table IN ('alert_records', 'alerts', 'alerts_current')",
    )
    assert len(told) == 3
    for table, comment in told:
        # The names stand outside of the brackets that explain them.
        names = re.findall(r"\w+", re.sub(r"\([^)]*\)", "", comment).replace(" or ", " "))
        assert sorted(names) == sorted(AlertKind), table


# Two events of two months, the first of them twice.
ROWS = """INSERT INTO usage_events (event_id, source, time, user, cost_usd, version) VALUES
    ('e1', 's', '2026-10-31 23:00:00', 'u-1', 0.25, 1), ('e2', 's', '2026-11-01 01:00:00', 'u-1', 0.5, 1)"""
REPEAT = "INSERT INTO usage_events SELECT * FROM usage_events WHERE event_id = 'e1'"
TOTAL = "SELECT count(), sum(cost_usd), max(ingested_at) < now64(3) FROM usage"


def named(name: str) -> Migration:
    """The migration of this file."""
    (migration,) = (m for m in migrations() if m.name == name)
    return migration


def in_a_hurry(name: str) -> Migration:
    """A migration that copies, without its wait for inserts that are under way: here are none."""
    migration = named(name)
    statements = [statement.replace("numbers(35)", "numbers(1)") for statement in migration.statements]
    assert statements != list(migration.statements)
    return Migration(migration.name, migration.checksum, tuple(statements))


def by_day() -> Migration:
    """The migration to daily partitions."""
    return in_a_hurry("006_daily_partitions.sql")


def by_age() -> Migration:
    """The migration that puts old days together."""
    return in_a_hurry("009_old_days_together.sql")


def command(settings: Settings, *statements: str) -> None:
    """Run each statement."""
    client = connect(settings)
    for statement in statements:
        client.command(statement)
    client.close()


@pytest.mark.parametrize(
    "crash",
    [
        pytest.param((), id="in one go"),
        pytest.param(("CREATE TABLE usage_events_by_day AS usage_events PARTITION BY toDate(time)",), id="before"),
        pytest.param((by_day().statements[0], "RENAME TABLE usage_events TO usage_events_by_month"), id="renaming"),
        pytest.param(
            (*by_day().statements[:2], REPEAT.replace("FROM usage_events", "FROM usage_events_by_month")), id="after"
        ),
    ],
)
def test_events_of_monthly_partitions_stay_as_they_are_each_once(empty: Settings, crash: tuple[str, ...]) -> None:
    old = [m for m in migrations() if m.name < "006"]
    migrate(empty, known=old)
    command(empty, ROWS, REPEAT, *crash)
    assert migrate(empty, known=[*old, by_day()]) == ["006_daily_partitions.sql"]
    command(empty, REPEAT)
    assert query(empty, TOTAL) == [(2, Decimal("0.75"), True)]
    tables = "SELECT name, partition_key FROM system.tables WHERE database = currentDatabase() AND name LIKE 'usage%'"
    assert query(empty, f"{tables} AND engine != 'View'") == [("usage_events", "toDate(time)")]


# Of the first year, of a year that is one partition, of both sides of each border, and of two days that have their own.
AGES = """INSERT INTO usage_events (event_id, source, time, user, usage, cost_usd, version) VALUES
    ('e1', 's', '1970-01-01 00:00:00', 'u-1', {'images': 1}, 1, 1),
    ('e2', 's', '2019-01-02 00:00:00', 'u-1', {'images': 2}, 2, 1),
    ('e3', 's', '2019-12-31 23:59:59.999', 'u-1', {'images': 3}, 4, 1),
    ('e4', 's', '2020-01-01 00:00:00', 'u-1', {'images': 4}, 8, 1),
    ('e5', 's', '2025-12-01 00:00:00', 'u-1', {'images': 5}, 16, 1),
    ('e6', 's', '2025-12-31 23:59:59.999', 'u-1', {'images': 6}, 32, 1),
    ('e7', 's', '2026-01-01 00:00:00', 'u-1', {'images': 7}, 64, 1),
    ('e8', 's', '2026-11-21 12:00:00', 'u-1', {'images': 8}, 128, 1)"""
OF_AGES = "SELECT arraySort(groupArray(event_id)), sum(cost_usd), sum(images), max(ingested_at) < now64(3) FROM usage"
BY_PARTITION = """SELECT partition, sum(rows) FROM system.parts WHERE active AND database = currentDatabase()
    AND table = 'usage_events' GROUP BY partition ORDER BY partition"""
LATE = "INSERT INTO usage_events_by_day (event_id, time, cost_usd, version) VALUES ('e9', '2026-11-22', 256, 1)"


@pytest.mark.parametrize("done", range(len(by_age().statements) + 1))
def test_events_of_old_days_stay_as_they_are_each_once(empty: Settings, done: int) -> None:
    old = [m for m in migrations() if m.name < "008"]
    migrate(empty, known=old)
    command(empty, AGES)
    before = query(empty, OF_AGES)
    assert before == [([f"e{n}" for n in range(1, 9)], Decimal(255), Decimal(36), True)]
    # A server or a process that was killed after so many statements, the conditions of which held.
    with pytest.raises(MigrationError):
        migrate(empty, known=[*old, Migration("008_killed.sql", "", (*by_age().statements[:done], "SELECT nonsense"))])
    assert query(empty, OF_AGES) == before
    assert migrate(empty, known=[*old, by_age()]) == ["009_old_days_together.sql"]
    command(empty, REPEAT)
    assert query(empty, OF_AGES) == before
    assert {partition for partition, _ in query(empty, BY_PARTITION)} == {
        *("1970-01-01", "2019-01-01", "2020-01-01", "2025-12-01", "2026-01-01", "2026-11-21")
    }
    tables = "SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE 'usage%'"
    assert query(empty, f"{tables} ORDER BY name") == [("usage",), ("usage_events",)]


def test_events_that_arrive_while_old_days_are_copied_are_kept(empty: Settings) -> None:
    old = [m for m in migrations() if m.name < "008"]
    migrate(empty, known=old)
    command(empty, AGES)
    statements = by_age().statements
    renamed = next(n for n, statement in enumerate(statements) if "RENAME" in statement) + 1
    meanwhile = Migration("009_old_days_together.sql", "", (*statements[:renamed], LATE, *statements[renamed:]))
    migrate(empty, known=[*old, meanwhile])
    assert query(empty, "SELECT count(), sum(cost_usd) FROM usage") == [(9, Decimal(511))]


def test_twenty_thousand_days_make_few_parts(empty: Settings) -> None:
    migrate(empty)
    days = "toDateTime64('2026-11-28', 3, 'UTC') - toIntervalDay(number)"
    insert = f"INSERT INTO usage_events (event_id, time) SELECT toString(number), {days} FROM numbers(20000)"
    command(empty, f"{insert} SETTINGS max_partitions_per_insert_block = 0")
    # 331 days of 2026, the months of 2020 to 2025, and the years from 1972 to 2019.
    count = "SELECT count(), sum(rows) FROM system.parts WHERE active AND database = currentDatabase()"
    assert query(empty, f"{count} AND table = 'usage_events'") == [(332 + 72 + 48, 20_000)]


# Every dimension that has a column, each with another amount, and one that has none; the second event has two of them.
EVERY_DIMENSION = (
    "{'input_tokens': 1.5, 'cached_input_tokens': 2, 'cache_write_tokens': 3, 'output_tokens': 4,"
    " 'reasoning_tokens': 5, 'input_audio_tokens': 6, 'output_audio_tokens': 7, 'images': 8, 'video_seconds': 9,"
    " 'audio_seconds': 10,"
    " 'characters': 11, 'storage_gb_months': 12, 'egress_gb': 13, 'compute_seconds': 14, 'requests': 15.000000001,"
    " 'gb': 99}"
)
AMOUNTS = f"""INSERT INTO usage_events (event_id, source, time, user, usage, version) VALUES
    ('a1', 's', '2026-11-01 01:00:00', 'u-1', {EVERY_DIMENSION}, 1),
    ('a2', 's', '2026-11-02 01:00:00', 'u-2', {{'output_tokens': 0.25, 'requests': 1}}, 1)"""
SUMS = """SELECT count(), uniqExact(user_hash), sum(input_tokens), sum(cached_input_tokens), sum(cache_write_tokens),
    sum(output_tokens), sum(reasoning_tokens), sum(input_audio_tokens), sum(output_audio_tokens), sum(images),
    sum(video_seconds), sum(audio_seconds), sum(characters), sum(storage_gb_months), sum(egress_gb),
    sum(compute_seconds), sum(requests) FROM usage"""
RIGHT = (2, 2, Decimal("1.5"), 2, 3, Decimal("4.25"), 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, Decimal("16.000000001"))
CHANGES = "FROM system.mutations WHERE database = currentDatabase() AND table = 'usage_events'"
# Parts in which the last of the new columns is not written down, and is computed from the map as it is read.
COMPUTED = """SELECT (SELECT count() FROM system.parts WHERE active AND database = currentDatabase()
    AND table = 'usage_events') - (SELECT countIf(column = 'requests') FROM system.parts_columns WHERE active
    AND database = currentDatabase() AND table = 'usage_events')"""
COLUMNS = named("007_columns_of_dimensions.sql")


@pytest.mark.parametrize("done", [0, 1, 2, 3], ids=["in one go", "columns made", "and asked for", "and in the view"])
def test_events_that_are_there_get_the_columns_of_their_dimensions(empty: Settings, done: int) -> None:
    old = [m for m in migrations() if m.name < "007"]
    migrate(empty, known=old)
    command(empty, AMOUNTS, *COLUMNS.statements[:done])
    if done > 1:
        wait_until(lambda: query(empty, COMPUTED) == [(0,)], 30, "the columns of the parts")
    migrate(empty, known=[*old, COLUMNS])
    assert query(empty, SUMS) == [RIGHT]
    wait_until(lambda: query(empty, COMPUTED) == [(0,)], 30, "the columns of the parts")
    command(empty, "INSERT INTO usage_events SELECT * FROM usage_events WHERE event_id = 'a1'")
    assert query(empty, SUMS) == [RIGHT]
    assert query(empty, f"SELECT uniqExact(command), count() {CHANGES}") == [(16, 16)]


def test_events_are_not_rewritten_when_there_are_none(empty: Settings) -> None:
    migrate(empty)
    assert query(empty, f"SELECT count() {CHANGES}") == [(0,)]


def test_nobody_can_write_another_amount_than_the_usage_has(empty: Settings) -> None:
    migrate(empty)
    with pytest.raises(DatabaseError, match="MATERIALIZED"):
        command(empty, "INSERT INTO usage_events (event_id, time, images) VALUES ('e1', '2026-11-01 00:00:00', 1)")


def test_a_statement_whose_condition_is_false_is_left_out(empty: Settings) -> None:
    migrate(empty, known=[parse_migration("001_a.sql", "-- only if: SELECT 0\nCREATE NONSENSE;\n")])


async def test_two_processes_may_migrate_at_once(empty: Settings) -> None:
    await asyncio.gather(*(asyncio.to_thread(migrate, empty) for _ in range(3)))
    assert [(state.name, state.applied_at is not None) for state in migration_states(empty)] == [
        (name, True) for name in NAMES
    ]
