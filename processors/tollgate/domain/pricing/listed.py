"""LLM list prices from `genai-prices`: its data and its matching, our dimensions and our arithmetic.

Only the data that the installed package carries is read; its updater, which fetches over the network, is never started.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib.metadata import version
from typing import Final

from genai_prices.data_snapshot import find_provider_by_id
from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    Provider,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)
from genai_prices.units import UnitRegistry

from tollgate.domain.pricing.dimensions import REQUESTS
from tollgate.domain.pricing.interval import ALWAYS, DAY_MS, Interval, around
from tollgate.domain.pricing.price import Price, Rate, Tier, with_id
from tollgate.schemas.instants import from_ms, to_ms

SOURCE: Final = "genai-prices"

# Where its name for a dimension differs from the contract's.
_DIMENSIONS: Final = {
    "cache_read_tokens": "cached_input_tokens",
    "output_reasoning_tokens": "reasoning_tokens",
    "input_characters": "characters",
    "input_audio_seconds": "audio_seconds",
    "output_audio_seconds": "audio_seconds",
}

# Groq bills ten seconds at least for a transcription; genai-prices has it in code, not in its data.
_GROQ_WHISPER: Final = ("whisper-large-v3", "whisper-large-v3-turbo")
_GROQ_WHISPER_SECONDS_MIN: Final = Decimal(10)

# For a kind of condition we do not know, a price is looked up anew in each such slot of the clock.
_SLOT_MS: Final = 15 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Listed:
    """A model as genai-prices found it. `own` tells whether the provider lists it itself or through another's list."""

    provider: Provider
    model: ModelInfo
    own: bool


class ListPrices:
    """The prices of genai-prices at an instant. `providers` and `units` are the package's own data."""

    def __init__(self, providers: Sequence[Provider], units: UnitRegistry, version: str) -> None:
        self._providers = list(providers)
        self._units = units
        self._version = version
        variants = [variant for provider in providers for model in provider.models for variant in _variants(model)]
        self.option_names = frozenset(name for variant in variants for name in variant.when)

    def find(self, provider: str, model: str) -> Listed | None:
        """The model an event means, by the package's own matching; None when it lists no such provider or model.

        Where the matching wants a provider's long form (`accounts/fireworks/models/…`), the package's id is good too.
        """
        if provider == "litellm" and "/" in model:
            provider, model = model.split("/", 1)
        found = find_provider_by_id(self._providers, provider)
        if found is None:
            return None
        info = found.find_model(model, all_providers=self._providers)
        if info is None:
            info = next((listed for listed in found.models if listed.id.lower() == model), None)
        return None if info is None else Listed(found, info, any(info is own for own in found.models))

    def price_at(self, listed: Listed, options: Mapping[str, str], time_ms: int) -> tuple[Price | None, Interval]:
        """The model's price at the time and the interval it certainly holds for.

        None when the package names the model without a price, which says nothing about what it costs, unless its name
        says that it is free.
        """
        model = listed.model
        interval = _interval(_constraints(model), time_ms)
        prices = model.get_prices(from_ms(time_ms), options if listed.own else None)
        rates = self._rates(listed, prices)
        free = not rates and model.id.endswith(":free")
        if not rates and not free:
            return None, interval
        # The interval is that of the look-up, not of the offer, so the price itself is without one.
        price = Price(
            provider=listed.provider.id,
            model=model.id,
            rates=rates,
            source=f"{SOURCE} {self._version}",
            free=free,
        )
        return with_id(price, f"genai-{self._version}"), interval

    def provider_prices(self, provider: str, time_ms: int) -> tuple[list[Price], Interval]:
        """All prices of a provider at the time, tiers included, and the interval they all hold for."""
        found = find_provider_by_id(self._providers, provider)
        prices: list[Price] = []
        interval = ALWAYS
        for model in found.models if found else ():
            price, holds = self.price_at(Listed(found, model, own=True), {}, time_ms) if found else (None, ALWAYS)
            interval = interval & holds
            if price is not None:
                prices.append(price)
        return prices, interval

    def provider_id(self, provider: str) -> str | None:
        """The package's id of a provider, for example `x-ai` for `xai`; None when it lists none by that name."""
        found = find_provider_by_id(self._providers, provider)
        return None if found is None else found.id

    def provider_of(self, model: str) -> str:
        """The id of the provider whose models are named like this one; `""` when there is none."""
        for provider in self._providers:
            if provider.model_match is not None and provider.model_match.is_match(model):
                return provider.id
        return ""

    def provider_ids(self) -> list[str]:
        return [provider.id for provider in self._providers]

    def _rates(self, listed: Listed, prices: ModelPrice) -> tuple[Rate, ...]:
        rates: dict[str, Rate] = {}
        for key, value in prices.__dict__.items():
            if value is None:
                continue
            unit = self._units.unit_for_price_key(key)
            dimension = _DIMENSIONS.get(unit.usage_key, unit.usage_key)
            tiered = isinstance(value, TieredPrices)
            rate = Rate(
                dimension,
                usd=value.base if tiered else value,
                per=Decimal(unit.per),
                tiers=tuple(Tier(tier.start, tier.price) for tier in value.tiers) if tiered else (),
                # A price per request holds for every call, whether or not the event counts its requests.
                once_unless=(REQUESTS,) if dimension == REQUESTS else (),
                minimum=_minimum(listed, dimension),
            )
            # Audio seconds may be listed in general and by direction; the dearer one is taken.
            other = rates.get(dimension)
            if other is None or rate.highest() > other.highest():
                rates[dimension] = rate
        return tuple(rates.values())


