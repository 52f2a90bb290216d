"""The SQL of every panel in deploy/grafana runs, and answers with columns that the panel can draw."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from tollgate.runtime.settings import Settings
from tollgate.sinks.clickhouse import connect, migrate
from tollgate.sinks.clickhouse.migrations import parse_migration

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[3]
DASHBOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))
EXAMPLE = ROOT / "tests" / "integration" / "clickhouse" / "analytics_data.sql"
# What the data source's plugin makes of its macro: the dashboard's range, here all of the example's time.
TIME_FILTER = re.compile(r"\$__timeFilter\((\w+)\)")
WITHIN = r"\1 >= toDateTime64('2026-10-01', 3, 'UTC') AND \1 <= toDateTime64('2100-01-01', 3, 'UTC')"


def panels() -> list[Any]:
    """Each panel with the name of its file."""
    return [
        pytest.param(panel, id=f"{path.stem}: {panel['title']}")
        for path in DASHBOARDS
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]
    ]


@pytest.fixture(scope="module")
def example(clickhouse: str) -> Iterator[Client]:
    """A database with the example of docs/analytics.md."""
    settings = Settings(clickhouse_url=clickhouse, clickhouse_database="grafana")
    migrate(settings)
    client = connect(settings)
    for statement in parse_migration("data", EXAMPLE.read_text(encoding="utf-8")).statements:
        client.command(statement)
    yield client
    client.command("DROP DATABASE grafana")
    client.close()


def test_there_are_three_dashboards_that_ask_for_their_data_source() -> None:
    assert [path.stem for path in DASHBOARDS] == ["company", "operations", "users-and-models"]
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text(encoding="utf-8"))
        assert {variable["name"] for variable in dashboard["templating"]["list"]} == {"datasource", "database"}
        for panel in dashboard["panels"]:
            assert panel["datasource"] == panel["targets"][0]["datasource"]
            assert panel["datasource"]["uid"] == "${datasource}"


@pytest.mark.parametrize("panel", panels())
def test_a_panels_question_has_an_answer(example: Client, panel: dict[str, Any]) -> None:
    (target,) = panel["targets"]
    sql = TIME_FILTER.sub(WITHIN, target["rawSql"].replace("${database}", "grafana"))
    assert "$" not in sql
    answer = example.raw_query(sql, settings={"readonly": 2}, fmt="TSVWithNamesAndTypes").decode()
    names, kinds = (line.split("\t") for line in answer.split("\n")[:2])
    if panel["type"] == "timeseries":
        assert names[0] == "at"
        assert kinds[0].startswith("DateTime")
    if panel["type"] in ("stat", "timeseries", "bargauge"):
        assert kinds[-1].removeprefix("Nullable(").startswith(("Decimal", "UInt", "Int")), kinds
