"""Options that change a price: their names, what they do to every listed model, and what is told of others."""

from decimal import Decimal
from itertools import permutations
from random import Random

import pytest
from genai_prices.data import providers
from tests.unit.pricing.events import NOW, M, cost, event, price_record

from tollgate.domain.pricing import Price, PriceBook, Pricer, explain
from tollgate.domain.pricing.pricer import _OPTION_SETS_MAX
from tollgate.schemas.instants import parse_instant

BATCH = {"processing": "batch"}
ANTHROPIC = [model.id for provider in providers if provider.id == "anthropic" for model in provider.models]
# OpenAI's list has these at full price, or without their tier.
BEFORE_BATCHES = {"claude-2", "claude-v1"}
NOT_HALF = {"gpt-3.5-turbo-1106", "gpt-5.5-pro"}
WITH_BATCH = [
    (provider.id, model.id)
    for provider in providers
    for model in provider.models
    if provider.id in ("openai", "groq")
    and model.id not in NOT_HALF
    and any(variant.when == BATCH for variant in model.price_variants or ())
]


def found(book: PriceBook, subject: str, options: dict[str, str]) -> Price:
    provider, _, model = subject.partition("/")
    price = book.resolve(provider, model, "", options, NOW).price
    assert price is not None
    return price


def ratios(book: PriceBook, subject: str, options: dict[str, str]) -> dict[str, set[Decimal]]:
    """By dimension, what the option multiplies each of its rates with: the base and every tier."""
    plain, other = found(book, subject, {}), found(book, subject, options)
    many: dict[str, set[Decimal]] = {}
    for rate in plain.rates:
        twin = other.by_dimension[rate.dimension]
        rates, twins = [rate.usd, *(t.usd for t in rate.tiers)], [twin.usd, *(t.usd for t in twin.tiers)]
        assert [t.start for t in rate.tiers] == [t.start for t in twin.tiers]
        many[rate.dimension] = {b / a for a, b in zip(rates, twins, strict=True) if a}
    return many


@pytest.mark.parametrize("model", [model for model in ANTHROPIC if model not in BEFORE_BATCHES])
def test_a_batch_is_exactly_half_of_every_token_rate_of_anthropic(book: PriceBook, model: str) -> None:
    for dimension, times in ratios(book, f"anthropic/{model}", BATCH).items():
        assert times == ({Decimal("0.5")} if dimension.endswith("_tokens") else {Decimal(1)}), dimension


@pytest.mark.parametrize(("provider", "model"), WITH_BATCH)
def test_a_batch_is_exactly_half_of_what_goes_in_and_out(book: PriceBook, provider: str, model: str) -> None:
    many = ratios(book, f"{provider}/{model}", BATCH)
    assert {dimension: many[dimension] for dimension in ("input_tokens", "output_tokens") if dimension in many} in (
        {"input_tokens": {Decimal("0.5")}, "output_tokens": {Decimal("0.5")}},
        {"input_tokens": {Decimal("0.5")}},
        {},
    )
    assert all(times == {Decimal(1)} for dimension, times in many.items() if dimension.endswith("_searches"))


def test_the_us_cost_a_tenth_more_from_opus_4_6_on(book: PriceBook) -> None:
    dearer = []
    for model in ANTHROPIC:
        many = ratios(book, f"anthropic/{model}", {"inference_geo": "us"})
        times = {one for dimension, rates in many.items() if dimension.endswith("_tokens") for one in rates}
        assert times in ({Decimal(1)}, {Decimal("1.1")}), model
        dearer += [model] if times == {Decimal("1.1")} else []
    assert dearer == [
        "claude-fable-5", "claude-fable-5-1", "claude-fable-5-2", "claude-haiku-5-5", "claude-mythos-5-2",
        "claude-opus-4-6", "claude-opus-4-7", "claude-opus-4-8", "claude-opus-5", "claude-opus-5-5",
        "claude-sonnet-4-6", "claude-sonnet-5", "claude-sonnet-5-5",
    ]  # fmt: skip


def test_a_regional_endpoint_of_vertex_costs_a_tenth_more_from_claude_4_5_on(book: PriceBook) -> None:
    models = [model.id for provider in providers if provider.id == "google" for model in provider.models]
    dearer = []
    for model in models:
        if "claude" in model:
            many = ratios(book, f"google/{model}", {"region": "europe-west1"})
            times = {one for dimension, rates in many.items() if dimension.endswith("_tokens") for one in rates}
            assert times in ({Decimal(1)}, {Decimal("1.1")}), model
            dearer += [model] if times == {Decimal("1.1")} else []
    assert dearer == [
        "claude-fable-5", "claude-fable-5-1", "claude-fable-5-2", "claude-haiku-4-5", "claude-haiku-5-5",
        "claude-opus-4-5", "claude-opus-4-6", "claude-opus-4-7", "claude-opus-4-8", "claude-opus-5", "claude-opus-5-5",
        "claude-sonnet-4-5", "claude-sonnet-4-6", "claude-sonnet-5-5",
    ]  # fmt: skip


