"""LLM list prices from `genai-prices`: its data, our reading of names and options, our dimensions and our arithmetic.

Only the data that the installed package carries is read; its updater, which fetches over the network, is never started.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from importlib.metadata import version
from typing import Final

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

from tollgate.domain.pricing.dimensions import GENAI_NAMES, REQUESTS
from tollgate.domain.pricing.interval import ALWAYS, DAY_MS, Interval, around
from tollgate.domain.pricing.matching import Matcher, begins_a_word
from tollgate.domain.pricing.names import NameRules, Reading
from tollgate.domain.pricing.options import OfferRules
from tollgate.domain.pricing.price import Price, Rate, Tier, with_id
from tollgate.domain.pricing.rules import name_rules, offer_rules
from tollgate.schemas.instants import from_ms, to_ms

SOURCE: Final = "genai-prices"

# Groq bills ten seconds at least for a transcription; genai-prices has it in code, not in its data.
_GROQ_WHISPER: Final = ("whisper-large-v3", "whisper-large-v3-turbo")
_GROQ_WHISPER_SECONDS_MIN: Final = Decimal(10)

# For a kind of condition we do not know, a price is looked up anew in each such slot of the clock.
_SLOT_MS: Final = 15 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Listed:
    """A model of the list, found by `name`. `own`: the provider lists it itself, not through another's list."""

    provider: Provider
    model: ModelInfo
    own: bool
    name: str = ""


@dataclass(frozen=True, slots=True)
class _Offer:
    """What the package lists for some options, and for how long; `used` are the options it has rates for."""

    prices: ModelPrice
    used: frozenset[str] = frozenset()
    interval: Interval = ALWAYS


