"""What a model provider bills for a call, and how each provider's API writes it: the provider's side of the tests.

A token is four bytes of text here. What a call uses is drawn from the seed and the request, so that the same request is
billed the same however it is made; how each API reports it is written from that API's own documentation, and shares
nothing with the product.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TOKEN = "abc "


@dataclass(frozen=True)
class Truth:
    """What one answer uses: of the input, what was fresh, read from the cache and written to it; of the output, the
    thoughts and what is shown.
    """

    fresh: int
    cached: int = 0
    written: int = 0
    shown: int = 0
    thoughts: int = 0
    tools: int = 0
    """Input of the provider's own tools, which Google counts beside the prompt."""
    searches: int = 0

    @property
    def input(self) -> int:
        return self.fresh + self.cached + self.written + self.tools

    @property
    def output(self) -> int:
        return self.shown + self.thoughts

    def dimensions(self) -> dict[str, int]:
        """The same in the contract's dimensions, without zeros."""
        every = {
            "input_tokens": self.input,
            "cached_input_tokens": self.cached,
            "cache_write_tokens": self.written,
            "input_tool_tokens": self.tools,
            "output_tokens": self.output,
            "reasoning_tokens": self.thoughts,
            "web_searches": self.searches,
        }
        return {dimension: amount for dimension, amount in every.items() if amount}


@dataclass(frozen=True)
class Booked:
    """One line of the provider's books. `ended`: `whole`, `cut` by the server, or `left` by the client."""

    path: str
    model: str
    usage: Mapping[str, Any]
    ended: str


def truth_of(seed: int, body: Any, *, caches_writes: bool = False, tools: bool = False) -> Truth:
    """What the answer to this request will use."""
    rnd = random.Random(f"{seed} {body}")
    return Truth(
        fresh=rnd.randrange(1, 2_000),
        cached=rnd.choice([0, rnd.randrange(1, 5_000)]),
        written=rnd.choice([0, rnd.randrange(1, 3_000)]) if caches_writes else 0,
        shown=rnd.randrange(4, 12),
        thoughts=rnd.choice([0, rnd.randrange(1, 700)]),
        tools=rnd.choice([0, rnd.randrange(1, 90)]) if tools else 0,
    )


def chat_usage(truth: Truth) -> dict[str, Any]:
    """https://platform.openai.com/docs/api-reference/chat/object"""
    return {
        "prompt_tokens": truth.input,
        "completion_tokens": truth.output,
        "total_tokens": truth.input + truth.output,
        "prompt_tokens_details": {"cached_tokens": truth.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": truth.thoughts,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def response_usage(truth: Truth) -> dict[str, Any]:
    """https://platform.openai.com/docs/api-reference/responses/object"""
    return {
        "input_tokens": truth.input,
        "input_tokens_details": {"cached_tokens": truth.cached},
        "output_tokens": truth.output,
        "output_tokens_details": {"reasoning_tokens": truth.thoughts},
        "total_tokens": truth.input + truth.output,
    }


def message_usage(truth: Truth) -> dict[str, Any]:
    """https://docs.anthropic.com/en/api/messages: the input is without what the cache was read and written for."""
    return {
        "input_tokens": truth.fresh,
        "cache_read_input_tokens": truth.cached,
        "cache_creation_input_tokens": truth.written,
        "output_tokens": truth.output,
        "output_tokens_details": {"thinking_tokens": truth.thoughts},
        "service_tier": "standard",
        "server_tool_use": {"web_search_requests": truth.searches} if truth.searches else None,
    }


def google_usage(truth: Truth, shown: int) -> dict[str, Any]:
    """https://ai.google.dev/api/generate-content#UsageMetadata: four amounts beside each other. `shown`: until now."""
    usage = {
        "promptTokenCount": truth.fresh + truth.cached + truth.written,
        "cachedContentTokenCount": truth.cached,
        "candidatesTokenCount": shown,
        "thoughtsTokenCount": truth.thoughts,
        "toolUsePromptTokenCount": truth.tools,
        "totalTokenCount": truth.input + truth.thoughts + shown,
    }
    return {name: amount for name, amount in usage.items() if amount}
