"""What providers answer, as usage in the contract's dimensions. Pure: no I/O, no clock, and no provider's library."""

from tollgate.sdk.providers.answers import Answer, Reading
from tollgate.sdk.providers.anthropic import AnthropicAnswer
from tollgate.sdk.providers.dimensions import dimensions
from tollgate.sdk.providers.google import GoogleAnswer
from tollgate.sdk.providers.openai import OpenAIAnswer

__all__ = ["Answer", "AnthropicAnswer", "GoogleAnswer", "OpenAIAnswer", "Reading", "dimensions"]
