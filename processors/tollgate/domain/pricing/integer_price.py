"""A price made ready for arithmetic on integers alone."""

from collections.abc import Iterable, Mapping
from copy import copy
from fractions import Fraction
from math import lcm
from typing import Final

from tollgate.domain.pricing.dimensions import (
    CONTAINED_IN,
    INPUT,
    OUTPUT,
    REQUESTS,
    TOKENS,
    TOTAL_TOKENS,
    overlap_of,
    whole_of,
)
from tollgate.domain.pricing.interval import Interval
from tollgate.domain.pricing.price import Price, Rate
from tollgate.domain.pricing.reported import OVERLAPS, Reported, beside_of, names_of
from tollgate.schemas.amounts import NANO
from tollgate.schemas.conventions import INCLUSIVE, INFORMATION, PROVIDER_KEYS, ProviderKeys

# What an amount does to what is left of its whole, and to the input tokens that choose the tier.
PLAIN: Final = 0
INPUT_WHOLE: Final = 1
INPUT_PART: Final = 2
OUTPUT_WHOLE: Final = 3
OUTPUT_PART: Final = 4
INPUT_BESIDE: Final = 5

# What an event has amounts of, as bits. The first two cost something only where nothing else does, which only the rules
# in full know; those of tokens come after these three.
TOTAL_BIT: Final = 1
REQUESTS_BIT: Final = 2
OTHER_BIT: Final = 4
_TOKEN_BITS: Final = {name: 8 << place for place, name in enumerate(sorted(TOKENS.keys() - OVERLAPS))}
_SOME_TOKENS: Final = sum(_TOKEN_BITS.values())
_SOMETHING: Final = OTHER_BIT | _SOME_TOKENS

# Prices beneath one another that are told apart in what events are priced by; with more, only the rules in full do.
SOURCES_MAX: Final = 4

# Multiplier, what it does, its bit, and the bits that it must not meet.
Term = tuple[int, int, int, int]


class Band:
    """The linear part of a price for events of one convention in one tier.

    All multipliers are whole: picousd per whole unit times `denominator`. A part's multiplier is its rate less its
    whole's, because the whole already counts the part: for input at 2.5 and cached input at 1.25 it is -1.25, and 1200
    input tokens with 1000 cached cost 1200 * 2.5 - 1000 * 1.25. That holds while the parts do not exceed the whole, and
    while no two dimensions of the event can have tokens in common; `charges` has the rules for the others.
    """

    __slots__ = ("denominator", "terms")

    def __init__(self, price: Price, input_tokens: int, convention: str, native: ProviderKeys | None) -> None:
        units = {dim: rate.unit(input_tokens) * NANO for dim, rate in _linear(price)}
        self.denominator = lcm(*(unit.denominator for unit in units.values()))
        whole = {dim: (unit * self.denominator).numerator for dim, unit in units.items()}
        reported = Reported({}, beside_of(convention))
        self.terms: dict[str, Term] = {
            dim: _term(dim, multiplier, whole, reported) for dim, multiplier in whole.items() if dim not in OVERLAPS
        }
        if REQUESTS not in whole:
            self.terms[REQUESTS] = (0, PLAIN, REQUESTS_BIT, 0)
        # Beside tokens a total is information; alone, only the rules in full know what it costs.
        self.terms[TOTAL_TOKENS] = (0, PLAIN, TOTAL_BIT, 0)
        spoken = PROVIDER_KEYS.get(convention, ProviderKeys({}))
        if convention == INCLUSIVE and not (native is not None and native.beside and "prompt_tokens" in native.names):
            # OpenAI's words mean what the contract's do, where the provider does not mean something else by them.
            spoken = PROVIDER_KEYS["openai"]
        for key, dim in spoken.names.items():
            if dim == INFORMATION and key != spoken.rest:
                self.terms[key] = (0, PLAIN, REQUESTS_BIT, 0)
            elif dim in self.terms:
                self.terms[key] = self.terms[dim]

    def cost(self, usage: Mapping[str, int | str]) -> int | None:
        """The cost in picousd, rounded once; None when the amounts and multipliers alone do not make it."""
        terms = self.terms
        total = input_rest = output_rest = seen = 0
        for key, amount in usage.items():
            term = terms.get(key)
            # The class is compared because it is the fastest check; amounts are exactly int or str.
            if term is None or amount.__class__ is not int:
                return None
            if not amount:
                continue
            multiplier, side, bit, apart = term
            if seen & apart:
                return None
            seen |= bit
            total += multiplier * amount
            if side == INPUT_WHOLE:
                input_rest += amount
            elif side == OUTPUT_WHOLE:
                output_rest += amount
            elif side == INPUT_PART:
                input_rest -= amount
            elif side == OUTPUT_PART:
                output_rest -= amount
        if input_rest < 0 or output_rest < 0 or not is_complete(seen):
            return None
        return total if self.denominator == 1 else round_half_even(total, self.denominator)

    def input_tokens(self, usage: Mapping[str, int | str]) -> int:
        """All input tokens, by which a tier is chosen. Decimal amounts are left out: they are charged in full."""
        tokens = 0
        for key, amount in usage.items():
            term = self.terms.get(key)
            if term is not None and amount.__class__ is int and term[1] in (INPUT_WHOLE, INPUT_BESIDE):
                tokens += amount
        return tokens


