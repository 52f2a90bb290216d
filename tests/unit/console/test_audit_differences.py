"""What a change of a control record reads like: field by field, in words."""

import json
from typing import Any

from tollgate.console.api.audit import AuditEntry
from tollgate.console.audit_differences import Difference, differences
from tollgate.console.numbers import AuditRow
from tollgate.console.pages.budgets import change_of
from tollgate.schemas.control import BudgetRecord

BUDGET = BudgetRecord(
    scope="user/*", limit="100", updated_at="2026-11-21T10:00:00Z", actor="cli:ann", reason="first", version=1
).model_dump(mode="json", exclude_none=True)


def test_only_what_differs_is_told_and_what_every_change_sets_is_not() -> None:
    after = {**BUDGET, "limit": "150.5", "actor": "cli:bob", "reason": "more", "version": 2}
    assert differences(BUDGET, after) == [Difference("limit", "Limit", "$100.00", "$150.50")]


def test_members_of_members_have_names_of_their_own() -> None:
    thresholds = {**BUDGET["thresholds"], "warning": {"percent": "70.5", "action": "downgrade"}}
    assert differences(BUDGET, {**BUDGET, "thresholds": thresholds}) == [
        Difference("thresholds.warning.percent", "Warning at", "80 %", "70.5 %"),
        Difference("thresholds.warning.action", "At the warning", "alert", "downgrade"),
    ]


def test_a_threshold_that_is_gone_became_nothing() -> None:
    thresholds = {name: value for name, value in BUDGET["thresholds"].items() if name != "emergency"}
    assert differences(BUDGET, {**BUDGET, "thresholds": thresholds}) == [
        Difference("thresholds.emergency.percent", "Emergency at", "150 %", ""),
        Difference("thresholds.emergency.action", "In an emergency", "block", ""),
    ]


def test_a_limit_that_is_no_money_is_shown_in_its_unit() -> None:
    images = {**BUDGET, "unit": "images", "limit": "2500"}
    assert differences(images, {**images, "limit": "1234567"}) == [
        Difference("limit", "Limit", "2,500 images", "1,234,567 images")
    ]


def test_a_new_record_is_told_whole_and_a_removed_one_too() -> None:
    stopped = {"name": "stop", "value": {"stopped": True}}
    assert differences(None, stopped) == [
        Difference("name", "Name", "", "stop"),
        Difference("value.stopped", "All spending stopped", "", "yes"),
    ]
    assert differences(stopped, None) == [
        Difference("name", "Name", "stop", ""),
        Difference("value.stopped", "All spending stopped", "yes", ""),
    ]


def test_a_price_is_exact_and_an_instant_is_marked_as_one() -> None:
    price = {
        "agent": "SEO",
        "rates": [{"dimension": "input_tokens", "usd": "0.035", "per": "1000"}, {"dimension": "images", "usd": "2"}],
        "effective_from": "2026-11-21T10:00:00Z",
    }
    assert differences(None, price) == [
        Difference("agent", "Agent", "", "SEO"),
        Difference("rates.input_tokens", "Input tokens", "", "$0.035 for 1,000"),
        Difference("rates.images", "Images", "", "$2.00 each"),
        Difference("effective_from", "In force from", "", "2026-11-21T10:00:00Z", is_time=True),
    ]


def test_what_a_later_release_wrote_is_told_all_the_same() -> None:
    after = {**BUDGET, "without": ["provider/groq", "agent/SEO"], "failing": "closed", "parts": [{"a": 1}, {"b": 2}]}
    assert differences(BUDGET, after) == [
        Difference("without", "Without", "", "provider/groq, agent/SEO"),
        Difference("failing", "Failing", "", "closed"),
        Difference("parts", "Parts", "", "2 entries"),
    ]


def test_a_record_that_is_set_again_differs_in_nothing() -> None:
    assert differences(BUDGET, {**BUDGET, "version": 9, "actor": "else"}) == []


def row(before: dict[str, Any] | None, after: dict[str, Any] | None) -> AuditRow:
    was, is_now = (json.dumps(record) if record is not None else "" for record in (before, after))
    return AuditRow(
        time_ms=1_795_255_200_000,
        id="c1",
        actor="cli:bob",
        action="set",
        key="budget/user/*:month:usd",
        kind="budget",
        before=was,
        after=is_now,
        reason="",
        version=2,
    )


def test_the_api_and_the_history_of_a_budget_tell_a_change_in_the_same_words() -> None:
    thresholds = {**BUDGET["thresholds"], "warning": {"percent": "70.5", "action": "alert"}}
    changed = row(BUDGET, {**BUDGET, "limit": "150.5", "thresholds": thresholds, "version": 2})
    assert [one.model_dump() for one in AuditEntry.of(changed).differences] == [
        {"field": "limit", "name": "Limit", "before": "$100.00", "after": "$150.50"},
        {"field": "thresholds.warning.percent", "name": "Warning at", "before": "80 %", "after": "70.5 %"},
    ]
    assert change_of(changed).differences == [
        Difference("limit", "Limit", "$100.00", "$150.50"),
        Difference("thresholds.warning.percent", "Warning at", "80 %", "70.5 %"),
    ]


def test_the_history_of_a_new_or_removed_budget_leaves_out_what_its_title_says() -> None:
    limit = {"scope": "user/*", "limit": "100", "unit": "usd", "window": "month", "timezone": "UTC"}
    assert change_of(row(None, limit)).differences == [Difference("limit", "Limit", "", "$100.00")]
    assert change_of(row(limit, None)).differences == [Difference("limit", "Limit", "$100.00", "")]
    moved = row(limit, {**limit, "scope": "user/u1"})
    assert change_of(moved).differences == [Difference("scope", "Scope", "user/*", "user/u1")]
    assert [one.field for one in AuditEntry.of(row(None, limit)).differences] == list(limit)
