"""OpenAI's answers, and those of everyone who speaks its API."""

from collections.abc import Mapping
from typing import Any, Final

from tollgate.schemas.conventions import PROVIDER_KEYS
from tollgate.sdk.providers.answers import Answer, as_mapping, listed, part, text_bytes, text_or_none, tokens_of
from tollgate.sdk.providers.dimensions import INPUT, OUTPUT, Amounts, dimensions, whole_number

OPERATIONS: Final[Mapping[str, str]] = {
    "/chat/completions": "chat.completion",
    "/completions": "completion",
    "/responses": "response",
    "/responses/compact": "response.compact",
    "/embeddings": "embedding",
    "/images/generations": "image.generation",
    "/images/edits": "image.edit",
    "/images/variations": "image.variation",
    "/audio/speech": "audio.speech",
    "/audio/transcriptions": "audio.transcription",
    "/audio/translations": "audio.translation",
}
"""The calls that are counted, by path, and the operation that their usage events say. Others cost nothing."""

_PROVIDERS: Final[Mapping[str, str]] = {
    "openai.com": "openai",
    "azure.com": "azure",
    "azure.us": "azure",
    "groq.com": "groq",
    "openrouter.ai": "openrouter",
    "x.ai": "xai",
    "mistral.ai": "mistral",
    "deepseek.com": "deepseek",
    "perplexity.ai": "perplexity",
    "cohere.ai": "cohere",
    "cohere.com": "cohere",
    "together.xyz": "together",
    "together.ai": "together",
    "fireworks.ai": "fireworks",
    "cerebras.ai": "cerebras",
    "googleapis.com": "google",
}

_TERMINAL: Final = frozenset(
    {
        "response.completed", "response.incomplete", "response.failed", "response.cancelled", "response.done",
        "image_generation.completed", "image_edit.completed", "transcript.text.done", "speech.audio.done",
    }
)  # fmt: skip
_UNFINISHED: Final = frozenset({"queued", "in_progress"})
_TIERS: Final = frozenset({"flex", "priority", "batch", "fast"})

# Speech is read at about 150 words, 900 characters a minute, and OpenAI puts a minute of it at 1,250 audio tokens:
# https://platform.openai.com/docs/guides/text-to-speech. For estimates alone, where a provider tells nothing.
_CHARACTERS_PER_SECOND: Final = 15
_AUDIO_TOKENS_PER_100_CHARACTERS: Final = 139


def provider_of(host: str) -> str:
    """The provider behind a host: `api.groq.com` → `groq`. `openai` for one that is not known, as for a proxy."""
    labels = host.lower().rstrip(".").split(".")
    return _PROVIDERS.get(".".join(labels[-2:]), "openai")


def convention_of(provider: str) -> str:
    """The convention of an answer in OpenAI's form: the provider's own where it has one, else `openai`."""
    return provider if "prompt_tokens" in getattr(PROVIDER_KEYS.get(provider), "names", ()) else "openai"


