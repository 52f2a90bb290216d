"""Each token is charged in exactly one dimension, whichever way a provider counts."""

from typing import Any

import pytest
from tests.unit.pricing.events import NOW, M, cost, event, price_record

from tollgate.domain.pricing import Pricer

# Round figures, in USD per million: a cached token costs 1, a token written to the cache 20, and so on.
RATES = {
    "input_tokens": "10 per 1000000",
    "cached_input_tokens": "1 per 1000000",
    "cache_write_tokens": "20 per 1000000",
    "input_audio_tokens": "100 per 1000000",
    "output_tokens": "40 per 1000000",
    "reasoning_tokens": "60 per 1000000",
    "output_audio_tokens": "200 per 1000000",
}


@pytest.fixture(scope="module")
def full(pricer: Pricer) -> Pricer:
    """A price with a rate for every token dimension of the contract."""
    return pricer.with_prices([price_record(RATES)])


@pytest.fixture(scope="module")
def plain(pricer: Pricer) -> Pricer:
    """A price that knows only input and output."""
    return pricer.with_prices([price_record({name: RATES[name] for name in ("input_tokens", "output_tokens")})])


def millions(**amounts: int) -> dict[str, int | str]:
    return {dimension: amount * M for dimension, amount in amounts.items()}


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        (millions(input_tokens=3), "30"),
        (millions(input_tokens=3, cached_input_tokens=2), "12"),
        (millions(cached_input_tokens=2, input_tokens=3), "12"),
        (millions(input_tokens=3, cached_input_tokens=3), "3"),
        (millions(input_tokens=6, cached_input_tokens=1, cache_write_tokens=2, input_audio_tokens=1), "161"),
        (millions(output_tokens=5, reasoning_tokens=2, output_audio_tokens=1), "400"),
        (millions(input_tokens=1, output_tokens=1, reasoning_tokens=1), "70"),
    ],
)
def test_inclusive_parts_are_taken_out_of_their_whole(full: Pricer, usage: dict[str, int | str], usd: str) -> None:
    assert cost(full, event("openai/gpt-4o", usage)) == usd


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        (millions(input_tokens=3, cached_input_tokens=2), "32"),
        (millions(input_tokens=6, cached_input_tokens=1, cache_write_tokens=2, input_audio_tokens=1), "201"),
        (millions(output_tokens=5, reasoning_tokens=2, output_audio_tokens=1), "520"),
    ],
)
def test_exclusive_dimensions_stand_beside_each_other(full: Pricer, usage: dict[str, int | str], usd: str) -> None:
    assert cost(full, event("openai/gpt-4o", usage, convention="exclusive")) == usd


def test_both_conventions_agree_on_the_same_tokens(full: Pricer) -> None:
    inclusive = event("openai/gpt-4o", millions(input_tokens=3, cached_input_tokens=2))
    exclusive = event("openai/gpt-4o", millions(input_tokens=1, cached_input_tokens=2), convention="exclusive")
    assert cost(full, inclusive) == cost(full, exclusive) == "12"


@pytest.mark.parametrize(
    ("usage", "convention", "usd"),
    [
        (millions(input_tokens=3, cached_input_tokens=2), "inclusive", "30"),
        (millions(input_tokens=3, cached_input_tokens=2), "exclusive", "50"),
        (millions(output_tokens=3, reasoning_tokens=3), "inclusive", "120"),
        (millions(output_tokens=3, reasoning_tokens=3), "exclusive", "240"),
    ],
)
def test_a_part_without_its_own_rate_is_charged_like_the_whole(
    plain: Pricer, usage: dict[str, int | str], convention: str, usd: str
) -> None:
    assert cost(plain, event("openai/gpt-4o", usage, convention=convention)) == usd


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        (millions(input_tokens=1, cached_input_tokens=3), "3"),
        (millions(cached_input_tokens=3), "3"),
        (millions(input_tokens=2, cached_input_tokens=1, cache_write_tokens=2), "41"),
        (millions(output_tokens=1, reasoning_tokens=2), "120"),
        (millions(input_tokens=0, reasoning_tokens=2), "120"),
    ],
)
def test_parts_above_their_whole_are_charged_and_the_whole_is_not(
    full: Pricer, usage: dict[str, int | str], usd: str
) -> None:
    assert cost(full, event("openai/gpt-4o", usage)) == usd


