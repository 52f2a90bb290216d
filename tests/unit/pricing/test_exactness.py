"""Costs are exact: they equal a reference that knows no trick, add up, and are rounded once per event, half to even."""

from decimal import Decimal
from fractions import Fraction

import pytest
from genai_prices.data import providers
from genai_prices.types import Usage
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.pricing.events import NOW, M, cost, event, price_record

from tollgate.domain.pricing import Pricer
from tollgate.domain.pricing.integer_price import round_half_even
from tollgate.schemas.amounts import PICO, format_amount
from tollgate.schemas.instants import from_ms

WHOLE_AND_PARTS = {
    "input_tokens": ("cached_input_tokens", "cache_write_tokens", "input_tool_tokens"),
    "output_tokens": ("reasoning_tokens", "output_citation_tokens"),
}
# USD per million, by hand from the shipped lists: GPT-4o, Claude Sonnet 4.5 up to and above 200,000 input tokens.
GPT = {"input_tokens": "2.5", "cached_input_tokens": "1.25", "output_tokens": "10"}
SONNET = {"input_tokens": "3", "cached_input_tokens": "0.3", "cache_write_tokens": "3.75", "output_tokens": "15"}
SONNET_LONG = {"input_tokens": "6", "cached_input_tokens": "0.6", "cache_write_tokens": "7.5", "output_tokens": "22.5"}

DIMENSIONS = [*WHOLE_AND_PARTS, *(part for parts in WHOLE_AND_PARTS.values() for part in parts)]
AMOUNTS = st.one_of(
    st.integers(0, 400_000),
    st.integers(0, 10**17),
    st.integers(1, 10**15).map(lambda nano: format_amount(nano * 7 + 1)),
)
USAGES = st.dictionaries(st.sampled_from(DIMENSIONS), AMOUNTS)
CONVENTIONS = st.sampled_from(["inclusive", "exclusive"])


# What Anthropic does not count in its input.
CACHES = ("cached_input_tokens", "cache_write_tokens")


def reference(
    usage: dict[str, int | str],
    convention: str,
    base: dict[str, str],
    long: dict[str, str] | None = None,
    known_beside: tuple[str, ...] = (),
) -> tuple[Fraction, str]:
    """The cost in USD and its status, from the words of the contract: fractions all the way, no rounding."""
    amounts = {dimension: Fraction(Decimal(amount)) for dimension, amount in usage.items()}
    rest: dict[str, Fraction] = {}
    status = "priced"
    for whole, parts in WHOLE_AND_PARTS.items():
        rest[whole] = amounts.get(whole, Fraction(0))
        inside = [] if convention == "exclusive" or not rest[whole] else [part for part in parts if part in amounts]
        if sum(amounts[part] for part in inside) > rest[whole]:
            inside = [part for part in inside if part not in known_beside]
        if sum(amounts[part] for part in inside) > rest[whole]:
            inside, status = [], "estimated"
        rest[whole] -= sum(amounts[part] for part in inside)
    parts_of_input = sum((amounts.get(part, Fraction(0)) for part in WHOLE_AND_PARTS["input_tokens"]), Fraction(0))
    rates = long if long is not None and rest["input_tokens"] + parts_of_input > 200_000 else base
    total = Fraction(0)
    for whole, parts in WHOLE_AND_PARTS.items():
        total += rest[whole] * Fraction(rates[whole]) / M
        for part in parts:
            total += amounts.get(part, Fraction(0)) * Fraction(rates.get(part, rates[whole])) / M
    return total, status


def half_even(value: Fraction) -> int:
    return round(value)  # Python rounds fractions half to even.


@given(usage=USAGES, convention=CONVENTIONS)
def test_a_flat_price_equals_the_reference(pricer: Pricer, usage: dict[str, int | str], convention: str) -> None:
    quote = pricer.price(event("openai/gpt-4o", usage, convention=convention), NOW)
    cost_usd, status = reference(usage, convention, GPT)
    assert (quote.cost_picousd, quote.status) == (half_even(cost_usd * PICO), status)


@given(usage=USAGES, convention=CONVENTIONS)
def test_a_tiered_price_equals_the_reference(pricer: Pricer, usage: dict[str, int | str], convention: str) -> None:
    quote = pricer.price(event("anthropic/claude-sonnet-4-5", usage, convention=convention), NOW)
    cost_usd, status = reference(usage, convention, SONNET, SONNET_LONG, CACHES)
    assert (quote.cost_picousd, quote.status) == (half_even(cost_usd * PICO), status)


