"""The cost of one usage event, fast: prices are looked up once and then only multiplied."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Final, Protocol

import msgspec

from tollgate.domain.pricing.book import PriceBook
from tollgate.domain.pricing.charges import Bill, Biller
from tollgate.domain.pricing.dimensions import INPUT, OUTPUT, TOKENS
from tollgate.domain.pricing.integer_price import IntegerPrice, rounded
from tollgate.domain.pricing.price import Price, Rate
from tollgate.domain.pricing.reported import Reported, native_keys, read
from tollgate.schemas.amounts import NANO, parse_amount, parse_usd
from tollgate.schemas.control import PriceRecord

PRICED: Final = "priced"
REPORTED: Final = "reported"
FREE: Final = "free"
UNPRICED: Final = "unpriced"
ESTIMATED: Final = "estimated"

# Names of models come from outside, so what is remembered of them is bounded: two generations of this many keys, and
# the older one is dropped as a whole. 4,096 is far above the models in use at one time, and about 10 MB at the worst.
_KEYS_MAX: Final = 4096
# One key's prices of different times: two for a late event next to live ones, more where prices change by time of day.
_INTERVALS_MAX: Final = 8

# Sets of options that were read before, at most about 2 MB of them; a longer set is read each time.
_OPTION_SETS_MAX: Final = 1024
_OPTIONS_KEPT_MAX: Final = 8
_TEXT_KEPT_MAX: Final = 512

_Key = tuple[object, ...]
_Options = tuple[tuple[str, str], ...]


class Priceable(Protocol):
    """What pricing reads of a usage event's data (`tollgate.schemas.usage_codec.EventData`)."""

    @property
    def provider(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def agent(self) -> str: ...
    @property
    def product(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def billed(self) -> bool: ...
    @property
    def convention(self) -> str: ...
    @property
    def usage(self) -> Mapping[str, int | str]: ...
    @property
    def options(self) -> Mapping[str, str]: ...
    @property
    def cost_usd(self) -> str | None: ...
    @property
    def retail_tokens(self) -> int | str | None: ...


class Quote(msgspec.Struct, frozen=True, gc=False):
    """`cost_picousd` and `retail_picousd` are never negative. `status` is one of the five above."""

    cost_picousd: int
    retail_picousd: int
    price_id: str
    status: str


class Pricer:
    """Prices usage events by a book. It keeps what it has looked up; use one per thread.

    Costs are exact rationals until the end and rounded once per event to 10⁻¹² USD, half to even: one second at 0.10
    per 3 seconds is 0.033333333333 USD, and a cost of 0.0000000000005 USD is 0.
    """

    def __init__(self, book: PriceBook) -> None:
        self.book = book
        self._young: dict[_Key, tuple[IntegerPrice, ...]] = {}
        self._old: dict[_Key, tuple[IntegerPrice, ...]] = {}
        self._known_options: dict[tuple[tuple[str, str], ...], _Options] = {}
        self._options_ignored = 0
        self._retail = {product: _pico_per_nano(usd) for product, usd in book.defaults.retail_usd.items()}
        self._other = Rate("", usd=book.defaults.other_usd)

    def with_prices(self, records: Iterable[PriceRecord]) -> "Pricer":
        """A pricer with exactly these run-time prices, in place of those it had, and nothing remembered."""
        return Pricer(self.book.with_prices(records))

    def price(self, data: Priceable, time_ms: int) -> Quote:
        """What the event costs at its own time. Any usage is priced; nothing is raised.

        - A status other than `success` costs nothing unless `billed`: the quote keeps the price that would have held
          (so that failures can be told apart by model and price), and its status, which is never `unpriced`.
        - `cost_usd` takes the place of the price book: status `reported`, price id `reported`.
        - An unknown price is never nothing: the whole event is charged by the provider's fallback, or only what its
          known price does not cover (price id `<known id>+fallback/<provider>`), and is `unpriced`.
        - An event that does not tell in which dimension all of its tokens are is charged the dearest way that its
          totals allow, and is `estimated`.
        - The price id of an event that takes its rates from several prices is their ids: `<id>+<id of one beneath>`.
        """
        retail = 0 if data.retail_tokens is None else self._retail_picousd(data)
        status = data.status
        if data.cost_usd is not None or (status != "success" and status and not data.billed):
            return self._without_usage(data, time_ms, retail)
        options = data.options
        model = data.model
        convention = data.convention
        key: _Key = (data.provider, model, convention) if model and not options else self._key(data)
        for ready in self._young.get(key, ()):
            if ready.from_ms <= time_ms < ready.to_ms:
                break
        else:
            ready = self._lookup(key, data, time_ms)
        usage = data.usage
        band, price_id = ready.base, ready.price_id
        if ready.special:
            if ready.status == FREE:
                return Quote(0, retail, price_id, FREE)
            if ready.once:
                return self._in_full(ready, data, time_ms, retail)
            band = ready.band(usage)
            if ready.origins:
                price_id = ready.id_of(_union(ready.origins.get(key, 0) for key, nano in usage.items() if nano))
        cost = band.cost(usage)
        if cost is None:
            return self._in_full(ready, data, time_ms, retail)
        return Quote(cost, retail, price_id, ready.status)

    def held(self, data: Priceable, time_ms: int) -> IntegerPrice:
        """The price that holds for the event, which may be the fallback of its provider."""
        return self._lookup(self._key(data), data, time_ms)

    def bill(self, data: Priceable, time_ms: int) -> tuple[IntegerPrice, Bill]:
        """The price that holds for the event, and what it would charge line by line whatever the event's status."""
        ready = self._lookup(self._key(data), data, time_ms)
        return ready, self._billed(ready, data, time_ms, self._reported(ready, data))

    def take_options_ignored(self) -> int:
        """How many options changed no price among the look-ups since this was last called.

        An option counts when a set of options, or the price of a model for it, is looked up, not with every event.
        """
        taken, self._options_ignored = self._options_ignored, 0
        return taken

    def lacking(self, data: Priceable, time_ms: int) -> tuple[str, ...]:
        """The dimensions that an unpriced event needs a price of. Where no price is known at all, tokens of any kind
        need those of input and output.
        """
        ready = self._lookup(self._key(data), data, time_ms)
        reported = self._reported(ready, data)
        bill = self._billed(ready, data, time_ms, reported)
        lines = [line for line in bill.charges if line.unpriced or (ready.status == UNPRICED and line.rate)]
        names = list(dict.fromkeys(line.dimension for line in lines))
        if ready.status == UNPRICED and not TOKENS.keys().isdisjoint(names):
            names = [INPUT, OUTPUT, *(name for name in names if name not in TOKENS)]
        return tuple(names)

    def telling_options(self, data: Priceable) -> dict[str, str]:
        """The event's options that some price depends on, as prices name them."""
        return dict(self._options(data.options))

    def _reported(self, ready: IntegerPrice, data: Priceable) -> Reported:
        return read(data.usage, data.convention, ready.native)

    def _billed(self, ready: IntegerPrice, data: Priceable, time_ms: int, reported: Reported) -> Bill:
        def fallback() -> tuple[Price, Rate]:
            return self._fallback(data, time_ms).price, self._other

        return Biller(ready.price, reported, fallback).bill()

    def _in_full(self, ready: IntegerPrice, data: Priceable, time_ms: int, retail: int) -> Quote:
        reported = self._reported(ready, data)
        bill = self._billed(ready, data, time_ms, reported)
        cost = rounded(sum((line.cost for line in bill.charges), Fraction(0)))
        price_id, status = ready.price_id, ready.status
        if ready.origins:
            charged = (line.dimension for line in bill.charges if line.rate and not line.unpriced)
            used = [dimension for dimension, nano in reported.amounts.items() if nano]
            price_id = ready.id_of(_union(ready.origin(dimension) for dimension in (*used, *charged)))
        uncovered = next((line for line in bill.charges if line.unpriced), None)
        if status != UNPRICED and uncovered is not None:
            price_id, status = f"{price_id}+{uncovered.price.id}", UNPRICED
        elif status == PRICED and bill.doubts:
            status = ESTIMATED
        return Quote(cost, retail, price_id, status)

    def _without_usage(self, data: Priceable, time_ms: int, retail: int) -> Quote:
        owed = data.status in ("success", "") or data.billed
        if data.cost_usd is not None:
            return Quote(parse_usd(data.cost_usd) if owed else 0, retail, REPORTED, REPORTED)
        ready = self._lookup(self._key(data), data, time_ms)
        if ready.status == UNPRICED:
            return Quote(0, retail, "", FREE)
        return Quote(0, retail, ready.price_id, ready.status)

    def _retail_picousd(self, data: Priceable) -> int:
        tokens = data.retail_tokens
        if tokens is None:
            return 0
        unit = self._retail.get(data.product) or self._retail[""]
        nano = tokens * NANO if isinstance(tokens, int) else parse_amount(tokens)
        return rounded(nano * unit)

    def _key(self, data: Priceable) -> _Key:
        """What the choice of a price depends on besides the time."""
        options = self._options(data.options) if data.options else ()
        if data.model:
            return (data.provider, data.model, data.convention, *options)
        return (data.provider, None, data.agent, data.convention, *options)

    def _options(self, given: Mapping[str, str]) -> _Options:
        """The options that the choice of a price depends on, as prices name them."""
        sent = tuple(given.items())
        known = self._known_options.get(sent)
        if known is None:
            known, unknown = self.book.option_key(given)
            self._options_ignored += len(unknown)
            if len(sent) <= _OPTIONS_KEPT_MAX and sum(len(name) + len(value) for name, value in sent) <= _TEXT_KEPT_MAX:
                if len(self._known_options) >= _OPTION_SETS_MAX:
                    self._known_options.clear()
                self._known_options[sent] = known
        return known

    def _lookup(self, key: _Key, data: Priceable, time_ms: int) -> IntegerPrice:
        """The price for a key that may not be among the young ones, or not for this time."""
        known = self._young.get(key) or self._old.get(key) or ()
        found = next((ready for ready in known if ready.from_ms <= time_ms < ready.to_ms), None)
        if found is None:
            found = self._resolve(data, time_ms)
            known = (found, *known[: _INTERVALS_MAX - 1])
        self._remember(key, known)
        return found

    def _resolve(self, data: Priceable, time_ms: int) -> IntegerPrice:
        found = self.book.resolve(data.provider, data.model, data.agent, data.options, time_ms)
        self._options_ignored += len(found.ignored)
        model = data.model.lower()
        native = native_keys(self.book.canonical(data.provider, model), model)
        if found.price is None:
            ready = self._fallback(data, time_ms).within(found.interval)
            ready.native = native
            return ready
        status = FREE if found.price.free else PRICED
        return IntegerPrice(found.price, found.interval, status, data.convention, native)

    def _fallback(self, data: Priceable, time_ms: int) -> IntegerPrice:
        """The provider's fallback, shared by all of its unknown models."""
        name = self.book.fallback_name(data.provider, data.model)
        key = (name, data.convention)
        known = self._young.get(key) or self._old.get(key) or ()
        found = next((ready for ready in known if ready.from_ms <= time_ms < ready.to_ms), None)
        if found is None:
            price, interval = self.book.fallback(name, time_ms)
            found = IntegerPrice(price, interval, UNPRICED, data.convention, native_keys(name, ""))
            self._remember(key, (found, *known[: _INTERVALS_MAX - 1]))
        return found

    def _remember(self, key: _Key, known: tuple[IntegerPrice, ...]) -> None:
        if key not in self._young and len(self._young) >= _KEYS_MAX:
            self._old, self._young = self._young, {}
        self._young[key] = known


def _union(bits: Iterable[int]) -> int:
    union = 0
    for bit in bits:
        union |= bit
    return union


def _pico_per_nano(usd: Decimal) -> Fraction:
    return Fraction(usd) * 1000
