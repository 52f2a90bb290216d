"""The price book: which price holds for an event, out of every source of prices."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from tollgate.domain.pricing.dimensions import REQUESTS, TOTAL_TOKENS
from tollgate.domain.pricing.interval import ALWAYS, Interval, around
from tollgate.domain.pricing.listed import ListPrices
from tollgate.domain.pricing.price import Price, Rate, most_expensive
from tollgate.domain.pricing.records import price_of
from tollgate.schemas.control import PriceRecord

FALLBACK: Final = "fallback"
AGENT: Final = "agent"
DEFAULT: Final = "default"


@dataclass(frozen=True, slots=True)
class Resolved:
    """The price that holds for a provider, model, agent and options over `interval`; None: nobody knows one."""

    price: Price | None
    interval: Interval


@dataclass(frozen=True, slots=True)
class Defaults:
    """What is configured for the cases no price covers.

    `rates`: the price of a dimension of which the provider has no known price. `other_usd`: of a dimension nobody
    knows, per unit. `retail_usd`: what a user pays for one product token, by product; `""` for all others.
    """

    rates: Mapping[str, Rate]
    other_usd: Decimal
    retail_usd: Mapping[str, Decimal]


class PriceBook:
    """Prices in layers, the first that knows a model wins: run-time, named book, shipped, genai-prices.

    It is immutable. Inside a layer, among the prices that name the model, accept the event's options and are in force
    at the event's time, the one wins that names the model exactly, then the one with more options, then the one that
    came into force last.
    """

    def __init__(
        self,
        layers: Iterable[Iterable[Price]],
        list_prices: ListPrices,
        defaults: Defaults,
        aliases: Mapping[str, str],
        runtime: Iterable[Price] = (),
    ) -> None:
        self.runtime = tuple(runtime)
        self.defaults = defaults
        self._shipped = tuple(tuple(layer) for layer in layers)
        self._list_prices = list_prices
        self._aliases = dict(aliases)
        self._layers = tuple(self._by_subject(layer) for layer in (self.runtime, *self._shipped))
        self._own_names = frozenset(name for layer in self._layers for name, _ in layer)
        own = {name for price in self.prices() for name, _ in price.options}
        # Options that no price mentions cannot change a price, so they are left out of the look-up key.
        self.option_names = frozenset(own | list_prices.option_names)

    def with_prices(self, records: Iterable[PriceRecord]) -> "PriceBook":
        """A book with exactly these run-time prices, in place of those it had."""
        runtime = [price_of(record) for record in records]
        return PriceBook(self._shipped, self._list_prices, self.defaults, self._aliases, runtime)

    def resolve(self, provider: str, model: str, agent: str, options: Mapping[str, str], time_ms: int) -> Resolved:
        """The price for an event. The agent's own rate holds only for an event that names no model."""
        name = model.lower()
        canonical = self.canonical(provider, name)
        subject = _subject(canonical, model, agent)
        interval = ALWAYS
        for layer in self._layers:
            candidates = [price for price in layer.get(subject, ()) if price.names(name) and price.accepts(options)]
            interval = interval & _interval(candidates, time_ms)
            active = [price for price in candidates if price.active_at(time_ms)]
            if active:
                best = max(active, key=lambda price: _rank(price, name))
                return Resolved(best, interval)
        if not model:
            return Resolved(None, interval)
        listed = self._list_prices.find(canonical, name)
        if listed is None:
            return Resolved(None, interval)
        price, holds = self._list_prices.price_at(listed, options, time_ms)
        return Resolved(price, interval & holds)

    def fallback_name(self, provider: str, model: str) -> str:
        """Whose prices stand in for an unknown one: a known provider, `agent`, or `default` for anyone else.

        There are as many names as known providers, so what is kept by them is bounded.
        """
        name = self.canonical(provider, model.lower()) if provider or model else AGENT
        known = name == AGENT or name in self._own_names or self._list_prices.provider_id(name) is not None
        return name if known else DEFAULT

    def fallback(self, name: str, time_ms: int) -> tuple[Price, Interval]:
        """The price used when none is known: per dimension the most expensive one known under that name, else the
        configured one. Its id is `fallback/<name>`. Never zero.
        """
        listed, interval = self._list_prices.provider_prices(name, time_ms)
        own = [price for layer in self._layers for subject in layer if subject[0] == name for price in layer[subject]]
        interval = interval & _interval(own, time_ms)
        known = most_expensive([price for price in own if price.active_at(time_ms)] + listed)
        rates = {**self.defaults.rates, **known}
        # A count of calls and a sum of tokens have no price of their own unless a price names them.
        rates.pop(REQUESTS, None)
        rates.pop(TOTAL_TOKENS, None)
        return Price(
            provider=name,
            model="",
            rates=tuple(rates.values()),
            source="the configured fallback" if name == DEFAULT else f"the most expensive known price of {name}",
            id=f"{FALLBACK}/{name}",
        ), interval

    def canonical(self, provider: str, model: str = "") -> str:
        """One name per provider: `Vertex_AI` → `google`, `xai` → `x-ai`. An unknown one is only put in lower case.

        Without a provider it is the one that the model, given in lower case, is known to come from; else `""`.
        """
        if not provider:
            return self._list_prices.provider_of(model)
        name = provider.strip().lower()
        name = self._aliases.get(name, name)
        return self._list_prices.provider_id(name) or name

    def prices(self) -> list[Price]:
        """Every price that is ours: run-time, then named, then shipped."""
        return [price for layer in (self.runtime, *self._shipped) for price in layer]

    def list_prices(self, provider: str, time_ms: int) -> list[Price]:
        """What genai-prices lists for a provider at the time, without its request-specific variants."""
        return self._list_prices.provider_prices(self.canonical(provider), time_ms)[0]

    def listed_providers(self) -> list[str]:
        return self._list_prices.provider_ids()

    def _by_subject(self, prices: Iterable[Price]) -> dict[tuple[str, str], list[Price]]:
        subjects: dict[tuple[str, str], list[Price]] = {}
        for price in prices:
            known = replace(price, models=tuple(model.lower() for model in price.models))
            provider = self.canonical(price.provider, price.model.lower())
            subjects.setdefault(_subject(provider, price.model, price.agent), []).append(known)
        return subjects


def _subject(provider: str, model: str, agent: str) -> tuple[str, str]:
    """Whose prices to look through: a provider's, or one agent's when no model is named."""
    return (provider, "") if model else (AGENT, agent.lower())


def _interval(prices: Iterable[Price], time_ms: int) -> Interval:
    """The longest interval around the time in which none of the prices comes into force or ends."""
    boundaries = [price.effective_from_ms for price in prices]
    boundaries += [price.effective_to_ms for price in prices if price.effective_to_ms is not None]
    return around(time_ms, boundaries)


def _rank(price: Price, model: str) -> tuple[bool, int, int, str]:
    return price.is_exactly(model), len(price.options), price.effective_from_ms, price.id
