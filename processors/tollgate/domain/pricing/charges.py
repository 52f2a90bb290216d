"""The charge for each dimension of an event: the complete rules, for any price and any usage."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from tollgate.domain.pricing.dimensions import INPUT, OUTPUT, PARTS_OF, REQUESTS, TOKENS, TOTAL_TOKENS
from tollgate.domain.pricing.price import Price, Rate, Tier
from tollgate.domain.pricing.reported import Reported
from tollgate.domain.pricing.split import Split
from tollgate.schemas.amounts import NANO

# A call of which nothing else is known is taken to cost what a message does.
_MESSAGES: Final = "messages"


@dataclass(frozen=True, slots=True)
class Charge:
    """One line of a bill: `cost` picousd, exact, for `nano` units of a dimension.

    `rate` is None for what is information or free; `tier` is the one of its tiers the event is in. `price` is the one
    that states the rate: the event's own, one beneath it, or the fallback, and then `unpriced` is true.
    """

    dimension: str
    nano: int
    rate: Rate | None
    cost: Fraction
    price: Price
    tier: Tier | None = None
    unpriced: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Bill:
    """All charges of an event. `doubts` say what the event left open and was taken in the dearest way it allows."""

    charges: tuple[Charge, ...]
    doubts: tuple[str, ...]


class Biller:
    """Charges what one event reports by one price.

    `fallback` gives the price for dimensions that this one does not cover, and the rate for those that it does not
    cover either. Every dimension above zero is charged once, each token in one dimension (see `split`). The tier is
    chosen by all input tokens, cached or not.
    """

    def __init__(self, price: Price, reported: Reported, fallback: Callable[[], tuple[Price, Rate]]) -> None:
        self._price = price
        self._reported = reported
        self._fallback = fallback
        splits = [Split(whole, reported) for whole in PARTS_OF]
        self._input_tokens = Fraction(next(split.total for split in splits if split.whole == INPUT), NANO)
        self._left: dict[str, int] = {}
        self._doubts = list(reported.doubts)
        for split in splits:
            split.settle(self._unit)
            self._left |= {**split.leaves, split.whole: split.rest}
            self._doubts += split.doubts

    def bill(self) -> Bill:
        return Bill(tuple(self._charges()), tuple(self._doubts))

    def _charges(self) -> Iterator[Charge]:
        amounts = self._reported.amounts
        # What parts have in common may be found without having been reported.
        for dimension in dict.fromkeys((*amounts, *self._left)):
            reported = amounts.get(dimension, 0)
            nano = self._left.get(dimension, 0) if dimension in TOKENS else reported
            if nano:
                yield self._charged(dimension, nano)
            elif reported:
                yield self._information(dimension, reported, "counted in its parts")
        for key, nano, why in self._reported.told:
            if self._is_alone():
                yield self._uncovered(key, nano)
            else:
                yield self._information(key, nano, why)
        for rate in self._price.by_dimension.values():
            if rate.once_unless and not any(amounts.get(name) for name in rate.once_unless):
                cost = NANO * rate.unit(self._input_tokens)
                yield Charge(rate.dimension, NANO, rate, cost, self._price.owner(rate), note="once per event")

    def _charged(self, dimension: str, nano: int) -> Charge:
        if self._price.free:
            return self._information(dimension, nano, "free offer")
        if dimension == TOTAL_TOKENS and any(n and name in TOKENS for name, n in self._reported.amounts.items()):
            return self._information(dimension, nano, "the sum of the others")
        rate = self._price.rate_for(dimension)
        if rate is None and dimension == TOTAL_TOKENS:
            rate = self._only_rate()
        if rate is not None:
            return self._at(rate, dimension, nano)
        if dimension == REQUESTS and not self._is_alone():
            return self._information(dimension, nano, "not charged for")
        if self._price.rest_is_free:
            return self._information(dimension, nano, "free offer")
        return self._uncovered(dimension, nano)

    def _is_alone(self) -> bool:
        """Whether nothing that the event reports could be charged for."""
        return all(name == REQUESTS for name, nano in self._reported.amounts.items() if nano) and not any(
            rate.once_unless for rate in self._price.by_dimension.values()
        )

    def _only_rate(self) -> Rate | None:
        """The rate of every token of a model that has but one, as models of embeddings have."""
        wholes = [rate for whole in PARTS_OF if (rate := self._price.rate_for(whole)) is not None]
        units = {rate.unit(self._input_tokens) for rate in wholes}
        return wholes[0] if len(units) == 1 else None

    def _at(self, rate: Rate, dimension: str, nano: int) -> Charge:
        if any(self._reported.amounts.get(other) for other in rate.unless):
            return self._information(dimension, nano, "counted in " + " and ".join(rate.unless))
        billed, notes = nano, []
        if rate.minimum is not None and nano < rate.minimum * NANO:
            billed = int(rate.minimum * NANO)
            notes.append(f"at least {rate.minimum} are charged")
        elif rate.dimension != dimension:
            notes.append(f"at the rate of {rate.dimension}")
        if dimension in self._reported.sent_as:
            notes.append(f"sent as {self._reported.sent_as[dimension]}")
        cost = billed * rate.unit(self._input_tokens)
        tier = rate.tier(self._input_tokens)
        return Charge(dimension, billed, rate, cost, self._price.owner(rate), tier, note=", ".join(notes))

    def _uncovered(self, dimension: str, nano: int) -> Charge:
        price, rate = self._instead(dimension)
        cost = nano * rate.unit(self._input_tokens)
        return Charge(dimension, nano, rate, cost, price, unpriced=True, note="no known price")

    def _instead(self, dimension: str) -> tuple[Price, Rate]:
        price, other = self._fallback()
        if dimension == TOTAL_TOKENS:
            dimension = OUTPUT
        elif dimension == REQUESTS:
            dimension = _MESSAGES
        return price, price.rate_for(dimension) or other

    def _unit(self, dimension: str) -> Fraction:
        """What a unit costs, by whichever price."""
        rate = self._price.rate_for(dimension) or self._instead(dimension)[1]
        return rate.unit(self._input_tokens)

    def _information(self, dimension: str, nano: int, note: str) -> Charge:
        return Charge(dimension, nano, None, Fraction(0), self._price, note=note)
