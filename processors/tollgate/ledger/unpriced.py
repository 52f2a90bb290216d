"""Models without a known price: each is alerted once, however many events name it."""

from typing import Final

import msgspec

from tollgate.ledger.outbox import NO_HEADERS, Outbox
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import AlertKind, AlertLevel
from tollgate.schemas.topics import Topic

# A hostile service can invent a model per event; past this many per partition no further alerts are written.
MODELS_MAX: Final = 10_000

_encode = msgspec.json.Encoder().encode


class UnpricedModels:
    """The (provider, model) pairs of one partition that were priced by a fallback."""

    def __init__(self, partition: int, state: Topic) -> None:
        self._partition = partition
        self._state = state
        self._known: set[tuple[str, str]] = set()
        self._new: dict[tuple[str, str], str] = {}

    def note(self, provider: str, model: str, price_id: str) -> None:
        """An event of this model was priced by the fallback `price_id`."""
        pair = (provider, model)
        if pair not in self._known and len(self._known) < MODELS_MAX:
            self._known.add(pair)
            self._new[pair] = price_id

    def write(self, outbox: Outbox, now_ms: int) -> None:
        """An alert and a state row for each pair seen first since the last write.

        Other partitions write the same alert under the same key: for readers of the compacted topic it is one alert.
        """
        for (provider, model), price_id in self._new.items():
            now = format_instant(now_ms)
            name = f"{provider}/{model}"
            key = f"unpriced/{name}"
            alert = {
                "key": key,
                "kind": AlertKind.UNPRICED.value,
                "level": AlertLevel.WARNING.value,
                "scope": f"model/{model}" if model else "global",
                "state": "ok",
                "action": "alert",
                "reason": f"no price is known for {name}: its events are priced by {price_id} and marked unpriced",
                "provider": provider,
                "model": model,
                "peak_level": AlertLevel.WARNING.value,
                "since": now,
                "updated_at": now,
                "revision": 1,
            }
            outbox.to(Topic.ALERTS, 0).append((key.encode(), _encode(alert), NO_HEADERS))
            outbox.to(self._state, self._partition).append(
                (f"u|{name}".encode(), _encode([provider, model]), NO_HEADERS)
            )
        self._new = {}

    def restore(self, rows: dict[str, bytes]) -> None:
        """Take back the pairs among the state rows."""
        for key, value in rows.items():
            if key.startswith("u|"):
                provider, model = msgspec.json.decode(value)
                self._known.add((provider, model))
