"""Anthropic's answers."""

from collections.abc import Mapping
from typing import Any, Final

from tollgate.schemas.usage_limits import AMOUNT_UNITS_MAX
from tollgate.sdk.providers.answers import Answer, as_mapping, listed, part, text_or_none, tokens_of
from tollgate.sdk.providers.dimensions import OUTPUT, Amounts, dimensions

OPERATIONS: Final[Mapping[str, str]] = {"/v1/messages": "message", "/v1/complete": "completion"}
"""The calls that are counted, by path."""

_ANTHROPIC: Final = "anthropic"
_OPTIONS: Final[Mapping[str, frozenset[str]]] = {
    "service_tier": frozenset({"priority", "batch"}),
    "speed": frozenset({"fast"}),
    "inference_geo": frozenset({"us"}),
}
"""What of `usage` changes the price, and its values that do."""


class AnthropicAnswer(Answer):
    """An answer of the messages API."""

    def __init__(self, operation: str, body: Mapping[str, Any], convention: str = _ANTHROPIC) -> None:
        super().__init__(operation, body, convention)
        self._final = False

    def result(self, result: Any) -> None:
        self._message(result)
        for block in listed(part(result, "content")):
            self.deliver(part(block, "text"), part(block, "thinking"))
        self.complete = self._final = True

    def event(self, event: Mapping[str, Any]) -> bool:
        match event.get("type"):
            case "message_start":
                self._message(event.get("message"))
            case "content_block_start":
                block = event.get("content_block")
                self.deliver(part(block, "text"), part(block, "thinking"), part(block, "name"))
            case "content_block_delta":
                delta = event.get("delta")
                self.deliver(part(delta, "text"), part(delta, "partial_json"), part(delta, "thinking"))
            case "message_delta":
                # Its amounts are those of the whole message by now. What it leaves out stays as it was at the start.
                self._count(event.get("usage"))
                self._final = True
                self.complete = self.complete or bool(part(event.get("delta"), "stop_reason"))
            case "message_stop":
                self.complete = True
            case "error":
                self.failed = True
        return False

    def told(self) -> Amounts | None:
        return self._billed() if self._final else None

    def estimate(self) -> Amounts:
        """The input as the provider told it at the start, and the output by the text that was delivered."""
        told = self._billed()
        if told is None:
            return super().estimate()
        output = max(int(told.get(OUTPUT, 0)), tokens_of(self.text_bytes))
        return {**told, OUTPUT: output} if output else told

    def _billed(self) -> Amounts | None:
        """With compaction: its own request is beside the message's usage, and is billed too."""
        if self.usage is None:
            return None
        amounts = dimensions({name: value for name, value in self.usage.items() if name != "iterations"}, _ANTHROPIC)
        for iteration in listed(self.usage.get("iterations")):
            if part(iteration, "type") == "compaction":
                for dimension, amount in dimensions(as_mapping(iteration) or {}, _ANTHROPIC).items():
                    amounts[dimension] = min(int(amounts.get(dimension, 0)) + int(amount), AMOUNT_UNITS_MAX)
        return amounts or None

    def _message(self, message: Any) -> None:
        self.model = text_or_none(part(message, "model")) or self.model
        self.answer_id = text_or_none(part(message, "id")) or self.answer_id
        self._count(part(message, "usage"))

    def _count(self, given: Any) -> None:
        usage = as_mapping(given)
        if usage is None:
            return
        self.usage = {**(self.usage or {}), **{name: value for name, value in usage.items() if value is not None}}
        for name, values in _OPTIONS.items():
            if (told := text_or_none(usage.get(name))) in values:
                self.options[name] = told
