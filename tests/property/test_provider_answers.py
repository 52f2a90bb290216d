"""Answers of any form: they are read without a fault, and what is read is an event that the worker takes."""

import os
import random
from typing import Any

import pytest

from tollgate.schemas.refusals import Refusal
from tollgate.schemas.usage_codec import decode_usage_event
from tollgate.sdk.providers import Answer, AnthropicAnswer, GoogleAnswer, OpenAIAnswer
from tollgate.sdk.recording import encode_event

SEED = int(os.environ.get("TOLLGATE_TEST_SEED", random.randrange(2**32)))
ANSWERS = 800

WORDS = (
    "id", "model", "usage", "choices", "delta", "content", "message", "type", "response", "output", "text",
    "tool_calls", "function", "arguments", "data", "error", "finish_reason", "service_tier", "speed", "inference_geo",
    "iterations",
    "status", "duration", "content_block", "stop_reason", "x_groq", "action", "prompt_tokens", "completion_tokens",
    "total_tokens", "input_tokens", "output_tokens", "cache_read_input_tokens", "seconds", "prompt_tokens_details",
    "cached_tokens", "audio_tokens", "completion_tokens_details", "reasoning_tokens", "cache_creation",
    "ephemeral_5m_input_tokens", "usageMetadata", "promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount",
    "candidates", "parts", "trafficType", "promptTokensDetails", "modality", "tokenCount", "predictions", "embeddings",
    "statistics", "token_count", "functionCall", "args", "promptFeedback", "blockReason", "modelVersion", "n", "input",
    "size", "quality", "messages", "instructions",
)  # fmt: skip
TEXTS = (
    "message_start", "message_delta", "content_block_delta", "content_block_start", "response.completed",
    "response.failed", "error", "stop", "image_generation.completed", "web_search_call", "search", "compaction", "flex",
    "priority", "completed", "queued", "AUDIO", "gpt-4o", "tts-1",
)  # fmt: skip
OPERATIONS = (
    "chat.completion", "response", "embedding", "image.generation", "audio.speech", "audio.transcription", "predict",
)  # fmt: skip


def anything(rnd: random.Random, depth: int = 0) -> Any:
    kinds = [
        None,
        True,
        rnd.randrange(-5, 10**6),
        rnd.random() * 10**6,
        float("inf"),
        10**30,
        rnd.choice(TEXTS),
        "é\ud800",
    ]
    if depth > 4 or rnd.random() < 0.3:
        return rnd.choice(kinds)
    if rnd.random() < 0.3:
        return [anything(rnd, depth + 1) for _ in range(rnd.randrange(4))]
    return {rnd.choice(WORDS): anything(rnd, depth + 1) for _ in range(rnd.randrange(7))}


def document(rnd: random.Random) -> dict[str, Any]:
    made = {rnd.choice(WORDS): anything(rnd, 1) for _ in range(rnd.randrange(1, 9))}
    for name in ("usage", "usageMetadata") if rnd.random() < 0.3 else ():
        words = [word for word in WORDS if "oken" in word and rnd.random() < 0.3]
        made[name] = {word: rnd.choice([rnd.randrange(10**6), anything(rnd, 4)]) for word in words}
    return made


@pytest.mark.parametrize("kind", [OpenAIAnswer, AnthropicAnswer, GoogleAnswer])
def test_an_answer_of_any_form_makes_an_event_that_the_worker_takes(kind: type[Any]) -> None:
    print(f"TOLLGATE_TEST_SEED={SEED}")
    rnd = random.Random(f"{SEED} {kind.__name__}")
    # So that the test cannot pass by reading nothing.
    told = 0
    for _ in range(ANSWERS):
        body = document(rnd)
        answer: Answer = kind(rnd.choice(OPERATIONS), body)
        answer.convention = rnd.choice(["openai", "anthropic", "google", "xai", "deepseek", "perplexity", "none"])
        documents = [document(rnd) for _ in range(rnd.randrange(1, 4))]
        for one in documents:
            answer.event(one)
        if rnd.random() < 0.5:
            answer.result(documents[-1])
        reading = answer.reading()
        usage: Any = reading.usage or {"requests": 1}
        value = encode_event("tests", "e-1", "u-42", None, {"provider": "p", "model": "m", "usage": usage})
        assert not isinstance(decode_usage_event(value), Refusal)
        told += not reading.estimated
    assert told > ANSWERS // 100
