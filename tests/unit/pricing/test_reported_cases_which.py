"""Which price holds: cases from public reports and their siblings. Costs follow by hand from the providers' lists."""

import pytest
from tests.unit.pricing.events import NOW, M, cost, event

from tollgate.domain.pricing import Pricer

SONNET = {"input_tokens": 100_000, "output_tokens": 10_000}
# At 3 and 15 USD per million tokens, and at a tenth more.
GLOBAL, REGIONAL = "0.45", "0.495"
GPT_4O = {"input_tokens": 1000, "output_tokens": 1000}
PRO_ARN = "arn:aws:bedrock:us-east-1:123456789012"


@pytest.mark.parametrize(
    ("subject", "usd"),
    [
        ("bedrock/anthropic.claude-sonnet-4-6", REGIONAL),
        ("bedrock/us.anthropic.claude-sonnet-4-6", REGIONAL),
        ("bedrock/eu.anthropic.claude-sonnet-4-6", REGIONAL),
        ("bedrock/apac.anthropic.claude-sonnet-4-6", REGIONAL),
        ("bedrock/jp.anthropic.claude-sonnet-4-6", REGIONAL),
        ("bedrock/au.anthropic.claude-sonnet-4-6", REGIONAL),
        ("bedrock/global.anthropic.claude-sonnet-4-6", GLOBAL),
        ("bedrock/global.anthropic.claude-sonnet-4-5-20250929-v1:0", GLOBAL),
        ("bedrock/eu.anthropic.claude-sonnet-4-5-20250929-v1:0", REGIONAL),
        # Sonnet 5 costs 2 and 10, and Opus 4.8 costs 5 and 25. genai-prices does not name `apac.` for Opus 4.8.
        ("bedrock/us.anthropic.claude-sonnet-5", "0.33"),
        ("bedrock/apac.anthropic.claude-opus-4-8", "0.825"),
        ("bedrock/global.anthropic.claude-opus-4-8", "0.75"),
        # Before Claude 4.5 there is no premium.
        ("bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0", GLOBAL),
        ("bedrock/anthropic.claude-3-5-sonnet-20241022-v2:0", GLOBAL),
        (f"bedrock/{PRO_ARN}:inference-profile/us.anthropic.claude-sonnet-4-6", REGIONAL),
        (f"bedrock/{PRO_ARN}:inference-profile/global.anthropic.claude-sonnet-4-6", GLOBAL),
        ("bedrock/arn:aws:bedrock:eu-west-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0", REGIONAL),
        ("litellm/bedrock/us.anthropic.claude-sonnet-4-6", REGIONAL),
        ("litellm/bedrock/eu-west-2/anthropic.claude-sonnet-4-6", REGIONAL),
        ("litellm/bedrock/converse/global.anthropic.claude-sonnet-4-6", GLOBAL),
        ("litellm/vertex_ai/claude-sonnet-4-6@default", GLOBAL),
        ("litellm/anthropic/claude-sonnet-4-6", GLOBAL),
        ("Amazon Bedrock/us.anthropic.claude-sonnet-4-6", REGIONAL),
    ],
)
def test_bedrock_charges_a_tenth_more_for_a_region_from_claude_4_5_on(pricer: Pricer, subject: str, usd: str) -> None:
    quote = pricer.price(event(subject, dict(SONNET)), NOW)
    assert (cost(pricer, event(subject, dict(SONNET))), quote.status) == (usd, "priced")


