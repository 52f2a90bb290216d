"""What the pages of lists and reports ask: days of several names, the start of a report, resolved alerts."""

from decimal import Decimal

import pytest
from clickhouse_connect.driver.client import Client
from tests.integration.numbers.test_sums import at

from tollgate.console.numbers import EVERYTHING, Numbers, Range, ReportKey, Restriction
from tollgate.schemas.scopes import Dimension

pytestmark = pytest.mark.integration

NOVEMBER = (at("11-01"), at("12-01"))
LAST_DAYS = (at("11-27"), at("11-30"))


async def test_the_days_of_several_names_at_once(numbers: Numbers) -> None:
    found = await numbers.trends(EVERYTHING, Dimension.SERVICE, ["images", "chat", "nothing"], *LAST_DAYS)
    assert found == {
        "images": ["0", "0", "32.1"],
        "chat": ["0", "16", "0.000000000001"],
        "nothing": ["0", "0", "0"],
    }
    assert await numbers.trends(EVERYTHING, Dimension.SERVICE, [], *LAST_DAYS) == {}


async def test_the_days_of_names_are_confined_to_an_org(numbers: Numbers) -> None:
    found = await numbers.trends(Restriction(org="acme"), Dimension.SERVICE, ["video", "chat"], *LAST_DAYS)
    assert found == {"video": ["0", "8", "0"], "chat": ["0", "0", "0"]}


async def test_a_report_of_names_begins_with_the_highest_costs_and_knows_its_sums(numbers: Numbers) -> None:
    found = await numbers.report_start(EVERYTHING, [ReportKey.MODEL], *NOVEMBER, 2)
    assert [(row.names, row.cost_usd, row.retail_usd, row.profit_usd, row.events) for row in found.rows] == [
        (("dall-e",), "32.35", "41", "8.65", 2),
        (("gpt-4o",), "20.5", "25", "4.5", 2),
    ]
    assert found.rows_total == 4
    total = found.total
    assert (total.cost_usd, total.retail_usd, total.profit_usd, total.events) == (
        "60.850000000001",
        "66",
        "5.149999999999",
        7,
    )


async def test_a_report_of_days_is_in_their_order_and_the_dearest_first_within_one(numbers: Numbers) -> None:
    found = await numbers.report_start(EVERYTHING, [ReportKey.DAY, ReportKey.SERVICE], *NOVEMBER, 100)
    assert [(*row.names, row.cost_usd) for row in found.rows] == [
        ("2026-11-01", "chat", "4.5"),
        ("2026-11-02", "images", "0.25"),
        ("2026-11-28", "chat", "16"),
        ("2026-11-28", "video", "8"),
        ("2026-11-29", "images", "32.1"),
        ("2026-11-29", "chat", "0.000000000001"),
    ]
    assert sum(Decimal(row.cost_usd) for row in found.rows) == Decimal(found.total.cost_usd)


async def test_a_report_of_hours_and_months_names_their_first_instants(numbers: Numbers) -> None:
    hours = await numbers.report_start(EVERYTHING, [ReportKey.HOUR], at("11-29"), at("11-30"), 100)
    assert [row.names[0] for row in hours.rows] == ["2026-11-29T09:00:00Z", "2026-11-29T10:00:00Z"]
    months = await numbers.report_start(Restriction(user="ann"), [ReportKey.MONTH], at("01-01"), at("12-01"), 100)
    assert [(row.names[0], row.cost_usd) for row in months.rows] == [
        ("2026-01", "1.000000000001"),
        ("2026-10", "2"),
        ("2026-11", "4.5"),
    ]


async def test_a_report_of_nothing_is_empty(numbers: Numbers) -> None:
    found = await numbers.report_start(Restriction(org="nobody"), [ReportKey.DAY], *NOVEMBER, 100)
    assert (found.rows, found.rows_total, found.total.cost_usd, found.total.events) == ([], 0, "0", 0)


async def test_alerts_of_one_level_alone(numbers: Numbers, client: Client) -> None:
    rows = [
        ("a", "critical", "2026-11-28 10:00:00.000", 1, 1),
        ("a", "resolved", "2026-11-28 11:00:00.000", 2, 2),
        ("b", "warning", "2026-11-28 12:00:00.000", 1, 3),
    ]
    for key, level, time, revision, offset in rows:
        client.command(
            "INSERT INTO alert_records (key, kind, level, peak_level, scope, reason, updated_at, since, revision,"
            " source_partition, source_offset) VALUES ({key:String}, 'budget', {level:String}, 'critical', 'global',"
            " 'why', {time:String}, {time:String}, {revision:UInt64}, 0, {offset:Int64})",
            {"key": key, "level": level, "time": time, "revision": revision, "offset": offset},
        )
    within = Range(at("11-28"), at("11-29"))
    resolved = await numbers.alerts_history("", within, 10, "", "resolved")
    assert [(row.key, row.level) for row in resolved.items] == [("a", "resolved")]
    everything = await numbers.alerts_history("", within, 10)
    assert [row.level for row in everything.items] == ["warning", "resolved", "critical"]