def test_a_region_of_bedrock_costs_a_tenth_more_than_the_global_profile(book: PriceBook) -> None:
    models = [model.id for provider in providers if provider.id == "aws" for model in provider.models]
    pairs = [model.removeprefix("global.") for model in models if model.startswith("global.")]
    level = []
    for model in pairs:
        plain, regional = found(book, f"aws/global.{model}", {}), found(book, f"aws/regional.{model}", {})
        times = {regional.by_dimension[rate.dimension].usd / rate.usd for rate in plain.rates}
        assert times in ({Decimal(1)}, {Decimal("1.1")}), model
        level += [model] if times == {Decimal(1)} else []
    assert level == ["anthropic.claude-sonnet-4-20250514-v1:0"]


@pytest.mark.parametrize(
    "options",
    [
        {"service_tier": "batch"},
        {"service-tier": "batch"},
        {"serviceTier": "Batch"},
        {"processing": "message_batch"},
        {"processing_mode": " BATCH "},
        {"processing": "batch", "service_tier": "standard", "temperature": "0.3"},
    ],
)
def test_an_option_is_known_by_its_aliases(pricer: Pricer, options: dict[str, str]) -> None:
    assert cost(pricer, event("anthropic/claude-opus-4-6", {"input_tokens": M}, options=options)) == "2.5"


@pytest.mark.parametrize(
    ("subject", "options", "notes"),
    [
        ("openai/gpt-4o", {}, []),
        ("openai/gpt-4o", {"service_tier": "default"}, []),
        ("openai/dall-e-3", {"size": "1024x1024", "quality": "hd"}, []),
        (
            "openai/gpt-4o",
            {"service_tier": "flex", "colour": "red"},
            [
                "the option service_tier changes nothing: no rate for it is known here",
                "the option colour changes nothing: no price depends on an option of this name",
            ],
        ),
        (
            "openai/gpt-4o",
            {"serviceTier": "sixfold"},
            ["the option service_tier changes nothing: no rate for it is known here"],
        ),
        (
            "vertex_ai/gemini-2.5-pro",
            {"region": "us-east5"},
            ["the option region changes nothing: no rate for it is known here"],
        ),
        (
            "litellm/bedrock/us-east-1/anthropic.claude-sonnet-4-6",
            {},
            ["the model is read as anthropic.claude-sonnet-4-6 of aws"],
        ),
        (
            "openrouter/openai/gpt-4o:online",
            {},
            [
                "its name does not say what is charged: web searches are charged for beside the tokens",
                "no price is known for this event: it is charged at the most expensive known price of openrouter",
            ],
        ),
    ],
)
def test_an_explanation_tells_how_names_and_options_were_read(
    pricer: Pricer, subject: str, options: dict[str, str], notes: list[str]
) -> None:
    usage: dict[str, int | str] = {"images": 1} if "dall-e" in subject else {"input_tokens": 1000}
    assert list(explain(pricer, event(subject, usage, options=options), NOW).notes) == notes


def test_options_that_change_nothing_are_counted_when_a_price_is_looked_up(pricer: Pricer) -> None:
    fresh = pricer.with_prices([])
    for _ in range(3):
        fresh.price(event("openai/gpt-4o", {"input_tokens": 1}, options={"service_tier": "flex", "colour": "red"}), NOW)
    assert fresh.take_options_ignored() == 2
    fresh.price(event("openai/gpt-4o", {"input_tokens": 1}, options={"service_tier": "default"}), NOW)
    fresh.price(event("openai/gpt-5", {"input_tokens": 1}, options={"service_tier": "flex"}), NOW)
    assert fresh.take_options_ignored() == 0


def test_what_is_remembered_of_a_price_holds_at_every_time(book: PriceBook) -> None:
    """Around each date on which some price or offer begins, in any order, with any option."""
    seed = 20261129
    random = Random(seed)
    days = [
        "2024-04-15",
        "2024-10-08",
        "2025-06-10",
        "2025-07-07",
        "2026-10-12",
        "2026-10-14",
        "2026-12-01",
        "2027-01-01",
    ]
    times = [parse_instant(f"{day}T00:00:00Z") + offset for day in days for offset in (-1, 0)]
    subjects = ["openai/gpt-5", "openai/o3", "anthropic/claude-3-haiku-20240307", "google/gemini-3.6-flash"]
    subjects += ["google/gemini-4-argon", "anthropic/claude-opus-4-8", "openai/text-embedding-3-small"]
    options = [{}, BATCH, {"service_tier": "flex"}, {"service_tier": "flex", **BATCH}, {"inference_geo": "us", **BATCH}]
    remembering = Pricer(book)
    for _ in range(1500):
        subject, given, time = random.choice(subjects), random.choice(options), random.choice(times)
        data = event(subject, {"input_tokens": 1000}, options=given)
        assert remembering.price(data, time) == Pricer(book).price(data, time), (seed, subject, given, time)


