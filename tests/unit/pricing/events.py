"""Shorthand for events and quotes in the tests of pricing."""

from typing import Any

from tollgate.domain.pricing import Pricer
from tollgate.schemas.amounts import format_usd
from tollgate.schemas.control import PriceRecord
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.usage_codec import EventData

NOW = parse_instant("2026-11-21T10:00:00Z")
M = 1_000_000


def event(subject: str = "", usage: dict[str, int | str] | None = None, **fields: Any) -> EventData:
    """`event("openai/gpt-4o", {"input_tokens": 5})`; an agent's event has no subject."""
    provider, _, model = subject.partition("/")
    return EventData(provider=provider, model=model, usage=usage or {}, **fields)


def cost(pricer: Pricer, data: EventData, time_ms: int = NOW) -> str:
    return format_usd(pricer.price(data, time_ms).cost_picousd)


def price_record(rates: dict[str, str], **fields: Any) -> PriceRecord:
    """A run-time price for openai/gpt-4o from 2026-01-01; `{"input_tokens": "3 per 1000000"}`."""
    given: dict[str, Any] = {
        "provider": "openai",
        "model": "gpt-4o",
        "effective_from": "2026-01-01T00:00:00Z",
        "rates": [
            {"dimension": dimension, "usd": usd, "per": per or "1"}
            for dimension, (usd, _, per) in ((name, rate.partition(" per ")) for name, rate in rates.items())
        ],
    }
    return PriceRecord.model_validate(given | fields)
