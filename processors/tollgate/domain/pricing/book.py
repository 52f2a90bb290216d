"""The price book: which price holds for an event, out of every source of prices."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, NamedTuple

from tollgate.domain.pricing.dimensions import CONTAINED_IN, REQUESTS, TOTAL_TOKENS
from tollgate.domain.pricing.interval import ALWAYS, Interval, around
from tollgate.domain.pricing.listed import ListPrices
from tollgate.domain.pricing.names import NameRules, Reading
from tollgate.domain.pricing.options import OptionRules
from tollgate.domain.pricing.price import Price, Rate, most_expensive, with_id
from tollgate.domain.pricing.records import price_of
from tollgate.schemas.control import PriceRecord

FALLBACK: Final = "fallback"
AGENT: Final = "agent"
DEFAULT: Final = "default"


# A variant that its provider never charges for, whether or not a list has it: the id of its price names no model.
_FREE_VARIANT: Final = "*:free"

# Prices by whose they are (`_subject`).
_Layer = dict[tuple[str, str], list[Price]]


@dataclass(frozen=True, slots=True)
class Resolved:
    """The price that holds for a provider, model, agent and options over `interval`; None: nobody knows one.

    `reading` is how the names were read, and `name` the one of them that the price was found by. `ignored` are the
    options of the event that change prices but not this one, under the names that prices use; `unknown` are those that
    no price depends on.
    """

    price: Price | None
    interval: Interval
    reading: Reading
    name: str = ""
    ignored: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


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
        names: NameRules,
        options: OptionRules,
        runtime: Iterable[Price] = (),
    ) -> None:
        self.runtime = tuple(runtime)
        self.defaults = defaults
        self._shipped = tuple(tuple(layer) for layer in layers)
        self._list_prices = list_prices
        self._aliases = dict(aliases)
        self._names = names
        self._options = options
        self._layers = tuple(self._by_subject(layer) for layer in (self.runtime, *self._shipped))
        self._own_names = frozenset(name for layer in self._layers for name, _ in layer)
        own = {name for price in self.prices() for name, _ in price.options}
        # Options that no price mentions cannot change a price, so they are left out of the look-up key.
        self.option_names = frozenset(own | list_prices.option_names | options.names)

    def with_prices(self, records: Iterable[PriceRecord]) -> "PriceBook":
        """A book with exactly these run-time prices, in place of those it had."""
        runtime = [price_of(record) for record in records]
        return PriceBook(
            self._shipped, self._list_prices, self.defaults, self._aliases, self._names, self._options, runtime
        )

    def option_key(self, options: Mapping[str, str]) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
        """The options that a price may depend on, as prices name them and in order; and the names of all others."""
        read = self._options.read(options)
        known = tuple(sorted(item for item in read.items() if item[0] in self.option_names))
        return known, tuple(sorted(read.keys() - self.option_names))

    def resolve(self, provider: str, model: str, agent: str, options: Mapping[str, str], time_ms: int) -> Resolved:
        """The price for an event. The agent's own rate holds only for an event that names no model.

        A run-time price leaves every dimension that it says nothing about to the run-time prices that it goes before,
        and then to the price that would hold without any: they are `beneath` it.
        """
        read = self._options.read(options)
        sent = frozenset(read)
        unknown = tuple(sorted(sent - self.option_names))
        reading = self.read(provider, model)
        if reading.region:
            read.setdefault("region", reading.region)

        above: list[Price] = []

        def resolved(price: Price | None, interval: Interval, name: str = "", used: Collection[str] = ()) -> Resolved:
            if above:
                name = next((name for name in reading.names if above[0].names(name)), model.lower())
                used = {*used, *(option for over in above for option, _ in over.options)}
            price = _stacked([*above, *([] if price is None else [price])])
            return Resolved(price, interval, reading, name, tuple(sorted(sent - {*used, *unknown})), unknown)

        sent_to = reading.provider if reading.names[0] == model.lower() else self.canonical(provider)
        asked = _Question(reading, (sent_to, model.lower()), agent, read, time_ms)
        interval = ALWAYS
        for layer in self._layers:
            active, holds = _in_force(layer, asked)
            interval = interval & holds
            if layer is self._layers[0]:
                above += active
                continue
            if active:
                name = next((name for name in reading.names if active[0].names(name)), model.lower())
                return resolved(active[0], interval, name, [option for option, _ in active[0].options])
        if not model:
            return resolved(None, interval)
        said, reading = reading, self._names.in_region(reading, read.get("region", ""))
        listed = self._list_prices.find(reading) if reading.hides == said.hides else None
        if listed is not None:
            price, holds, used = self._list_prices.price_at(listed, read, time_ms)
            return resolved(price, interval & holds, listed.name, used)
        return resolved(_free_variant(reading.provider) if reading.free else None, interval)

    def read(self, provider: str, model: str) -> Reading:
        """How the names of a provider and a model are read."""
        name = model.strip(" ").lower()
        return self._names.read(self.canonical(provider, name), name, self._provider_named)

    def fallback_name(self, provider: str, model: str) -> str:
        """Whose prices stand in for an unknown one: a known provider, `agent`, or `default` for anyone else.

        There are as many names as known providers, so what is kept by them is bounded.
        """
        name = self.read(provider, model).provider if provider or model else AGENT
        return name if name == AGENT or self._is_known(name) else DEFAULT

    def fallback(self, name: str, time_ms: int) -> tuple[Price, Interval]:
        """The price used when none is known: per dimension the most expensive one known under that name, else the
        configured one. Its id is `fallback/<name>`. Never zero.
        """
        listed, interval = self._list_prices.provider_prices(name, time_ms)
        own = [price for layer in self._layers for subject in layer if subject[0] == name for price in layer[subject]]
        interval = interval & _interval(own, time_ms)
        known = most_expensive([price for price in own if price.active_at(time_ms)] + listed)
        rates = {**self.defaults.rates, **known}
        for dimension, wholes in CONTAINED_IN.items():
            nearest = next((rates[whole] for whole in wholes if whole in rates), None)
            if nearest is not None and dimension not in rates:
                rates[dimension] = replace(nearest, dimension=dimension)
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

    def _is_known(self, provider: str) -> bool:
        return provider in self._own_names or self._list_prices.provider_id(provider) is not None

    def _provider_named(self, word: str) -> str:
        """The provider that a word before a model's name stands for, as in `vertex_ai/…`; `""` for any other word."""
        name = self.canonical(word)
        return name if self._is_known(name) else ""

    def _by_subject(self, prices: Iterable[Price]) -> _Layer:
        subjects: _Layer = {}
        for price in prices:
            known = replace(self._options.read_price(price), models=tuple(model.lower() for model in price.models))
            provider = self.canonical(price.provider, price.model.lower())
            subjects.setdefault(_subject(provider, price.model, price.agent), []).append(known)
        return subjects


