"""Checks the priced topic: one record per counted event, equal in every field, at the right cost."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Final

import msgspec
from aiokafka import ConsumerRecord

from tollgate.schemas.amounts import format_usd
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs_codec import PricedRecord, encode_priced
from tollgate.schemas.record_reading import read_record
from tollgate.schemas.usage_codec import EventRecord
from tollgate.verification.burning import BURNED, as_summed, usage_of
from tollgate.verification.calendar import milliseconds
from tollgate.verification.prices import Prices, Quote
from tollgate.verification.report import Check, EventFault
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

    def __init__(
        self, partition: int, batches: AsyncIterator[list[ConsumerRecord]], cut: int, check: "PricedCheck"
    ) -> None:
        self._partition = partition
        self._batches = batches
        self._cut = cut
        self._check = check
        # In reverse, so that the next one is taken off the end.
        self._waiting: list[ConsumerRecord] = []
        self._next: Priced | None = None
        self._last = -1
        self.found = 0
        # The first event that the topic can have a record of; 0 when it still has its beginning.
        self.first = 0

    async def begin(self, is_cut_short: bool) -> None:
        """Read the first records. `is_cut_short`: retention has removed earlier ones, so events before the first that
        is left cannot be compared.
        """
        await self._fetch()
        if is_cut_short:
            priced = self._peek()
            self.first = priced["source_offset"] if priced is not None else self._cut

    async def fill(self, offset: int) -> None:
        """Have every record of the events up to this offset at hand, so that `of` need not wait."""
        while not self._waiting or _source_offset(self._waiting[0]) <= offset:
            if not await self._fetch():
                return

    async def _fetch(self) -> bool:
        batch = await anext(self._batches, None)
        if batch is None:
            return False
        self._waiting = batch[::-1] + self._waiting
        return True

    def take(self, expected: bytes, offset: int) -> bool:
        """Take the next record if it is this one, byte by byte: then nothing needs to be compared."""
        waiting = self._waiting
        if waiting and waiting[-1].value == expected:
            waiting.pop()
            self._next = None
            self._last = offset
            self.found += 1
            return True
        return False

    def of(self, offset: int) -> Priced | None:
        """The record of the event at this offset; None when there is none. Ask in ascending order, after `fill`."""
        while (priced := self._peek()) is not None:
            at: int = priced["source_offset"]
            if at > offset:
                return None
            self._pop()
            if at == offset:
                self._last = at
                return priced
            self._extra(priced)
        return None

    async def finish(self) -> None:
        """Look at what is left before the cut: nothing should be."""
        while self._waiting or await self._fetch():
            priced = self._peek()
            if priced is not None:
                self._pop()
                self._extra(priced)

    def _pop(self) -> None:
        self._waiting.pop()
        self._next = None
        self.found += 1

    def _extra(self, priced: Priced) -> None:
        offset = priced["source_offset"]
        place, event = f"{self._partition}:{offset}", f"event {priced.get('event_id')}"
        if offset <= self._last:
            self._check.differs(f"{event} at {place}", "one priced record", "another, or one out of order")
        else:
            self._check.differs(f"usage record {place}", "no priced record", event)
        self._check.note_extra(place, priced)

    def _peek(self) -> Priced | None:
        """The next record of an event before the cut, left in place. Others are dropped; wrong ones are reported."""
        while self._waiting:
            if self._next is not None:
                return self._next
            record = self._waiting[-1]
            try:
                priced: Priced = read_record(_decode, record.value)
                if priced["source_offset"] >= self._cut:
                    self._waiting.pop()
                    continue
                if priced["source_partition"] == self._partition and priced["kind"] == "usage":
                    self._next = priced
                    return priced
                problem = "belongs to another partition"
            except (ValueError, KeyError, TypeError) as error:
                problem = type(error).__name__
            self._check.differs(f"priced record {self._partition}:{record.offset}", "a priced event", problem)
            self._waiting.pop()
        return None


def _source_offset(record: ConsumerRecord) -> int:
    """The offset of the record's event; -1 when it cannot be read, which `_peek` reports."""
    try:
        return int(read_record(_decode, record.value)["source_offset"])
    except (ValueError, KeyError, TypeError):
        return -1


