"""What a change of a control record reads like: field by field, in words."""

from tollgate.console.pages.audit_differences import Difference, differences
from tollgate.schemas.control import BudgetRecord

BUDGET = BudgetRecord(
    scope="user/*", limit="100", updated_at="2026-11-21T10:00:00Z", actor="cli:ann", reason="first", version=1
).model_dump(mode="json", exclude_none=True)


def test_only_what_differs_is_told_and_what_every_change_sets_is_not() -> None:
    after = {**BUDGET, "limit": "150.5", "actor": "cli:bob", "reason": "more", "version": 2}
    assert differences(BUDGET, after) == [Difference("Limit", "$100.00", "$150.50")]


def test_members_of_members_have_names_of_their_own() -> None:
    thresholds = {**BUDGET["thresholds"], "warning": {"percent": "70.5", "action": "downgrade"}}
    assert differences(BUDGET, {**BUDGET, "thresholds": thresholds}) == [
        Difference("Warning at", "80 %", "70.5 %"),
        Difference("At the warning", "alert", "downgrade"),
    ]


def test_a_threshold_that_is_gone_became_nothing() -> None:
    thresholds = {name: value for name, value in BUDGET["thresholds"].items() if name != "emergency"}
    assert differences(BUDGET, {**BUDGET, "thresholds": thresholds}) == [
        Difference("Emergency at", "150 %", ""),
        Difference("In an emergency", "block", ""),
    ]


def test_a_limit_that_is_no_money_is_shown_in_its_unit() -> None:
    images = {**BUDGET, "unit": "images", "limit": "2500"}
    assert differences(images, {**images, "limit": "1234567"}) == [
        Difference("Limit", "2,500 images", "1,234,567 images")
    ]


def test_a_new_record_is_told_whole_and_a_removed_one_too() -> None:
    stopped = {"name": "stop", "value": {"stopped": True}}
    assert differences(None, stopped) == [
        Difference("Name", "", "stop"),
        Difference("All spending stopped", "", "yes"),
    ]
    assert differences(stopped, None) == [
        Difference("Name", "stop", ""),
        Difference("All spending stopped", "yes", ""),
    ]


def test_a_price_is_exact_and_an_instant_is_marked_as_one() -> None:
    price = {
        "agent": "SEO",
        "rates": [{"dimension": "input_tokens", "usd": "0.035", "per": "1000"}, {"dimension": "images", "usd": "2"}],
        "effective_from": "2026-11-21T10:00:00Z",
    }
    assert differences(None, price) == [
        Difference("Agent", "", "SEO"),
        Difference("Input tokens", "", "$0.035 for 1,000"),
        Difference("Images", "", "$2.00 each"),
        Difference("In force from", "", "2026-11-21T10:00:00Z", is_time=True),
    ]


def test_what_a_later_release_wrote_is_told_all_the_same() -> None:
    after = {**BUDGET, "except": ["provider/groq", "agent/SEO"], "fail": "closed", "parts": [{"a": 1}, {"b": 2}]}
    assert differences(BUDGET, after) == [
        Difference("Except", "", "provider/groq, agent/SEO"),
        Difference("Fail", "", "closed"),
        Difference("Parts", "", "2 entries"),
    ]


def test_a_record_that_is_set_again_differs_in_nothing() -> None:
    assert differences(BUDGET, {**BUDGET, "version": 9, "actor": "else"}) == []
