"""Facts about budgets and prices as records."""

from typing import Any

import pytest
from pydantic import ValidationError

from tollgate.schemas.control import (
    BudgetRecord,
    PriceRecord,
    default_budget_id,
    default_thresholds,
    describe_faults,
    price_id,
)
from tollgate.schemas.outputs import Action
from tollgate.schemas.vocabulary import WindowKind

NOW = "2026-11-21T10:00:00Z"


def budget(**changes: Any) -> BudgetRecord:
    """A monthly budget of 100 dollars for each user."""
    return BudgetRecord.model_validate({"scope": "user/*", "limit": "100", "updated_at": NOW} | changes)


def price(**changes: Any) -> PriceRecord:
    """2.50 dollars per million input tokens and 10 per million output tokens."""
    rates = [
        {"dimension": "input_tokens", "usd": "2.50", "per": "1000000"},
        {"dimension": "output_tokens", "usd": "10", "per": "1000000"},
    ]
    given = {"provider": "openai", "model": "gpt-4o", "rates": rates, "effective_from": "2026-11-01T00:00:00Z"}
    return PriceRecord.model_validate(given | changes)


def test_a_budget_has_defaults_for_all_but_scope_and_limit() -> None:
    made = budget()
    assert made.id == "user/*:month:usd"
    assert (made.unit, made.window, made.timezone) == ("usd", WindowKind.MONTH, "UTC")
    levels = [made.thresholds.warning, made.thresholds.critical, made.thresholds.emergency]
    assert [(level.percent, level.action) for level in levels if level] == [
        ("80", Action.ALERT),
        ("100", Action.BLOCK),
        ("150", Action.BLOCK),
    ]


def test_the_emergency_of_the_default_thresholds_does_what_critical_does() -> None:
    emergency = default_thresholds(Action.STOP).emergency
    assert emergency is not None
    assert emergency.action is Action.STOP


def test_a_limit_is_kept_in_shortest_form() -> None:
    assert budget(limit="100.50").limit == "100.5"
    assert budget(limit="0.000000000001").limit == "0.000000000001"
    assert budget(limit="2500", unit="images").limit == "2500"


def test_a_limit_in_dollars_has_12_decimals_and_one_in_units_9() -> None:
    with pytest.raises(ValidationError, match="at most 12 decimal places"):
        budget(limit="0.0000000000001")
    with pytest.raises(ValidationError, match="at most 9 decimal places"):
        budget(limit="0.0000000001", unit="images")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"timezone": "Europe/Berlon"}, "timezone: 'Europe/Berlon' is no IANA time zone; one is Europe/Amsterdam"),
        ({"window": "year"}, "window: must be one of hour, day, week, month, lifetime"),
        ({"limit": "-5"}, "limit: must be above 0"),
        ({"limit": "0.00"}, "limit: must be above 0"),
        ({"limit": 5.5}, "limit: Input should be a valid string"),
        ({"scope": "user/u1+user/u2"}, "scope: 'user/u1+user/u2' names the dimension user twice"),
        (
            {"scope": "model/m+user/u1"},
            "scope: 'model/m+user/u1' has model before user; write user/… first",
        ),
        (
            {"scope": "user/a+org/b+model/c+agent/d"},
            "scope: 'user/a+org/b+model/c+agent/d' has 4 names; a combination has at most 3",
        ),
        ({"scope": "user/a*"}, "scope: 'user/a*' is no pattern; a star stands for a whole name, such as user/*"),
        (
            {"window": "lifetime", "timezone": "Asia/Tokyo"},
            "a lifetime window has no time zone; leave it out or say UTC",
        ),
        ({"week_starts_on": "sunday"}, "only weeks begin on a weekday, and the window is a month"),
        (
            {"window": "day", "month_starts_on": 15},
            "only months begin on a day of the month, and the window is a day",
        ),
        ({"month_starts_on": 0}, "month_starts_on: Input should be greater than or equal to 1"),
        (
            {"valid_from": "2026-11-01T00:00:00.500Z", "valid_to": "2026-11-01T00:00:00Z"},
            "valid_to: must be after valid_from",
        ),
        ({"except": ["provider/*"]}, "except: 'provider/*' is no exception; name a scope such as provider/groq"),
        ({"except": ["global"]}, "except: 'global' is no exception; name a scope such as provider/groq"),
        ({"except": ["model/a", "model/a"]}, "except: a scope is named twice"),
        ({"fail": "maybe"}, "fail: Input should be 'open' or 'closed'"),
        ({"id": "plan/free/video/events"}, "id: must not begin with plan/, which names limits of plans"),
        (
            {"scope": "user/" + "u" * 256 + "+org/" + "o" * 256 + "+model/" + "m" * 256},
            "id: give one, because the default is longer than 600 characters",
        ),
    ],
)
def test_a_refused_budget_says_in_one_sentence_what_is_wrong(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError) as error:
        budget(**changes)
    assert describe_faults(error.value) == sentence