class OpenAIAnswer(Answer):
    """An answer of chat completions, responses, embeddings, images or audio."""

    def __init__(self, operation: str, body: Mapping[str, Any], convention: str = "openai") -> None:
        super().__init__(operation, body, convention)
        self._searches: Amounts = {}
        self._images = 0
        self._duration: Any = None

    def result(self, result: Any) -> None:
        if isinstance(result, str):
            self.deliver(result)
        self._head(result)
        self._images = len(listed(part(result, "data"))) if self.operation.startswith("image.") else 0
        self._duration = part(result, "duration")
        self.deliver(part(result, "text"))
        for choice in listed(part(result, "choices")):
            self._choice(part(choice, "message") or choice)
        self._output(result)
        status = text_or_none(part(result, "status"))
        self.unfinished = status in _UNFINISHED
        self.complete = not self.unfinished and status != "cancelled"
        self.failed = status == "failed"

    def event(self, event: Mapping[str, Any]) -> bool:
        kind = event.get("type")
        inner = event.get("response")
        self._head(inner if isinstance(inner, Mapping) else event)
        groq = event.get("x_groq")
        if isinstance(groq, Mapping) and isinstance(groq.get("usage"), Mapping):
            self.usage = groq["usage"]
        choices = event.get("choices")
        for choice in listed(choices):
            self._choice(part(choice, "delta") or choice)
            self.complete = self.complete or bool(part(choice, "finish_reason"))
        if isinstance(kind, str):
            self._typed(kind, event, inner)
        elif event.get("error"):
            self.failed = True
        return choices == [] and isinstance(event.get("usage"), Mapping) and kind is None

    def _typed(self, kind: str, event: Mapping[str, Any], inner: Any) -> None:
        if "audio.delta" not in kind:
            self.deliver(event.get("delta"))
        if kind.startswith("image") and kind.endswith(".completed"):
            self._images += 1
        if kind in _TERMINAL:
            self.complete = True
            self.failed = kind == "response.failed"
            self._output(inner, deliver=False)
        elif kind == "error":
            self.failed = True

    def told(self) -> Amounts | None:
        amounts = super().told()
        if amounts is None:
            return self._known_from_request()
        if self.operation.startswith("image.") and amounts.get(OUTPUT) and "output_image_tokens" not in amounts:
            # Without details all of an image model's output is images.
            details = part(self.usage, "output_tokens_details")
            if details is None:
                amounts["output_image_tokens"] = amounts[OUTPUT]
        return {**amounts, **self._searches}

    def estimate(self) -> Amounts:
        if self.operation == "audio.speech":
            text = self._spoken()
            return {
                INPUT: tokens_of(text_bytes([text, self.body.get("instructions")])),
                OUTPUT: -(-len(text) * _AUDIO_TOKENS_PER_100_CHARACTERS // 100),
            }
        if self.operation in {"audio.transcription", "audio.translation"}:
            return {"audio_seconds": str(-(-self.text_bytes // _CHARACTERS_PER_SECOND) or 1)}
        if self.operation.startswith("image."):
            return {"images": self._asked_for()}
        if self.operation == "embedding":
            return {INPUT: tokens_of(text_bytes(self.body.get("input"))) or 1}
        return super().estimate()

    def _known_from_request(self) -> Amounts | None:
        """What is billed by something that we know exactly although the answer does not say it."""
        if self.operation == "audio.speech" and not str(self.body.get("model", "")).startswith("gpt"):
            return {"characters": len(self._spoken())}
        if self.operation.startswith("image.") and self._images:
            self.options |= {name: str(self.body[name]) for name in ("size", "quality") if self.body.get(name)}
            return {"images": self._images}
        return dimensions({"seconds": self._duration}, self.convention) or None

    def _spoken(self) -> str:
        return str(self.body.get("input") or "")

    def _asked_for(self) -> int:
        return whole_number(self.body.get("n")) or 1

    def _head(self, holder: Any) -> None:
        """The fields that an answer has once, and a stream on each event or on its last."""
        self.model = text_or_none(part(holder, "model")) or self.model
        self.answer_id = text_or_none(part(holder, "id")) or self.answer_id
        tier = text_or_none(part(holder, "service_tier"))
        if tier in _TIERS:
            self.options["service_tier"] = tier
        self.usage = as_mapping(part(holder, "usage")) or self.usage

    def _choice(self, message: Any) -> None:
        """The text of a message, or of its part in a stream."""
        names = ("content", "refusal", "reasoning_content", "reasoning", "text")
        self.deliver(*(part(message, name) for name in names), part(part(message, "audio"), "transcript"))
        for call in listed(part(message, "tool_calls")):
            function = part(call, "function")
            self.deliver(part(function, "name"), part(function, "arguments"))

    def _output(self, response: Any, *, deliver: bool = True) -> None:
        """The output of a response: its searches, which are billed by the call, and its text."""
        items = listed(part(response, "output"))
        web = sum(part(item, "type") == "web_search_call" and _searched(item) for item in items)
        files = sum(part(item, "type") == "file_search_call" for item in items)
        searches = (("web_searches", web), ("storage_searches", files))
        self._searches = {dimension: count for dimension, count in searches if count}
        for item in items if deliver else ():
            self.deliver(part(item, "arguments"))
            for content in listed(part(item, "content")):
                self.deliver(part(content, "text"), part(content, "refusal"))


def _searched(item: Any) -> bool:
    """Opening a page that was found, or finding text in it, is not billed as a search."""
    action = part(part(item, "action"), "type")
    return action is None or action == "search"
