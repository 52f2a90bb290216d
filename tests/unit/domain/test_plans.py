"""Facts about who has which plan, until when, and what it limits."""

from tollgate.domain.budgets import NO_END_MS
from tollgate.domain.plans import Assignment, Plan, Plans
from tollgate.schemas.amounts import NANO
from tollgate.schemas.control import AssignmentRecord, PlanRecord
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.outputs import Action

SINCE = parse_instant("2026-11-21T10:00:00Z")
YEAR_LATER = parse_instant("2027-11-21T10:00:00Z")


def shown(plans: Plans, user: str, feature: str) -> list[tuple[str, int, str]]:
    """Id, limit and calendar of each limit."""
    return [(b.id, b.limit // NANO, b.calendar) for b in plans.limits(user, feature)]


def test_everybody_has_the_default_plan_and_some_have_their_own() -> None:
    plans = Plans(assignments={"u1": Assignment("pro")}, default=Assignment("free"))
    assert shown(plans, "u2", "video") == [("plan/free/video/events", 10, "month")]
    assert shown(plans, "u1", "video") == [("plan/pro/video/events", 500, "month")]
    assert shown(plans, "u1", "") == []
    assert shown(plans, "u1", "audio") == []


def test_without_a_default_only_those_who_are_assigned_are_limited() -> None:
    assert not Plans().is_in_use
    plans = Plans(assignments={"u1": Assignment("free")})
    assert shown(plans, "u1", "video") == [("plan/free/video/events", 10, "month")]
    assert plans.limits("u2", "video") == ()


def test_the_tenth_video_is_allowed_and_the_eleventh_is_not() -> None:
    (limit,) = Plans(default=Assignment("free")).limits("u1", "video")
    reached = {count: limit.reached(count * NANO) for count in (7, 8, 9, 10)}
    assert reached[7] is None
    assert [t.action for count in (8, 9, 10) if (t := reached[count])] == [Action.ALERT, Action.ALERT, Action.BLOCK]


def test_an_upgrade_and_a_change_of_default_act_at_once() -> None:
    plans = Plans(default=Assignment("free"))
    assert shown(plans.changed(assignments={"u1": Assignment("creator")}), "u1", "video")[0][1] == 100
    assert shown(plans.with_default(Assignment("pro")), "u1", "video")[0][1] == 500
    assert shown(plans.with_default(None), "u1", "video") == []
    assert shown(plans, "u1", "video")[0][1] == 10


def test_a_demo_ends_after_a_year_and_then_the_default_plan_holds() -> None:
    plans = Plans(assignments={"u1": Assignment("demo", SINCE)}, default=Assignment("free"))
    demo, free = plans.limits("u1", "video")
    assert (demo.id, demo.limit, demo.valid_from_ms, demo.valid_to_ms) == (
        "plan/demo/video/events",
        999_999 * NANO,
        0,
        YEAR_LATER,
    )
    assert (free.id, free.valid_from_ms, free.valid_to_ms) == ("plan/free/video/events", YEAR_LATER, NO_END_MS)
    before, after = plans.plan_of("u1", YEAR_LATER - 1), plans.plan_of("u1", YEAR_LATER)
    assert before is not None
    assert after is not None
    assert (before.id, after.id) == ("demo", "free")


def test_a_year_is_a_year_of_the_users_calendar() -> None:
    year = Plan.from_record(PlanRecord(name="Year", ends_after="P1Y"))
    leap = Assignment("year", parse_instant("2024-02-29T12:00:00Z"))
    assert leap.end_ms(year) == parse_instant("2025-02-28T12:00:00Z")
    month = Plan.from_record(PlanRecord(name="Month", ends_after="P1M"))
    # Clocks in Amsterdam go forward on 29 March 2026: 08:00 in winter is 07:00Z, and in summer 06:00Z.
    dutch = Assignment("month", parse_instant("2026-03-20T07:00:00Z"), "Europe/Amsterdam")
    assert dutch.end_ms(month) == parse_instant("2026-04-20T06:00:00Z")
    far = Plan.from_record(PlanRecord(name="Far", ends_after="P999Y"))
    assert Assignment("far", parse_instant("9500-01-01T00:00:00Z")).end_ms(far) == NO_END_MS


def test_the_default_plan_does_not_end() -> None:
    plans = Plans(default=Assignment("demo", SINCE))
    (limit,) = plans.limits("u1", "video")
    assert limit.valid_to_ms == NO_END_MS


def test_who_has_a_plan_that_there_is_not_has_the_default_one() -> None:
    plans = Plans(assignments={"u1": Assignment("gone", 0, "Asia/Tokyo")}, default=Assignment("free"))
    assert shown(plans, "u1", "video") == [("plan/free/video/events", 10, "month@Asia/Tokyo")]


def test_a_record_replaces_a_shipped_plan_until_it_is_removed() -> None:
    own = PlanRecord.model_validate({"id": "free", "name": "Free", "limits": [{"feature": "video", "limit": "3"}]})
    plans = Plans({"free": Plan.from_record(own)}, default=Assignment("free"))
    assert shown(plans, "u1", "video") == [("plan/free/video/events", 3, "month")]
    assert shown(plans.changed({"free": None}), "u1", "video") == [("plan/free/video/events", 10, "month")]


def test_an_anchor_moves_months_alone() -> None:
    limits = [{"limit": "5", "unit": "usd", "window": window} for window in ("day", "month", "lifetime")]
    plan = Plan.from_record(PlanRecord.model_validate({"name": "P", "limits": limits}))
    plans = Plans({"p": plan}, {"u1": Assignment("p", 0, "Asia/Tokyo", 31)})
    assert [b.calendar for b in plans.limits("u1", "")] == ["day@Asia/Tokyo", "month@Asia/Tokyo~31", "lifetime"]
    assert plans.counts_users_more
    assert not plans.changed(assignments={"u1": Assignment("p")}).counts_users_more


def test_an_assignment_begins_when_it_says_or_when_it_was_written() -> None:
    at = "2026-11-21T10:00:00Z"
    assert Assignment.from_record(AssignmentRecord(plan="p", since=at)).since_ms == SINCE
    assert Assignment.from_record(AssignmentRecord(plan="p", updated_at=at)).since_ms == SINCE