@pytest.mark.parametrize(
    "subject",
    [
        "bedrock/arn:aws:bedrock:ap-south-1:123456789012:application-inference-profile/abcdef123456",
        f"bedrock/{PRO_ARN}:application-inference-profile/us.anthropic.claude-sonnet-4-6",
        f"bedrock/{PRO_ARN}:provisioned-model/abcdef123456",
        f"bedrock/{PRO_ARN}:custom-model/amazon.nova-lite-v1:0/abc",
        f"bedrock/{PRO_ARN}:imported-model/meta.llama3-1-8b-instruct-v1:0",
        # Amazon's and Meta's models cost more outside of the US.
        "bedrock/eu.amazon.nova-lite-v1:0",
        "bedrock/eu.meta.llama3-2-1b-instruct-v1:0",
        "litellm/bedrock/eu-west-1/amazon.nova-lite-v1:0",
        # GovCloud has a list of its own.
        "litellm/bedrock/us-gov-west-1/anthropic.claude-3-5-sonnet-20240620-v1:0",
        "bedrock/us-gov.anthropic.claude-3-5-sonnet-20240620-v1:0",
        "litellm/bedrock/us-east-1/1-month-commitment/anthropic.claude-3-haiku-20240307-v1:0",
        "openai/ft:gpt-4.1-mini-2025-04-14:acme::Ab12",
        "openai/ft:gpt-4.1-2025-04-14:acme::Ab12",
        "openai/ft:gpt-4-0613:acme::Ab12",
        "openai/ft:o4-mini-2025-04-16:acme::Ab12",
        "openai/ft:gpt-4.1-nano-2025-04-14:acme:moderation:Ab12",
        "openai/ft:davinci-002:acme::Ab12",
        "azure/gpt-4o-mini-2024-07-18.ft-0123456789abcdef",
        "azure/ft:gpt-4o-mini-2024-07-18:acme::Ab12",
        "mistral/ft:open-mistral-7b:acme:20240101:Ab12",
        "google/tunedModels/my-model",
        "openrouter/openai/gpt-4o:online",
        "openrouter/openai/gpt-4o:nitro:online",
        "openrouter/openai/gpt-4o:online:nitro",
        "openrouter/openai/gpt-5:extended",
        "openai/gpt-4o:online",
        "openai/gpt-4o:free",
        "litellm/azure/eu/gpt-4o-2024-08-06",
        "cohere/command-a-plus-05-2026",
        "openai/gpt-4o-mini-super",
        "openai/gpt-5-nano-ultra",
        "openai/my-moderation-bot",
        "azure/my-o4-mini-clone",
        "anthropic/claude-opus-4-10",
        "anthropic/claude-haiku-4-5-lite",
        "google/claude-opus-4-10",
        "google/gemini-2.5-pro-ultra",
        "google/gemini-3.7-flash-lite",
        "google/gemini-2.0-flash-exp-image-generation",
        "deepseek/deepseek-r1-distill-llama-70b",
        "moonshotai/kimi-k2.5-super",
        "bedrock/amazon.nova-pro-v2:0",
        "bedrock/us.anthropic.claude-sonnet-4-6-super",
        "bedrock/xus.anthropic.claude-sonnet-4-6",
        # Whoever is compatible with a provider has prices of their own.
        "openai-compatible/gpt-4o",
        "not-openai/gpt-4o",
    ],
)
def test_a_name_that_does_not_say_what_is_charged_is_unpriced(pricer: Pricer, subject: str) -> None:
    quote = pricer.price(event(subject, dict(SONNET)), NOW)
    assert quote.status == "unpriced"
    assert quote.price_id.startswith("fallback/")
    assert quote.cost_picousd > 0


