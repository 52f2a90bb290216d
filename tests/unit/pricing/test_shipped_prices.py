"""Every row of the published table of prices, with costs worked out by hand."""

import pytest
from tests.unit.pricing.events import NOW, M, cost, event

from tollgate.domain.pricing import Pricer, book_names, load_price_book
from tollgate.schemas.instants import parse_instant


@pytest.mark.parametrize(
    ("subject", "usage", "options", "usd"),
    [
        ("novita/llama-3-8b", {"messages": 4}, {}, "0.0001"),
        ("novita/llama-3-8b-chat", {"requests": 1}, {}, "0.000025"),
        ("novita/llama-3-8b", {"messages": 2, "requests": 1, "input_tokens": 90, "output_tokens": 10}, {}, "0.00005"),
        ("novita/llama-3-8b", {"input_tokens": 90, "output_tokens": 10}, {}, "0.000025"),
        ("novita/txt2img", {"images": 2}, {}, "0.006"),
        ("novita/stability", {"images": 1}, {}, "0.003"),
        ("novita/dreamshaper", {"images": 1}, {}, "0.003"),
        ("novita/flux-pro", {"images": 1}, {}, "0.04"),
        ("novita/flux-pro-1.1", {"images": 2}, {}, "0.08"),
        ("bfl/flux-pro", {"images": 1}, {}, "0.04"),
        ("bfl/flux-pro-1.1", {"images": 3}, {}, "0.12"),
        ("bfl/flux-dev", {"images": 2}, {}, "0.09"),
        ("bfl/flux-pro-ultra", {"images": 1}, {}, "0.06"),
        ("stability/sdxl", {"images": 10}, {}, "0.03"),
        ("stability/sdxl-refiner", {"images": 1}, {}, "0.003"),
        ("replicate/flux-schnell", {"images": 10}, {}, "0.03"),
        ("runway/gen-3-alpha-turbo", {"video_seconds": 8}, {}, "0.4"),
        ("runway/gen-3-alpha-turbo", {"video_seconds": "2.5"}, {}, "0.125"),
        ("pika/1.5", {"video_seconds": 3}, {}, "0.1"),
        ("pika/1.5", {"video_seconds": 1}, {}, "0.033333333333"),
        ("pika/1.5", {"video_seconds": 2}, {}, "0.066666666667"),
        ("aws/s3-standard", {"storage_gb_months": 10}, {}, "0.23"),
        ("aws/s3-standard", {"storage_gb_months": "0.5", "requests": 9000}, {}, "0.0115"),
        ("fly.io/shared-cpu-1x", {"compute_seconds": 3600}, {}, "0.00288"),
        ("openai/dall-e-3", {"images": 1}, {}, "0.04"),
        ("openai/dall-e-3", {"images": 1}, {"quality": "standard", "size": "1024x1024"}, "0.04"),
        ("openai/dall-e-3", {"images": 1}, {"size": "1792x1024"}, "0.08"),
        ("openai/dall-e-3", {"images": 1}, {"quality": "standard", "size": "1024x1792"}, "0.08"),
        ("openai/dall-e-3", {"images": 1}, {"quality": "hd"}, "0.08"),
        ("openai/dall-e-3", {"images": 1}, {"quality": "hd", "size": "1024x1024", "style": "vivid"}, "0.08"),
        ("openai/dall-e-3", {"images": 3}, {"quality": "hd", "size": "1792x1024"}, "0.36"),
        ("midjourney/fast", {"images": 5}, {}, "0.2"),
        ("luma/dream-machine", {"video_seconds": 5}, {}, "0.12"),
        ("luma/dream-machine", {"video_seconds": 1}, {}, "0.024"),
        ("luma/dream-machine", {"video_seconds": 5}, {"api": "v1"}, "0.1"),
        ("elevenlabs/tts", {"characters": 1000}, {}, "0.3"),
        ("elevenlabs/eleven_multilingual_v2", {"characters": 1}, {}, "0.0003"),
        ("cloudflare/r2", {"storage_gb_months": 10, "egress_gb": 500}, {}, "0.15"),
        ("cloudflare/r2", {"egress_gb": 500}, {}, "0"),
        ("temporal/cloud-actions", {"actions": 100}, {}, "0.005"),
        ("temporal/cloud-actions", {"requests": 100}, {}, "0.005"),
        ("temporal/cloud-actions", {"actions": 100, "requests": 3}, {}, "0.005"),
        ("openai/gpt-4o", {"input_tokens": M, "output_tokens": M}, {}, "12.5"),
        ("openai/gpt-4o", {"input_tokens": M, "cached_input_tokens": M}, {}, "1.25"),
        ("openai/gpt-5", {"input_tokens": M, "output_tokens": M}, {}, "11.25"),
        ("groq/llama-3.1-70b-versatile", {"input_tokens": M, "output_tokens": M}, {}, "1.38"),
    ],
)
def test_a_shipped_price_is_charged(
    pricer: Pricer, subject: str, usage: dict[str, int | str], options: dict[str, str], usd: str
) -> None:
    data = event(subject, usage, options=options)
    assert cost(pricer, data) == usd
    assert pricer.price(data, NOW).status == "priced"