def test_the_calendar_of_a_budget_has_one_text() -> None:
    assert budget().calendar.text == "month"
    assert budget(timezone="Asia/Tokyo", month_starts_on=15).calendar.text == "month@Asia/Tokyo~15"
    assert budget(window="week", week_starts_on="sunday").calendar.text == "week@UTC~sunday"


def test_exceptions_are_written_under_the_name_of_the_contract() -> None:
    made = budget(**{"except": ["provider/groq"]})
    assert made.except_ == ("provider/groq",)
    assert made.model_dump(mode="json")["except"] == ["provider/groq"]
    assert BudgetRecord.model_validate_json(made.model_dump_json()) == made


def test_equal_percents_are_in_order_and_falling_ones_are_not() -> None:
    alert = {"percent": "90", "action": "alert"}
    budget(thresholds={"warning": alert, "critical": {"percent": "90.0", "action": "block"}})
    with pytest.raises(ValidationError) as error:
        budget(thresholds={"warning": alert, "emergency": {"percent": "89.99", "action": "block"}})
    assert describe_faults(error.value) == "thresholds: warning (90 %) must not be above emergency (89.99 %)"


def test_a_scope_is_exact_or_a_pattern() -> None:
    assert budget(scope="user/u1+model/gpt-4o").is_pattern is False
    assert budget(scope="org/acme+model/*").is_pattern is True
    assert budget(scope="user/a+b/c").is_pattern is False
    assert budget(scope="global").is_pattern is False
    assert budget(scope="agent/*").is_pattern is True
    assert budget(scope="model/meta/llama-3").is_pattern is False
    for scope in ("*", "*/a", "user/", "team/a", "user/u1+model/gpt-4o*", "user/a/*"):
        with pytest.raises(ValidationError):
            budget(scope=scope)


def test_the_default_id_names_scope_window_and_unit() -> None:
    assert default_budget_id("agent/SEO", WindowKind.DAY, "images") == "agent/SEO:day:images"
    assert budget(scope="agent/SEO", window="day", unit="images").id == "agent/SEO:day:images"
    assert budget(id="mine").id == "mine"


def test_a_budget_survives_json() -> None:
    made = budget()
    assert BudgetRecord.model_validate_json(made.model_dump_json()) == made


def test_a_price_id_follows_from_the_content() -> None:
    assert price().id == "openai/gpt-4o@2026-11-01#ff33d4b2"
    assert price_id(price()) == price().id


def test_the_same_price_written_otherwise_has_the_same_id() -> None:
    rates = [
        {"dimension": "output_tokens", "usd": "10.0", "per": "1000000.0"},
        {"dimension": "input_tokens", "usd": "2.5", "per": "1000000"},
    ]
    assert price(rates=rates, effective_from="2026-11-01T01:00:00+01:00").id == price().id
    # Ending a price, or naming its source, does not make it another one.
    assert price(effective_to="2026-12-01T00:00:00Z", source="price page").id == price().id


def test_another_content_has_another_id() -> None:
    other = [
        price(),
        price(model="gpt-4o-mini"),
        price(options={"tier": "batch"}),
        price(rates=[{"dimension": "input_tokens", "usd": "2.5", "per": "1000000"}]),
        price(effective_from="2026-11-01T00:00:01Z"),
        price(agent="SEO"),
    ]
    assert len({p.id for p in other}) == 6


def test_an_agents_price_is_named_after_the_agent() -> None:
    rates = [{"dimension": "input_tokens", "usd": "0.03", "per": "1000"}]
    assert price(provider="", model="", agent="SEO", rates=rates).id.startswith("agent/SEO@2026-11-01#")


def test_a_price_ends_after_it_starts() -> None:
    price(effective_to="2026-11-01T00:00:00.001Z")
    with pytest.raises(ValidationError, match="must be after effective_from"):
        price(effective_to="2026-11-01T00:00:00Z")
