"""The records of `tollgate.alerts`, as this sink reads them: tolerant of fields it does not know."""

from typing import Final, Literal

import msgspec

from tollgate.schemas.instants import parse_instant
from tollgate.schemas.record_reading import read_record

Level = Literal["warning", "critical", "emergency", "resolved"]

# Alerts with a higher number are sent first.
SEVERITY: Final[dict[str, int]] = {"resolved": 0, "warning": 1, "critical": 2, "emergency": 3}


class AlertWindow(msgspec.Struct, frozen=True):
    """The budget's window `[start, end)`; both instants are RFC 3339 in UTC."""

    kind: str
    start: str
    end: str
    timezone: str = "UTC"


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One problem as it stands. A later record of the same key has a higher revision and replaces it.

    `limit` and `spent` are decimal strings in `unit` (`usd`, `events` or a usage dimension), `percent` is spent of
    limit. An alert of kind `unpriced` has a provider, a model, and the dimensions and options that need a price, in
    place of a budget, a window and numbers. Of kind `stop` it has a reason alone, which says who stopped all spending.
    """

    key: str
    kind: str
    level: Level
    revision: int
    updated_at: str
    since: str = ""
    scope: str = ""
    budget: str | None = None
    window: AlertWindow | None = None
    limit: str | None = None
    unit: str | None = None
    spent: str | None = None
    percent: str | None = None
    state: str | None = None
    action: str | None = None
    reason: str | None = None
    driver: str | None = None
    provider: str | None = None
    model: str | None = None
    dimensions: tuple[str, ...] | None = None
    options: dict[str, str] | None = None
    peak_level: str | None = None
    peak_percent: str | None = None

    def __post_init__(self) -> None:
        parse_instant(self.updated_at)

    @property
    def subject(self) -> str:
        """What it is about: a scope, or a model without a price. Untrusted."""
        if self.kind == "unpriced":
            return f"{self.provider or '?'}/{self.model or '?'}"
        # These are about a place in Kafka, which is in the key: `clock/3`, `poison/tollgate.usage/3/17`.
        if self.kind in ("clock", "poison"):
            return self.key
        return self.scope or self.key

    @property
    def line(self) -> str:
        """Its name in a list: `user/u-1 · month budget`. Untrusted."""
        if self.kind == "unpriced":
            return f"{self.subject} · no price known"
        if self.kind == "stop":
            return f"{self.subject} · all spending is stopped"
        if self.kind != "budget":
            return f"{self.subject} · {self.kind}"
        return f"{self.subject} · {self.window.kind} budget" if self.window else f"{self.subject} · budget"

    @property
    def stands_alone(self) -> bool:
        """Whether it has a message of its own each time it fires, also in a storm: it stops everybody, by hand."""
        return self.kind == "stop"

    @property
    def severity(self) -> int:
        """0 for resolved to 3 for emergency."""
        return SEVERITY[self.level]

    @property
    def peak_severity(self) -> int:
        """The severity of the worst level the alert has had."""
        return max(self.severity, SEVERITY.get(self.peak_level or "", 0))


_decoder = msgspec.json.Decoder(Alert)


def decode_alert(value: bytes) -> Alert:
    """Raises UnreadableError when the value is not an alert record."""
    return read_record(_decoder.decode, value)
