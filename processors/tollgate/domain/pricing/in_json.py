"""Prices and explanations as JSON: the same from the command line and from the API."""

from dataclasses import asdict
from typing import Any

from tollgate.domain.pricing.explain import Explanation
from tollgate.domain.pricing.interval import ALWAYS, Interval
from tollgate.domain.pricing.price import Price, decimal_text
from tollgate.schemas.amounts import format_usd
from tollgate.schemas.instants import format_instant
from tollgate.schemas.usage_codec import EventRecord


def price_json(price: Price) -> dict[str, Any]:
    """A price with its rates; an option's values hold null for an event that does not say."""
    return {
        "id": price.id,
        "provider": price.provider,
        "model": price.model,
        "agent": price.agent,
        "options": {name: list(values) for name, values in price.options},
        "free": price.free,
        "rates": [
            {"dimension": rate.dimension, "usd": decimal_text(rate.usd), "per": decimal_text(rate.per)}
            | ({"tiers": [{"above": t.start, "usd": decimal_text(t.usd)} for t in rate.tiers]} if rate.tiers else {})
            for rate in price.rates
        ],
        "effective_from": format_instant(price.effective_from_ms) if price.effective_from_ms else None,
        "effective_to": None if price.effective_to_ms is None else format_instant(price.effective_to_ms),
        "source": price.source,
    }


def interval_json(interval: Interval) -> dict[str, str | None]:
    """The interval's ends as instants; None where it has none."""
    return {
        "from": None if interval.from_ms == ALWAYS.from_ms else format_instant(interval.from_ms),
        "to": None if interval.to_ms == ALWAYS.to_ms else format_instant(interval.to_ms),
    }


def explanation_json(event: EventRecord, explanation: Explanation) -> dict[str, Any]:
    """How an event is priced, line by line."""
    quote = explanation.quote
    return {
        "event_id": event.id,
        "source": event.source,
        "time": format_instant(event.time_ms),
        "cost_usd": format_usd(quote.cost_picousd),
        "retail_usd": format_usd(quote.retail_picousd),
        "price_id": quote.price_id,
        "price_status": quote.status,
        "price_holds": interval_json(explanation.interval),
        "lines": [asdict(line) for line in explanation.lines],
        "notes": list(explanation.notes),
    }
