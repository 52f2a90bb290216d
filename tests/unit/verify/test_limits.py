"""Which limits hold for a scope, and which meters they need."""

from typing import Any

from tollgate.schemas.control import AssignmentRecord, BudgetRecord, PlanRecord
from tollgate.verification.limits import Limits

NOW_MS = 1_795_255_200_000  # 2026-11-21T10:00:00Z


def budget(scope: str, **given: Any) -> BudgetRecord:
    base = {"id": scope, "scope": scope, "limit": "10", "updated_at": "2026-11-01T00:00:00Z"}
    return BudgetRecord.model_validate(base | given)


def assignment(plan: str, **given: Any) -> AssignmentRecord:
    return AssignmentRecord.model_validate({"plan": plan, "updated_at": "2026-11-01T00:00:00Z"} | given)


def ids(limits: Limits, scope: str, now_ms: int = NOW_MS) -> list[str]:
    return [limit.id for limit in limits.of(scope, now_ms)]


def test_an_exact_budget_comes_before_patterns_and_those_with_fewer_stars_first() -> None:
    exact, one, other, any_ = "user/u1+model/m", "user/u1+model/*", "user/*+model/m", "user/*+model/*"
    scopes = [any_, other, one, exact]
    for first in (exact, one, other, any_):
        assert ids(Limits([budget(scope) for scope in scopes]), exact) == [first]
        scopes.remove(first)


def test_another_kind_of_window_or_unit_is_not_replaced_and_another_zone_is() -> None:
    pattern = budget("user/*")
    assert ids(Limits([pattern, budget("user/u1", unit="events")]), "user/u1") == ["user/u1", "user/*"]
    assert ids(Limits([pattern, budget("user/u1", window="week")]), "user/u1") == ["user/u1", "user/*"]
    assert ids(Limits([pattern, budget("user/u1", timezone="Asia/Tokyo")]), "user/u1") == ["user/u1"]


def test_a_budget_outside_of_its_time_limits_and_replaces_nothing() -> None:
    own = budget("user/u1", valid_from="2026-11-21T10:00:00Z", valid_to="2026-11-21T11:00:00Z")
    limits = Limits([budget("user/*"), own])
    assert ids(limits, "user/u1", NOW_MS - 1) == ["user/*"]
    assert ids(limits, "user/u1", NOW_MS) == ["user/u1"]
    assert ids(limits, "user/u1", NOW_MS + 3_600_000 - 1) == ["user/u1"]
    assert ids(limits, "user/u1", NOW_MS + 3_600_000) == ["user/*"]


def test_a_plans_limit_comes_last_and_is_in_the_users_own_calendar() -> None:
    assigned = {"default": assignment("free"), "user/u2": assignment("pro", timezone="Asia/Tokyo")}
    limits = Limits([], [], assigned)
    (usual,) = limits.of("user/u1+feature/video", NOW_MS)
    assert (usual.id, usual.limit, usual.calendar) == ("plan/free/video/events", 10 * 10**9, "month")
    (own,) = limits.of("user/u2+feature/video", NOW_MS)
    assert (own.id, own.limit, own.calendar) == ("plan/pro/video/events", 500 * 10**9, "month@Asia/Tokyo")
    assert ids(limits, "user/u1+feature/other") == []
    assert ids(Limits([budget("user/u1+feature/video", unit="events")], [], assigned), "user/u1+feature/video") == [
        "user/u1+feature/video"
    ]


def test_a_plan_that_has_ended_is_followed_by_the_default_one() -> None:
    assigned = {"default": assignment("free"), "user/u1": assignment("demo", since="2025-11-21T10:00:00Z")}
    limits = Limits([], [], assigned)
    assert ids(limits, "user/u1+feature/chat", NOW_MS - 1) == ["plan/demo/chat/events"]
    assert ids(limits, "user/u1+feature/chat", NOW_MS) == ["plan/free/chat/events"]


def test_meters_are_what_is_beyond_the_base_sums() -> None:
    budgets = [budget("user/u1"), budget("user/*", id="w", window="week"), budget("org/acme+model/*", window="day")]
    plan = PlanRecord.model_validate({"name": "p", "limits": [{"feature": "video", "limit": "10"}]})
    found = Limits(budgets, [plan], {"user/u9": assignment("p", month_starts_on=15)}).meters()
    assert sorted(meter.id for meter in found) == [
        "org/acme+model/*|day",
        "user/*+feature/video|month",
        "user/*|week",
        "user/u9+feature/video|month@UTC~15",
    ]
