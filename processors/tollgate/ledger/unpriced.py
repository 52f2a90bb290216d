"""Models without a known price: each is alerted once, again when it lacks another one, and resolved by its price."""

import shlex
from collections.abc import Sequence
from typing import Final

import msgspec

from tollgate.domain.pricing import UNPRICED, Pricer
from tollgate.domain.pricing.book import FALLBACK
from tollgate.ledger.outbox import NO_HEADERS, Outbox
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import Action, AlertKind, AlertLevel, FlagState
from tollgate.schemas.outputs_codec import AlertRecord
from tollgate.schemas.scopes import Dimension, scope_of
from tollgate.schemas.topics import Topic
from tollgate.schemas.usage_codec import EventData
from tollgate.schemas.usage_limits import USAGE_KEYS_MAX

# A hostile service can invent a model per event; past this many per partition no further alerts are written.
MODELS_MAX: Final = 10_000

# A sender can invent dimensions too; a sentence names this many, and the command prices as many.
_NAMED_MAX: Final = 8

_encode = msgspec.json.Encoder().encode
_decode_example = msgspec.json.Decoder(EventData).decode

Pair = tuple[str, str]


class _Lack(msgspec.Struct, frozen=True):
    """What events of a pair need a price of, and what they are priced by meanwhile."""

    dimensions: tuple[str, ...]
    options: dict[str, str]
    price_id: str

    @property
    def is_whole(self) -> bool:
        """No price of the model is known at all."""
        return self.price_id.startswith(f"{FALLBACK}/")


class UnpricedModels:
    """The (provider, model) pairs of one partition that were priced by a fallback, in whole or in part.

    With each goes an example that asks the same question of a later price book: the dimensions and options of such
    events, one unit of each, and nothing else of them.
    """

    def __init__(self, partition: int, state: Topic) -> None:
        self._partition = partition
        self._state = state
        self._examples: dict[Pair, EventData] = {}
        # What the alert of a pair says; of those that were restored it is not known.
        self._told: dict[Pair, _Lack] = {}
        self._new: dict[Pair, _Lack] = {}
        # Set when prices may have changed since the pairs were last looked at.
        self.is_stale = False

    def note(self, data: EventData, price_id: str, pricer: Pricer, time_ms: int) -> None:
        """An event of that time was priced by `price_id`, which is a fallback or ends with one."""
        pair = _pair(data)
        known = self._examples.get(pair)
        if known is None:
            if len(self._examples) >= MODELS_MAX:
                return
            usage: dict[str, int | str] = dict.fromkeys(data.usage, 1)
        else:
            # Where nothing is known of a model, its alert says so whatever else it is used for.
            usage = known.usage | dict.fromkeys(data.usage, 1)
            if price_id.startswith(f"{FALLBACK}/") or not len(known.usage) < len(usage) <= USAGE_KEYS_MAX:
                return
        example = EventData(
            provider=data.provider,
            model=data.model,
            agent=data.agent,
            usage=usage,
            convention=data.convention,
            options=data.options,
        )
        self._examples[pair] = example
        lack = _Lack(pricer.lacking(example, time_ms), pricer.telling_options(example), price_id)
        told = self._told.get(pair)
        if told is None or told.dimensions != lack.dimensions:
            self._told[pair] = self._new[pair] = lack

    def is_noted(self, data: EventData) -> bool:
        """Whether events like this one, of which no price is known at all, need not be noted any more."""
        return _pair(data) in self._examples

    def write(self, outbox: Outbox, now_ms: int, pricer: Pricer) -> None:
        """An alert and a state row for each new pair; the alert's end for each pair that has a price by now.

        Other partitions write the same alert under the same key: for readers of the compacted topic it is one alert.
        """
        self._write_new(outbox, now_ms)
        if self.is_stale:
            self.is_stale = False
            self._look_again(outbox, now_ms, pricer)
            self._write_new(outbox, now_ms)

    def _write_new(self, outbox: Outbox, now_ms: int) -> None:
        for pair, lack in self._new.items():
            row = _encode(self._examples[pair])
            self._write(outbox, pair, AlertLevel.WARNING, _reason(pair, lack), now_ms, row, lack)
        self._new = {}

    def _look_again(self, outbox: Outbox, now_ms: int, pricer: Pricer) -> None:
        for pair, example in list(self._examples.items()):
            quote = pricer.price(example, now_ms)
            if quote.status != UNPRICED:
                del self._examples[pair]
                self._told.pop(pair, None)
                reason = f"{quote.price_id} prices it now; events counted before keep their cost"
                self._write(outbox, pair, AlertLevel.RESOLVED, reason, now_ms, None)
                continue
            lack = _Lack(pricer.lacking(example, now_ms), pricer.telling_options(example), quote.price_id)
            told = self._told.get(pair)
            if told is not None and told.dimensions != lack.dimensions:
                self._new[pair] = lack
            self._told[pair] = lack

    def _write(
        self,
        outbox: Outbox,
        pair: Pair,
        level: AlertLevel,
        reason: str,
        now_ms: int,
        row: bytes | None,
        lack: _Lack | None = None,
    ) -> None:
        provider, model = pair
        now = format_instant(now_ms)
        key = f"unpriced/{provider}/{model}"
        alert = AlertRecord(
            key=key,
            kind=AlertKind.UNPRICED,
            level=level,
            scope=scope_of(Dimension.AGENT if provider == "agent" else Dimension.MODEL, model),
            state=FlagState.OK,
            action=Action.ALERT if level is not AlertLevel.RESOLVED else None,
            reason=reason,
            provider=provider,
            model=model,
            dimensions=lack.dimensions[:_NAMED_MAX] if lack is not None else None,
            options=lack.options if lack is not None and lack.options else None,
            peak_level=AlertLevel.WARNING,
            since=now,
            updated_at=now,
            # Rises with time, so that an alert that fires again is newer than its end, on whichever partition.
            revision=now_ms,
        )
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


def _reason(pair: Pair, lack: _Lack) -> str:
    name = "/".join(pair)
    what = _listed(lack.dimensions)
    if lack.is_whole:
        reason = f"no price is known for {name}, used for {what}: its events are priced by {lack.price_id}"
    else:
        reason = f"no price is known for {what} of {name}: events with it are priced by {lack.price_id}"
    reason += " and marked unpriced"
    if not lack.is_whole and lack.dimensions == ("requests",):
        return f"{reason}; calls alone say nothing about their cost: report their tokens too"
    command = _command(pair, lack)
    return f"{reason}; set one, in place of USD: {command}" if command else reason


def _listed(dimensions: Sequence[str]) -> str:
    more = len(dimensions) - _NAMED_MAX
    return " and ".join(dimensions[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


def _command(pair: Pair, lack: _Lack) -> str:
    """The line that sets the missing prices, quoted for a shell; empty where none could name the model."""
    provider, model = pair
    if not provider or not model or "/" in provider or provider.startswith("-"):
        return ""
    words = ["tollgate", "price", "set", f"{provider}/{model}"]
    for dimension in lack.dimensions[:_NAMED_MAX]:
        words += ["--rate", f"{dimension}=USD/1M" if "token" in dimension else f"{dimension}=USD"]
    for option, value in lack.options.items():
        words += ["--option", f"{option}={value}"]
    return shlex.join(words)
