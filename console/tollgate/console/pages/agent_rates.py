"""What an agent costs per 1,000 tokens: for events that name it and no model."""

from typing import NamedTuple

from tollgate.domain.pricing import Price, PriceBook, Rate
from tollgate.domain.pricing.price import decimal_text

TOKENS_SHOWN = 1000


class AgentRate(NamedTuple):
    """The price of one dimension: `usd` for `per` units, per 1,000 where they are tokens."""

    dimension: str
    usd: str
    per: str


def agents_of(book: PriceBook, at_ms: int) -> list[str]:
    """The agents that have a rate at this instant, by name."""
    return sorted({price.agent for price in book.prices() if price.agent and price.active_at(at_ms)})


def rates_of(book: PriceBook, agent: str, at_ms: int) -> list[AgentRate]:
    """The agent's rates at this instant; empty when nobody knows one, so that its events are unpriced."""
    price = book.resolve("", "", agent, {}, at_ms).price
    return [] if price is None else _shown(price)


def _shown(price: Price) -> list[AgentRate]:
    # A rate of tokens that are not told apart is the same again, for events that cannot say more.
    found = [_rate(rate) for rate in price.rates if not rate.unless]
    known = {rate.dimension for rate in found}
    beneath = [rate for under in price.beneath for rate in _shown(under) if rate.dimension not in known]
    return [*found, *beneath]


def _rate(rate: Rate) -> AgentRate:
    if not rate.dimension.endswith("tokens"):
        return AgentRate(rate.dimension, decimal_text(rate.usd), decimal_text(rate.per))
    return AgentRate(rate.dimension, decimal_text(rate.usd * TOKENS_SHOWN / rate.per), str(TOKENS_SHOWN))
