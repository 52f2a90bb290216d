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
    """A price of a model that nobody else knows, with input and output alone."""
    rates = {name: RATES[name] for name in ("input_tokens", "output_tokens")}
    return pricer.with_prices([price_record(rates, model="gpt-plain")])


def millions(**amounts: int) -> dict[str, int | str]:
    return {dimension: amount * M for dimension, amount in amounts.items()}


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        (millions(input_tokens=3), "30"),
        (millions(input_tokens=3, cached_input_tokens=2), "12"),
        (millions(cached_input_tokens=2, input_tokens=3), "12"),
        (millions(input_tokens=3, cached_input_tokens=3), "3"),
        (millions(input_tokens=6, cached_input_tokens=1, cache_write_tokens=2), "71"),
        (millions(input_tokens=6, input_audio_tokens=1), "150"),
        (millions(output_tokens=5, output_audio_tokens=1), "360"),
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
    data = event("openai/gpt-plain", usage, convention=convention)
    assert cost(plain, data) == usd
    assert plain.price(data, NOW).status == "priced"


@pytest.mark.parametrize(
    "part",
    ["input_audio_tokens", "output_audio_tokens", "input_image_tokens", "output_video_tokens", "cache_write_1h_tokens"],
)
def test_audio_images_and_writes_of_an_hour_are_not_charged_like_text(plain: Pricer, part: str) -> None:
    data = event("openai/gpt-plain", {"input_tokens": M, "output_tokens": M, part: M})
    quote = plain.price(data, NOW)
    assert quote.status == "unpriced"
    # Never below what text costs: 10 for input and 40 for output.
    assert quote.cost_picousd >= 50 * 10**12


@pytest.mark.parametrize(
    ("usage", "usd", "status"),
    [
        (millions(input_tokens=1, cached_input_tokens=3), "13", "estimated"),
        (millions(cached_input_tokens=3), "3", "priced"),
        (millions(input_tokens=2, cached_input_tokens=1, cache_write_tokens=2), "61", "estimated"),
        (millions(output_tokens=1, reasoning_tokens=2), "160", "estimated"),
        (millions(input_tokens=0, reasoning_tokens=2), "120", "priced"),
        (millions(cache_write_tokens=1, cache_write_5m_tokens=2), "60", "estimated"),
    ],
)
def test_parts_above_their_whole_are_charged_beside_it_and_marked(
    full: Pricer, usage: dict[str, int | str], usd: str, status: str
) -> None:
    data = event("openai/gpt-4o", usage)
    assert cost(full, data) == usd
    assert full.price(data, NOW).status == status


@pytest.mark.parametrize(
    ("subject", "usage", "usd"),
    [
        # 1.25 and 2.50 per million of grok-4.20: 1,499 and 2,809 tokens of output are 4,308, as xAI bills them.
        ("xai/grok-4.20", {"output_tokens": 1499, "reasoning_tokens": 2809}, "0.01077"),
        # 3 and 0.30 per million of Claude Sonnet 4.6: Anthropic's input is without what was cached.
        ("anthropic/claude-sonnet-4-6", {"input_tokens": 1000, "cached_input_tokens": 9000}, "0.0057"),
        ("vertex_ai/claude-sonnet-4-6", {"input_tokens": 1000, "cached_input_tokens": 9000}, "0.0057"),
    ],
)
def test_parts_above_their_whole_are_no_doubt_where_the_provider_counts_so(
    pricer: Pricer, subject: str, usage: dict[str, int | str], usd: str
) -> None:
    data = event(subject, usage)
    assert cost(pricer, data) == usd
    assert pricer.price(data, NOW).status == "priced"


