"""The SQL of every panel in deploy/grafana runs, and answers with columns that the panel can draw."""

import json
import re
from collections.abc import Iterator, Sequence
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


def test_each_scope_is_beside_the_budget_that_holds_for_it_with_the_spend_of_its_calendar(
    database: Settings, client: Client
) -> None:
    name = database.clickhouse_database
    client.command(
        """INSERT INTO budget_records (id, scope, `limit`, unit, window, timezone, valid_to, source_offset) VALUES
        ('users', 'user/*', 10, 'usd', 'month', 'UTC', NULL, 1), ('ann', 'user/ann', 8, 'usd', 'month', 'UTC', NULL, 2),
        ('ann too', 'user/ann', 4, 'usd', 'month', 'UTC', NULL, 3),
        ('past', 'user/bob', 1, 'usd', 'month', 'UTC', '2026-01-01 00:00:00', 4),
        ('images', 'user/*', 1, 'images', 'month', 'UTC', NULL, 5),
        ('videos', 'user/*+feature/video', 5, 'usd', 'month', 'UTC', NULL, 6),
        ('of ann', 'user/ann+feature/*', 2, 'usd', 'month', 'UTC', NULL, 7),
        ('features', 'user/*+feature/*', 1000, 'usd', 'month', 'UTC', NULL, 8),
        ('models', 'model/*', 100, 'usd', 'month', 'Asia/Tokyo', NULL, 9),
        ('campaigns', 'campaign/*', 10, 'usd', 'month', 'UTC', NULL, 10),
        ('its videos', 'campaign/*+feature/v+1', 10, 'usd', 'month', 'UTC', NULL, 11)"""
    )
    windows = "now('UTC') - INTERVAL 1 DAY, now('UTC') + INTERVAL 1 DAY"
    spent = [
        ("user/ann", "UTC", "", 2), ("user/bob", "UTC", "", 6), ("org/acme", "UTC", "", 9), ("global", "UTC", "", 9),
        ("user/ann+feature/video", "UTC", "", 1), ("user/bob+feature/video", "UTC", "", 4),
        ("user/bob+feature/chat", "UTC", "", 3), ("user/bob+model/m", "UTC", "", 7),
        ("model/meta/llama", "UTC", "", 70), ("model/meta/llama", "Asia/Tokyo", "month@Asia/Tokyo", 60),
        # One name with two pluses, of which none is a joint, and the same beside another name with a plus.
        ("campaign/a+b/c+modell/d", "UTC", "", 9), ("campaign/a+b/c+modell/d+feature/v+1", "UTC", "", 7),
    ]  # fmt: skip
    rows = ", ".join(
        f"('{scope}', 'month', {windows}, '{zone}', '{text}', {usd}, 1)" for scope, zone, text, usd in spent
    )
    columns = "scope, window, window_start, window_end, timezone, calendar, spent_usd, source_offset"
    client.command(f"INSERT INTO spend_records ({columns}) VALUES {rows}")
    dashboard = json.loads(DASHBOARDS[0].read_text(encoding="utf-8"))
    (panel,) = [panel for panel in dashboard["panels"] if panel["title"] == "Budgets, the fullest first"]
    answer = client.query(panel["targets"][0]["rawSql"].replace("${database}", name)).result_rows
    assert [(scope, budget, float(percent)) for scope, budget, *_, percent in answer] == [
        ("campaign/a+b/c+modell/d", "campaigns", 90.0),
        ("user/bob+feature/video", "videos", 80.0),
        ("campaign/a+b/c+modell/d+feature/v+1", "its videos", 70.0),
        ("model/meta/llama", "models", 60.0),
        ("user/bob", "users", 60.0),
        ("user/ann", "ann too", 50.0),
        ("user/ann+feature/video", "of ann", 50.0),
        ("user/ann", "ann", 25.0),
        ("user/bob+feature/chat", "features", 0.3),
    ]


def answer_of(client: Client, name: str, dashboard: Path, title: str) -> Sequence[Sequence[Any]]:
    """What the dashboard's panel with this title asks, of the database with this name."""
    (panel,) = [one for one in json.loads(dashboard.read_text(encoding="utf-8"))["panels"] if one["title"] == title]
    return client.query(panel["targets"][0]["rawSql"].replace("${database}", name)).result_rows


@pytest.fixture
def empty(clickhouse: str) -> Iterator[tuple[Client, str]]:
    """A database without rows, and its name."""
    name = "panels"
    settings = Settings(clickhouse_url=clickhouse, clickhouse_database=name)
    migrate(settings)
    client = connect(settings)
    yield client, name
    client.command(f"DROP DATABASE {name}")
    client.close()


def test_the_users_who_cost_most_are_users_and_no_combinations(empty: tuple[Client, str]) -> None:
    client, name = empty
    client.command(
        """INSERT INTO spend_records
        (scope, window, window_start, window_end, timezone, calendar, spent_usd, retail_usd, events)
        WITH toStartOfMonth(now('UTC')) AS month
        SELECT scope, 'month', month, addMonths(month, 1), 'UTC', '', usd, 10, 3
        FROM values('scope String, usd Decimal(38, 12)', ('user/ann', 5), ('user/bob+news@example.com', 7),
            ('user/ann+model/gpt-4o', 4), ('user/bob+news@example.com+feature/chat', 6), ('org/acme', 12),
            ('global', 12))"""
    )
    rows = answer_of(client, name, DASHBOARDS[2], "Users who cost most")
    assert [(user, spent, profit) for user, spent, _, profit, _ in rows] == [
        ("bob+news@example.com", 7, 3),
        ("ann", 5, 5),
    ]


def test_the_companys_budget_is_one_that_holds_now(empty: tuple[Client, str]) -> None:
    client, name = empty
    client.command(
        """INSERT INTO spend_records (scope, window, window_start, window_end, timezone, spent_usd) VALUES
        ('global', 'month', toStartOfMonth(now('UTC')), addMonths(toStartOfMonth(now('UTC')), 1), 'UTC', 30)"""
    )
    client.command(
        """INSERT INTO budget_records (id, scope, `limit`, unit, window, timezone, valid_from, valid_to) VALUES
        ('small and over', 'global', 40, 'usd', 'month', 'UTC', NULL, now('UTC') - INTERVAL 1 SECOND),
        ('small and to come', 'global', 50, 'usd', 'month', 'UTC', now('UTC') + INTERVAL 1 DAY, NULL),
        ('now', 'global', 60, 'usd', 'month', 'UTC', now('UTC') - INTERVAL 1 DAY, now('UTC') + INTERVAL 1 DAY),
        ('large', 'global', 100, 'usd', 'month', 'UTC', NULL, NULL)"""
    )
    ((percent,),) = answer_of(client, name, DASHBOARDS[0], "Budget used")
    assert percent == 50


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
