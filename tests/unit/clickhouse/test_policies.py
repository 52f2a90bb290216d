"""When a batch is written, how long a retry waits, and which errors are due to the rows and which to the server."""

import re

import pytest
from aiokafka import TopicPartition
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError
from pydantic import ValidationError
from tests.unit.clickhouse.test_rows import arrived

from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic
from tollgate.sinks.clickhouse.batch import Batch, BatchPolicy
from tollgate.sinks.clickhouse.connection import sorted_error
from tollgate.sinks.clickhouse.errors import DATA_ERRORS, SERVER_STATES, RefusedError, UnavailableError
from tollgate.sinks.clickhouse.migrations import migrations, parse_migration
from tollgate.sinks.clickhouse.writer import RetryPolicy


def test_a_lone_record_waits_200_ms_and_a_stream_is_written_once_a_second() -> None:
    policy = BatchPolicy()
    assert policy.due_at(first_at=100.0, previous_at=float("-inf")) == 100.2
    assert policy.due_at(first_at=100.0, previous_at=99.5) == 100.5
    assert policy.due_at(first_at=100.0, previous_at=99.0) == 100.2


def test_a_batch_is_full_by_rows_or_by_bytes() -> None:
    policy = BatchPolicy(rows_max=3, bytes_max=10)
    batch = Batch()
    batch.add(Topic.PRICED, [arrived(b"1234"), arrived(None)], now=1.0)
    assert not batch.is_full(policy)
    batch.add(Topic.SPEND, [arrived(b"1")], now=2.0)
    assert batch.is_full(policy)
    assert batch.first_at == 1.0
    by_bytes = Batch()
    by_bytes.add(Topic.PRICED, [arrived(b"1234567890")], now=1.0)
    assert by_bytes.is_full(policy)


def test_a_batch_of_markers_alone_is_written_too() -> None:
    batch = Batch()
    batch.reached([(TopicPartition("t", 0), 7)], now=3.0)
    assert (batch.first_at, batch.rows, batch.offsets) == (3.0, 0, {TopicPartition("t", 0): 7})


def test_waits_double_up_to_15_seconds_with_jitter_of_a_half() -> None:
    policy = RetryPolicy()
    for attempt, ceiling in ((1, 0.25), (2, 0.5), (6, 8.0), (7, 15.0), (10**6, 15.0)):
        waits = [policy.delay_seconds(attempt) for _ in range(200)]
        assert ceiling / 2 <= min(waits) < max(waits) <= ceiling


def test_no_error_is_both_the_rows_and_the_servers() -> None:
    assert not DATA_ERRORS.keys() & SERVER_STATES


def test_an_error_of_the_rows_is_refused_and_shows_no_row() -> None:
    error = sorted_error(DatabaseError("cannot parse 'hush'", code=27, name="CANNOT_PARSE_INPUT_ASSERTION_FAILED"))
    assert isinstance(error, RefusedError)
    assert str(error) == "ClickHouse refused it with code 27 (CANNOT_PARSE_INPUT_ASSERTION_FAILED)"


def test_an_error_of_the_server_is_retried_and_says_what_to_do() -> None:
    error = sorted_error(DatabaseError("table 'hush'", code=60, name="UNKNOWN_TABLE"))
    assert isinstance(error, UnavailableError)
    assert not error.unclear
    assert error.reason == (
        "ClickHouse answered with code 60 (UNKNOWN_TABLE): a table is missing: run `tollgate clickhouse migrate`"
    )


def test_an_unknown_code_is_unclear_and_a_lost_connection_is_not() -> None:
    unknown = sorted_error(DatabaseError("?", code=4711))
    assert isinstance(unknown, UnavailableError)
    assert unknown.unclear
    lost = OperationalError("Error for http://user:hush@host")
    lost.__cause__ = ConnectionRefusedError(111, "Connection refused")
    away = sorted_error(lost)
    assert isinstance(away, UnavailableError)
    assert not away.unclear
    assert away.reason == "ClickHouse cannot be reached: Connection refused"


def test_a_gateways_answer_names_its_status_alone() -> None:
    error = sorted_error(DatabaseError("HTTP driver received HTTP status 503, server response: hush"))
    assert isinstance(error, UnavailableError)
    assert error.reason == "ClickHouse's address answered with HTTP status 503"


def test_migrations_are_numbered_without_gaps_and_each_statement_may_run_again() -> None:
    known = migrations()
    assert [int(migration.name[:3]) for migration in known] == list(range(1, len(known) + 1))
    statements = [statement for migration in known for statement in migration.statements]
    assert len(statements) == 85
    for statement in statements:
        code = "\n".join(line for line in statement.splitlines() if not line.startswith("--")).strip()
        only_adds = re.fullmatch(r"ALTER TABLE \w+(\n    ADD COLUMN IF NOT EXISTS .+)+", code)
        assert (
            only_adds
            or re.fullmatch(r"ALTER TABLE \w+(,?\s+COMMENT COLUMN \w+ '([^'\\]|\\')+')+", code)
            or "\n-- only if: " in f"\n{statement}"
            or code.startswith(
                (
                    "CREATE TABLE IF NOT EXISTS ",
                    "CREATE VIEW IF NOT EXISTS ",
                    "CREATE OR REPLACE VIEW ",
                    "DROP TABLE IF EXISTS ",
                )
            )
        )


def test_a_file_is_split_at_semicolons_that_end_a_line() -> None:
    parsed = parse_migration("001_a.sql", "-- one; two\nSELECT ';' AS a;\n\nSELECT 2; \nSELECT 3")
    assert parsed.statements == ("-- one; two\nSELECT ';' AS a", "SELECT 2", "SELECT 3")


@pytest.mark.parametrize("name", ["a`; DROP DATABASE b", "1a", ""])
def test_a_database_name_that_is_no_identifier_is_no_setting(name: str) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"clickhouse_database": name})