@pytest.mark.parametrize(
    ("usage", "usd", "status"),
    [
        # gpt-realtime-mini: 0.60, cached 0.06, audio 10, cached audio 0.30. Of 1,000 tokens 400 are cached audio, 300
        # other audio, 100 other cached ones: 200 x 0.60 + 100 x 0.06 + 300 x 10 + 400 x 0.30 = 3,246 per million.
        (
            {
                "input_tokens": 1000,
                "cached_input_tokens": 500,
                "input_audio_tokens": 700,
                "cache_audio_read_tokens": 400,
            },
            "0.003246",
            "priced",
        ),
        (
            {
                "input_tokens": 1000,
                "cached_input_tokens": 100,
                "input_audio_tokens": 300,
                "cache_audio_read_tokens": 400,
            },
            "0.003246",
            "priced",
        ),
        # Nothing tells how much of the audio was cached: none of it is the dearest, 600 x 0.60 + 100 x 0.06 + 300 x 10.
        ({"input_tokens": 1000, "cached_input_tokens": 100, "input_audio_tokens": 300}, "0.003366", "estimated"),
        (
            {"input_tokens": 1000, "cached_input_tokens": 100, "input_audio_tokens": 300, "cache_audio_read_tokens": 0},
            "0.003366",
            "priced",
        ),
        # At least 500 of them must be both: 500 x 0.30 + 300 x 0.06 + 200 x 10.
        ({"input_tokens": 1000, "cached_input_tokens": 800, "input_audio_tokens": 700}, "0.002168", "estimated"),
        # At least 400 must be: 400 x 0.30 + 300 x 0.06 + 300 x 10.
        ({"input_tokens": 1000, "cached_input_tokens": 700, "input_audio_tokens": 700}, "0.003138", "estimated"),
        ({"cached_input_tokens": 100, "input_audio_tokens": 300}, "0.003006", "estimated"),
        # All of it is audio, so what was cached is audio: 900 x 10 + 100 x 0.30.
        ({"input_tokens": 1000, "cached_input_tokens": 100, "input_audio_tokens": 1000}, "0.00903", "priced"),
    ],
)
def test_cached_audio_is_charged_once(pricer: Pricer, usage: dict[str, int | str], usd: str, status: str) -> None:
    data = event("openai/gpt-realtime-mini", usage)
    assert (cost(pricer, data), pricer.price(data, NOW).status) == (usd, status)


def test_writes_of_five_minutes_and_of_an_hour_are_parts_of_all_writes(pricer: Pricer) -> None:
    # 600 x 6.25 + 400 x 10 + 200 x 6.25 per million, with nothing beside the writes.
    usage: dict[str, int | str] = {
        "input_tokens": 1200,
        "cache_write_tokens": 1200,
        "cache_write_5m_tokens": 600,
        "cache_write_1h_tokens": 400,
    }
    assert cost(pricer, event("anthropic/claude-opus-4-8", usage)) == "0.009"
    assert cost(pricer, event("anthropic/claude-opus-4-8", usage, convention="exclusive")) == "0.015"


def test_decimal_amounts_are_charged_like_whole_ones(full: Pricer) -> None:
    usage: dict[str, int | str] = {"input_tokens": "3000000.5", "cached_input_tokens": 2 * M}
    assert cost(full, event("openai/gpt-4o", usage)) == "12.000005"


def test_a_cache_write_of_an_hour_is_dearer(pricer: Pricer) -> None:
    usage = millions(input_tokens=1, cache_write_1h_tokens=1)
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


@pytest.mark.parametrize(("tokens", "usd"), [(199_999, "0.25499875"), (200_000, "0.505")])
def test_the_tier_of_xai_starts_at_its_threshold(pricer: Pricer, tokens: int, usd: str) -> None:
    # 1.25 and 2.50 per million, twice that from 200,000 tokens of input on.
    usage: dict[str, int | str] = {"input_tokens": tokens, "output_tokens": 1000 if tokens == 200_000 else 2000}
    assert cost(pricer, event("xai/grok-4.20", usage)) == usd


def test_an_exclusive_cache_counts_towards_the_tier(pricer: Pricer) -> None:
    usage: dict[str, int | str] = {"input_tokens": 1, "cached_input_tokens": 200_000}
    assert cost(pricer, event("google/gemini-2.5-pro", usage, convention="exclusive")) == "0.0500025"
    # Of a whole of 1 and a part of 200,000 both are charged, and both count.
    assert cost(pricer, event("google/gemini-2.5-pro", usage)) == "0.0500025"


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
