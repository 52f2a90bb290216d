"""The charge for each dimension of an event: the complete rules, for any price and any usage."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from tollgate.domain.pricing.dimensions import (
    INPUT,
    INPUT_PARTS,
    OUTPUT,
    OUTPUT_PARTS,
    REQUESTS,
    TOKENS,
    TOTAL_TOKENS,
)
from tollgate.domain.pricing.price import Price, Rate, Tier
from tollgate.schemas.amounts import NANO, parse_amount

EXCLUSIVE = "exclusive"


@dataclass(frozen=True, slots=True)
class Charge:
    """One line of a bill: `cost` picousd, exact, for `nano` units of a dimension.

    `rate` is None for what is information or free; `tier` is the one of its tiers the event is in. `price` is the one
    that covers the dimension: the event's own, or the fallback, and then `unpriced` is true.
    """

    dimension: str
    nano: int
    rate: Rate | None
    cost: Fraction
    price: Price
    tier: Tier | None = None
    unpriced: bool = False
    note: str = ""


def charges(
    price: Price, usage: Mapping[str, int | str], convention: str, fallback: Callable[[], tuple[Price, Rate]]
) -> Iterator[Charge]:
    """Every dimension of the usage above zero, charged once.

    `fallback` gives the price for dimensions that this one does not cover, and the rate for those that it does not
    cover either. With the inclusive convention a whole is charged for what its parts leave of it; parts that exceed
    their whole are charged in full and the whole for nothing: `input_tokens` 10 with `cached_input_tokens` 30 is 30
    cached tokens. The tier is chosen by all input tokens, cached or not.
    """
    reported = {dim: nano for dim, amount in usage.items() if (nano := _nano(amount))}
    remaining, input_nano = _split(reported, convention)
    input_tokens = Fraction(input_nano, NANO)
    for dimension, nano in remaining.items():
        if not nano:
            yield _information(price, dimension, reported[dimension], "counted in its parts")
        elif price.free:
            yield _information(price, dimension, nano, "free offer")
        elif (rate := price.rate_for(dimension)) is not None:
            yield _charge(price, rate, dimension, nano, input_tokens, reported)
        elif dimension == REQUESTS:
            yield _information(price, dimension, nano, "not charged for")
        elif dimension == TOTAL_TOKENS and not TOKENS.isdisjoint(reported):
            yield _information(price, dimension, nano, "the sum of the others")
        else:
            other_price, other_rate = fallback()
            rate = other_price.rate_for(dimension)
            if rate is None and dimension == TOTAL_TOKENS:
                rate = other_price.rate_for(OUTPUT)
            rate = rate or other_rate
            cost = nano * rate.unit(input_tokens)
            yield Charge(dimension, nano, rate, cost, other_price, unpriced=True, note="no known price")
    for rate in price.rates:
        if rate.once_unless and reported.keys().isdisjoint(rate.once_unless):
            cost = NANO * rate.unit(input_tokens)
            yield Charge(rate.dimension, NANO, rate, cost, price, note="once per event")


def _nano(amount: int | str) -> int:
    return amount * NANO if isinstance(amount, int) else parse_amount(amount)


def _split(reported: Mapping[str, int], convention: str) -> tuple[dict[str, int], int]:
    """The amounts to charge, and all input tokens, in nano-units."""
    remaining = dict(reported)
    parts = sum(reported.get(part, 0) for part in INPUT_PARTS)
    whole = reported.get(INPUT, 0)
    if convention == EXCLUSIVE:
        return remaining, whole + parts
    if whole:
        remaining[INPUT] = max(whole - parts, 0)
    if OUTPUT in reported:
        remaining[OUTPUT] = max(reported[OUTPUT] - sum(reported.get(part, 0) for part in OUTPUT_PARTS), 0)
    return remaining, max(whole, parts)


def _charge(
    price: Price, rate: Rate, dimension: str, nano: int, input_tokens: Fraction, reported: Mapping[str, int]
) -> Charge:
    if any(other in reported for other in rate.unless):
        return _information(price, dimension, nano, "counted in " + " and ".join(rate.unless))
    billed, note = nano, ""
    if rate.minimum is not None and nano < rate.minimum * NANO:
        billed, note = int(rate.minimum * NANO), f"at least {rate.minimum} are charged"
    elif rate.dimension != dimension:
        note = f"at the rate of {rate.dimension}"
    cost = billed * rate.unit(input_tokens)
    return Charge(dimension, billed, rate, cost, price, rate.tier(input_tokens), note=note)


def _information(price: Price, dimension: str, nano: int, note: str) -> Charge:
    return Charge(dimension, nano, None, Fraction(0), price, note=note)