@pytest.mark.parametrize(
    ("subject", "usage"),
    [
        ("replicate/flux-schnell", {"images": 10}),
        ("huggingface/inference", {"images": 1, "compute_seconds": 4}),
        ("huggingface/stabilityai/stable-diffusion-2", {"images": 1}),
        ("groq/llama-3.1-70b-versatile", {"input_tokens": 500, "output_tokens": 500}),
    ],
)
def test_a_free_offer_costs_nothing_when_the_event_says_so(
    pricer: Pricer, subject: str, usage: dict[str, int | str]
) -> None:
    quote = pricer.price(event(subject, usage, options={"tier": "free"}), NOW)
    assert (quote.cost_picousd, quote.status) == (0, "free")
    assert quote.price_id.startswith(subject.split("/", maxsplit=1)[0] + "/")


def test_another_tier_than_free_pays_the_list_price(pricer: Pricer) -> None:
    assert cost(pricer, event("replicate/flux-schnell", {"images": 1}, options={"tier": "paid"})) == "0.003"


@pytest.mark.parametrize(
    ("agent", "usd"),
    [
        ("CONTENT", "0.04"),
        ("SEO", "0.03"),
        ("EMAIL", "0.05"),
        ("SOCIAL", "0.03"),
        ("SUPPORT", "0.04"),
        ("AD", "0.06"),
        ("OUTREACH", "0.04"),
        ("TREND", "0.03"),
        ("INSIGHT", "0.05"),
        ("DESIGN", "0.07"),
        ("BRAND_VOICE", "0.04"),
        ("GOAL_PLANNER", "0.05"),
        ("PATTERN_MINER", "0.04"),
        ("SEGMENT_ANALYZER", "0.05"),
    ],
)
def test_an_agent_without_a_model_is_charged_by_the_thousand_tokens(pricer: Pricer, agent: str, usd: str) -> None:
    split = event(usage={"input_tokens": 700, "output_tokens": 300}, agent=agent)
    assert cost(pricer, split) == usd
    assert cost(pricer, event(usage={"tokens": 1000}, agent=agent)) == usd
    assert cost(pricer, event(usage={"total_tokens": 1000}, agent=agent)) == usd
    assert pricer.price(split, NOW).price_id.startswith(f"agent/{agent}@2023-01-01#")


def test_an_agents_total_is_not_charged_beside_its_parts(pricer: Pricer) -> None:
    usage: dict[str, int | str] = {"input_tokens": 700, "output_tokens": 300, "total_tokens": 1000}
    assert cost(pricer, event(usage=usage, agent="SEO")) == "0.03"


def test_an_agent_that_names_a_model_is_charged_for_the_model(pricer: Pricer) -> None:
    assert cost(pricer, event("openai/gpt-4o", {"input_tokens": 1000}, agent="SEO")) == "0.0025"


