"""Days as people type them, and what a report's chart is made of."""

import pytest

from tollgate.console.numbers import ReportKey, ReportRow, ReportStart
from tollgate.console.pages.days import days_of, presets
from tollgate.console.pages.reports import chart_of
from tollgate.console.problems import Problem
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.vocabulary import Dimension

NOON = parse_instant("2026-11-29T12:00:00Z")


def row(*names: str, cost: str, retail: str = "0") -> ReportRow:
    return ReportRow(names, 1, cost, retail, "0")


def start(*rows: ReportRow, total: int | None = None) -> ReportStart:
    return ReportStart(list(rows), len(rows) if total is None else total, ReportRow((), 0, "0", "0", "0"), NOON)


def test_both_days_are_included() -> None:
    found = days_of("2026-11-01", "2026-11-30").range
    assert found is not None
    assert (found.from_ms, found.to_ms) == (
        parse_instant("2026-11-01T00:00:00Z"),
        parse_instant("2026-12-01T00:00:00Z"),
    )


def test_a_day_that_is_left_out_is_no_bound() -> None:
    assert days_of("", "").range is None
    found = days_of("", "1970-01-01").range
    assert found is not None
    assert (found.from_ms, found.to_ms) == (0, 86_400_000)
    open_end = days_of("9999-12-31", "").range
    assert open_end is not None
    assert open_end.from_ms < open_end.to_ms


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("2026-11-02", "2026-11-01"),
        ("2026-02-30", ""),
        ("x", ""),
        ("1969-12-31", ""),
        ("", "99999-01-1"),
        ("2026-11", ""),
    ],
)
def test_what_is_no_range_of_days_is_refused(first: str, last: str) -> None:
    with pytest.raises(Problem) as caught:
        days_of(first, last)
    assert caught.value.status == 422


def test_the_usual_ranges_on_the_last_days_of_november() -> None:
    assert presets(NOON) == {
        "This month": ("2026-11-01", "2026-11-29"),
        "Last month": ("2026-10-01", "2026-10-31"),
        "Last 7 days": ("2026-11-23", "2026-11-29"),
        "Last 30 days": ("2026-10-31", "2026-11-29"),
        "This year": ("2026-01-01", "2026-11-29"),
    }


def test_days_are_bars_and_retail_a_line_only_where_something_was_charged() -> None:
    free = chart_of(start(row("2026-11-01", cost="4.5"), row("2026-11-02", cost="0.25")), [ReportKey.DAY])
    assert free is not None
    assert free["x"] == ["2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z"]
    assert [one["name"] for one in free["series"]] == ["Cost"]
    sold = chart_of(start(row("2026-11-01", cost="4.5", retail="5")), [ReportKey.DAY])
    assert sold is not None
    assert [(one["name"], one["values"]) for one in sold["series"]] == [("Cost", ["4.5"]), ("Retail", ["5"])]


def test_names_by_day_are_stacked_and_the_seventh_is_among_the_others() -> None:
    rows = [row("2026-11-01", f"s{number}", cost=str(number)) for number in range(1, 9)]
    rows.append(row("2026-11-02", "s8", cost="0.5"))
    found = chart_of(start(*rows), [ReportKey.DAY, ReportKey.SERVICE])
    assert found is not None
    assert found["stacked"] is True
    assert [(one["name"], one["values"]) for one in found["series"]] == [
        ("s8", ["8", "0.5"]),
        ("s7", ["7", "0"]),
        ("s6", ["6", "0"]),
        ("s5", ["5", "0"]),
        ("s4", ["4", "0"]),
        ("s3", ["3", "0"]),
        ("All others", ["3", "0"]),
    ]


def test_a_series_of_which_rows_are_missing_is_not_drawn() -> None:
    assert chart_of(start(row("2026-11-01", cost="1"), total=2), [ReportKey.DAY]) is None
    assert chart_of(start(row("ann", cost="1"), total=100_000), [ReportKey.USER]) is not None
    assert chart_of(start(), [ReportKey.DAY]) is None


def test_a_report_may_have_a_row_for_each_name_of_a_dimension() -> None:
    assert set(Dimension) <= set(map(str, ReportKey))
