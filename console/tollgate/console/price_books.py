"""The prices in force: the selected book, what was set at run time, and the list prices of providers."""

import asyncio
from functools import lru_cache
from typing import Final

from tollgate.control import ControlStore
from tollgate.domain.pricing import Price, PriceBook, Pricer, load_price_book
from tollgate.runtime.settings import Settings
from tollgate.schemas.control import PRICE_KEY_PREFIX

# List prices change at midnight, a few by the quarter of an hour.
_LISTED_MS: Final = 60_000


class PriceBooks:
    """The price book of this process. It is loaded when somebody asks for a price first, which takes 0.2 s."""

    def __init__(self, settings: Settings, control: ControlStore) -> None:
        self._name = settings.price_book
        self._control = control
        self._shipped: PriceBook | None = None
        self._pricer: Pricer | None = None
        self._loading = asyncio.Lock()
        control.on_change(self._take)

    def _take(self, key: str) -> None:
        if key.startswith(PRICE_KEY_PREFIX):
            self._pricer = None

    async def pricer(self) -> Pricer:
        """Prices events as the worker does now."""
        if self._shipped is None:
            async with self._loading:
                if self._shipped is None:
                    self._shipped = await asyncio.to_thread(load_price_book, self._name)
        if self._pricer is None:
            self._pricer = Pricer(self._shipped.with_prices(self._control.prices().values()))
        return self._pricer

    async def book(self) -> PriceBook:
        """The book with the prices that are set at run time now."""
        return (await self.pricer()).book

    async def listed(self, time_ms: int) -> tuple[Price, ...]:
        """What genai-prices lists at that minute, of all providers: some 2,300 prices."""
        await self.pricer()
        assert self._shipped is not None, "the book is loaded"
        return await asyncio.to_thread(_listed, self._shipped, time_ms - time_ms % _LISTED_MS)


@lru_cache(maxsize=4)
def _listed(book: PriceBook, time_ms: int) -> tuple[Price, ...]:
    return tuple(price for provider in book.listed_providers() for price in book.list_prices(provider, time_ms))
