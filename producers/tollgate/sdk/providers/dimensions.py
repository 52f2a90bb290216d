"""A provider's usage object as amounts by dimension, so that each token is in exactly one place.

The keys and what includes what come from `tollgate.schemas.conventions`, which the worker prices by as well. Here the
parts that a provider reports beside their whole are added to it, so that an event needs no `convention`, and a budget
on `input_tokens` sees every provider's.
"""

import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from tollgate.schemas.conventions import INFORMATION, PROVIDER_KEYS
from tollgate.schemas.usage_limits import AMOUNT_UNITS_MAX

INPUT: Final = "input_tokens"
OUTPUT: Final = "output_tokens"
TOTAL: Final = "total_tokens"

_OPENAI: Final = "openai"

# Keys that newer answers have and that say what a key of the convention says elsewhere.
_ALSO: Final[Mapping[str, str]] = {
    "prompt_tokens_details_image_tokens": "input_image_tokens",
    "completion_tokens_details_image_tokens": "output_image_tokens",
    "output_tokens_details_image_tokens": "output_image_tokens",
    "output_token_details_image_tokens": "output_image_tokens",
    "output_tokens_details_audio_tokens": "output_audio_tokens",
    "prompt_tokens_details_cache_write_tokens": "cache_write_tokens",
    "input_tokens_details_cache_write_tokens": "cache_write_tokens",
    "prompt_tokens_details_cached_tokens_details_audio_tokens": "cache_audio_read_tokens",
    "input_token_details_cached_tokens_details_audio_tokens": "cache_audio_read_tokens",
    "input_token_details_cached_tokens_details_image_tokens": "cache_image_read_tokens",
    "input_tokens_details_cached_tokens_details_image_tokens": "cache_image_read_tokens",
    "seconds": "audio_seconds",
}
_PLAIN: Final = frozenset({INPUT, OUTPUT, TOTAL, "cached_input_tokens", "cache_write_tokens", "reasoning_tokens"})

# The parts that stand beside their whole with some providers. Those of them that contain others come first: writes of
# five minutes and of an hour are in `cache_write_tokens`, and a modality's tool tokens in `input_tool_tokens`.
_BESIDE_INPUT: Final = ("cached_input_tokens", "cache_write_tokens", "input_tool_tokens")
_BESIDE_OUTPUT: Final = ("reasoning_tokens", "output_citation_tokens")
_WRITES: Final = ("cache_write_5m_tokens", "cache_write_1h_tokens")

# What is both cached and of a modality: its zero is an answer too, because without it either could be meant.
_CACHED_OF: Final[Mapping[str, str]] = {
    "cache_audio_read_tokens": "input_audio_tokens",
    "cache_image_read_tokens": "input_image_tokens",
}
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_MODALITIES: Final = "_tokens_details"

Amounts = dict[str, int | str]


def dimensions(usage: Mapping[str, Any], convention: str) -> Amounts:
    """Amounts by dimension of what a provider reports under this convention; empty when it reports nothing.

    Parts are inside their whole: `{"input_tokens": 3, "cache_read_input_tokens": 7}` of `anthropic` becomes
    `{"input_tokens": 10, "cached_input_tokens": 7}`. What a total has above input and output is output that has no key
    of its own. Nested objects may be given as they are. Text parts are left out, since they are what the other parts
    leave of the whole; so are keys that say nothing of the cost. Tokens are integers, other amounts decimals as text.
    """
    keys = PROVIDER_KEYS.get(convention, PROVIDER_KEYS[_OPENAI])
    known = _PLAIN.union(keys.names.values())
    given: dict[str, int | Decimal] = {}
    rest: int | None = None
    for key, amount in _flat(usage):
        if key == keys.rest:
            rest = int(amount)
        dimension = keys.names.get(key, _ALSO.get(key, key))
        if dimension == INFORMATION or (dimension not in known and key not in _ALSO):
            continue
        # Two keys of one dimension say the same; the larger counts, as in the worker.
        if amount >= given.get(dimension, 0):
            given[dimension] = amount
    if rest is not None and INPUT not in given:
        given[INPUT] = rest + given.get("cached_input_tokens", 0)
    _put_inside(given, keys.beside)
    return _without_zeros(given)


def flat_name(name: str) -> str:
    """`promptTokenCount` → `prompt_token_count`."""
    return _CAMEL.sub("_", name).lower()


def whole_number(given: Any) -> int:
    """A count in an answer, rounded up; 0 for what is none, is negative or is more than an event may have."""
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    return math.ceil(given) if is_number and 0 <= given <= AMOUNT_UNITS_MAX else 0


def decimal_text(amount: float | int | Decimal) -> str:
    """A number of a JSON answer as the decimal text that was sent: 12.34 → "12.34". At most nine places."""
    rounded = round(Decimal(repr(amount)) if isinstance(amount, float) else Decimal(amount), 9)
    return format(rounded.normalize(), "f")


def _flat(usage: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, int | Decimal]]:
    for name, value in usage.items():
        key = prefix + flat_name(name)
        if isinstance(value, Mapping):
            yield from _flat(value, f"{key}_")
        elif isinstance(value, list):
            yield from _by_modality(key, value)
        elif isinstance(value, bool) or not isinstance(value, int | float):
            continue
        elif 0 <= value <= AMOUNT_UNITS_MAX:
            yield key, int(value) if value == int(value) else Decimal(decimal_text(value))


def _by_modality(key: str, found: list[Any]) -> Iterator[tuple[str, int | Decimal]]:
    """Google's `promptTokensDetails: [{"modality": "AUDIO", "tokenCount": 5}]` as `prompt_audio_token_count`."""
    if not key.endswith(_MODALITIES):
        return
    whole = key.removesuffix(_MODALITIES)
    for part in found:
        if isinstance(part, Mapping):
            named = {flat_name(name): value for name, value in part.items()}
            count = named.get("token_count")
            modality = getattr(named.get("modality"), "value", named.get("modality"))
            if isinstance(count, int) and isinstance(modality, str):
                yield f"{whole}_{modality.lower()}_token_count", count


def _put_inside(given: dict[str, int | Decimal], beside: frozenset[str]) -> None:
    """Add the parts that stand beside their whole to it, and what the total has above all of them."""
    writes = sum(given.get(part, 0) for part in _WRITES)
    if writes > given.get("cache_write_tokens", 0):
        given["cache_write_tokens"] = writes
    total = given.pop(TOTAL, 0)
    given[INPUT] = given.get(INPUT, 0) + sum(given.get(part, 0) for part in _BESIDE_INPUT if part in beside)
    given[OUTPUT] = given.get(OUTPUT, 0) + sum(given.get(part, 0) for part in _BESIDE_OUTPUT if part in beside)
    if not given[INPUT] and not given[OUTPUT]:
        # Some embedding services report nothing but the total.
        given[INPUT] = total
    given[OUTPUT] = max(given[OUTPUT], total - given[INPUT])


def _without_zeros(given: Mapping[str, int | Decimal]) -> Amounts:
    kept: Amounts = {}
    for dimension, amount in given.items():
        if "_text_" in f"_{dimension}":
            continue
        settles = dimension in _CACHED_OF and given.get(_CACHED_OF[dimension]) and given.get("cached_input_tokens")
        if amount or settles:
            whole = amount == int(amount) or dimension.endswith("_tokens")
            kept[dimension] = min(math.ceil(amount), AMOUNT_UNITS_MAX) if whole else decimal_text(amount)
    return kept
