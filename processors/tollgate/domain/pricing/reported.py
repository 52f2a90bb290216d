"""What an event reports, in the contract's dimensions, whichever provider's words it uses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tollgate.domain.pricing.dimensions import CONTAINED_IN, INPUT, INPUT_PARTS, OUTPUT_PARTS, TOKENS
from tollgate.schemas.amounts import NANO, parse_amount
from tollgate.schemas.conventions import EXCLUSIVE, INFORMATION, KNOWN_KEYS, PROVIDER_KEYS, ProviderKeys

ALL_PARTS: Final = frozenset({*INPUT_PARTS, *OUTPUT_PARTS})

# Their amount says how much two others have in common, so that nothing of them is an answer too.
OVERLAPS: Final = frozenset(
    name for name, unit in TOKENS.items() if "modality" in unit.dimensions and "token_type" in unit.dimensions
)

# Where genai-prices' id of a provider differs from the convention's name.
_NAMES: Final = {"x-ai": "xai", "aws": "bedrock"}
# Clouds that sell models of Anthropic answer for these as Anthropic does.
_CLOUDS: Final = frozenset({"google", "aws", "azure", "databricks"})

_REST_KEYS: Final = frozenset(keys.rest for keys in PROVIDER_KEYS.values() if keys.rest)
_NO_KEYS: Final = ProviderKeys({})


@dataclass(slots=True)
class Reported:
    """Amounts in nano-units by dimension, in the order they were sent; of overlaps also those of zero.

    `beside`: the parts that their whole does not include. `maybe_beside`: those that it does not include when the sums
    leave no other reading, because the provider is known to report them so. `sent_as`: the event's key for a dimension
    that it names otherwise. `told`: keys that are information, with their amounts and why. `doubts`: what the event
    leaves open.
    """

    amounts: dict[str, int]
    beside: frozenset[str]
    maybe_beside: frozenset[str] = frozenset()
    sent_as: dict[str, str] = field(default_factory=dict)
    told: list[tuple[str, int, str]] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    def is_beside(self, part: str) -> bool:
        """Whether the whole does not include this part."""
        return part in self.beside or any(wider in self.beside for wider in CONTAINED_IN[part])


def names_of(convention: str) -> Mapping[str, str]:
    """The dimension that each key of a provider's own stands for; `""` for a key that is information."""
    return PROVIDER_KEYS[convention].names if convention in PROVIDER_KEYS else KNOWN_KEYS


def beside_of(convention: str) -> frozenset[str]:
    """The parts that their whole does not include."""
    return ALL_PARTS if convention == EXCLUSIVE else PROVIDER_KEYS.get(convention, _NO_KEYS).beside


def native_keys(provider: str, model: str) -> ProviderKeys | None:
    """How the provider itself reports this model; None when that is not known. `provider` is a canonical id."""
    if provider in _CLOUDS and "claude" in model:
        return PROVIDER_KEYS["anthropic"]
    return PROVIDER_KEYS.get(_NAMES.get(provider, provider))


def read(usage: Mapping[str, int | str], convention: str, native: ProviderKeys | None) -> Reported:
    """The usage of an event under its convention; `native` is how its provider is known to report.

    Two keys for one dimension are one amount: the larger. Without a provider's name as its convention an event may use
    the keys of any; tokens in a provider's own words follow that provider's rules, else the contract's.
    """
    beside = beside_of(convention)
    if convention not in PROVIDER_KEYS and convention != EXCLUSIVE:
        beside = _spoken(usage, native).beside
    reported = Reported({}, beside, native.beside if native is not None else frozenset())
    names = names_of(convention)
    for key, given in usage.items():
        nano = given * NANO if isinstance(given, int) else parse_amount(given)
        dimension = names.get(key, key)
        if nano and dimension == INFORMATION:
            reported.told.append((key, nano, "information"))
        elif nano or dimension in OVERLAPS:
            _add(reported, dimension, key, nano)
    rest = sum(nano for key, nano, _ in reported.told if key in _REST_KEYS)
    if rest and INPUT not in reported.amounts:
        reported.amounts[INPUT] = rest + reported.amounts.get("cached_input_tokens", 0)
    return reported


def _add(reported: Reported, dimension: str, key: str, nano: int) -> None:
    known = reported.amounts.get(dimension)
    if known is not None:
        smaller = min(known, nano)
        if known != nano:
            reported.doubts.append(f"{dimension} is reported twice, and the larger amount counts")
        reported.told.append(
            (key if known >= nano else reported.sent_as.get(dimension, dimension), smaller, "a repeat")
        )
        if known >= nano:
            return
    reported.amounts[dimension] = nano
    if key != dimension:
        reported.sent_as[dimension] = key
    else:
        reported.sent_as.pop(dimension, None)


def _spoken(usage: Mapping[str, int | str], native: ProviderKeys | None) -> ProviderKeys:
    """Whose words the event's tokens are in, when it does not say: its provider's own if they can be, else the first
    provider's that has them all. Words that no one provider has together are read so that nothing is inside another.
    """
    foreign = [key for key in usage if key not in TOKENS and KNOWN_KEYS.get(key) in TOKENS]
    if not foreign:
        return _NO_KEYS
    for keys in (*([] if native is None else [native]), *PROVIDER_KEYS.values()):
        if all(key in keys.names for key in foreign):
            return keys
    return ProviderKeys({}, ALL_PARTS)
