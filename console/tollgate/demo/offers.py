"""The calls that the demo's users make: one kind for every offer in the shipped price book, with its usual size."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Offer:
    """One kind of call. `usage` gives each dimension's smallest and largest amount; `weight` its share of all calls.

    A range in `tenths` is of tenths of a unit, because usage may have a fraction and is never a float.
    `retail_tokens` is what the user pays for a call, in product tokens; 0 for what users do not pay for.
    """

    service: str
    weight: int
    usage: Mapping[str, Range]
    provider: str = ""
    model: str = ""
    agent: str = ""
    feature: str = ""
    product: str = "web"
    operation: str = ""
    resource: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    tenths: Mapping[str, Range] = field(default_factory=dict)
    latency_ms: Range = (300, 4_000)
    retail_tokens: int = 0

    def data(self) -> dict[str, Any]:
        """What all calls of this kind have in common, as the `data` of a usage event."""
        named = {
            "provider": self.provider,
            "model": self.model,
            "agent": self.agent,
            "service": self.service,
            "feature": self.feature,
            "product": self.product,
            "operation": self.operation,
            "resource_type": self.resource,
            "options": dict(self.options),
            "retail_tokens": self.retail_tokens,
        }
        return {name: value for name, value in named.items() if value}


def _chat(weight: int, provider: str, model: str, usage: Mapping[str, Range], **options: str) -> Offer:
    return Offer(
        "chat-api",
        weight,
        usage,
        provider,
        model,
        feature="chat",
        operation="chat.completion",
        options=options,
        retail_tokens=5,
    )


def _image(weight: int, provider: str, model: str, tokens: int, **options: str) -> Offer:
    return Offer(
        "image-studio",
        weight,
        {"images": (1, 4)},
        provider,
        model,
        feature="image",
        operation="image.generation",
        resource="IMAGE",
        options=options,
        latency_ms=(1_500, 12_000),
        retail_tokens=tokens,
    )


def _video(weight: int, provider: str, model: str, seconds: Range, tokens: int, **options: str) -> Offer:
    return Offer(
        "video-agent",
        weight,
        {"video_seconds": seconds},
        provider,
        model,
        feature="video",
        product="video",
        operation="video.generation",
        resource="VIDEO",
        options=options,
        latency_ms=(20_000, 90_000),
        retail_tokens=tokens,
    )


def _agent(name: str, weight: int) -> Offer:
    tokens: dict[str, Range] = {"input_tokens": (400, 3_000), "output_tokens": (200, 1_500)}
    return Offer(
        "content-agents", weight, tokens, agent=name, feature="content", operation="agent.run", retail_tokens=40
    )


_TOKENS: Final[Mapping[str, Range]] = {"input_tokens": (300, 6_000), "output_tokens": (50, 1_200)}
_CACHED: Final[Mapping[str, Range]] = {**_TOKENS, "input_tokens": (2_000, 9_000), "cached_input_tokens": (1_000, 2_000)}

OFFERS: Final = (
    _chat(90, "openai", "gpt-4o", _CACHED),
    _chat(70, "openai", "gpt-5", {**_TOKENS, "output_tokens": (400, 2_500), "reasoning_tokens": (100, 400)}),
    _chat(70, "anthropic", "claude-sonnet-4-5", _TOKENS),
    _chat(40, "google", "gemini-2.5-flash", _TOKENS),
    _chat(20, "mistral", "mistral-large-latest", _TOKENS),
    _chat(40, "novita", "llama-3-8b", {"messages": (1, 1)}),
    _chat(30, "groq", "llama-3.1-70b-versatile", _TOKENS, tier="free"),
    _chat(10, "huggingface", "inference", {"requests": (1, 1)}, tier="free"),
    _image(24, "openai", "dall-e-3", 40, quality="standard", size="1024x1024"),
    _image(8, "openai", "dall-e-3", 40, quality="standard", size="1792x1024"),
    _image(10, "openai", "dall-e-3", 40, quality="hd", size="1024x1024"),
    _image(6, "openai", "dall-e-3", 40, quality="hd", size="1792x1024"),
    _image(12, "novita", "stability", 10),
    _image(8, "novita", "dreamshaper", 10),
    _image(14, "novita", "flux-pro", 30),
    _image(6, "novita", "flux-pro-1.1", 30),
    _image(8, "bfl", "flux-pro", 30),
    _image(10, "bfl", "flux-pro-1.1", 30),
    _image(6, "bfl", "flux-dev", 30),
    _image(6, "bfl", "flux-pro-ultra", 40),
    _image(10, "stability", "sdxl", 5),
    _image(14, "midjourney", "fast", 30),
    _image(20, "replicate", "flux-schnell", 5, tier="free"),
    _video(26, "runway", "gen-3-alpha-turbo", (5, 10), 50),
    _video(12, "luma", "dream-machine", (5, 10), 25),
    _video(8, "luma", "dream-machine", (5, 9), 25, api="v1"),
    _video(12, "pika", "1.5", (3, 6), 20),
    Offer(
        "voice-api",
        24,
        {"characters": (120, 2_400)},
        "elevenlabs",
        "tts",
        feature="voice",
        operation="speech.synthesis",
        resource="AUDIO",
        retail_tokens=100,
    ),
    *(
        _agent(name, weight)
        for name, weight in {
            "CONTENT": 16,
            "SEO": 14,
            "EMAIL": 12,
            "SOCIAL": 12,
            "SUPPORT": 16,
            "AD": 8,
            "OUTREACH": 6,
            "TREND": 5,
            "INSIGHT": 5,
            "DESIGN": 5,
            "BRAND_VOICE": 4,
            "GOAL_PLANNER": 3,
            "PATTERN_MINER": 3,
            "SEGMENT_ANALYZER": 3,
        }.items()
    ),
    Offer(
        "platform", 5, {}, "aws", "s3-standard", operation="storage", product="", tenths={"storage_gb_months": (5, 60)}
    ),
    Offer(
        "platform",
        5,
        {},
        "cloudflare",
        "r2",
        operation="storage",
        product="",
        tenths={"storage_gb_months": (5, 40), "egress_gb": (1, 90)},
    ),
    Offer(
        "platform", 6, {"compute_seconds": (600, 86_400)}, "fly.io", "shared-cpu-1x", operation="compute", product=""
    ),
    Offer("platform", 6, {"actions": (20, 900)}, "temporal", "cloud-actions", operation="workflow", product=""),
)
