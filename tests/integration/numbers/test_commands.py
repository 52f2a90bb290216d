"""`tollgate report` and `tollgate forecast` against ClickHouse and Kafka."""

import csv
import io
import json
from pathlib import Path

import pytest
from tests.support.tollgate_cli import Tollgate

from tollgate.runtime.settings import Settings

pytestmark = pytest.mark.integration


@pytest.fixture
def tollgate(filled: Settings, settings: Settings, tmp_path: Path) -> Tollgate:
    """Commands with the story in ClickHouse and empty topics in Kafka."""
    places = {
        "TOLLGATE_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "TOLLGATE_TOPIC_PREFIX": settings.topic_prefix,
        "TOLLGATE_CLICKHOUSE_URL": filled.clickhouse_url,
        "TOLLGATE_CLICKHOUSE_DATABASE": filled.clickhouse_database,
        "TOLLGATE_DATA_DIR": str(tmp_path),
    }
    return Tollgate(places, tmp_path)


def test_a_report_is_what_the_api_exports(tollgate: Tollgate) -> None:
    words = ("report", "--from", "2026-11-01", "--to", "2026-12-01", "--by", "org")
    found = tollgate.run(*words)
    assert found.status == 0, found.err
    rows = list(csv.DictReader(io.StringIO(found.out, newline="")))
    assert [(row["org"], row["events"], row["cost_usd"]) for row in rows] == [
        ("acme", "4", "12.75"), ("globex", "3", "48.100000000001"),
    ]  # fmt: skip
    as_json = tollgate.run(*words, "--format", "json")
    assert [row["cost_usd"] for row in json.loads(as_json.out)] == ["12.75", "48.100000000001"]
    assert tollgate.run("report", "--from", "2026-11-01", "--to", "2026-11-01").status == 2
    assert tollgate.run("report", "--from", "2026-11-01", "--to", "2026-11-02", "--by", "country").status == 2
    assert tollgate.run("report", "--from", "soon", "--to", "2026-11-02").status == 2


def test_a_forecast_says_how_it_was_made(tollgate: Tollgate) -> None:
    found = tollgate.run("forecast", "user/nobody", "--json").json()
    assert (found["scope"], found["projected_usd"], found["method"]) == ("user/nobody", "0", "nothing_known")
    shown = tollgate.run("forecast", "global")
    assert shown.status == 0, shown.err
    assert "projected" in shown.out
    assert tollgate.run("forecast", "nothing").status == 2


def test_clickhouse_away_is_exit_status_3(tollgate: Tollgate) -> None:
    away = Tollgate({**tollgate.variables, "TOLLGATE_CLICKHOUSE_URL": "http://127.0.0.1:9"}, tollgate.directory)
    for words in (("report", "--from", "2026-11-01", "--to", "2026-12-01"), ("forecast", "global")):
        found = away.run(*words)
        assert found.status == 3
        assert "ClickHouse cannot be reached" in found.err