def is_complete(seen: int) -> bool:
    """Whether what was seen says what the event costs: not when a total, or calls, stand alone."""
    if seen & TOTAL_BIT and not seen & _SOME_TOKENS:
        return False
    return not seen & REQUESTS_BIT or bool(seen & _SOMETHING)


class IntegerPrice:
    """A price over an interval of event times, for events of one convention.

    `once`: some rate counts events that report nothing of it, so that their amounts alone do not make the cost.
    `special`: more than `base` has to be looked at. `tiers`: each tier's start and its rates, highest first.
    `native` is how the provider of these events is known to report; None when that is not known.
    `sources` are the ids of the price and of those beneath it; `origins` has for each key the bit of its rate's source.
    """

    __slots__ = (
        "base", "convention", "from_ms", "native", "once", "origins", "price", "price_id", "sources", "special",
        "status", "tiers", "to_ms",
    )  # fmt: skip

    def __init__(
        self,
        price: Price,
        interval: Interval,
        status: str,
        convention: str = INCLUSIVE,
        native: ProviderKeys | None = None,
    ) -> None:
        self.price = price
        self.price_id = price.id
        self.status = status
        self.convention = convention
        self.native = native
        self.from_ms, self.to_ms = interval
        self.base = Band(price, 0, convention, native)
        # The tier holds above its start, so a band's rates are those of one token more. Highest first.
        rates = price.by_dimension.values()
        starts = sorted({tier.start for rate in rates for tier in rate.tiers})
        self.tiers = [(start, Band(price, start + 1, convention, native)) for start in reversed(starts)]
        self.once = any(rate.once_unless for rate in rates)
        self.sources = tuple(dict.fromkeys((price.id, *(beneath.id for beneath in price.beneath))))
        names = names_of(convention)
        self.origins = {key: self.origin(names.get(key, key)) for key in self.base.terms} if price.beneath else {}
        self.special = bool(self.tiers) or self.once or price.free or bool(price.beneath)

    def band(self, usage: Mapping[str, int | str]) -> Band:
        """The rates for an event with this usage."""
        if self.tiers:
            input_tokens = self.base.input_tokens(usage)
            for start, band in self.tiers:
                if input_tokens > start:
                    return band
        return self.base

    def origin(self, dimension: str) -> int:
        """The bit of the source that states the dimension's rate; 0 where there is none."""
        rate = self.price.rate_for(dimension)
        return 0 if rate is None else 1 << self.sources.index(self.price.owner(rate).id)

    def id_of(self, origins: int) -> str:
        """What an event is priced by that takes its rates from these sources: their ids, the first price's first."""
        used = (price_id for place, price_id in enumerate(self.sources) if origins >> place & 1)
        return "+".join(used) or self.price_id

    def within(self, interval: Interval) -> "IntegerPrice":
        """The same price where both its own interval and the given one hold."""
        narrowed = copy(self)
        narrowed.from_ms, narrowed.to_ms = interval & Interval(self.from_ms, self.to_ms)
        return narrowed


def _linear(price: Price) -> Iterable[tuple[str, Rate]]:
    """The dimensions whose charge is their amount times a constant, with the rate each is charged at."""
    for dimension in {**price.by_dimension, **TOKENS}:
        rate = price.rate_for(dimension)
        if rate is not None and not rate.unless and not rate.once_unless and rate.minimum is None:
            yield dimension, rate


def _term(dimension: str, multiplier: int, whole: Mapping[str, int], reported: Reported) -> Term:
    if dimension not in TOKENS:
        return multiplier, PLAIN, OTHER_BIT, 0
    bit = _TOKEN_BITS[dimension]
    # A second key for the same dimension is the same tokens again.
    apart = bit
    if dimension in (INPUT, OUTPUT):
        return multiplier, INPUT_WHOLE if dimension == INPUT else OUTPUT_WHOLE, bit, apart
    of = whole_of(dimension)
    beside = reported.is_beside(dimension)
    for other, other_bit in _TOKEN_BITS.items():
        if other in (INPUT, OUTPUT) or whole_of(other) != of:
            continue
        nested = other in CONTAINED_IN[dimension] or dimension in CONTAINED_IN[other]
        overlaps = overlap_of(dimension, other) is not None and not beside and not reported.is_beside(other)
        if nested or overlaps:
            apart |= other_bit
    if beside:
        return multiplier, INPUT_BESIDE if of == INPUT else PLAIN, bit, apart
    return multiplier - whole.get(of, 0), INPUT_PART if of == INPUT else OUTPUT_PART, bit, apart


def round_half_even(numerator: int, denominator: int) -> int:
    """The nearest integer, ties to the even one: 1/2 → 0, 3/2 → 2, 5/2 → 2. The denominator is positive."""
    quotient, remainder = divmod(numerator, denominator)
    twice = 2 * remainder
    if twice > denominator or (twice == denominator and quotient & 1):
        return quotient + 1
    return quotient


def rounded(cost: Fraction) -> int:
    """A cost in picousd, rounded to the whole one."""
    return round_half_even(cost.numerator, cost.denominator)
