"""Models without a known price: each is alerted once, and resolved when a price arrives."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from tollgate.domain.pricing import UNPRICED, Quote
from tollgate.ledger.outbox import NO_HEADERS, Outbox
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import AlertKind, AlertLevel
from tollgate.schemas.topics import Topic
from tollgate.schemas.usage_codec import EventData

# A hostile service can invent a model per event; past this many per partition no further alerts are written.
MODELS_MAX: Final = 10_000

_encode = msgspec.json.Encoder().encode
_decode_example = msgspec.json.Decoder(EventData).decode

Pair = tuple[str, str]


class UnpricedModels:
    """The (provider, model) pairs of one partition that were priced by a fallback.

    With each goes an example that asks the same question of a later price book: the dimensions and options of the
    first such event, one unit of each, and nothing else of it.
    """

    def __init__(self, partition: int, state: Topic) -> None:
        self._partition = partition
        self._state = state
        self._examples: dict[Pair, EventData] = {}
        self._new: dict[Pair, str] = {}
        # Set when prices may have changed since the pairs were last looked at.
        self.is_stale = False

    def note(self, data: EventData, price_id: str) -> None:
        """An event was priced by the fallback `price_id`."""
        pair = _pair(data)
        if pair not in self._examples and len(self._examples) < MODELS_MAX:
            self._examples[pair] = EventData(
                provider=data.provider,
                model=data.model,
                agent=data.agent,
                usage=dict.fromkeys(data.usage, 1),
                options=data.options,
            )
            self._new[pair] = price_id

    def is_noted(self, data: EventData) -> bool:
        """Whether events like this one need not be noted any more."""
        return _pair(data) in self._examples

    def write(self, outbox: Outbox, now_ms: int, price: Callable[[EventData, int], Quote]) -> None:
        """An alert and a state row for each new pair; the alert's end for each pair that has a price by now.

        Other partitions write the same alert under the same key: for readers of the compacted topic it is one alert.
        """
        for pair, price_id in self._new.items():
            name = "/".join(pair)
            reason = f"no price is known for {name}: its events are priced by {price_id} and marked unpriced"
            self._write(outbox, pair, AlertLevel.WARNING, reason, now_ms, _encode(self._examples[pair]))
        self._new = {}
        if not self.is_stale:
            return
        self.is_stale = False
        for pair, example in list(self._examples.items()):
            quote = price(example, now_ms)
            if quote.status != UNPRICED:
                del self._examples[pair]
                reason = f"{quote.price_id} prices it now; events counted before keep their cost"
                self._write(outbox, pair, AlertLevel.RESOLVED, reason, now_ms, None)

    def _write(
        self, outbox: Outbox, pair: Pair, level: AlertLevel, reason: str, now_ms: int, row: bytes | None
    ) -> None:
        provider, model = pair
        now = format_instant(now_ms)
        key = f"unpriced/{provider}/{model}"
        alert: dict[str, Any] = {
            "key": key,
            "kind": AlertKind.UNPRICED.value,
            "level": level.value,
            "scope": f"agent/{model}" if provider == "agent" else f"model/{model}",
            "state": "ok",
            "action": "alert" if level is not AlertLevel.RESOLVED else None,
            "reason": reason,
            "provider": provider,
            "model": model,
            "peak_level": AlertLevel.WARNING.value,
            "since": now,
            "updated_at": now,
            # Rises with time, so that an alert that fires again is newer than its end, on whichever partition.
            "revision": now_ms,
        }
        outbox.to(Topic.ALERTS, 0).append((key.encode(), _encode(alert), NO_HEADERS))
        outbox.to(self._state, self._partition).append((f"u|{provider}/{model}".encode(), row, NO_HEADERS))

    def restore(self, rows: dict[str, bytes]) -> None:
        """Take back the pairs among the state rows; prices may have changed meanwhile."""
        for key, value in rows.items():
            if key.startswith("u|"):
                example = _decode_example(value)
                self._examples[_pair(example)] = example
        self.is_stale = bool(self._examples)


def _pair(data: EventData) -> Pair:
    """Provider and model, or `agent` and its name for an event that names no model."""
    return (data.provider, data.model) if data.model else ("agent", data.agent)
