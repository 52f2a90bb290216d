"""Facts about which budgets and plan limits apply to a scope, and what is counted for them."""

from typing import Any

import pytest

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import NO_END_MS, Budget, next_change_ms, positions
from tollgate.domain.plans import Assignment, Plan, Plans
from tollgate.schemas.control import BudgetRecord, PlanRecord
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.scopes import Dimension
from tollgate.schemas.vocabulary import Shape

NOV_1, NOV_8 = "2026-11-01T00:00:00Z", "2026-11-08T00:00:00Z"


def budget(scope: str, **changes: Any) -> Budget:
    """A monthly budget of 100 dollars."""
    given = {"scope": scope, "limit": "100", "updated_at": NOV_1} | changes
    return Budget.from_record(BudgetRecord.model_validate(given))


def ids(budgets: list[Budget]) -> list[str]:
    """Of these budgets, in order."""
    return [budget.id for budget in budgets]


def test_the_most_specific_of_the_same_names_window_and_unit_replaces_the_others() -> None:
    book = BudgetBook(
        [
            budget("user/*+feature/*", id="any"),
            budget("user/*+feature/video", id="video"),
            budget("user/u1+feature/*", id="u1"),
            budget("user/u1+feature/video", id="exact"),
            budget("user/*+feature/*", id="calls", unit="events"),
            budget("user/*+feature/*", id="weekly", window="week"),
            budget("user/*", id="alone"),
        ],
        Plans(default=Assignment("free")),
    )
    assert ids(book.for_scope("user/u1+feature/video")) == ["exact", "calls", "weekly"]
    assert ids(book.for_scope("user/u1+feature/chat")) == ["u1", "calls", "weekly"]
    assert ids(book.for_scope("user/u2+feature/video")) == ["video", "calls", "weekly"]
    assert ids(book.for_scope("user/u2+feature/chat")) == ["any", "calls", "weekly"]
    assert ids(book.for_scope("user/u2")) == ["alone"]
    assert ids(book.for_scope("user/u1+model/gpt-4o")) == []


def test_a_plan_limit_holds_where_no_budget_replaces_it() -> None:
    book = BudgetBook([budget("user/vip+feature/video", unit="events")], Plans(default=Assignment("free")))
    assert ids(book.for_scope("user/u1+feature/video")) == ["plan/free/video/events"]
    assert ids(book.for_scope("user/vip+feature/video")) == ["user/vip+feature/video:month:events"]
    assert ids(book.for_scope("user/vip+feature/chat")) == ["plan/free/chat/events"]
    assert book.for_scope("user/u1+feature/audio") == []
    assert book.for_scope("org/acme+feature/video") == []


def test_budgets_of_another_zone_replace_each_other_too() -> None:
    book = BudgetBook([budget("user/*", id="all"), budget("user/u1", id="tokyo", timezone="Asia/Tokyo")])
    assert ids(book.for_scope("user/u1")) == ["tokyo"]


def test_a_budget_replaces_another_only_while_it_is_valid() -> None:
    book = BudgetBook(
        [budget("user/*", id="all"), budget("user/u1", id="week", valid_from=NOV_1, valid_to=NOV_8)],
    )
    begin, end = parse_instant(NOV_1), parse_instant(NOV_8)
    parts = [(b.id, b.valid_from_ms, b.valid_to_ms) for b in book.for_scope("user/u1")]
    assert parts == [("week", begin, end), ("all", 0, begin), ("all", end, NO_END_MS)]
    assert ids(book.in_force("user/u1", begin - 1)) == ["all"]
    assert ids(book.in_force("user/u1", begin)) == ["week"]
    assert ids(book.in_force("user/u1", end - 1)) == ["week"]
    assert ids(book.in_force("user/u1", end)) == ["all"]


def test_a_budget_out_of_its_time_has_no_position_and_begins_by_itself() -> None:
    made = budget("user/u1", valid_from=NOV_1, valid_to=NOV_8)
    begin, end = parse_instant(NOV_1), parse_instant(NOV_8)
    assert [len(positions([made], None, at)) for at in (begin - 1, begin, end - 1, end)] == [0, 1, 1, 0]
    assert next_change_ms([made], begin - 1) == begin
    assert next_change_ms([made], begin) == end
    assert next_change_ms([made], end) is None
    assert next_change_ms([budget("user/u1")], 0) is None


def test_combinations_are_counted_in_all_their_calendars_and_names_in_those_beyond_the_base() -> None:
    book = BudgetBook(
        [
            budget("user/u1+model/gpt-4o"),
            budget("user/*", window="week"),
            budget("agent/SEO", window="day"),
            budget("org/acme", timezone="Asia/Tokyo"),
            budget("global", window="hour", timezone="Asia/Kolkata"),
        ]
    )
    assert book.calendars("user/u1+model/gpt-4o") == ("month",)
    assert book.calendars("user/u2+model/gpt-4o") == ()
    assert book.calendars("user/u9") == ("week",)
    assert book.calendars("agent/SEO") == ()
    assert book.calendars("org/acme") == ("month@Asia/Tokyo",)
    assert book.calendars("global") == ("hour@Asia/Kolkata",)
    assert book.meters() == {
        ("user/u1+model/gpt-4o", "month"),
        ("user/*", "week"),
        ("org/acme", "month@Asia/Tokyo"),
        ("global", "hour@Asia/Kolkata"),
    }
    assert book.shapes == (Shape((Dimension.USER, Dimension.MODEL)),)


