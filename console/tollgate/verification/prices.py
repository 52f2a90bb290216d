"""The cost an event must have, by the price that its priced record names.

An event keeps the price that was in force when it was counted. So the price is looked up by its id, not in today's
book alone: in the shipped books, the run-time prices in force, and those that the control topic still has.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Self

from tollgate.domain.pricing import Pricer, Quote, book_names, load_price_book
from tollgate.schemas.control import PriceRecord
from tollgate.schemas.usage_codec import EventData, EventRecord

__all__ = ["Prices", "Quote"]


# Sets of removed prices that held together; past them, the costs of such events are told as unknown.
_SEVERAL_MAX = 1000


class Prices:
    """Every price that is still available. `selected` is the name of the book in use. `in_force` are the run-time
    prices of today, `remembered` all that the control topic still has.
    """

    def __init__(self, selected: str, in_force: Iterable[PriceRecord], remembered: Iterable[PriceRecord]) -> None:
        self._selected = selected
        self._shipped = load_price_book(selected)
        self._in_force = list(in_force)
        self._remembered = list(remembered)
        self._pricers: list[Pricer] = []
        self._several: dict[frozenset[str], Pricer] = {}
        self._more: Iterator[Pricer] = self._candidates()

    def __reduce__(self) -> tuple[type[Self], tuple[str, list[PriceRecord], list[PriceRecord]]]:
        """For another process: the same prices, to be worked out there."""
        return type(self), (self._selected, self._in_force, self._remembered)

    def today(self, event: EventRecord) -> Quote:
        """What the event would cost if it were counted now."""
        if not self._pricers:
            self._pricers.append(next(self._more))
        return self._pricers[0].price(event.data, event.time_ms)

    def quoter(self) -> Callable[[EventData, int], Quote]:
        """`today` for very many events: called with an event's data and time."""
        if not self._pricers:
            self._pricers.append(next(self._more))
        return self._pricers[0].price

    def by_id(self, event: EventRecord, price_id: str, cost_picousd: int) -> Quote | None:
        """The quote of the price with this id, or None when the price is not known any more.

        An id of a fallback does not name its content: of several books' fallbacks, one of the given cost is preferred.
        """
        quote = self.today(event)
        if quote.price_id == price_id and quote.cost_picousd == cost_picousd:
            return quote
        found = quote if quote.price_id == price_id else None
        for pricer in self._all():
            quote = pricer.price(event.data, event.time_ms)
            if quote.price_id == price_id:
                found = found or quote
                if quote.cost_picousd == cost_picousd:
                    return quote
        return found or self._by_several(event, price_id)

    def _by_several(self, event: EventRecord, price_id: str) -> Quote | None:
        """The quote of run-time prices that hold together, one beneath the other: their ids are parts of the id."""
        named = [
            record.model_copy(update={"effective_to": None}) for record in self._remembered if record.id in price_id
        ]
        key = frozenset(record.id for record in named)
        if len(key) < 2:
            return None
        if key not in self._several and len(self._several) < _SEVERAL_MAX:
            self._several[key] = Pricer(self._shipped.with_prices(named))
        quote = self._several[key].price(event.data, event.time_ms) if key in self._several else None
        return quote if quote is not None and quote.price_id == price_id else None

    def _all(self) -> Iterator[Pricer]:
        yield from list(self._pricers)
        for pricer in self._more:
            self._pricers.append(pricer)
            yield pricer

    def _candidates(self) -> Iterator[Pricer]:
        shipped = self._shipped
        yield Pricer(shipped.with_prices(self._in_force))
        if self._remembered:
            yield Pricer(shipped)
        for record in self._remembered:
            yield Pricer(shipped.with_prices([record]))
            if record.effective_to is not None:
                # A price that was ended later has kept its id; when the event was counted it was still open.
                yield Pricer(shipped.with_prices([record.model_copy(update={"effective_to": None})]))
        for name in book_names():
            if name != self._selected:
                yield Pricer(load_price_book(name))
