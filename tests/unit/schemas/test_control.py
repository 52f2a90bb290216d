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


def test_other_zones_and_weeks_are_refused_with_what_is_possible() -> None:
    with pytest.raises(ValidationError) as zone:
        budget(timezone="Europe/Berlin")
    assert describe_faults(zone.value) == "timezone: only UTC is supported yet; windows follow the calendar in UTC"
    with pytest.raises(ValidationError) as week:
        budget(window="week")
    assert describe_faults(week.value) == "window: must be one of hour, day, month, lifetime"


def test_equal_percents_are_in_order_and_falling_ones_are_not() -> None:
    alert = {"percent": "90", "action": "alert"}
    budget(thresholds={"warning": alert, "critical": {"percent": "90.0", "action": "block"}})
    with pytest.raises(ValidationError) as error:
        budget(thresholds={"warning": alert, "emergency": {"percent": "89.99", "action": "block"}})
    assert describe_faults(error.value) == "thresholds: warning (90 %) must not be above emergency (89.99 %)"


def test_a_scope_is_exact_or_a_pattern_of_one_dimension() -> None:
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
