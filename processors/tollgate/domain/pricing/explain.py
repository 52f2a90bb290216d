"""Why an event costs what it costs, line by line, from the same rules that priced it."""

from collections.abc import Iterator
from dataclasses import dataclass

from tollgate.domain.pricing.book import Resolved
from tollgate.domain.pricing.charges import Charge
from tollgate.domain.pricing.integer_price import rounded
from tollgate.domain.pricing.interval import ALWAYS, Interval
from tollgate.domain.pricing.price import decimal_text
from tollgate.domain.pricing.pricer import FREE, REPORTED, UNPRICED, Priceable, Pricer, Quote
from tollgate.schemas.amounts import format_amount, format_usd


@dataclass(frozen=True, slots=True)
class Line:
    """One dimension of the event. `amount`, `usd`, `per` and `cost_usd` are decimal texts.

    `usd` per `per` units is the rate that was used, both empty when nothing is charged. `cost_usd` is rounded for
    reading; the event's cost is the sum of the exact ones, rounded once.
    """

    dimension: str
    amount: str
    usd: str
    per: str
    cost_usd: str
    price_id: str
    source: str
    note: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """`quote` is exactly what the worker writes. `interval` is where the looked-up price is known to hold.

    `lines` say what the usage costs by the price book even where `notes` say that something else counts.
    """

    quote: Quote
    interval: Interval
    lines: tuple[Line, ...]
    notes: tuple[str, ...]


def explain(pricer: Pricer, data: Priceable, time_ms: int) -> Explanation:
    """How `pricer.price(data, time_ms)` comes about."""
    quote = pricer.price(data, time_ms)
    notes = []
    owed = data.status in ("success", "") or data.billed
    if not owed:
        notes.append(f"a call with status {data.status} costs nothing unless it says `billed`")
    if data.cost_usd is not None:
        notes.append("the event reports its own cost, which takes the place of the price book")
    if quote.status == REPORTED and not (data.model or data.agent):
        return Explanation(quote, ALWAYS, (), tuple(notes))
    notes += _reading(data, pricer.book.resolve(data.provider, data.model, data.agent, data.options, time_ms))
    compiled, bill = pricer.bill(data, time_ms)
    lines = bill.charges
    if compiled.status == UNPRICED:
        notes.append(f"no price is known for this event: it is charged at {compiled.price.source}")
    elif compiled.status == FREE:
        notes.append("a free offer")
    elif lacking := list(dict.fromkeys(line.dimension for line in lines if line.unpriced)):
        notes.append(f"the known price does not cover {' and '.join(lacking)}, so the event counts as unpriced")
    notes += [f"{doubt}: the dearest reading is charged" for doubt in bill.doubts]
    return Explanation(
        quote,
        Interval(compiled.from_ms, compiled.to_ms),
        tuple(_line(charge) for charge in lines),
        tuple(notes),
    )


def _reading(data: Priceable, found: Resolved) -> Iterator[str]:
    """How the event's names and options were read, where that is not plain to see."""
    reading = found.reading
    if found.name and found.name != data.model.lower():
        yield f"the model is read as {found.name} of {reading.provider}"
    if reading.hides:
        yield f"its name does not say what is charged: {reading.hides}"
    for name in found.ignored:
        yield f"the option {name} changes nothing: no rate for it is known here"
    for name in found.unknown:
        yield f"the option {name} changes nothing: no price depends on an option of this name"


def _line(charge: Charge) -> Line:
    usd, per, note = "", "", charge.note
    if charge.rate is not None:
        usd = decimal_text(charge.rate.usd if charge.tier is None else charge.tier.usd)
        per = decimal_text(charge.rate.per)
    if charge.tier is not None:
        note = ", ".join(filter(None, (note, f"above {charge.tier.start} input tokens")))
    return Line(
        dimension=charge.dimension,
        amount=format_amount(charge.nano),
        usd=usd,
        per=per,
        cost_usd=format_usd(rounded(charge.cost)),
        price_id=charge.price.id,
        source=charge.price.source,
        note=note,
    )