@pytest.mark.parametrize(
    ("subject", "usage", "usd"),
    [
        # Fine-tuned GPT-4o mini 0.30/1.20, GPT-4o 3.75/15, GPT-3.5 Turbo 3/6.
        ("openai/ft:gpt-4o-mini-2024-07-18:acme::Ab12", SONNET, "0.042"),
        ("openai/ft:gpt-4o-mini-2024-07-18:acme:moderation:Ab12:ckpt-step-90", SONNET, "0.042"),
        ("openai/ft:gpt-4o-2024-08-06:acme::Ab12", SONNET, "0.525"),
        ("openai/ft:gpt-3.5-turbo-0125:acme::Ab12", SONNET, "0.36"),
        ("litellm/openai/ft:gpt-4o-mini-2024-07-18:acme::Ab12", SONNET, "0.042"),
        ("openrouter/openai/gpt-4o:nitro", GPT_4O, "0.0125"),
        ("openrouter/openai/gpt-4o:floor", GPT_4O, "0.0125"),
        ("openrouter/openai/gpt-4o:exacto", GPT_4O, "0.0125"),
        ("litellm/openrouter/openai/gpt-4o:nitro", GPT_4O, "0.0125"),
        ("openrouter/openrouter/openai/gpt-4o", GPT_4O, "0.0125"),
        ("openai/openai/gpt-4o", GPT_4O, "0.0125"),
        ("openai/openai:gpt-4o", GPT_4O, "0.0125"),
        ("/openai/gpt-4o", GPT_4O, "0.0125"),
        ("openai/gpt-4o:nitro", GPT_4O, "0.0125"),
        ("azure/azure/gpt-4o", GPT_4O, "0.0125"),
        ("litellm/azure/global-standard/gpt-4o", GPT_4O, "0.0125"),
        ("azure.openai/gpt-4o", GPT_4O, "0.0125"),
        ("OpenAI/GPT-4o", GPT_4O, "0.0125"),
        ("openai/gpt-4o-20240806", GPT_4O, "0.0125"),
        ("openai/gpt-4o-2024-05-13", GPT_4O, "0.02"),
        ("openai/gpt-4o-20240513", GPT_4O, "0.02"),
        ("azure/gpt-4o-2024-05-13", GPT_4O, "0.02"),
        ("vertex_ai/claude-sonnet-4-6@default", SONNET, "0.45"),
        ("vertex_ai/claude-3-5-sonnet@20240620", SONNET, "0.45"),
        ("vertex_ai/claude-3-5-sonnet-v2@20241022", SONNET, "0.45"),
        ("vertex_ai/publishers/anthropic/models/claude-sonnet-4-6", SONNET, "0.45"),
        ("vertex_ai/anthropic/claude-sonnet-4-6", SONNET, "0.45"),
        ("google/gemini-2.5-flash-preview-09-2025", {"input_tokens": M, "output_tokens": M}, "2.8"),
        ("google/models/gemini-2.5-flash", {"input_tokens": M, "output_tokens": M}, "2.8"),
        ("gcp.vertex_ai/google/gemini-2.5-flash", {"input_tokens": M, "output_tokens": M}, "2.8"),
        ("anthropic/claude-opus-4-6[1m]", {"input_tokens": M}, "5"),
        ("mistral/magistral-medium-2506", {"input_tokens": M}, "2"),
        ("openai/gpt-image-1", {"input_tokens": 150, "output_tokens": 8000}, "0.32075"),
        ("openai/gpt-image-1", {"input_tokens": 1000, "input_image_tokens": 400, "output_tokens": 0}, "0.007"),
        ("openai/gpt-image-1-mini", {"input_tokens": 0, "output_tokens": 272}, "0.002176"),
        (
            "openai/gpt-image-2",
            {"input_tokens": 3987, "input_image_tokens": 3044, "output_tokens": 1000, "output_image_tokens": 1000},
            "0.059067",
        ),
    ],
)
def test_a_name_that_only_routes_finds_its_model(
    pricer: Pricer, subject: str, usage: dict[str, int | str], usd: str
) -> None:
    data = event(subject, dict(usage), agent="" if subject[0] != "/" else "SEO")
    assert (cost(pricer, data), pricer.price(data, NOW).status) == (usd, "priced")


# 200 text and 800 audio tokens in, 100 and 400 out.
AUDIO: dict[str, int | str] = {
    "input_tokens": 1000,
    "input_audio_tokens": 800,
    "output_tokens": 500,
    "output_audio_tokens": 400,
}


@pytest.mark.parametrize(
    ("subject", "usd"),
    [
        # Text 2.50/10, audio 40/80: 0.0005 + 0.032 + 0.001 + 0.032.
        ("openai/gpt-4o-audio-preview", "0.0655"),
        ("openai/gpt-4o-audio-preview-2024-12-17", "0.0655"),
        ("openai/gpt-4o-audio-preview-20241217", "0.0655"),
        ("azure/gpt-4o-audio-preview-2025-06-03", "0.0655"),
        # Audio 100/200 in the first snapshot: 0.0005 + 0.08 + 0.001 + 0.08.
        # Text 5/20 in real time: 0.001 + 0.08 + 0.002 + 0.08.
        ("openai/gpt-4o-audio-preview-2024-10-01", "0.1615"),
        ("openai/gpt-4o-realtime-preview-2024-10-01", "0.163"),
        # Text 0.15/0.60, audio 10/20: 0.00003 + 0.008 + 0.00006 + 0.008.
        ("openai/gpt-4o-mini-audio-preview-2024-12-17", "0.01609"),
    ],
)
def test_audio_is_charged_at_the_rate_of_its_snapshot(pricer: Pricer, subject: str, usd: str) -> None:
    data = event(subject, dict(AUDIO))
    assert (cost(pricer, data), pricer.price(data, NOW).status) == (usd, "priced")


@pytest.mark.parametrize(
    "subject",
    [
        "openrouter/openai/gpt-oss-120b:free",
        "openrouter/nobody/knows-this:free",
        "litellm/openrouter/openai/gpt-oss-120b:free",
    ],
)
def test_a_free_variant_of_openrouter_is_free(pricer: Pricer, subject: str) -> None:
    quote = pricer.price(event(subject, dict(GPT_4O)), NOW)
    assert (quote.cost_picousd, quote.status) == (0, "free")
    assert quote.price_id


