"""What a span says of a call of a model: its usage, its model and its names, by any of the names in use for them.

Sources: https://github.com/open-telemetry/semantic-conventions-genai (`gen_ai.*`; names that it has left behind are
still sent), https://github.com/Arize-ai/openinference (`llm.token_count.*`) and OpenLLMetry (`llm.usage.*`,
`traceloop.*`).
"""

from collections.abc import Mapping
from typing import Any, Final

from tollgate.sdk.context import usable_name
from tollgate.sdk.token_parts import put_inside, whole_amount

Attributes = Mapping[str, Any]

# By dimension, the current name first.
_USAGE: Final[Mapping[str, tuple[str, ...]]] = {
    "input_tokens": (
        "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.usage.prompt_tokens", "llm.token_count.prompt",
    ),
    "output_tokens": (
        "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.usage.completion_tokens",
        "llm.token_count.completion",
    ),
    "cached_input_tokens": (
        "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens",
        "gen_ai.usage.input_tokens.cached", "gen_ai.usage.cached_input_tokens",
        "gen_ai.usage.details.cache_read_tokens", "llm.usage.cache_read_input_tokens",
        "llm.token_count.prompt_details.cache_read",
    ),
    "cache_write_tokens": (
        "gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.cache_creation_input_tokens",
        "gen_ai.usage.input_tokens.cache_write", "gen_ai.usage.details.cache_write_tokens",
        "llm.usage.cache_creation_input_tokens", "llm.token_count.prompt_details.cache_write",
    ),
    "reasoning_tokens": (
        "gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens",
        "gen_ai.usage.output_tokens.reasoning", "gen_ai.usage.details.reasoning_tokens", "llm.usage.reasoning_tokens",
        "llm.token_count.completion_details.reasoning",
    ),
    "input_audio_tokens": ("gen_ai.usage.details.input_audio_tokens", "llm.token_count.prompt_details.audio"),
    "output_audio_tokens": ("gen_ai.usage.details.output_audio_tokens", "llm.token_count.completion_details.audio"),
}  # fmt: skip

_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "user": (
        "enduser.id", "user.id", "enduser.pseudo.id", "langfuse.user.id", "traceloop.association.properties.user_id",
    ),
    "provider": ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system"),
    "requested_model": ("gen_ai.request.model", "llm.request.model", "llm.model_name", "embedding.model_name"),
    "answering_model": ("gen_ai.response.model", "llm.response.model"),
    "agent": ("gen_ai.agent.name", "agent.name"),
    "operation": ("gen_ai.operation.name", "llm.request.type"),
    "request_id": ("gen_ai.response.id",),
    "kind": ("openinference.span.kind", "traceloop.span.kind"),
}  # fmt: skip

# What the conventions call a provider, where events and budgets have another name for it.
_PROVIDERS: Final[Mapping[str, str]] = {
    "gcp.gen_ai": "google", "gcp.gemini": "google", "gcp.vertex_ai": "google", "gcp.vertex.agent": "google",
    "gemini": "google", "vertex_ai": "google", "vertexai": "google", "azure.ai.openai": "azure",
    "az.ai.openai": "azure", "azure.ai.inference": "azure", "az.ai.inference": "azure", "aws.bedrock": "bedrock",
    "aws_bedrock": "bedrock", "x_ai": "xai", "mistral_ai": "mistral", "mistralai": "mistral",
}  # fmt: skip

# Whose requests may name a deployment or a route in place of a model.
_ANSWERED_NAME_COUNTS: Final = frozenset({"azure", "openrouter"})

# How the names begin of whatever makes a span one of a call, or of an agent, a chain or a tool around calls.
_BEGINNINGS: Final = ("gen_ai.", "llm.", "openinference.", "traceloop.")

_CALLS: Final = frozenset(
    ("chat", "completion", "text_completion", "generate_content", "embeddings", "embedding", "rerank")
)
_CALL_KINDS: Final = frozenset(("llm", "embedding", "reranker"))
_TOOL_KIND: Final = "tool"
_TOOL: Final = "execute_tool"


def told_by(attributes: Attributes | None) -> Attributes:
    """The attributes of a span that has to do with calls; none of any other span, which are nearly all."""
    if not attributes or not any(name.startswith(_BEGINNINGS) for name in attributes):
        return {}
    # One copy, because each look into a span's own takes a lock.
    return dict(attributes)


def usage_of(attributes: Attributes) -> dict[str, int]:
    """Amounts by dimension, in which each token is once; empty when the span tells none.

    The conventions have what was cached inside `input_tokens`, and reasoning inside `output_tokens`.
    """
    given = {}
    for dimension, names in _USAGE.items():
        amount = next((amount for name in names if (amount := whole_amount(attributes.get(name)))), 0)
        if amount:
            given[dimension] = amount
    return put_inside(given)


def name_of(attributes: Attributes, name: str) -> str | None:
    """What the span says under any of the names for `user`, `agent`, `operation` or `request_id`, when it is usable."""
    return next((found for key in _NAMES[name] if (found := usable_name(attributes.get(key)))), None)


def model_of(attributes: Attributes) -> tuple[str | None, str | None]:
    """The provider, as events and budgets name it, and the model that was asked for.

    Of a provider whose requests name a deployment or a route it is the model that answered.
    """
    provider = name_of(attributes, "provider")
    if provider is not None:
        provider = _PROVIDERS.get(provider.lower(), provider)
    asked, answering = name_of(attributes, "requested_model"), name_of(attributes, "answering_model")
    return provider, (answering or asked) if provider in _ANSWERED_NAME_COUNTS else (asked or answering)


def is_call(attributes: Attributes) -> bool:
    """Whether the span is of one call of a model, rather than of an agent, a chain or a tool around calls."""
    return name_of(attributes, "operation") in _CALLS or (name_of(attributes, "kind") or "").lower() in _CALL_KINDS


def is_tool(name: str, attributes: Attributes) -> bool:
    """Whether the span is of a tool that an agent runs. Some frameworks say so in the span's name alone at first."""
    kind = (name_of(attributes, "kind") or "").lower()
    return kind == _TOOL_KIND or name_of(attributes, "operation") == _TOOL or name.startswith(_TOOL)
