"""Usage as each provider's documentation shows it, in the contract's dimensions: worked out by hand."""

from typing import Any

import pytest

from tollgate.sdk.providers import dimensions

# (convention, what the provider answers, what that is). The sums are in the comments.
WORKED: list[tuple[str, dict[str, Any], dict[str, int | str]]] = [
    # Chat completions with a cached prompt and reasoning: both are inside.
    (
        "openai",
        {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 192, "audio_tokens": 0, "accepted_prediction_tokens": 7},
        },
        {"input_tokens": 2006, "cached_input_tokens": 1920, "output_tokens": 300, "reasoning_tokens": 192},
    ),
    # Responses.
    (
        "openai",
        {
            "input_tokens": 328,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 300},
            "output_tokens": 52,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 380,
        },
        {"input_tokens": 328, "cache_write_tokens": 300, "output_tokens": 52},
    ),
    # Realtime: 119 text and 13 audio of input, of which 64 and 0 were cached; 30 text and 91 audio of output. That no
    # audio was cached is said, because cached audio has a price of its own.
    (
        "openai",
        {
            "total_tokens": 253,
            "input_tokens": 132,
            "output_tokens": 121,
            "input_token_details": {
                "text_tokens": 119,
                "audio_tokens": 13,
                "image_tokens": 0,
                "cached_tokens": 64,
                "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 0, "image_tokens": 0},
            },
            "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
        },
        {
            "input_tokens": 132,
            "input_audio_tokens": 13,
            "cached_input_tokens": 64,
            "cache_audio_read_tokens": 0,
            "output_tokens": 121,
            "output_audio_tokens": 91,
        },
    ),
    # Images of a GPT Image model.
    (
        "openai",
        {
            "total_tokens": 100,
            "input_tokens": 50,
            "output_tokens": 50,
            "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
        },
        {"input_tokens": 50, "input_image_tokens": 40, "output_tokens": 50},
    ),
    # Transcription by tokens, and by its duration.
    (
        "openai",
        {
            "type": "tokens",
            "input_tokens": 14,
            "input_token_details": {"text_tokens": 10, "audio_tokens": 4},
            "output_tokens": 101,
            "total_tokens": 115,
        },
        {"input_tokens": 14, "input_audio_tokens": 4, "output_tokens": 101},
    ),
    ("openai", {"type": "duration", "seconds": 9.6}, {"audio_seconds": "9.6"}),
    ("openai", {"type": "duration", "seconds": 12.0}, {"audio_seconds": 12}),
    # Embeddings; some services report the total alone.
    ("openai", {"prompt_tokens": 8, "total_tokens": 8}, {"input_tokens": 8}),
    ("openai", {"total_tokens": 8}, {"input_tokens": 8}),
    # Gemini by its OpenAI-compatible API: 1,500 in all, 9 + 91 of them named. The other 1,400 are thoughts.
    (
        "openai",
        {"prompt_tokens": 9, "completion_tokens": 91, "total_tokens": 1500},
        {"input_tokens": 9, "output_tokens": 1491},
    ),
    # 21 new, 188,086 from the cache, 0 written: 21 + 188,086 = 188,107 of input.
    (
        "anthropic",
        {
            "input_tokens": 21,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 188086,
            "output_tokens": 393,
            "service_tier": "standard",
            "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 2},
        },
        {"input_tokens": 188107, "cached_input_tokens": 188086, "output_tokens": 393, "web_searches": 1},
    ),
    # 2,048 from the cache, 248 written of which 148 for five minutes and 100 for an hour: 2,048 + 1,800 + 248 = 4,096.
    (
        "anthropic",
        {
            "input_tokens": 2048,
            "cache_read_input_tokens": 1800,
            "cache_creation_input_tokens": 248,
            "cache_creation": {"ephemeral_5m_input_tokens": 148, "ephemeral_1h_input_tokens": 100},
            "output_tokens": 503,
        },
        {
            "input_tokens": 4096,
            "cached_input_tokens": 1800,
            "cache_write_tokens": 248,
            "cache_write_5m_tokens": 148,
            "cache_write_1h_tokens": 100,
            "output_tokens": 503,
        },
    ),
    # All of the input from the cache, and nothing answered.
    ("anthropic", {"input_tokens": 0, "cache_read_input_tokens": 7}, {"input_tokens": 7, "cached_input_tokens": 7}),
    # 1,000 of prompt with 600 of them cached, 50 by tools; 200 shown, 300 thought: 1,050 of input, 500 of output.
    (
        "google",
        {
            "promptTokenCount": 1000,
            "cachedContentTokenCount": 600,
            "toolUsePromptTokenCount": 50,
            "candidatesTokenCount": 200,
            "thoughtsTokenCount": 300,
            "totalTokenCount": 1550,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": 742},
                {"modality": "IMAGE", "tokenCount": 258},
            ],
            "trafficType": "ON_DEMAND",
        },
        {
            "input_tokens": 1050,
            "cached_input_tokens": 600,
            "input_tool_tokens": 50,
            "input_image_tokens": 258,
            "output_tokens": 500,
            "reasoning_tokens": 300,
        },
    ),
    # xAI: 1,499 shown and 2,809 thought are 4,308 of output.
    (
        "xai",
        {
            "prompt_tokens": 32,
            "completion_tokens": 1499,
            "total_tokens": 4340,
            "completion_tokens_details": {"reasoning_tokens": 2809},
            "num_sources_used": 3,
        },
        {"input_tokens": 32, "output_tokens": 4308, "reasoning_tokens": 2809},
    ),
    # DeepSeek: 64 of the cache and 36 not are the prompt of 100, with or without its own key.
    (
        "deepseek",
        {"prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36, "completion_tokens": 5},
        {"input_tokens": 100, "cached_input_tokens": 64, "output_tokens": 5},
    ),
    # Groq tells times beside its tokens, and OpenRouter what it charged.
    (
        "groq",
        {"prompt_tokens": 24, "completion_tokens": 3, "total_tokens": 27, "queue_time": 0.018, "total_time": 0.3},
        {"input_tokens": 24, "output_tokens": 3},
    ),
    (
        "openrouter",
        {
            "prompt_tokens": 194,
            "completion_tokens": 2,
            "total_tokens": 196,
            "cost": 0.95,
            "is_byok": False,
            "cost_details": {"upstream_inference_cost": 19},
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 100},
        },
        {"input_tokens": 194, "cache_write_tokens": 100, "output_tokens": 2},
    ),
    # Perplexity: citations and reasoning come beside 100 of output.
    (
        "perplexity",
        {
            "prompt_tokens": 33,
            "completion_tokens": 100,
            "citation_tokens": 20,
            "reasoning_tokens": 7,
            "num_search_queries": 18,
        },
        {
            "input_tokens": 33,
            "output_tokens": 127,
            "output_citation_tokens": 20,
            "reasoning_tokens": 7,
            "web_searches": 18,
        },
    ),
]


@pytest.mark.parametrize(("convention", "told", "meant"), WORKED)
def test_each_token_is_in_one_place(convention: str, told: dict[str, Any], meant: dict[str, int | str]) -> None:
    assert dimensions(told, convention) == meant


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": None, "completion_tokens": "many", "total_tokens": True},
        {"prompt_tokens": -5, "completion_tokens": float("nan"), "total_tokens": float("inf")},
        {"prompt_tokens_details": [1, {"modality": 3}], "completion_tokens_details": [None]},
    ],
)
def test_what_is_no_amount_is_none(told: dict[str, Any]) -> None:
    assert dimensions(told, "openai") == {}