EXAMPLE: dict[str, int | str] = {
    "input_tokens": 105,
    "cached_input_tokens": 7123,
    "cache_write_tokens": 7345,
    "output_tokens": 6039,
    "web_searches": 1,
}


@pytest.mark.parametrize(
    ("subject", "options", "usage", "usd"),
    [
        # Opus 4.6 costs 5 and 25: 9 and 25 tokens cost 0.00067.
        ("anthropic/claude-opus-4-6", {}, {"input_tokens": 9, "output_tokens": 25}, "0.00067"),
        (
            "anthropic/claude-opus-4-6",
            {"service_tier": "batch"},
            {"input_tokens": 9, "output_tokens": 25},
            "0.000335",
        ),
        ("anthropic/claude-opus-4-6", {"processing": "batch"}, {"input_tokens": 9, "output_tokens": 25}, "0.000335"),
        ("anthropic/claude-opus-4-6", {"processing": "batch"}, {"input_tokens": 9, "output_tokens": 18}, "0.0002475"),
        ("anthropic/claude-opus-4-1", {"service_tier": "batch"}, {"input_tokens": M, "output_tokens": M}, "45"),
        # Half of the rates above 272,000 input tokens, 5/0.50/22.50.
        (
            "openai/gpt-5.4",
            {"processing": "batch"},
            {"input_tokens": 300_000, "cached_input_tokens": 100_000, "output_tokens": 10_000},
            "0.6375",
        ),
        ("openai/text-embedding-3-small", {"processing": "batch"}, {"input_tokens": M}, "0.01"),
        ("openai/gpt-5.4", {"serviceTier": "BATCH"}, {"input_tokens": 300_000, "output_tokens": 10_000}, "0.8625"),
        ("groq/openai/gpt-oss-120b", {"service_tier": "batch"}, {"output_tokens": M}, "0.3"),
        ("groq/openai/gpt-oss-120b", {"service_tier": "on_demand"}, {"output_tokens": M}, "0.6"),
        # GPT-5: 1.25 and 10; flex is half, priority twice.
        ("openai/gpt-5", {"service_tier": "flex"}, {"input_tokens": M, "output_tokens": M}, "5.625"),
        ("openai/gpt-5", {"service_tier": "priority"}, {"input_tokens": M, "output_tokens": M}, "22.5"),
        ("openai/gpt-5", {"service_tier": "default"}, {"input_tokens": M, "output_tokens": M}, "11.25"),
        ("openai/gpt-5", {"service_tier": "auto"}, {"input_tokens": M, "output_tokens": M}, "11.25"),
        # No flex rate is known of GPT-4o, nor any other of Anthropic's priority tier: the standard price, and told.
        ("openai/gpt-4o", {"service_tier": "flex"}, GPT_4O, "0.0125"),
        ("anthropic/claude-sonnet-4-6", {"service_tier": "priority"}, SONNET, "0.45"),
        ("anthropic/claude-sonnet-4-6", {"service_tier": "standard_only"}, SONNET, "0.45"),
        # 0.000219, and a tenth more in the US.
        (
            "anthropic/claude-sonnet-4-6",
            {"inference_geo": "global"},
            {"input_tokens": 23, "output_tokens": 10},
            "0.000219",
        ),
        (
            "anthropic/claude-sonnet-4-6",
            {"inference_geo": "us"},
            {"input_tokens": 23, "output_tokens": 10},
            "0.0002409",
        ),
        ("anthropic/claude-sonnet-4-5", {"inference_geo": "us"}, {"input_tokens": 23, "output_tokens": 10}, "0.000219"),
        (
            "anthropic/claude-sonnet-4-6",
            {"inference_geo": "us", "service_tier": "batch"},
            {"input_tokens": 23, "output_tokens": 10},
            "0.00012045",
        ),
        # The geography of Anthropic's own API; on Bedrock and Vertex it is the name or the region.
        ("bedrock/global.anthropic.claude-sonnet-4-6", {"inference_geo": "us"}, SONNET, "0.45"),
        # Fast mode: twice, cache reads too. Opus 4.6 has none.
        (
            "anthropic/claude-opus-4-8",
            {"speed": "fast"},
            {"input_tokens": 1000, "cached_input_tokens": 500, "output_tokens": 100},
            "0.0105",
        ),
        (
            "anthropic/claude-opus-4-8",
            {"speed": "fast", "inference_geo": "us"},
            {"input_tokens": 1000, "cached_input_tokens": 500, "output_tokens": 100},
            "0.01155",
        ),
        ("anthropic/claude-opus-4-8", {"speed": "standard"}, {"input_tokens": 1000, "output_tokens": 100}, "0.0075"),
        ("anthropic/claude-opus-4-6", {"speed": "fast"}, {"input_tokens": 1000, "output_tokens": 100}, "0.0075"),
        ("vertex_ai/claude-sonnet-4-6", {"region": "us-east5"}, SONNET, "0.495"),
        ("vertex_ai/claude-sonnet-4-6", {"vertex_location": "EU"}, SONNET, "0.495"),
        ("vertex_ai/claude-sonnet-4-6", {"region": "global"}, SONNET, "0.45"),
        ("vertex_ai/claude-3-5-sonnet@20240620", {"region": "us-east5"}, SONNET, "0.45"),
        ("vertex_ai/projects/p/locations/us-east5/publishers/anthropic/models/claude-sonnet-4-6", {}, SONNET, "0.495"),
        ("vertex_ai/projects/p/locations/global/publishers/anthropic/models/claude-sonnet-4-6", {}, SONNET, "0.45"),
        ("bedrock/anthropic.claude-sonnet-4-6", {"region": "eu-west-1"}, SONNET, "0.495"),
        ("bedrock/anthropic.claude-sonnet-4-6", {"aws_region": "global"}, SONNET, "0.45"),
        ("bedrock/us.anthropic.claude-sonnet-4-6", {"region": "global"}, SONNET, "0.495"),
        ("bedrock/amazon.nova-lite-v1:0", {"region": "us-west-2"}, {"input_tokens": M}, "0.06"),
    ],
)
def test_an_option_changes_the_price_as_its_provider_lists_it(
    pricer: Pricer, subject: str, options: dict[str, str], usage: dict[str, int | str], usd: str
) -> None:
    data = event(subject, dict(usage), options=options)
    assert (cost(pricer, data), pricer.price(data, NOW).status) == (usd, "priced")