@given(
    usage=st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True) | st.sampled_from(DIMENSIONS), AMOUNTS)
)
def test_a_cost_is_never_negative_and_an_unknown_one_never_nothing(pricer: Pricer, usage: dict[str, int | str]) -> None:
    for subject in ("openai/gpt-4o", "nobody/x", "pika/1.5", "cloudflare/r2"):
        quote = pricer.price(event(subject, usage), NOW)
        assert quote.cost_picousd >= 0
        charged = sum(Fraction(Decimal(amount)) for name, amount in usage.items() if name != "requests")
        # A millionth of a cent per unit is below every fallback rate.
        if subject == "nobody/x" and charged >= 1:
            assert quote.cost_picousd > 0
            assert quote.status == "unpriced"


@given(parts=st.lists(st.integers(0, 10**9), min_size=1, max_size=8))
def test_a_cost_without_rounding_is_additive(pricer: Pricer, parts: list[int]) -> None:
    """2,500,000 picousd per token is whole, so splitting a call into several changes nothing."""

    def picousd(tokens: int) -> int:
        return pricer.price(event("openai/gpt-4o", {"input_tokens": tokens}), NOW).cost_picousd

    assert sum(map(picousd, parts)) == picousd(sum(parts)) == 2_500_000 * sum(parts)


@given(amounts=st.lists(st.integers(0, 10**9), min_size=1, max_size=8))
def test_a_rounded_cost_is_off_by_at_most_half_a_picousd_per_event(pricer: Pricer, amounts: list[int]) -> None:
    def picousd(seconds: int) -> int:
        return pricer.price(event("pika/1.5", {"video_seconds": seconds}), NOW).cost_picousd

    assert abs(sum(map(picousd, amounts)) - picousd(sum(amounts))) * 2 <= len(amounts) + 1


@given(usage=USAGES)
def test_the_order_of_the_dimensions_does_not_matter(pricer: Pricer, usage: dict[str, int | str]) -> None:
    reverse = dict(reversed(usage.items()))
    assert pricer.price(event("openai/gpt-4o", usage), NOW) == pricer.price(event("openai/gpt-4o", reverse), NOW)


@pytest.mark.parametrize(
    ("numerator", "denominator", "rounded"),
    [
        (1, 2, 0),
        (3, 2, 2),
        (5, 2, 2),
        (7, 2, 4),
        (1, 3, 0),
        (2, 3, 1),
        (4, 1, 4),
        (0, 7, 0),
        (49, 100, 0),
        (51, 100, 1),
    ],
)
def test_ties_go_to_the_even_neighbour(numerator: int, denominator: int, rounded: int) -> None:
    assert round_half_even(numerator, denominator) == rounded


@pytest.mark.parametrize(
    ("tokens", "usd"), [(1, "0"), (2, "0.000000000001"), (3, "0.000000000002"), (5, "0.000000000002")]
)
def test_half_a_picousd_is_rounded_to_even(pricer: Pricer, tokens: int, usd: str) -> None:
    tie = pricer.with_prices([price_record({"input_tokens": "0.000001 per 2000000"})])
    assert cost(tie, event("openai/gpt-4o", {"input_tokens": tokens})) == usd


def test_an_event_is_rounded_once_not_once_per_dimension(pricer: Pricer) -> None:
    halves = pricer.with_prices([price_record({"a": "0.000001 per 2000000", "b": "0.000001 per 2000000"})])
    assert cost(halves, event("openai/gpt-4o", {"a": 1, "b": 1})) == "0.000000000001"


def test_the_largest_amounts_of_an_event_stay_exact(pricer: Pricer) -> None:
    usage: dict[str, int | str] = {"input_tokens": 10**18 - 1}
    assert cost(pricer, event("openai/gpt-4o", usage)) == "2499999999999.9999975"


def test_every_list_price_is_what_genai_prices_itself_calculates(pricer: Pricer) -> None:
    usage: dict[str, int | str] = {"input_tokens": 250_007, "cached_input_tokens": 100_003, "output_tokens": 1_009}
    theirs = Usage(input_tokens=250_007, cache_read_tokens=100_003, output_tokens=1_009)
    compared = 0
    fresh = pricer.with_prices([])
    for provider in providers:
        for model in provider.models:
            data = event(usage=usage)
            data.provider, data.model = provider.id, model.id
            quote = fresh.price(data, NOW)
            found = provider.find_model(model.id)
            if quote.status != "priced" or "@genai-" not in quote.price_id or found is None:
                continue
            expected = found.calc_price(theirs, provider, genai_request_timestamp=from_ms(NOW)).total_price
            assert quote.cost_picousd == half_even(Fraction(expected) * PICO), (provider.id, model.id)
            compared += 1
    assert compared > 1500