def installed() -> ListPrices:
    """The prices in the installed package. It reads the package's files, about 0.2 s the first time."""
    from genai_prices.data import providers
    from genai_prices.data_units import unit_data

    return ListPrices(providers, UnitRegistry(unit_data), version("genai-prices"))


def _minimum(listed: Listed, dimension: str) -> Decimal | None:
    whisper = listed.provider.id == "groq" and listed.model.id in _GROQ_WHISPER
    return _GROQ_WHISPER_SECONDS_MIN if whisper and dimension == "audio_seconds" else None


def _variants(model: ModelInfo) -> Sequence[PriceVariant]:
    return model.price_variants or ()


def _constraints(model: ModelInfo) -> list[object]:
    conditional: Sequence[ConditionalPrice] = () if isinstance(model.prices, ModelPrice) else model.prices
    constraints: list[object] = [price.constraint for price in conditional]
    constraints += [variant.constraint for variant in _variants(model)]
    return [constraint for constraint in constraints if constraint is not None]


def _interval(constraints: Iterable[object], time_ms: int) -> Interval:
    """The longest interval around the time in which no constraint starts or ends."""
    boundaries: set[int] = set()
    for constraint in constraints:
        if isinstance(constraint, StartDateConstraint):
            # A date begins at midnight UTC, as in the package itself.
            day = constraint.start_date.toordinal() - from_ms(0).date().toordinal()
            boundaries.add(day * DAY_MS)
        elif isinstance(constraint, TimeOfDateConstraint):
            boundaries.update(_times_of_day(constraint, time_ms))
        else:
            slot = time_ms // _SLOT_MS * _SLOT_MS
            boundaries.update((slot, slot + _SLOT_MS))
    return around(time_ms, boundaries)


def _times_of_day(constraint: TimeOfDateConstraint, time_ms: int) -> list[int]:
    epoch = from_ms(0)
    midnight = time_ms // DAY_MS * DAY_MS
    boundaries = [midnight, midnight + DAY_MS]
    for time in (constraint.start_time, constraint.end_time):
        moment = epoch.replace(
            hour=time.hour,
            minute=time.minute,
            second=time.second,
            microsecond=time.microsecond,
            tzinfo=time.tzinfo or epoch.tzinfo,
        )
        of_day = to_ms(moment) % DAY_MS
        boundaries += [midnight + of_day - DAY_MS, midnight + of_day, midnight + of_day + DAY_MS]
    return boundaries
