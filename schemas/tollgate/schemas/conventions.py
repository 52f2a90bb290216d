"""How providers report usage: the names of their keys, and which of their amounts include which.

A usage event may name one of these as its `convention` and then hold what the provider answered: its own key names,
with nested ones written flat. `docs/prices.md` shows this table; a test keeps the two equal.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Final, Literal, get_args

Convention = Literal[
    "inclusive", "exclusive", "openai", "azure", "anthropic", "google", "bedrock", "xai", "groq", "mistral", "deepseek",
    "openrouter", "litellm", "cohere", "perplexity",
]  # fmt: skip

CONVENTIONS: Final[tuple[str, ...]] = get_args(Convention)
INCLUSIVE: Final = "inclusive"
EXCLUSIVE: Final = "exclusive"

# A key whose amount says nothing about the cost, or says again what other keys say.
INFORMATION: Final = ""


@dataclass(frozen=True, slots=True)
class ProviderKeys:
    """One provider's way of reporting.

    `names`: the contract's dimension for each of its keys that the contract names otherwise. `beside`: the dimensions
    that its input or output tokens do not include; every other part is included in its whole. `rest`: the key of the
    input that was not cached, where the provider reports it beside the whole.
    """

    names: Mapping[str, str]
    beside: frozenset[str] = frozenset()
    rest: str = ""


# Chat Completions, Responses and Realtime of OpenAI, and everyone who answers in the same form. `prompt_tokens`
# includes cached and audio tokens, `completion_tokens` includes reasoning, audio and both kinds of predicted tokens.
# https://platform.openai.com/docs/api-reference/chat/object
_OPENAI: Final = {
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "cached_tokens": "cached_input_tokens",
    "prompt_cached_tokens": "cached_input_tokens",
    "input_cached_tokens": "cached_input_tokens",
    "prompt_tokens_details_cached_tokens": "cached_input_tokens",
    "input_tokens_details_cached_tokens": "cached_input_tokens",
    "input_token_details_cached_tokens": "cached_input_tokens",
    "prompt_audio_tokens": "input_audio_tokens",
    "prompt_tokens_details_audio_tokens": "input_audio_tokens",
    "input_token_details_audio_tokens": "input_audio_tokens",
    "input_tokens_details_image_tokens": "input_image_tokens",
    "input_token_details_image_tokens": "input_image_tokens",
    "input_tokens_details_text_tokens": "input_text_tokens",
    "input_token_details_text_tokens": "input_text_tokens",
    "cached_audio_tokens": "cache_audio_read_tokens",
    "cached_text_tokens": "cache_text_read_tokens",
    "cached_image_tokens": "cache_image_read_tokens",
    "completion_reasoning_tokens": "reasoning_tokens",
    "output_reasoning_tokens": "reasoning_tokens",
    "completion_tokens_details_reasoning_tokens": "reasoning_tokens",
    "output_tokens_details_reasoning_tokens": "reasoning_tokens",
    "completion_audio_tokens": "output_audio_tokens",
    "completion_tokens_details_audio_tokens": "output_audio_tokens",
    "output_token_details_audio_tokens": "output_audio_tokens",
    "output_token_details_text_tokens": "output_text_tokens",
    "accepted_prediction_tokens": INFORMATION,
    "rejected_prediction_tokens": INFORMATION,
    "completion_tokens_details_accepted_prediction_tokens": INFORMATION,
    "completion_tokens_details_rejected_prediction_tokens": INFORMATION,
    "web_search_calls": "web_searches",
    "web_search_requests": "web_searches",
}

# `input_tokens` is what neither was read from the cache nor written to it. Thinking is in `output_tokens`.
# https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching
_CACHES: Final = frozenset(
    {"cached_input_tokens", "cache_write_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens"}
)
_ANTHROPIC: Final = {
    "cache_read_input_tokens": "cached_input_tokens",
    "cache_creation_input_tokens": "cache_write_tokens",
    "ephemeral_5m_input_tokens": "cache_write_5m_tokens",
    "ephemeral_1h_input_tokens": "cache_write_1h_tokens",
    "cache_creation_ephemeral_5m_input_tokens": "cache_write_5m_tokens",
    "cache_creation_ephemeral_1h_input_tokens": "cache_write_1h_tokens",
    "thinking_tokens": "reasoning_tokens",
    "output_tokens_details_thinking_tokens": "reasoning_tokens",
    "web_search_requests": "web_searches",
    "server_tool_use_web_search_requests": "web_searches",
    # Fetched pages cost their tokens alone.
    "web_fetch_requests": INFORMATION,
    "server_tool_use_web_fetch_requests": INFORMATION,
}

# Converse: `inputTokens` is without what was read from the cache or written to it.
# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html
_BEDROCK: Final = {
    **_ANTHROPIC,
    "cache_write_input_tokens": "cache_write_tokens",
    "cache_read_input_token_count": "cached_input_tokens",
    "cache_write_input_token_count": "cache_write_tokens",
    "input_token_count": "input_tokens",
    "output_token_count": "output_tokens",
}

# The prompt includes its cached content; thoughts and the prompts of tools are counted beside prompt and candidates:
# the total is the sum of the four. https://ai.google.dev/api/generate-content#UsageMetadata
_GOOGLE: Final = {
    "prompt_token_count": "input_tokens",
    "cached_content_token_count": "cached_input_tokens",
    "tool_use_prompt_token_count": "input_tool_tokens",
    "candidates_token_count": "output_tokens",
    "response_token_count": "output_tokens",
    "thoughts_token_count": "reasoning_tokens",
    "total_token_count": "total_tokens",
    **{
        f"{theirs}_{modality}_token_count": ours.format(modality)
        for theirs, ours in (
            ("prompt", "input_{}_tokens"),
            ("cache", "cache_{}_read_tokens"),
            ("cached_content", "cache_{}_read_tokens"),
            ("tool_use_prompt", "input_{}_tool_tokens"),
            ("candidates", "output_{}_tokens"),
            ("response", "output_{}_tokens"),
        )
        for modality in ("text", "audio", "image", "video")
    },
}
_TOOLS: Final = frozenset(
    {"input_tool_tokens", *(f"input_{modality}_tool_tokens" for modality in ("text", "audio", "image", "video"))}
)

_OPENAI_ALIKE: Final = ProviderKeys(_OPENAI)

PROVIDER_KEYS: Final[Mapping[str, ProviderKeys]] = {
    "openai": _OPENAI_ALIKE,
    "azure": _OPENAI_ALIKE,
    "anthropic": ProviderKeys(_ANTHROPIC, _CACHES),
    "google": ProviderKeys(_GOOGLE, _TOOLS | {"reasoning_tokens"}),
    "bedrock": ProviderKeys(_BEDROCK, _CACHES),
    # `completion_tokens` is without reasoning: a call of 1,499 and 2,809 is billed 4,308 tokens of output.
    # https://docs.x.ai/docs/guides/reasoning
    "xai": ProviderKeys({**_OPENAI, "num_sources_used": INFORMATION}, frozenset({"reasoning_tokens"})),
    "groq": ProviderKeys(
        {**_OPENAI, **dict.fromkeys(("queue_time", "prompt_time", "completion_time", "total_time"), INFORMATION)}
    ),
    "mistral": ProviderKeys(
        {**_OPENAI, "num_cached_tokens": "cached_input_tokens", "prompt_audio_seconds": "audio_seconds"}
    ),
    # The prompt is what the cache had and what it had not. https://api-docs.deepseek.com/guides/kv_cache
    "deepseek": ProviderKeys(
        {**_OPENAI, "prompt_cache_hit_tokens": "cached_input_tokens", "prompt_cache_miss_tokens": INFORMATION},
        rest="prompt_cache_miss_tokens",
    ),
    "openrouter": ProviderKeys(
        {
            **_OPENAI,
            "prompt_tokens_details_cache_write_tokens": "cache_write_tokens",
            "completion_tokens_details_image_tokens": "output_image_tokens",
            "server_tool_use_web_search_requests": "web_searches",
        }
    ),
    # As OpenAI, with Anthropic's names for the cache: its `prompt_tokens` includes what was read and written.
    # https://docs.litellm.ai/docs/completion/prompt_caching
    "litellm": ProviderKeys(
        {
            **_OPENAI,
            "cache_read_input_tokens": "cached_input_tokens",
            "cache_creation_input_tokens": "cache_write_tokens",
        }
    ),
    "cohere": ProviderKeys({**_OPENAI, "search_units": "rerank_searches"}),
    # Citations and reasoning of deep research are billed beside the completion.
    # https://docs.perplexity.ai/getting-started/pricing
    "perplexity": ProviderKeys(
        {**_OPENAI, "citation_tokens": "output_citation_tokens", "num_search_queries": "web_searches"},
        frozenset({"reasoning_tokens", "output_citation_tokens"}),
    ),
}

# Every provider's name for a dimension, for events that name no provider as their convention. No two disagree.
KNOWN_KEYS: Final[Mapping[str, str]] = dict(chain.from_iterable(keys.names.items() for keys in PROVIDER_KEYS.values()))