def test_a_provider_beside_an_agent_does_not_change_the_agents_rate(pricer: Pricer) -> None:
    data = event("openai/", {"input_tokens": 1000}, agent="SEO")
    assert (data.provider, data.model) == ("openai", "")
    assert cost(pricer, data) == "0.03"


def test_the_named_book_lies_over_the_default_one(pricer: Pricer, october: Pricer) -> None:
    both: dict[str, int | str] = {"input_tokens": M, "output_tokens": M}
    assert cost(october, event("openai/gpt-5", both)) == "12.5"
    assert cost(october, event("openai/gpt-4o", both)) == "1.25"
    assert cost(october, event("openai/gpt-4o-mini", both)) == cost(pricer, event("openai/gpt-4o-mini", both)) == "0.75"
    assert cost(october, event("pika/1.5", {"video_seconds": 3})) == "0.1"


def test_the_named_book_holds_from_its_month(october: Pricer) -> None:
    data = event("openai/gpt-4o", {"input_tokens": M})
    start = parse_instant("2025-10-01T00:00:00Z")
    assert cost(october, data, start - 1) == "2.5"
    assert cost(october, data, start) == "0.25"


def test_books_are_chosen_by_name() -> None:
    assert book_names() == ["default", "oct-2025"]
    with pytest.raises(ValueError, match="there is no price book 'oct-1999'; use one of default, oct-2025"):
        load_price_book("oct-1999")


@pytest.mark.parametrize(
    ("alias", "canonical"),
    [
        ("xai/grok-3", "x-ai/grok-3"),
        ("bedrock/anthropic.claude-3-haiku-20240307-v1:0", "aws/"),
        ("vertex_ai/gemini-2.5-pro", "google/gemini-2.5-pro"),
        ("together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo", "together/"),
        ("fireworks_ai/deepseek-v3-0324", "fireworks/"),
        ("azure_openai/gpt-4o", "azure/gpt-4o"),
        ("mistralai/mistral-large-latest", "mistral/"),
        ("OpenAI/GPT-4o", "openai/gpt-4o"),
        ("RunwayML/gen3a_turbo", "runway/gen-3-alpha-turbo"),
        ("stability-ai/SDXL", "stability/sdxl"),
        ("litellm/openai/gpt-4o", "openai/gpt-4o"),
        ("anthropic/claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5"),
    ],
)
def test_providers_are_known_by_the_names_services_send(pricer: Pricer, alias: str, canonical: str) -> None:
    quote = pricer.price(event(alias, {}), NOW)
    assert quote.status == "priced"
    assert quote.price_id.startswith(canonical)


def test_shipped_price_ids_say_since_when_and_differ_by_content(pricer: Pricer) -> None:
    standard = pricer.price(event("openai/dall-e-3", {"images": 1}), NOW).price_id
    hd = pricer.price(event("openai/dall-e-3", {"images": 1}, options={"quality": "hd"}), NOW).price_id
    assert standard.startswith("openai/dall-e-3@2023-01-01#")
    assert standard != hd
    assert len(standard.partition("#")[2]) == 8


def test_list_price_ids_say_which_release_of_the_list_it_is(pricer: Pricer) -> None:
    quote = pricer.price(event("openai/gpt-4o", {"input_tokens": 1}), NOW)
    assert quote.price_id == "openai/gpt-4o@genai-0.2.3#91aa280d"


@pytest.mark.parametrize(("product", "usd"), [("", "0.025"), ("web", "0.025"), ("video", "0.05")])
def test_retail_is_the_users_tokens_at_the_products_price(pricer: Pricer, product: str, usd: str) -> None:
    data = event("openai/gpt-4o", {"input_tokens": 1}, product=product, retail_tokens=5)
    assert pricer.price(data, NOW).retail_picousd == {"0.025": 25_000_000_000, "0.05": 50_000_000_000}[usd]


def test_retail_counts_fractions_of_a_token(pricer: Pricer) -> None:
    data = event("openai/gpt-4o", {"input_tokens": 1}, retail_tokens="0.5")
    assert pricer.price(data, NOW).retail_picousd == 2_500_000_000
