"""Which usage dimensions hold tokens, which of them are contained in which, and how providers bill the contained ones.

What contains what is the registry of units in `genai-prices`: a unit is a set of attributes, such as `direction: input`
and `token_type: cache_read`, and it contains every unit with the same attributes and more.
"""

from collections.abc import Mapping
from functools import cache
from typing import Final

from genai_prices.data_units import unit_data
from genai_prices.units import UnitDef, UnitRegistry

INPUT: Final = "input_tokens"
OUTPUT: Final = "output_tokens"

# A count of calls says nothing about money unless a price names it.
REQUESTS: Final = "requests"

# The sum of dimensions that are themselves reported: information then, and charged only when it stands alone.
TOTAL_TOKENS: Final = "total_tokens"

# Where its name for a dimension differs from the contract's.
GENAI_NAMES: Final[Mapping[str, str]] = {
    "cache_read_tokens": "cached_input_tokens",
    "output_reasoning_tokens": "reasoning_tokens",
    "input_characters": "characters",
    "input_audio_seconds": "audio_seconds",
    "output_audio_seconds": "audio_seconds",
}

_REGISTRY: Final = UnitRegistry(unit_data)


def _tokens() -> dict[str, UnitDef]:
    units = _REGISTRY.units.values()
    return {
        GENAI_NAMES.get(unit.usage_key, unit.usage_key): unit
        for unit in units
        if unit.dimensions.get("family") == "tokens"
    }


# Every dimension that counts tokens by what they are.
TOKENS: Final[Mapping[str, UnitDef]] = _tokens()

# All dimensions that contain it, the narrowest first: `cache_write_1h_tokens` → `cache_write_tokens`, `input_tokens`.
CONTAINED_IN: Final[Mapping[str, tuple[str, ...]]] = {
    name: tuple(
        sorted(
            (other for other in TOKENS if TOKENS[other].usage_key in _REGISTRY.ancestor_usage_keys(unit.usage_key)),
            key=lambda other: (-len(TOKENS[other].dimensions), other),
        )
    )
    for name, unit in TOKENS.items()
}

INPUT_PARTS: Final = tuple(name for name, wholes in CONTAINED_IN.items() if INPUT in wholes)
OUTPUT_PARTS: Final = tuple(name for name, wholes in CONTAINED_IN.items() if OUTPUT in wholes)
PARTS_OF: Final = {INPUT: INPUT_PARTS, OUTPUT: OUTPUT_PARTS}


def whole_of(part: str) -> str:
    """The input or output that a part is of."""
    return INPUT if TOKENS[part].dimensions["direction"] == "input" else OUTPUT


@cache
def overlap_of(one: str, other: str) -> str | None:
    """The dimension of the tokens that are in both, where neither contains the other: cached and audio → cached audio.

    None when no token can be in both, as with cache reads and cache writes.
    """
    if one in CONTAINED_IN[other] or other in CONTAINED_IN[one]:
        return None
    joined = _REGISTRY.find_join(TOKENS[one], TOKENS[other])
    return None if joined is None else GENAI_NAMES.get(joined.usage_key, joined.usage_key)


def modality_of(dimension: str) -> str:
    """`audio`, `image`, `video` or `text`; empty for a dimension that does not say."""
    return TOKENS[dimension].dimensions.get("modality", "")


# Google bills images and video of the input at the rate of text, and says so in its price list.
_BILLED_LIKE_TEXT: Final[Mapping[str, tuple[str, ...]]] = {"google": ("image", "video")}


def is_billed_like(part: str, whole: str, provider: str, priced_modalities: frozenset[str]) -> bool:
    """Whether a provider that lists a rate for the whole and none for the part bills the part at the whole's rate.

    It does for reasoning, citations, text and tools, for cache reads (no rate means no discount) and for cache writes
    without or with the shortest life (no rate means no surcharge). It does not for cache writes of an hour, nor for
    audio, images and video: those cost several times as much as text, so a list without their rate does not cover them.
    A list that tells a modality apart elsewhere, as that of an image model does for its input, means its whole's rate.
    """
    more = {key: value for key, value in TOKENS[part].dimensions.items() if key not in TOKENS[whole].dimensions}
    if more.get("cache_ttl") == "1h":
        return False
    modality = more.get("modality", "text")
    return modality == "text" or modality in priced_modalities or modality in _BILLED_LIKE_TEXT.get(provider, ())
