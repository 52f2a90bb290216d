"""A price made ready for arithmetic on integers alone."""

from collections.abc import Iterable, Mapping
from copy import copy
from decimal import Decimal
from fractions import Fraction
from math import lcm
from typing import Final

from tollgate.domain.pricing.dimensions import CHARGED_LIKE, INPUT, INPUT_PARTS, OUTPUT, REQUESTS, WHOLE_OF
from tollgate.domain.pricing.interval import Interval
from tollgate.domain.pricing.price import Price, Rate
from tollgate.schemas.amounts import NANO

# How a dimension changes what is left of a whole: its amount minus the amounts of its parts. PLAIN: not at all.
PLAIN: Final = 0
INPUT_WHOLE: Final = 1
INPUT_PART: Final = 2
OUTPUT_WHOLE: Final = 3
OUTPUT_PART: Final = 4


class Band:
    """The linear part of a price for events in one tier.

    All multipliers are whole: picousd per whole unit times `denominator`. In `inclusive`, a part's multiplier is its
    rate less its whole's, because the whole already counts the part: for input at 2.5 and cached input at 1.25 the
    parts' multiplier is -1.25, and 1200 input tokens with 1000 cached cost 1200 * 2.5 - 1000 * 1.25. That holds while
    the parts do not exceed the whole; `input_whole` and `output_whole` put it right when they do.
    """

    __slots__ = ("denominator", "exclusive", "inclusive", "input_whole", "output_whole")

    def __init__(self, price: Price, input_tokens: int) -> None:
        units = {dim: rate.unit(input_tokens) * NANO for dim, rate in _linear(price)}
        self.denominator = lcm(*(unit.denominator for unit in units.values()))
        whole = {dim: (unit * self.denominator).numerator for dim, unit in units.items()}
        self.input_whole = whole.get(INPUT, 0)
        self.output_whole = whole.get(OUTPUT, 0)
        self.exclusive = {dim: (multiplier, PLAIN) for dim, multiplier in whole.items()}
        self.inclusive = {
            dim: (multiplier - whole.get(WHOLE_OF.get(dim, ""), 0), _side(dim)) for dim, multiplier in whole.items()
        }

    def cost(self, usage: Mapping[str, int | str], exclusive: bool) -> int | None:
        """The cost in picousd, rounded once; None when some amount is no integer or some dimension is not linear."""
        rates = self.exclusive if exclusive else self.inclusive
        total = input_rest = output_rest = 0
        for dimension, amount in usage.items():
            rate = rates.get(dimension)
            # The class is compared because it is the fastest check; amounts are exactly int or str.
            if rate is None or amount.__class__ is not int:
                return None
            multiplier, side = rate
            total += multiplier * amount
            if side:
                if side == INPUT_WHOLE:
                    input_rest += amount
                elif side == OUTPUT_WHOLE:
                    output_rest += amount
                elif side == INPUT_PART:
                    input_rest -= amount
                else:
                    output_rest -= amount
        if input_rest < 0:
            total -= self.input_whole * input_rest
        if output_rest < 0:
            total -= self.output_whole * output_rest
        return total if self.denominator == 1 else round_half_even(total, self.denominator)


class CompiledPrice:
    """A price over an interval of event times.

    `once`: some rate counts events that report nothing of it, so that their amounts alone do not make the cost.
    `special`: more than `base` has to be looked at. `tiers`: each tier's start and its rates, highest first.
    """

    __slots__ = ("base", "from_ms", "once", "price", "price_id", "special", "status", "tiers", "to_ms")

    def __init__(self, price: Price, interval: Interval, status: str) -> None:
        self.price = price
        self.price_id = price.id
        self.status = status
        self.from_ms, self.to_ms = interval
        self.base = Band(price, 0)
        # The tier holds above its start, so a band's rates are those of one token more. Highest first.
        starts = sorted({tier.start for rate in price.rates for tier in rate.tiers})
        self.tiers = [(start, Band(price, start + 1)) for start in reversed(starts)]
        self.once = any(rate.once_unless for rate in price.rates)
        self.special = bool(self.tiers) or self.once or price.free

    def band(self, input_tokens: int) -> Band:
        """The rates for an event with this many input tokens."""
        for start, band in self.tiers:
            if input_tokens > start:
                return band
        return self.base

    def within(self, interval: Interval) -> "CompiledPrice":
        """The same price where both its own interval and the given one hold."""
        narrowed = copy(self)
        narrowed.from_ms, narrowed.to_ms = interval & Interval(self.from_ms, self.to_ms)
        return narrowed


def _linear(price: Price) -> Iterable[tuple[str, Rate]]:
    """The dimensions whose charge is their amount times a constant, with the rate each is charged at."""
    for dimension in {**price.by_dimension, **CHARGED_LIKE}:
        rate = price.rate_for(dimension)
        if rate is not None and not rate.unless and not rate.once_unless and rate.minimum is None:
            yield dimension, rate
    if REQUESTS not in price.by_dimension:
        yield REQUESTS, Rate(REQUESTS, usd=Decimal(0))


def _side(dimension: str) -> int:
    if dimension == INPUT:
        return INPUT_WHOLE
    if dimension == OUTPUT:
        return OUTPUT_WHOLE
    if dimension in WHOLE_OF:
        return INPUT_PART if dimension in INPUT_PARTS else OUTPUT_PART
    return PLAIN


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