def test_what_is_remembered_of_options_is_bounded(pricer: Pricer) -> None:
    fresh = pricer.with_prices([])
    for i in range(_OPTION_SETS_MAX * 3):
        fresh.price(event("openai/gpt-4o", {"input_tokens": 1}, options={"colour": f"{i}"}), NOW)
    fresh.price(event("openai/gpt-4o", {"input_tokens": 1}, options={"colour": "x" * 4000}), NOW)
    fresh.price(event("openai/gpt-4o", {"input_tokens": 1}, options={f"c{i}": "x" for i in range(64)}), NOW)
    kept = list(fresh._known_options)
    assert len(kept) <= _OPTION_SETS_MAX
    assert max(len(options) for options in kept) == 1
    assert all(len(value) < 10 for options in kept for _, value in options)
    assert [key[:2] for key in fresh._young] == [("openai", "gpt-4o")]


def test_the_order_of_options_does_not_matter(book: PriceBook) -> None:
    said = {"serviceTier": "flex", "service-tier": "priority", "processing": "standard", "colour": "red"}
    keys = {book.option_key(dict(order)) for order in permutations(said.items())}
    assert keys == {((("service_tier", "flex"),), ("colour",))}
    own = {"serviceTier": "flex", "service_tier": "priority"}
    assert book.option_key(own) == ((("service_tier", "priority"),), ())


@pytest.mark.parametrize(
    ("set_for", "sent", "usd"),
    [
        ({"service_tier": "batch"}, {"processing": "batch"}, "7"),
        ({"processing": "batch"}, {"serviceTier": "batch"}, "7"),
        ({"service_tier": "standard"}, {}, "7"),
        ({"service_tier": "standard"}, {"service_tier": "auto"}, "7"),
        ({"service_tier": "standard"}, {"service_tier": "flex"}, "2.5"),
        ({"contract": "gold"}, {"contract": "gold"}, "7"),
        ({"contract": "gold"}, {"contract": "tin"}, "2.5"),
    ],
)
def test_a_run_time_price_for_an_option_holds_for_its_aliases(
    pricer: Pricer, set_for: dict[str, str], sent: dict[str, str], usd: str
) -> None:
    changed = pricer.with_prices([price_record({"input_tokens": "7 per 1000000"}, options=set_for)])
    assert cost(changed, event("openai/gpt-4o", {"input_tokens": M}, options=sent)) == usd


@pytest.mark.parametrize(
    ("provider", "model", "subject"),
    [
        ("openai", "gpt-4o", "openai/openai/gpt-4o"),
        ("openai", "gpt-4o", "litellm/openai/gpt-4o"),
        ("bedrock", "us.anthropic.claude-sonnet-4-6", "litellm/bedrock/us.anthropic.claude-sonnet-4-6"),
        ("litellm", "bedrock/us.anthropic.claude-sonnet-4-6", "litellm/bedrock/us.anthropic.claude-sonnet-4-6"),
        ("openai", "ft:gpt-4.1-2025-04-14", "openai/ft:gpt-4.1-2025-04-14:acme::Ab12"),
        ("openai", "ft:gpt-4.1-2025-04-14:acme::Ab12", "openai/ft:gpt-4.1-2025-04-14:acme::Ab12"),
        ("openrouter", "openai/gpt-4o:online", "openrouter/openai/gpt-4o:online"),
        (
            "aws",
            "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc",
            "bedrock/arn:aws:bedrock:us-east-1:1:application-inference-profile/abc",
        ),
    ],
)
def test_a_run_time_price_is_found_by_any_name_of_its_model(
    pricer: Pricer, provider: str, model: str, subject: str
) -> None:
    record = price_record({"input_tokens": "7 per 1000000"}, provider=provider, model=model)
    assert cost(pricer.with_prices([record]), event(subject, {"input_tokens": M})) == "7"


def test_a_price_for_a_name_that_hides_something_is_for_that_name_alone(october: Pricer) -> None:
    for model in ("gpt-4o:online", "gpt-4o-2024-08-06:online", "gpt-4o-2024-08-06-audio"):
        assert october.price(event(f"openai/{model}", {"input_tokens": M}), NOW).status == "unpriced"
    assert cost(october, event("openai/gpt-4o-2024-08-06", {"input_tokens": M})) == "0.25"
    assert cost(october, event("openai/gpt-4o-20240806", {"input_tokens": M})) == "0.25"
