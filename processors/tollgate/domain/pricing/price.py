"""A price: money per unit of each dimension it covers, over `[effective_from, effective_to)`."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fnmatch import fnmatchcase
from fractions import Fraction

from tollgate.domain.pricing.dimensions import CONTAINED_IN, TOKENS, is_billed_like, modality_of
from tollgate.schemas.instants import format_instant

# 10¹² picousd per USD over 10⁹ nano-units per unit.
_PICOUSD_PER_NANO = 1000


@dataclass(frozen=True, slots=True)
class Tier:
    """The unit price of every unit of the event once its input tokens exceed `start`.

    The threshold is exclusive: with `start=200_000`, an event of 200,000 input tokens pays the base price and one of
    200,001 pays `usd` for all of its tokens.
    """

    start: int
    usd: Decimal


@dataclass(frozen=True, slots=True)
class Rate:
    """`usd` for every `per` units of `dimension`, linear: 0.10 per 3 seconds costs 0.033333333333 for one second.

    `unless`: charged only when none of these dimensions is reported; otherwise the amount is information.
    `once_unless`: an event that reports none of these dimensions counts as one unit; empty: nothing is counted unseen.
    `minimum`: an amount above zero is charged as at least this much.
    """

    dimension: str
    usd: Decimal
    per: Decimal = Decimal(1)
    tiers: tuple[Tier, ...] = ()
    unless: tuple[str, ...] = ()
    once_unless: tuple[str, ...] = ()
    minimum: Decimal | None = None
    _base: Fraction = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_base", self._per_nano(self.usd))

    def tier(self, input_tokens: Fraction | int) -> Tier | None:
        """The tier of an event with this many input tokens; None below the first."""
        reached = [tier for tier in self.tiers if input_tokens > tier.start]
        return reached[-1] if reached else None

    def unit(self, input_tokens: Fraction | int = 0) -> Fraction:
        """Picousd per nano-unit for an event with so many input tokens: 2.50 per 1,000,000 → 1/400."""
        tier = self.tier(input_tokens) if self.tiers else None
        return self._base if tier is None else self._per_nano(tier.usd)

    def _per_nano(self, usd: Decimal) -> Fraction:
        return Fraction(usd) * _PICOUSD_PER_NANO / Fraction(self.per)

    def highest(self) -> Fraction:
        """The unit price of the most expensive tier."""
        return max(Fraction(usd) for usd in (self.usd, *(tier.usd for tier in self.tiers))) / Fraction(self.per)


# For each option, the values a price is for; None stands for an event that does not say.
Options = tuple[tuple[str, tuple[str | None, ...]], ...]


@dataclass(frozen=True, slots=True)
class Price:
    """What one model of one provider (or one agent, when `model` is empty) costs.

    `effective_to_ms` is exclusive; None is "until further notice". `models` are other names and patterns (`gpt-4o-20*`)
    that mean the same model. `free` is a free offer: every dimension is covered at nothing. `beneath` are the prices
    that hold for the dimensions that this one says nothing about, the first before the others.
    """

    provider: str
    model: str
    agent: str = ""
    options: Options = ()
    rates: tuple[Rate, ...] = ()
    effective_from_ms: int = 0
    effective_to_ms: int | None = None
    source: str = ""
    free: bool = False
    models: tuple[str, ...] = ()
    id: str = ""
    beneath: tuple["Price", ...] = ()
    by_dimension: Mapping[str, Rate] = field(init=False, repr=False, compare=False)
    # Of token dimensions, of which there are few.
    _found: dict[str, Rate | None] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        rates: dict[str, Rate] = {}
        for price in (self, *self.beneath):
            for rate in price.rates:
                rates.setdefault(rate.dimension, rate)
        object.__setattr__(self, "by_dimension", rates)

    def rate_for(self, dimension: str) -> Rate | None:
        """The rate this dimension is charged at: its own, or for a part of a whole the nearest one that the provider
        bills it at (`dimensions.is_billed_like`); of two equally near ones the dearer. None: not covered.
        """
        rate = self.by_dimension.get(dimension)
        if rate is not None or dimension not in CONTAINED_IN:
            return rate
        if dimension not in self._found:
            apart = frozenset(modality_of(name) for name in self.by_dimension if name in TOKENS)
            wholes = [
                whole for whole in CONTAINED_IN[dimension] if is_billed_like(dimension, whole, self.provider, apart)
            ]
            self._found[dimension] = self._nearest(wholes)
        return self._found[dimension]

    def some_rate_for(self, dimension: str) -> Rate | None:
        """The same, however the provider bills parts: what a part costs at least, where its own rate is not known."""
        return self.by_dimension.get(dimension) or self._nearest(CONTAINED_IN.get(dimension, ()))

    def _nearest(self, wholes: Iterable[str]) -> Rate | None:
        found = [whole for whole in wholes if whole in self.by_dimension]
        nearest = [whole for whole in found if not any(whole in CONTAINED_IN[other] for other in found)]
        return max((self.by_dimension[whole] for whole in nearest), key=Rate.highest, default=None)

    @property
    def rest_is_free(self) -> bool:
        """Whether what no rate covers costs nothing."""
        return self.free or any(price.free for price in self.beneath)

    def owner(self, rate: Rate) -> "Price":
        """The one among this price and those beneath it that states the rate."""
        if not self.beneath:
            return self
        return next((price for price in self.beneath if any(own is rate for own in price.rates)), self)

    def active_at(self, time_ms: int) -> bool:
        return self.effective_from_ms <= time_ms and (self.effective_to_ms is None or time_ms < self.effective_to_ms)

    def accepts(self, options: Mapping[str, str]) -> bool:
        """Whether an event with these options is one this price is for. Options it does not name do not matter."""
        return all(options.get(name) in values for name, values in self.options)

    def names(self, model: str) -> bool:
        """Whether this price is for the model, whose name must be in lower case."""
        return self.is_exactly(model) or any(fnmatchcase(model, pattern) for pattern in self.models)

    def is_exactly(self, model: str) -> bool:
        return self.model.lower() == model or model in self.models


def decimal_text(value: Decimal) -> str:
    """The shortest plain text: `Decimal("2.50")` → `"2.5"`, `Decimal("1E+6")` → `"1000000"`."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def content_hash(price: Price) -> str:
    """Eight hexadecimal digits of what the price says: two prices share them only when they charge the same.

    The end of the interval and the source are no part of it, so that a price keeps its id when it is ended.
    """
    content = {
        "provider": price.provider,
        "model": price.model,
        "models": sorted(price.models),
        "agent": price.agent,
        "options": {name: sorted(value or "" for value in values) for name, values in price.options},
        "effective_from": format_instant(price.effective_from_ms),
        "free": price.free,
        "rates": sorted((_rate_content(rate) for rate in price.rates), key=lambda rate: str(rate["dimension"])),
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def _rate_content(rate: Rate) -> dict[str, object]:
    content: dict[str, object] = {
        "dimension": rate.dimension,
        "usd": decimal_text(rate.usd),
        "per": decimal_text(rate.per),
    }
    if rate.tiers:
        content["tiers"] = [[tier.start, decimal_text(tier.usd)] for tier in rate.tiers]
    if rate.unless:
        content["unless"] = sorted(rate.unless)
    if rate.once_unless:
        content["once_unless"] = sorted(rate.once_unless)
    if rate.minimum is not None:
        content["minimum"] = decimal_text(rate.minimum)
    return content


def with_id(price: Price, version: str = "") -> Price:
    """The price under its own id, `openai/dall-e-3@2023-01-01#1f2e3d4c`; `version` stands in for the date."""
    subject = f"{price.provider}/{price.model}" if price.model else f"agent/{price.agent}"
    version = version or format_instant(price.effective_from_ms)[:10]
    return replace(price, id=f"{subject}@{version}#{content_hash(price)}")


def most_expensive(prices: Iterable[Price]) -> dict[str, Rate]:
    """The highest rate of each dimension, whichever price, option or tier it comes from; never one of zero.

    A part that some price has no rate for counts at its whole's rate: when one model costs 150 per million input tokens
    and has no cache price, a cached token may cost as much.
    """
    # Prices of the same dimensions are compared first, so that parts are looked at once for each such set.
    alike: dict[frozenset[str], dict[str, Rate]] = {}
    for price in prices:
        _keep_highest(alike.setdefault(frozenset(price.by_dimension), {}), price.by_dimension.items())
    highest: dict[str, Rate] = {}
    for rates in alike.values():
        _keep_highest(highest, rates.items())
        sample = Price("", "", rates=tuple(rates.values()))
        parts = ((part, sample.some_rate_for(part)) for part in TOKENS if part not in rates)
        _keep_highest(highest, ((part, rate) for part, rate in parts if rate is not None))
    return {
        dimension: Rate(dimension, usd=max((rate.usd, *(tier.usd for tier in rate.tiers))), per=rate.per)
        for dimension, rate in highest.items()
        if rate.highest() > 0
    }


def _keep_highest(highest: dict[str, Rate], rates: Iterable[tuple[str, Rate]]) -> None:
    for dimension, rate in rates:
        known = highest.get(dimension)
        if known is None or rate.highest() > known.highest():
            highest[dimension] = rate
