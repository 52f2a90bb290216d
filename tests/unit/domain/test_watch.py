"""When what was spent may concern a budget."""

from dataclasses import replace
from typing import Any

import pytest

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget
from tollgate.domain.plans import Assignment, Plan, Plans
from tollgate.domain.spend import ScopeSpend, Spend
from tollgate.domain.watch import UNWATCHED, Watch
from tollgate.domain.windows import HOUR_MS, windows_at
from tollgate.schemas.control import BudgetRecord, PlanRecord
from tollgate.schemas.instants import parse_instant

TEN = parse_instant("2026-11-21T10:00:00Z")
NANO = 10**9


def budget(scope: str = "user/u1", **given: Any) -> Budget:
    record = {"id": "b1", "scope": scope, "limit": "10", "window": "day", "updated_at": "2026-11-01T00:00:00Z"}
    return Budget.from_record(BudgetRecord.model_validate(record | given))


def spent(cost_picousd: int = 0, events: int = 1, **usage_nano: int) -> ScopeSpend:
    spend = ScopeSpend(windows_at(TEN))
    spend.add(windows_at(TEN), Spend(cost_picousd, 0, events, usage_nano))
    return spend


@pytest.mark.parametrize(
    ("given", "below", "reached"),
    [
        # A budget warns at 80 % unless it says otherwise: at $8 of $10.
        ({}, spent(7_999_999_999_999), spent(8_000_000_000_000)),
        ({"unit": "events"}, spent(events=7), spent(events=8)),
        ({"unit": "images"}, spent(images=7_999_999_999), spent(images=8 * NANO)),
        # 80 % of 3 is 2.4.
        ({"unit": "images", "limit": "3"}, spent(images=2_399_999_999), spent(images=2_400_000_000)),
    ],
)
def test_the_lowest_threshold_is_watched(given: dict[str, Any], below: ScopeSpend, reached: ScopeSpend) -> None:
    watch = Watch([budget(**given)])
    assert not watch.may_be_reached_by(below)
    assert watch.may_be_reached_by(reached)


def test_each_budget_is_watched_in_its_own_window() -> None:
    spend = spent(6_000_000_000_000)
    spend.add(windows_at(TEN + HOUR_MS), Spend(2_000_000_000_000, 0, 1))
    assert not Watch([budget(window="hour")]).may_be_reached_by(spend)
    assert Watch([budget(window="hour"), budget()]).may_be_reached_by(spend)


def test_what_begins_or_ends_by_itself_is_always_decided() -> None:
    assert Watch([replace(budget(), valid_from_ms=TEN)]).may_be_reached_by(spent())
    assert Watch([replace(budget(), valid_to_ms=TEN)]).may_be_reached_by(spent())


def test_a_scope_without_budgets_is_not_watched() -> None:
    book = BudgetBook([budget(), budget("org/*", id="b2")], Plans(None, None, Assignment("free")))
    watched = ["user/u1", "org/a", "org/b", "user/u2+feature/video"]
    assert [scope for scope in watched if book.watch(scope) is UNWATCHED] == []
    others = ["user/u2", "model/m", "global", "org/a+model/m", "user/u2+feature/other", "user/u2+model/m"]
    assert [scope for scope in others if book.watch(scope) is not UNWATCHED] == []
    assert BudgetBook().watch("user/u1") is UNWATCHED


def test_a_plans_limit_on_all_that_a_user_does_is_watched() -> None:
    limits = [{"limit": "1", "window": "day"}]
    small = PlanRecord.model_validate({"name": "small", "limits": limits, "updated_at": "2026-11-01T00:00:00Z"})
    book = BudgetBook((), Plans({"small": Plan.from_record(small)}, None, Assignment("small")))
    assert book.watch("user/u2") is not UNWATCHED
