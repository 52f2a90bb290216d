"""A price holds over `[effective_from, effective_to)` and is chosen by the event's own time."""

import pytest
from tests.unit.pricing.events import NOW, M, cost, event, price_record

from tollgate.domain.pricing import Pricer
from tollgate.schemas.instants import parse_instant

GPT = event("openai/gpt-4o", {"input_tokens": M})
LIST = "2.5"


def test_a_run_time_price_holds_from_its_first_to_before_its_last_instant(pricer: Pricer) -> None:
    changed = pricer.with_prices(
        [
            price_record(
                {"input_tokens": "7 per 1000000"},
                effective_from="2026-11-01T00:00:00Z",
                effective_to="2026-11-21T10:00:00Z",
            )
        ]
    )
    start = parse_instant("2026-11-01T00:00:00Z")
    for _ in range(2):
        assert cost(changed, GPT, start - 1) == LIST
        assert cost(changed, GPT, start) == "7"
        assert cost(changed, GPT, NOW - 1) == "7"
        assert cost(changed, GPT, NOW) == LIST


def test_a_shipped_price_holds_from_its_first_instant(pricer: Pricer) -> None:
    data = event("pika/1.5", {"video_seconds": 3})
    start = parse_instant("2023-01-01T00:00:00Z")
    assert pricer.price(data, start).status == "priced"
    before = pricer.price(data, start - 1)
    assert (before.status, before.price_id) == ("unpriced", "fallback/pika")
    assert cost(pricer, data, start - 1) == "2.25"


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_prices_in_force_the_later_one_holds(pricer: Pricer, order: int) -> None:
    records = [
        price_record({"input_tokens": "3 per 1000000"}),
        price_record({"input_tokens": "4 per 1000000"}, effective_from="2026-11-21T10:00:00Z"),
    ][::order]
    changed = pricer.with_prices(records)
    assert cost(changed, GPT, NOW - 1) == "3"
    assert cost(changed, GPT, NOW) == "4"


def test_a_price_for_an_option_goes_before_one_for_all(pricer: Pricer) -> None:
    changed = pricer.with_prices(
        [
            price_record({"input_tokens": "3 per 1000000"}),
            price_record({"input_tokens": "9 per 1000000"}, options={"region": "eu"}),
        ]
    )
    assert cost(changed, GPT) == "3"
    assert cost(changed, event("openai/gpt-4o", {"input_tokens": M}, options={"region": "eu"})) == "9"
    assert cost(changed, event("openai/gpt-4o", {"input_tokens": M}, options={"region": "us"})) == "3"


def test_a_run_time_price_goes_before_every_other_source(pricer: Pricer, october: Pricer) -> None:
    record = price_record({"input_tokens": "3 per 1000000"})
    assert cost(october.with_prices([record]), GPT) == "3"
    assert pricer.with_prices([record]).price(GPT, NOW).price_id == record.id
    shipped = price_record({"video_seconds": "1"}, provider="pika", model="1.5")
    assert cost(pricer.with_prices([shipped]), event("pika/1.5", {"video_seconds": 3})) == "3"
    agent = price_record({"input_tokens": "1 per 1000"}, provider="", model="", agent="SEO")
    assert cost(pricer.with_prices([agent]), event(usage={"input_tokens": 1000}, agent="SEO")) == "1"


def test_taking_a_run_time_price_away_brings_the_old_one_back(pricer: Pricer) -> None:
    changed = pricer.with_prices([price_record({"input_tokens": "3 per 1000000"})])
    assert cost(changed, GPT) == "3"
    assert cost(changed.with_prices([]), GPT) == LIST


def test_a_run_time_price_is_found_by_any_name_of_its_provider(pricer: Pricer) -> None:
    changed = pricer.with_prices([price_record({"input_tokens": "3 per 1000000"}, provider="xai", model="Grok-9")])
    assert cost(changed, event("x-ai/grok-9", {"input_tokens": M})) == "3"


def test_a_list_price_that_fell_on_a_date_is_chosen_by_the_events_date(pricer: Pricer) -> None:
    data = event("openai/o3", {"input_tokens": M, "output_tokens": M})
    fell = parse_instant("2025-06-10T00:00:00Z")
    assert cost(pricer, data, fell - 1) == "50"
    assert cost(pricer, data, fell) == "10"
    assert cost(pricer, data, fell - 1) == "50"


def test_a_price_by_the_time_of_day_changes_at_its_minute(pricer: Pricer) -> None:
    data = event("deepseek/deepseek-chat", {"input_tokens": M})
    for day in ("2025-03-01", "2025-03-02", "2026-11-21"):
        start, end = parse_instant(f"{day}T00:30:00Z"), parse_instant(f"{day}T16:30:00Z")
        assert cost(pricer, data, start - 1) == "0.135"
        assert cost(pricer, data, start) == "0.27"
        assert cost(pricer, data, end - 1) == "0.27"
        assert cost(pricer, data, end) == "0.135"


def test_a_list_variant_is_chosen_by_the_events_options_and_date(pricer: Pricer) -> None:
    batch = event("x-ai/grok-4.3", {"input_tokens": M}, options={"processing": "batch"})
    start = parse_instant("2026-10-14T00:00:00Z")
    assert cost(pricer, batch, start) == "2"
    assert cost(pricer, batch, start - 1) == "2.5"


def test_a_batch_is_half_price_since_its_provider_offers_batches(pricer: Pricer) -> None:
    gpt = event("openai/gpt-4o", {"input_tokens": M}, options={"processing": "batch"})
    since = parse_instant("2024-04-15T00:00:00Z")
    assert cost(pricer, gpt, since - 1) == LIST
    for time in ("2024-04-15T00:00:00Z", "2026-10-13T23:59:59Z", "2026-10-14T00:00:00Z"):
        assert cost(pricer, gpt, parse_instant(time)) == "1.25"
    # genai-prices lists no batch price of this model; Anthropic halves every token of a batch.
    haiku = event("anthropic/claude-3-haiku-20240307", {"input_tokens": M}, options={"processing": "batch"})
    since = parse_instant("2024-10-08T00:00:00Z")
    assert cost(pricer, haiku, since - 1) == "0.25"
    assert cost(pricer, haiku, since) == "0.125"


def test_a_batch_price_does_not_reach_back_over_a_change_of_the_standard_price(pricer: Pricer) -> None:
    data = event("openai/o3", {"input_tokens": M}, options={"processing": "batch"})
    fell = parse_instant("2025-06-10T00:00:00Z")
    assert cost(pricer, data, fell - 1) == "10"
    assert cost(pricer, data, fell) == "1"


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_any_instant_can_be_priced(pricer: Pricer, time: str) -> None:
    for subject in ("openai/gpt-4o", "deepseek/deepseek-chat", "nobody/x"):
        assert pricer.price(event(subject, {"input_tokens": 1}), parse_instant(time)).cost_picousd > 0
