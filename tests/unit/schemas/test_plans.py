"""Facts about plans and assignments as records, and about the plans that are shipped."""

from typing import Any

import pytest
from pydantic import ValidationError

from tollgate.schemas.control import AssignmentRecord, PlanRecord, describe_faults
from tollgate.schemas.plans import parse_duration, shipped_plans

VIDEO = {"feature": "video", "unit": "events", "limit": "10", "window": "month"}


def plan(**changes: Any) -> PlanRecord:
    """A plan with ten videos a month."""
    return PlanRecord.model_validate({"name": "Team", "limits": [VIDEO]} | changes)


def test_the_id_of_a_plan_follows_from_its_name() -> None:
    assert plan().id == "team"
    assert plan(name="Team Plus!").id == "team-plus"
    assert plan(id="t1").id == "t1"


def test_a_limit_has_the_id_of_the_contract_and_a_second_window_its_name_behind_it() -> None:
    limits = [VIDEO, VIDEO | {"window": "day"}, {"unit": "usd", "limit": "5"}]
    assert plan(limits=limits).budget_ids() == [
        "plan/team/video/events",
        "plan/team/video/events/day",
        "plan/team/*/usd",
    ]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": ""}, "name: String should have at least 1 character"),
        (
            {"name": "日本"},
            "id: must be 1 to 64 of a to z, 0 to 9, dot, dash and underscore, such as team-plus",
        ),
        ({"limits": [VIDEO | {"limit": "-1"}]}, "limits.0: limit: must be above 0"),
        ({"limits": [VIDEO | {"limit": 10}]}, "limits.0.limit: Input should be a valid string"),
        ({"limits": [VIDEO, VIDEO]}, "limits: video in events per month is limited twice"),
        (
            {"limits": [VIDEO | {"feature": "*"}]},
            "limits.0.feature: must name one feature; leave it out for whatever the user does",
        ),
        ({"credits_per_day": 1.5}, "credits_per_day: Input should be a valid string"),
        ({"price_usd": "-9"}, "price_usd: not a plain decimal of at most 12 decimal places"),
        (
            {"ends_after": "1 year"},
            "ends_after: must be a duration of ISO 8601 in years, months, weeks or days, such as P1Y or P30D",
        ),
        ({"ends_after": "P0D"}, "ends_after: must be longer than nothing"),
    ],
)
def test_a_refused_plan_says_in_one_sentence_what_is_wrong(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError) as error:
        plan(**changes)
    assert describe_faults(error.value) == sentence


def test_two_limits_never_share_a_budget_id() -> None:
    limits = [{"feature": "video/events", "unit": "day", "limit": "1"}, VIDEO, VIDEO | {"window": "day"}]
    with pytest.raises(ValidationError, match="two of them would have the same budget id"):
        plan(limits=limits)


def test_durations_are_months_and_days() -> None:
    assert parse_duration("P1Y") == (12, 0)
    assert parse_duration("P1Y2M") == (14, 0)
    assert parse_duration("P2W1D") == (0, 15)
    for text in ("", "P", "PT1H", "P1D1Y", "P-1D", "1Y", "P1Y\n"):
        with pytest.raises(ValueError, match="duration"):
            parse_duration(text)


def test_an_assignment_refuses_unknown_zones_and_days() -> None:
    with pytest.raises(ValidationError, match="'Mars/Olympus' is no IANA time zone"):
        AssignmentRecord(plan="free", timezone="Mars/Olympus")
    with pytest.raises(ValidationError, match="less than or equal to 31"):
        AssignmentRecord(plan="free", month_starts_on=32)


def test_four_plans_are_shipped() -> None:
    plans = shipped_plans()
    shown = {name: (p.price_usd, [limit.limit for limit in p.limits], p.ends_after) for name, p in plans.items()}
    assert shown == {
        "demo": ("0", ["999999", "999999", "999999", "999999"], "P1Y"),
        "free": ("0", ["50", "100", "10", "100"], None),
        "creator": ("9", ["500", "1000", "100", "2000"], None),
        "pro": ("19.99", ["2000", "5000", "500", "10000"], None),
    }
    for made in plans.values():
        assert [limit.feature for limit in made.limits] == ["content", "image", "video", "chat"]
        assert {(limit.unit, limit.window.value) for limit in made.limits} == {("events", "month")}
    assert plans["demo"].notice == "This is a demo account: nothing is limited for one year."
