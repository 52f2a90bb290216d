"""Prices from the control topic, as the price book keeps them."""

from decimal import Decimal

from tollgate.domain.pricing.price import Price, Rate
from tollgate.schemas.control import PriceRecord
from tollgate.schemas.instants import parse_instant


def price_of(record: PriceRecord) -> Price:
    """The price that a record states, under the record's own id."""
    rates = tuple(Rate(rate.dimension, usd=Decimal(rate.usd), per=Decimal(rate.per)) for rate in record.rates)
    return Price(
        provider=record.provider,
        model=record.model,
        agent=record.agent,
        options=tuple((name, (value,)) for name, value in sorted(record.options.items())),
        rates=rates,
        effective_from_ms=parse_instant(record.effective_from),
        effective_to_ms=None if record.effective_to is None else parse_instant(record.effective_to),
        source=record.source or "set at run time",
        id=record.id,
    )
