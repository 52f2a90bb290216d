"""Which usage dimensions are parts of which, so that each token is charged in exactly one of them."""

from typing import Final

INPUT: Final = "input_tokens"
OUTPUT: Final = "output_tokens"

# A part without a rate of its own is charged like the next dimension that is named here, and so on up to the whole.
# The contract names the first five; the others are what `genai-prices` tells apart. Parts of one whole are disjoint:
# a token that was read from the cache is in `cached_input_tokens` alone, whatever its modality.
CHARGED_LIKE: Final[dict[str, str]] = {
    "cached_input_tokens": INPUT,
    "cache_write_tokens": INPUT,
    "input_audio_tokens": INPUT,
    "reasoning_tokens": OUTPUT,
    "output_audio_tokens": OUTPUT,
    "cache_write_5m_tokens": "cache_write_tokens",
    "cache_write_1h_tokens": "cache_write_tokens",
    "cache_audio_read_tokens": "input_audio_tokens",
    "input_image_tokens": INPUT,
    "input_video_tokens": INPUT,
    "output_image_tokens": OUTPUT,
    "output_video_tokens": OUTPUT,
    "output_citation_tokens": OUTPUT,
}


def _whole_of(dimension: str) -> str:
    while dimension in CHARGED_LIKE:
        dimension = CHARGED_LIKE[dimension]
    return dimension


WHOLE_OF: Final[dict[str, str]] = {part: _whole_of(part) for part in CHARGED_LIKE}
INPUT_PARTS: Final = tuple(part for part, whole in WHOLE_OF.items() if whole == INPUT)
OUTPUT_PARTS: Final = tuple(part for part, whole in WHOLE_OF.items() if whole == OUTPUT)

# A count of calls says nothing about money unless a price names it.
REQUESTS: Final = "requests"

# The sum of dimensions that are themselves reported: information then, and charged only when it stands alone.
TOTAL_TOKENS: Final = "total_tokens"
TOKENS: Final = frozenset({INPUT, OUTPUT, *CHARGED_LIKE})