class ListPrices:
    """The prices of genai-prices at an instant. `providers` and `units` are the package's own data."""

    def __init__(
        self, providers: Sequence[Provider], units: UnitRegistry, version: str, names: NameRules, offers: OfferRules
    ) -> None:
        self._providers = list(providers)
        self._by_id = {provider.id: provider for provider in providers}
        self._provider_matches = [(p.id, p.provider_match) for p in providers if p.provider_match is not None]
        self._units = units
        self._version = version
        self._names = names
        self._offers = offers
        self._matchers = {provider.id: Matcher(provider, names) for provider in providers}
        variants = [variant for provider in providers for model in provider.models for variant in _variants(model)]
        self.option_names = frozenset(name for variant in variants for name in variant.when)
        self.option_names |= {factor.option for factor in offers.factors}

    def find(self, reading: Reading) -> Listed | None:
        """The model that a name means; None when the list has no such provider or model, or the name hides it.

        The first of the reading's names that the provider lists counts, then what it lists through others.
        """
        found = self._by_id.get(reading.provider)
        if found is None:
            return None
        own = self._matchers[found.id]
        if reading.hides:
            model = own.exactly(reading.names[0])
            return None if model is None else Listed(found, model, own=True, name=reading.names[0])
        lists = [own, *(self._matchers[other] for other in found.fallback_model_providers or ())]
        for name in reading.names:
            for matcher in lists:
                model = matcher.find(name)
                if model is not None:
                    return Listed(found, model, matcher is own, name)
        return None

    def price_at(
        self, listed: Listed, options: Mapping[str, str], time_ms: int
    ) -> tuple[Price | None, Interval, frozenset[str]]:
        """The model's price at the time, the interval it certainly holds for, and the options it depends on.

        None when the package names the model without a price, which says nothing about what it costs, unless its name
        says that it is free.
        """
        model = listed.model
        interval = _interval(_constraints(model), time_ms)
        offer = self._offer(listed, options, time_ms)
        rates = self._rates(listed, offer.prices)
        used, sources = set(offer.used), [f"{SOURCE} {self._version}"]
        interval = interval & offer.interval
        for name in sorted(options.keys() - used):
            factor = self._offers.factor(listed.provider.id, model.id, name, options[name])
            if factor is None:
                continue
            interval = interval & around(time_ms, [factor.since_ms])
            if factor.since_ms <= time_ms:
                used.add(name)
                if factor.times != 1:
                    rates = tuple(_times(rate, factor.times) for rate in rates)
                    sources.append(f"its token rates times {factor.times} for the option {name}")
        free = not rates and model.id.endswith(":free")
        if not rates and not free:
            return None, interval, frozenset(used)
        # The interval is that of the look-up, not of the offer, so the price itself is without one.
        price = Price(
            provider=listed.provider.id,
            model=model.id,
            rates=rates,
            source=", ".join(sources),
            free=free,
        )
        return with_id(price, f"genai-{self._version}"), interval, frozenset(used)

    def _offer(self, listed: Listed, options: Mapping[str, str], time_ms: int) -> "_Offer":
        """The rates of the package for the options, and which of them it has rates for.

        A list through another provider is for standard calls only. A rate that the package lists since some day holds
        before it as well, if the standard price was the same and the provider offered it (`OfferRules.offered`).
        """
        model, at = listed.model, from_ms(time_ms)
        standard = model.get_prices(at)
        if not listed.own:
            return _Offer(standard)
        fitting = [v for v in _variants(model) if all(options.get(name) == value for name, value in v.when.items())]
        used = {name for v in fitting if v.constraint is None or v.constraint.active(at) for name in v.when}
        interval = ALWAYS
        for day_ms, name in sorted(_coming(fitting)):
            since_ms = self._offers.offered_since_ms(listed.provider.id, name, options[name])
            if name in used or since_ms is None or model.get_prices(from_ms(day_ms)) != standard:
                continue
            interval = interval & around(time_ms, [since_ms])
            if since_ms <= time_ms:
                used.add(name)
                at = max(at, from_ms(day_ms))
        return _Offer(model.get_prices(at, {name: options[name] for name in used}), frozenset(used), interval)

    def provider_prices(self, provider: str, time_ms: int) -> tuple[list[Price], Interval]:
        """All prices of a provider at the time, tiers included, and the interval they all hold for."""
        found = self._by_id.get(provider)
        prices: list[Price] = []
        interval = ALWAYS
        if found is None:
            return prices, interval
        for model in found.models:
            price, holds, _ = self.price_at(Listed(found, model, own=True), {}, time_ms)
            interval = interval & holds
            if price is not None:
                prices.append(price)
        return prices, interval

    def provider_id(self, provider: str) -> str | None:
        """The package's id of a provider, for example `x-ai` for `xai`; None when it lists none by that name.

        Its matching takes any part of a name. Here the part begins a word, and no other word says that this is someone
        else: `openai` is found in `openai-responses`, not in `openai-compatible` or `azureopenai`.
        """
        if provider in self._by_id:
            return provider
        for provider_id, match in self._provider_matches:
            if match.is_match(provider):
                return provider_id if begins_a_word(match, provider) and not self._names.is_stranger(provider) else None
        return None

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
            dimension = GENAI_NAMES.get(unit.usage_key, unit.usage_key)
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

    return ListPrices(providers, UnitRegistry(unit_data), version("genai-prices"), name_rules(), offer_rules())


def _minimum(listed: Listed, dimension: str) -> Decimal | None:
    whisper = listed.provider.id == "groq" and listed.model.id in _GROQ_WHISPER
    return _GROQ_WHISPER_SECONDS_MIN if whisper and dimension == "audio_seconds" else None


def _times(rate: Rate, factor: Decimal) -> Rate:
    """The rate times the factor where it is one of tokens; else as it is."""
    if not rate.dimension.endswith("_tokens"):
        return rate
    tiers = tuple(Tier(tier.start, tier.usd * factor) for tier in rate.tiers)
    return replace(rate, usd=rate.usd * factor, tiers=tiers)


def _day_ms(constraint: StartDateConstraint) -> int:
    """A date begins at midnight UTC, as in the package itself."""
    return (constraint.start_date.toordinal() - from_ms(0).date().toordinal()) * DAY_MS


def _variants(model: ModelInfo) -> Sequence[PriceVariant]:
    return model.price_variants or ()


def _coming(variants: Iterable[PriceVariant]) -> Iterator[tuple[int, str]]:
    """The starts of those that are for one option and hold from a day on, with the option."""
    for variant in variants:
        if isinstance(variant.constraint, StartDateConstraint) and len(variant.when) == 1:
            yield _day_ms(variant.constraint), next(iter(variant.when))


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
            boundaries.add(_day_ms(constraint))
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
