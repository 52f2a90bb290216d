"""The priced topic against the recount: one record per counted event, equal in every field, at the right cost."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Final

import msgspec
from aiokafka import ConsumerRecord

from tollgate.schemas.usage_codec import EventRecord
from tollgate.verification.calendar import milliseconds
from tollgate.verification.prices import Prices
from tollgate.verification.report import Check
from tollgate.verification.sums import USD_DECIMALS, plain, scaled

_COPIED: Final = (
    "org", "service", "provider", "model", "agent", "campaign", "feature", "product", "operation", "resource_type",
    "resource_id", "request_id",
)  # fmt: skip

_decode = msgspec.json.Decoder().decode
Priced = dict[str, Any]


class PricedPartition:
    """The priced records of one partition, handed out by the offset of the event that they are of.

    The worker writes them in the order of the events, so both logs are read side by side and neither is kept.
    """

    def __init__(self, partition: int, batches: AsyncIterator[list[ConsumerRecord]], cut: int, check: Check) -> None:
        self._partition = partition
        self._batches = batches
        self._cut = cut
        self._check = check
        self._waiting: list[ConsumerRecord] = []
        self._last = -1
        self.found = 0

    async def of(self, offset: int) -> Priced | None:
        """The record of the event at this offset; None when there is none. Ask in ascending order."""
        while (priced := await self._peek()) is not None:
            at = priced["source_offset"]
            if at > offset:
                return None
            self._waiting.pop()
            self.found += 1
            if at == offset:
                self._last = at
                return priced
            self._extra(priced)
        return None

    async def finish(self) -> None:
        """Look at what is left before the cut: nothing should be."""
        while (priced := await self._peek()) is not None:
            self._waiting.pop()
            self.found += 1
            self._extra(priced)

    def _extra(self, priced: Priced) -> None:
        place, event = f"{self._partition}:{priced['source_offset']}", f"event {priced['event_id']}"
        if priced["source_offset"] <= self._last:
            self._check.differs(f"{event} at {place}", "one priced record", "another, or one out of order")
        else:
            self._check.differs(f"usage record {place}", "no priced record", event)

    async def _peek(self) -> Priced | None:
        """The next record of an event before the cut, left in place."""
        while True:
            if not self._waiting:
                batch = await anext(self._batches, None)
                if batch is None:
                    return None
                self._waiting = batch[::-1]
            record = self._waiting[-1]
            try:
                priced: Priced = _decode(record.value)
                if priced["source_offset"] >= self._cut:
                    self._waiting.pop()
                    continue
                if priced["source_partition"] == self._partition and priced["kind"] == "usage":
                    return priced
                problem = "belongs to another partition"
            except (ValueError, KeyError, TypeError) as error:
                problem = type(error).__name__
            self._check.differs(f"priced record {self._partition}:{record.offset}", "a priced event", problem)
            self._waiting.pop()


class PricedCheck:
    """Compares priced records with their events. `costs` counts those whose price is known and was recomputed."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self.check = Check("priced events")
        self.costs = 0
        self.unknown_prices: dict[str, int] = {}

    def compare(self, event: EventRecord, place: str, priced: Priced | None) -> tuple[int, int]:
        """Compare, and return what the event costs (10⁻¹² USD): cost and retail value, recomputed where possible."""
        if priced is None:
            self.check.differs(f"event {event.id} at {place}", "a priced record", "none")
            quote = self._prices.today(event)
            return quote.cost_picousd, quote.retail_picousd
        for field, expected, found in _fields(event, priced):
            if expected != found:
                self.check.differs(f"{field} of event {event.id} at {place}", repr(expected), repr(found))
        try:
            cost = scaled(priced["cost_usd"], USD_DECIMALS)
            retail = scaled(priced["retail_usd"], USD_DECIMALS)
            price_id, status = str(priced["price_id"]), priced["price_status"]
        except (KeyError, ValueError, AttributeError):
            self.check.differs(f"cost of event {event.id} at {place}", "decimal strings", "something else")
            return 0, 0
        quote_by_id = self._prices.by_id(event, price_id, cost)
        if quote_by_id is None:
            self.unknown_prices[price_id] = self.unknown_prices.get(price_id, 0) + 1
            return cost, retail
        self.costs += 1
        expected_numbers = (quote_by_id.cost_picousd, quote_by_id.retail_picousd, quote_by_id.status)
        if expected_numbers != (cost, retail, status):
            self.check.differs(
                f"cost of event {event.id} at {place} by price {price_id}",
                _money(*expected_numbers),
                _money(cost, retail, status),
            )
        return quote_by_id.cost_picousd, quote_by_id.retail_picousd


def _money(cost: int, retail: int, status: str) -> str:
    return f"{plain(cost, USD_DECIMALS)} USD (retail {plain(retail, USD_DECIMALS)}, {status})"


def _fields(event: EventRecord, priced: Priced) -> list[tuple[str, object, object]]:
    data = event.data
    fields: list[tuple[str, object, object]] = [
        ("event_id", event.id, priced.get("event_id")),
        ("source", event.source, priced.get("source")),
        ("user", event.subject, priced.get("user")),
        ("time", event.time_ms, _time_ms(priced.get("time"))),
        ("status", data.status, priced.get("status", "success")),
        ("latency_ms", data.latency_ms, priced.get("latency_ms")),
        ("usage", data.usage, priced.get("usage", {})),
        ("options", data.options, priced.get("options", {})),
        ("metadata", data.metadata, priced.get("metadata", {})),
        ("version", 1, priced.get("version", 1)),
    ]
    fields += [(name, getattr(data, name), priced.get(name, "")) for name in _COPIED]
    return fields


def _time_ms(text: object) -> int | None:
    try:
        return milliseconds(datetime.fromisoformat(text)) if isinstance(text, str) else None
    except (ValueError, TypeError):
        return None
