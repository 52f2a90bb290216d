"""What the overview's charts show: nothing that is not in its data, and sums that are exact."""

from tests.browser import examples

from tollgate.console.pages import overview_charts


def series(spec: dict[str, object], name: str) -> list[str | None]:
    found = [one["values"] for one in spec["series"] if one["name"] == name]  # type: ignore[attr-defined]
    assert len(found) == 1
    values: list[str | None] = found[0]
    return values


def test_days_that_were_and_days_to_come_do_not_overlap() -> None:
    spec = overview_charts.by_day(examples.full())
    cost, projected = series(spec, "Cost"), series(spec, "Projected")
    assert len(spec["x"]) == len(cost) == len(projected) == 31 + 9
    assert cost[31:] == [None] * 9
    assert projected[:31] == [None] * 31


def test_the_month_is_added_up_to_its_projected_end() -> None:
    data = examples.full()
    days = [
        {"start": "2026-10-31T00:00:00Z", "cost_usd": "9", "retail_usd": "0", "events": 1},
        {"start": "2026-11-01T00:00:00Z", "cost_usd": "0.1", "retail_usd": "0", "events": 1},
        {"start": "2026-11-02T00:00:00Z", "cost_usd": "0.2", "retail_usd": "0", "events": 1},
    ]
    ahead = [
        {"start": f"2026-11-0{day}T00:00:00Z", "cost_usd": "1", "low_usd": "0", "high_usd": "2"} for day in (3, 4, 5, 6)
    ]
    projection = {"usd": "4.3", "low_usd": "3.3", "high_usd": "6.3", "method": "run_rate", "note": ""}
    held = data.model_dump(mode="json")
    spec = overview_charts.added_up(
        type(data).model_validate({**held, "days": days, "projected": ahead, "projection": projection})
    )
    assert spec is not None
    assert series(spec, "Cost so far") == ["0.1", "0.3", None, None, None, None]
    assert series(spec, "Projected") == [None, "0.3", "1.3", "2.3", "3.3", "4.3"]
    # The half of the way in time has the root of a half of the width: 1 / √2 and 2 / √2.
    assert series(spec, "Projected, low") == [None, "0.3", "0.8", "1.59", "2.43", "3.3"]
    assert series(spec, "Projected, high") == [None, "0.3", "2.3", "3.71", "5.03", "6.3"]
    assert series(spec, "Budget") == ["5000"] * 6


def test_without_days_there_is_no_chart() -> None:
    assert overview_charts.added_up(examples.history_away()) is None
    assert overview_charts.added_up(examples.nothing_yet()) is None