@pytest.mark.parametrize(("options", "usd"), [({}, "0.13058065"), ({"processing": "batch"}, "0.070290325")])
def test_a_web_search_has_no_batch_discount(pricer: Pricer, options: dict[str, str], usd: str) -> None:
    data = event("anthropic/claude-sonnet-4-6", dict(EXAMPLE), options=options, convention="exclusive")
    assert (cost(pricer, data), pricer.price(data, NOW).status) == (usd, "priced")


@pytest.mark.parametrize(
    ("region", "status"),
    [("us-east-2", "priced"), ("eu-west-1", "unpriced"), ("us-gov-west-1", "unpriced"), ("Berlin", "priced")],
)
def test_a_region_whose_prices_are_not_listed_is_unpriced(pricer: Pricer, region: str, status: str) -> None:
    data = event("bedrock/amazon.nova-lite-v1:0", {"input_tokens": M}, options={"location": region})
    assert pricer.price(data, NOW).status == status


def test_each_way_to_call_a_model_has_a_price_id_of_its_own(pricer: Pricer) -> None:
    ways = [{}, {"processing": "batch"}, {"speed": "fast"}, {"inference_geo": "us"}]
    ways += [{"speed": "fast", "inference_geo": "us"}, {"processing": "batch", "inference_geo": "us"}]
    ids = {
        pricer.price(event("anthropic/claude-opus-4-8", {"input_tokens": 1}, options=way), NOW).price_id for way in ways
    }
    assert len(ids) == 6


def test_where_a_call_ran_does_not_make_ids_when_it_changes_no_price(pricer: Pricer) -> None:
    places = ["europe-west1", "us-east5", "eu", "asia-southeast1"]
    data = [event("vertex_ai/claude-sonnet-4-6", {"input_tokens": 1}, options={"region": place}) for place in places]
    assert len({pricer.price(one, NOW).price_id for one in data}) == 1


@pytest.mark.parametrize(("input_tokens", "usd"), [(199_999, "0.25249875"), (200_000, "0.505")])
def test_the_long_context_of_xai_begins_at_200_000_tokens(pricer: Pricer, input_tokens: int, usd: str) -> None:
    # 1.25 and 2.50 below, twice that from there on; genai-prices writes the boundary as "above 199,999".
    assert cost(pricer, event("xai/grok-4.20", {"input_tokens": input_tokens, "output_tokens": 1000})) == usd
