"""Answers of Google's Gemini API and of Vertex AI."""

from collections.abc import Mapping
from typing import Any, Final

from tollgate.schemas.usage_limits import AMOUNT_UNITS_MAX
from tollgate.sdk.providers.answers import Answer, as_mapping, listed, part, text_bytes, text_or_none, tokens_of
from tollgate.sdk.providers.dimensions import INPUT, OUTPUT, Amounts, whole_number

OPERATIONS: Final[Mapping[str, str]] = {
    "generateContent": "generate_content",
    "streamGenerateContent": "generate_content",
    "embedContent": "embed_content",
    "batchEmbedContents": "embed_content",
    "predict": "predict",
}
"""The methods of a model that are counted."""

_GOOGLE: Final = "google"
_TRAFFIC: Final[Mapping[str, str]] = {"ON_DEMAND_FLEX": "flex", "ON_DEMAND_PRIORITY": "priority"}


class GoogleAnswer(Answer):
    """An answer of `generateContent`, `embedContent` or `predict`, as JSON."""

    def __init__(self, operation: str, body: Mapping[str, Any], convention: str = _GOOGLE) -> None:
        super().__init__(operation, body, convention)
        self._predictions: list[Any] = []
        self._queries: set[str] = set()

    def result(self, result: Any) -> None:
        self.event(result)
        self._predictions = listed(part(result, "predictions"))
        self.complete = True

    def event(self, event: Mapping[str, Any]) -> bool:
        self.model = text_or_none(part(event, "modelVersion")) or self.model
        self.answer_id = text_or_none(part(event, "responseId")) or self.answer_id
        # The amounts of every event are those of the whole answer by now, so the last one counts.
        self.usage = as_mapping(part(event, "usageMetadata")) or self.usage
        traffic = text_or_none(part(self.usage, "trafficType"))
        if (tier := _TRAFFIC.get(traffic or "")) is not None:
            self.options["service_tier"] = tier
        for candidate in listed(part(event, "candidates")):
            for piece in listed(part(part(candidate, "content"), "parts")):
                call = part(piece, "functionCall")
                self.deliver(part(piece, "text"), part(call, "name"))
                self.text_bytes += text_bytes(part(call, "args"))
            queries = listed(part(part(candidate, "groundingMetadata"), "webSearchQueries"))
            self._queries.update(query for query in queries if isinstance(query, str) and query)
            self.complete = self.complete or bool(part(candidate, "finishReason"))
        if part(part(event, "promptFeedback"), "blockReason"):
            self.complete = True
        return False

    def told(self) -> Amounts | None:
        """Before the end, what was sent until then, if the events tell the tokens of candidates at all."""
        if self.operation == "predict":
            return self._predicted()
        told = super().told() if self.complete or part(self.usage, "candidatesTokenCount") else None
        if told is not None and self._queries:
            told["web_searches"] = 1 if self._bills_prompts() else len(self._queries)
        return told

    def estimate(self) -> Amounts:
        if self.operation == "embed_content":
            return {INPUT: tokens_of(text_bytes(self.body)) or 1}
        told = super().told()
        if told is None:
            return super().estimate()
        output = max(int(told.get(OUTPUT, 0)), tokens_of(self.text_bytes))
        return {**told, OUTPUT: output} if output else told

    def _bills_prompts(self) -> bool:
        """Models before Gemini 3 bill a prompt that was searched for, and not each query:
        https://ai.google.dev/gemini-api/docs/google-search#pricing
        """
        return (self.model or str(self.body.get("model") or "")).startswith(("gemini-1", "gemini-2"))

    def _predicted(self) -> Amounts | None:
        """Embeddings of Vertex AI count their tokens each; what has none is an image."""
        counts = [part(part(part(found, "embeddings"), "statistics"), "token_count") for found in self._predictions]
        if counted := sum(whole_number(count) for count in counts):
            return {INPUT: min(counted, AMOUNT_UNITS_MAX)}
        return {"images": len(self._predictions)} if self._predictions else None