class _Question(NamedTuple):
    """What is asked of each layer of prices. `sent` are the canonical provider and the name as they were sent."""

    reading: Reading
    sent: tuple[str, str]
    agent: str
    options: Mapping[str, str]
    time_ms: int


def _in_force(layer: _Layer, asked: _Question) -> tuple[list[Price], Interval]:
    """The prices of a layer that hold for an event, the one that counts first, and for how long they do."""
    candidates = [price for price in _naming(layer, asked) if price.accepts(asked.options)]
    active = [price for price in candidates if price.active_at(asked.time_ms)]
    active.sort(key=lambda price: _rank(price, asked.reading.names), reverse=True)
    return active, _interval(candidates, asked.time_ms)


def _naming(layer: _Layer, asked: _Question) -> list[Price]:
    """The prices of a layer for what was read, and those for the very names that were sent."""
    (provider, name), reading = asked.sent, asked.reading
    if not name:
        return layer.get(_subject("", "", asked.agent), [])
    prices = [] if reading.hides else layer.get(_subject(reading.provider, name, ""), [])
    read = [price for price in prices if any(price.names(name) for name in reading.names)]
    sent = [price for price in layer.get(_subject(provider, name, ""), []) if price.is_exactly(name)]
    return read + [price for price in sent if price not in read]


def _stacked(prices: list[Price]) -> Price | None:
    """The first of the prices, with those beneath it that cover what none before them does."""
    if not prices:
        return None
    first, *others = prices
    covered, beneath = set(first.by_dimension), list[Price]()
    for price in others:
        if price.free or not covered.issuperset(price.by_dimension):
            beneath.append(price)
            covered.update(price.by_dimension)
    return replace(first, beneath=tuple(beneath)) if beneath and not first.free else first


def _subject(provider: str, model: str, agent: str) -> tuple[str, str]:
    """Whose prices to look through: a provider's, or one agent's when no model is named."""
    return (provider, "") if model else (AGENT, agent.lower())


def _interval(prices: Iterable[Price], time_ms: int) -> Interval:
    """The longest interval around the time in which none of the prices comes into force or ends."""
    boundaries = [price.effective_from_ms for price in prices]
    boundaries += [price.effective_to_ms for price in prices if price.effective_to_ms is not None]
    return around(time_ms, boundaries)


def _rank(price: Price, names: Sequence[str]) -> tuple[int, int, int, str]:
    """The name that was sent goes before what it is read as, and any exact name before a pattern."""
    exactly = next((len(names) - i for i, name in enumerate(names) if price.is_exactly(name)), 0)
    return exactly, len(price.options), price.effective_from_ms, price.id


def _free_variant(provider: str) -> Price:
    price = Price(provider=provider, model=_FREE_VARIANT, source=f"a free variant of {provider}", free=True)
    return with_id(price)
