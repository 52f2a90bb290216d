"""The provider of a model that a call names alone. Pure.

Only families whose names tell who makes them: `llama-3` is sold by many, and `gpt-oss` too. A price is looked up by
provider and model, so a model that another provider sells under such a name needs its provider at the call.
"""

import re
from typing import Final

_MAKERS: Final = (
    (re.compile(r"(chatgpt-|gpt-[345]|o[134](-|$))"), "openai"),
    (re.compile(r"claude-"), "anthropic"),
    (re.compile(r"gemini-"), "google"),
    (re.compile(r"grok-"), "xai"),
)


def maker_of(model: object) -> str | None:
    """`gpt-4o` → `openai`; None for a model of no such family."""
    if not isinstance(model, str):
        return None
    return next((maker for begins, maker in _MAKERS if begins.match(model)), None)