def test_the_calendar_of_a_replaced_budget_is_counted_too() -> None:
    book = BudgetBook([budget("user/*", window="week"), budget("user/u1", window="week", timezone="Asia/Tokyo")])
    assert book.calendars("user/u1") == ("week", "week@Asia/Tokyo")


def test_names_with_a_pinned_first_name_are_not_counted_like_others() -> None:
    book = BudgetBook([budget("org/acme+model/*", window="day"), budget("org/*+model/*")])
    assert book.calendars("org/acme+model/x") == ("day", "month")
    assert book.calendars("org/other+model/x") == ("month",)
    assert book.calendars("org/acme+model/x") == ("day", "month")


def test_a_name_with_a_plus_is_no_combination() -> None:
    book = BudgetBook([budget("user/*"), budget("user/*+model/*")])
    assert ids(book.for_scope("user/a+b")) == ["user/*:month:usd"]
    assert ids(book.for_scope("user/u1%2Bmodel/x")) == ["user/*:month:usd"]
    assert ids(book.for_scope("user/a+b+model/c+d")) == ["user/*+model/*:month:usd"]


def test_plans_are_counted_for_every_user_and_in_a_users_own_calendar() -> None:
    plans = Plans(
        assignments={"jp": Assignment("pro", 0, "Asia/Tokyo", 15), "nl": Assignment("pro")},
        default=Assignment("free"),
    )
    book = BudgetBook((), plans)
    assert book.calendars("user/u1+feature/video") == ("month",)
    assert book.calendars("user/nl+feature/video") == ("month",)
    assert book.calendars("user/jp+feature/video") == ("month", "month@Asia/Tokyo~15")
    assert book.calendars("user/u1+feature/audio") == ()
    assert book.calendars("user/u1") == ()
    features = ("content", "image", "video", "chat")
    assert book.meters() == {
        *((f"user/*+feature/{feature}", "month") for feature in features),
        *((f"user/jp+feature/{feature}", "month@Asia/Tokyo~15") for feature in features),
    }
    assert book.shapes == (Shape((Dimension.USER, Dimension.FEATURE)),)
    assert [b.calendar for b in book.for_scope("user/jp+feature/video")] == ["month@Asia/Tokyo~15"]


def test_without_plans_and_patterns_nothing_more_is_counted() -> None:
    book = BudgetBook([budget("user/u1")])
    assert (book.shapes, book.meters(), book.has_patterns, book.is_empty) == ((), frozenset(), False, False)
    assert BudgetBook().is_empty
    assert not BudgetBook((), Plans(default=Assignment("free"))).is_empty


def test_replacing_a_budget_leaves_nothing_of_it() -> None:
    first = budget("user/*+feature/video", id="a", window="week")
    book = BudgetBook([first, budget("user/u1", id="b")])
    without = book.replacing("a", None)
    assert (without.shapes, without.meters(), without.calendars("user/u1+feature/video")) == ((), frozenset(), ())
    assert ids(list(without)) == ["b"]
    moved = book.changed({"a": budget("agent/x", id="a"), "c": budget("user/*", id="c"), "gone": None})
    assert sorted(ids(list(moved))) == ["a", "b", "c"]
    assert ids(moved.for_scope("agent/x")) == ["a"]
    assert ids(book.for_scope("user/u2+feature/video")) == ["a"], "the first book is as it was"


@pytest.mark.parametrize("scope", ["user/u1", "user/u1+feature/video", "user/u2+feature/video", "model/x", "global"])
def test_a_book_changed_step_by_step_is_the_book_made_at_once(scope: str) -> None:
    all_of_them = [
        budget("user/*", window="week"),
        budget("user/u1"),
        budget("user/u1+feature/video", unit="events"),
        budget("user/*+feature/*", timezone="Asia/Tokyo"),
        budget("global", window="day"),
    ]
    plans = Plans(default=Assignment("free"))
    at_once = BudgetBook(all_of_them, plans)
    by_steps = BudgetBook()
    for made in all_of_them:
        by_steps = by_steps.changed({made.id: made})
    by_steps = by_steps.changed({}, plans)
    assert by_steps.for_scope(scope) == at_once.for_scope(scope)
    assert by_steps.calendars(scope) == at_once.calendars(scope)
    assert by_steps.covers(scope) == at_once.covers(scope)
    assert (by_steps.shapes, by_steps.meters()) == (at_once.shapes, at_once.meters())


def test_free_credits_are_those_of_the_users_plan_in_the_users_zone() -> None:
    plans = Plans(
        {"none": Plan.from_record(PlanRecord(name="None"))},
        {"jp": Assignment("pro", 0, "Asia/Tokyo"), "no": Assignment("none"), "a%2Bmodel/b": Assignment("pro")},
        Assignment("free"),
    )
    book = BudgetBook((), plans)
    assert book.credits_of("u1") == (10 * 10**9, "UTC")
    assert book.credits_of("jp") == (10 * 10**9, "Asia/Tokyo")
    assert book.credits_of("no") == (0, "UTC")
    assert book.credits_of("a+model/b") == (10 * 10**9, "UTC")
    assert BudgetBook().credits_of("u1") == (0, "UTC")