class PricedCheck(Check):
    """Compares priced records with their events; keeps the first events that differ."""

    def __init__(self, prices: Prices) -> None:
        super().__init__("priced events")
        self._prices = prices
        self.faults: list[EventFault] = []
        self.costs = 0
        self.unknown_prices: dict[str, int] = {}

    def join(self, other: Check) -> None:
        """As `Check.join`, with the events that differ."""
        super().join(other)
        if isinstance(other, PricedCheck):
            self.faults += other.faults[: EventFault.KEPT_MAX - len(self.faults)]
            self.costs += other.costs
            for price_id, number in other.unknown_prices.items():
                self.unknown_prices[price_id] = self.unknown_prices.get(price_id, 0) + number

    def compare(
        self, event: EventRecord, partition: int, offset: int, priced: Priced, credits_from: int = 0
    ) -> tuple[int, int]:
        """Compare, and return what the event costs (10⁻¹² USD): cost and retail value, recomputed where possible."""
        place = f"{partition}:{offset}"
        for name, expected, found in _fields(event, priced, _credits(event, offset, credits_from)):
            if expected != found:
                self._fault(event, place, f"{name} of", repr(expected), repr(found))
        try:
            cost = scaled(priced["cost_usd"], USD_DECIMALS)
            retail = scaled(priced["retail_usd"], USD_DECIMALS)
            price_id, status = str(priced["price_id"]), priced["price_status"]
        except (KeyError, ValueError, AttributeError):
            self._fault(event, place, "cost of", "decimal strings", "something else")
            return 0, 0
        quote = self._prices.by_id(event, price_id, cost)
        if quote is None:
            self.unknown_prices[price_id] = self.unknown_prices.get(price_id, 0) + 1
            return cost, retail
        self.costs += 1
        expected_numbers = (quote.cost_picousd, quote.retail_picousd, quote.status)
        if expected_numbers != (cost, retail, status):
            wrong = _money(cost, retail, status)
            self._fault(event, place, f"cost by price {price_id} of", _money(*expected_numbers), wrong)
        return quote.cost_picousd, quote.retail_picousd

    def missing(self, event: EventRecord, partition: int, offset: int) -> None:
        """An event that must be counted has no priced record."""
        self._fault(event, f"{partition}:{offset}", "", "a priced record", "none")

    def repeated(self, event: EventRecord, partition: int, offset: int) -> None:
        """An event that repeats an earlier one has a priced record."""
        self._fault(event, f"{partition}:{offset}", "", "no priced record, for it repeats an earlier event", "one")

    def note_extra(self, place: str, priced: Priced) -> None:
        """Keep a priced record that no counted event belongs to, as far as it can be read."""
        cost = str(priced.get("cost_usd", ""))
        self._keep(EventFault(str(priced.get("event_id")), place, "no (further) priced record", "one", cost))

    def _fault(self, event: EventRecord, place: str, what: str, expected: str, found: str) -> None:
        self.differs(f"{what} event {event.id} at {place}".strip(), expected, found)
        quote = self._prices.today(event)
        cost = plain(quote.cost_picousd, USD_DECIMALS)
        self._keep(EventFault(event.id, place, f"{what} {expected}".strip(), found, cost, event))

    def _keep(self, fault: EventFault) -> None:
        if len(self.faults) < EventFault.KEPT_MAX:
            self.faults.append(fault)


def as_expected(event: EventRecord, quote: Quote, partition: int, offset: int, credits_from: int = 0) -> bytes:
    """The priced record of the event at today's price as the worker writes it, if no price has changed since."""
    data = event.data
    time = event.time
    if not (time[-1] == "Z" and time[10] == "T" and len(time) in (20, 24)):
        time = format_instant(event.time_ms)
    retail = quote.retail_picousd
    return encode_priced(
        PricedRecord(
            event.id, event.source, time, "usage", event.subject,
            format_usd(quote.cost_picousd), format_usd(retail) if retail else "0", quote.price_id, quote.status,
            partition, offset, 1, data.usage, data.status,
            data.org, data.service, data.provider, data.model, data.agent, data.campaign, data.feature, data.product,
            data.operation, data.latency_ms, data.resource_type, data.resource_id, data.request_id,
            data.options, data.metadata, _credits(event, offset, credits_from),
        )
    )  # fmt: skip


def _money(cost: int, retail: int, status: str) -> str:
    return f"{plain(cost, USD_DECIMALS)} USD (retail {plain(retail, USD_DECIMALS)}, {status})"


def _fields(event: EventRecord, priced: Priced, burned: str) -> list[tuple[str, object, object]]:
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
        ("credits", burned, priced.get("credits", "0")),
        ("version", 1, priced.get("version", 1)),
    ]
    fields += [(name, getattr(data, name), priced.get(name, "")) for name in _COPIED]
    return fields


def _credits(event: EventRecord, offset: int, credits_from: int) -> str:
    """The product tokens that the event burns, as a decimal string; those below the offset were not told."""
    return str(usage_of(as_summed(event, offset, credits_from).data).get(BURNED, 0))


def _time_ms(text: object) -> int | None:
    try:
        return milliseconds(datetime.fromisoformat(text)) if isinstance(text, str) else None
    except (ValueError, TypeError):
        return None