def test_parts_above_their_whole_without_a_rate_of_their_own_are_charged_once(plain: Pricer) -> None:
    assert cost(plain, event("openai/gpt-4o", millions(input_tokens=1, cached_input_tokens=3))) == "30"


def test_decimal_amounts_are_charged_like_whole_ones(full: Pricer) -> None:
    usage: dict[str, int | str] = {"input_tokens": "3000000.5", "cached_input_tokens": 2 * M}
    assert cost(full, event("openai/gpt-4o", usage)) == "12.000005"


def test_a_cache_write_of_an_hour_is_dearer_and_falls_back_to_the_common_one(pricer: Pricer, full: Pricer) -> None:
    usage = millions(input_tokens=1, cache_write_1h_tokens=1)
    assert cost(full, event("openai/gpt-4o", usage)) == "20"
    assert cost(pricer, event("anthropic/claude-opus-4-5", usage)) == "10"


@pytest.mark.parametrize(
    ("usage", "options", "usd"),
    [
        ({"input_tokens": 200_000}, {}, "0.25"),
        ({"input_tokens": 200_001}, {}, "0.5000025"),
        ({"input_tokens": 200_000, "output_tokens": 1000}, {}, "0.26"),
        ({"input_tokens": 200_001, "output_tokens": 1000}, {}, "0.5150025"),
        # The threshold looks at all input, though 200,000 of it come from the cache: 0.0000025 + 0.05.
        ({"input_tokens": 200_001, "cached_input_tokens": 200_000}, {}, "0.0500025"),
        ({"input_tokens": 0, "output_tokens": 1000}, {}, "0.01"),
    ],
)
def test_a_tier_starts_above_its_threshold_and_holds_for_every_token(
    pricer: Pricer, usage: dict[str, int | str], options: dict[str, str], usd: str
) -> None:
    assert cost(pricer, event("google/gemini-2.5-pro", usage, options=options)) == usd


def test_an_exclusive_cache_counts_towards_the_tier(pricer: Pricer) -> None:
    usage: dict[str, int | str] = {"input_tokens": 1, "cached_input_tokens": 200_000}
    assert cost(pricer, event("google/gemini-2.5-pro", usage, convention="exclusive")) == "0.0500025"
    assert cost(pricer, event("google/gemini-2.5-pro", usage)) == "0.025"


def test_a_decimal_amount_is_in_the_same_tier(pricer: Pricer) -> None:
    assert cost(pricer, event("google/gemini-2.5-pro", {"input_tokens": "200000.5"})) == "0.50000125"


@pytest.mark.parametrize(
    ("fields", "usd", "status"),
    [
        ({"status": "error"}, "0", "priced"),
        ({"status": "rate_limited"}, "0", "priced"),
        ({"status": "cancelled"}, "0", "priced"),
        ({"status": "error", "billed": True}, "0.0025", "priced"),
        ({"status": "success"}, "0.0025", "priced"),
        ({"cost_usd": "0.123456789012"}, "0.123456789012", "reported"),
        ({"cost_usd": "0"}, "0", "reported"),
        ({"cost_usd": "3", "status": "error"}, "0", "reported"),
        ({"cost_usd": "3", "status": "error", "billed": True}, "3", "reported"),
    ],
)
def test_status_and_reported_cost_decide_what_is_owed(
    pricer: Pricer, fields: dict[str, Any], usd: str, status: str
) -> None:
    data = event("openai/gpt-4o", {"input_tokens": 1000}, **fields)
    assert cost(pricer, data) == usd
    assert pricer.price(data, NOW).status == status


def test_a_failed_call_keeps_the_price_that_would_have_held(pricer: Pricer) -> None:
    failed = pricer.price(event("openai/gpt-4o", {"input_tokens": 1000}, status="error"), NOW)
    assert failed.price_id == pricer.price(event("openai/gpt-4o", {"input_tokens": 1000}), NOW).price_id


def test_a_failed_call_of_an_unknown_model_is_no_unpriced_event(pricer: Pricer) -> None:
    quote = pricer.price(event("openai/no-such-model", {"input_tokens": 1000}, status="error"), NOW)
    assert (quote.cost_picousd, quote.status, quote.price_id) == (0, "free", "")


def test_what_the_user_was_charged_counts_even_when_the_call_failed(pricer: Pricer) -> None:
    data = event("openai/gpt-4o", {"input_tokens": 1000}, status="error", retail_tokens=5)
    assert pricer.price(data, NOW).retail_picousd == 25_000_000_000
