"""`tollgate clickhouse migrate` as a person or a script sees it."""

import json
from collections.abc import Iterator

import pytest

from tollgate.cli.main import main
from tollgate.embedded.ports import free_ports
from tollgate.runtime.settings import Settings
from tollgate.sinks.clickhouse import connect
from tollgate.sinks.clickhouse.migrations import migrations

pytestmark = pytest.mark.integration

NAMES = [migration.name for migration in migrations()]


@pytest.fixture
def database(clickhouse: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """An environment that names a database which does not exist."""
    made = Settings.model_validate({"clickhouse_url": clickhouse, "clickhouse_database": "by_command"})
    monkeypatch.setenv("TOLLGATE_CLICKHOUSE_URL", clickhouse)
    monkeypatch.setenv("TOLLGATE_CLICKHOUSE_DATABASE", "by_command")
    monkeypatch.setenv("TOLLGATE_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    yield made
    connect(made, with_database=False).command("DROP DATABASE IF EXISTS by_command")


def test_migrate_says_what_it_applied_and_a_second_run_applies_nothing(
    database: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["clickhouse", "migrate", "--dry-run"]) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1] == "001_usage_events.sql           would be applied"
    assert captured.err.startswith("tollgate: the tables are not as this release needs them")

    assert main(["clickhouse", "migrate", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == {"dry_run": False, "database": database.clickhouse_database, "migrations": NAMES}

    assert main(["clickhouse", "migrate"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "(all)      already applied"
    assert main(["clickhouse", "migrate", "--dry-run"]) == 0


def test_status_lists_every_migration(database: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clickhouse", "migrate", "--status"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "001_usage_events.sql           not applied"
    main(["clickhouse", "migrate"])
    capsys.readouterr()
    assert main(["clickhouse", "migrate", "--status", "--json"]) == 0
    states = json.loads(capsys.readouterr().out)["migrations"]
    assert [state["name"] for state in states] == NAMES
    assert all(state["applied_at"].endswith("+00:00") for state in states)


def test_a_server_that_is_away_is_exit_3_and_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("TOLLGATE_CLICKHOUSE_URL", f"http://somebody:s3cret@127.0.0.1:{port}")
    monkeypatch.setenv("TOLLGATE_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    assert main(["clickhouse", "migrate"]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        f"tollgate: ClickHouse at 127.0.0.1:{port} does not serve: ClickHouse cannot be reached: Connection refused. "
        "Start the stack with `tollgate up`, or set TOLLGATE_CLICKHOUSE_URL.\n"
    )


def test_dry_run_and_status_together_are_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["clickhouse", "migrate", "--dry-run", "--status"]) == 2
    assert capsys.readouterr().err == "tollgate: --dry-run and --status cannot be given together.\n"
