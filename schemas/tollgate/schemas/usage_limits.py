"""The limits of a usage event, in one place for the reference model and for the codec."""

from typing import Final

from tollgate.schemas.vocabulary import CREDITS

# Promised to senders; the JSON Schema in `schemas/generated` has them too.
EVENT_BYTES_MAX: Final = 64 * 1024
USAGE_KEYS_MAX: Final = 64
OPTION_KEYS_MAX: Final = 64
METADATA_KEYS_MAX: Final = 64

# Amounts are below 10^18 units, so that Decimal(38,9) can sum a hundred million of the largest.
AMOUNT_UNITS_MAX: Final = 10**18 - 1

# UInt32 of ClickHouse: 49 days.
LATENCY_MS_MAX: Final = 2**32 - 1
# Python converts at most 4,300 digits between text and integer, and so must all readers of what we write.
METADATA_DIGITS_MAX: Final = 4_000
METADATA_INT_MAX: Final[int] = 10**METADATA_DIGITS_MAX - 1

# A scope keeps these dimensions under their own names, so that nobody who invents others can push them out:
# the contract's, the parts of tokens that prices tell apart, and product tokens.
COMMON_DIMENSIONS: Final = frozenset(
    (
        "input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens",
        "input_audio_tokens", "output_audio_tokens", "images", "video_seconds", "audio_seconds", "characters",
        "storage_gb_months", "egress_gb", "compute_seconds", "requests", "total_tokens",
        "cache_write_5m_tokens", "cache_write_1h_tokens", "cache_audio_read_tokens", "input_image_tokens",
        "input_video_tokens", "output_image_tokens", "output_video_tokens", "output_citation_tokens", "web_searches",
        CREDITS,
    )
)  # fmt: skip

SPEC_VERSION: Final = "1.0"
