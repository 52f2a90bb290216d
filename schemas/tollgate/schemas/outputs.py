"""Records that Tollgate writes: a model of the value of every output topic, to read and check it.

The worker encodes without these models, for speed; contract tests read with them. Fields of later releases are ignored.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from tollgate.schemas.output_words import (
    Action,
    AlertKind,
    AlertLevel,
    CreditKind,
    DecisionError,
    EventKind,
    EventStatus,
    FlagState,
    PriceStatus,
)
from tollgate.schemas.text_rules import AMOUNT_PATTERN, INSTANT_PATTERN, PERCENT_PATTERN, USD_PATTERN
from tollgate.schemas.vocabulary import WindowKind

__all__ = [
    "Action",
    "Alert",
    "AlertKind",
    "AlertLevel",
    "Amount",
    "Balance",
    "CreditBucket",
    "CreditKind",
    "DeadLetterHeaders",
    "Decision",
    "DecisionError",
    "EventKind",
    "EventStatus",
    "Flag",
    "FlagState",
    "Instant",
    "Measure",
    "Output",
    "Percent",
    "PriceStatus",
    "PricedEvent",
    "SpendRecord",
    "Usd",
    "Window",
]

Usd = Annotated[
    str,
    Field(
        pattern=USD_PATTERN,
        description="US dollars as a decimal string in shortest form, at most 12 decimals; never a float",
        examples=["104.2"],
    ),
]
Amount = Annotated[
    str,
    Field(
        pattern=AMOUNT_PATTERN,
        description="An amount as a decimal string in shortest form, at most 9 decimals; never a float",
        examples=["1200", "1.5"],
    ),
]
Measure = Annotated[
    str,
    Field(
        pattern=USD_PATTERN,
        description="In the budget's unit: dollars (12 decimals) or an amount (9 decimals), as a decimal string",
        examples=["100"],
    ),
]
Percent = Annotated[
    str,
    Field(
        pattern=PERCENT_PATTERN,
        description="Percent of the limit, rounded down to two decimals: 99.999 % reads 99.99",
        examples=["104.20"],
    ),
]
Instant = Annotated[
    str,
    Field(
        pattern=INSTANT_PATTERN,
        description="RFC 3339 in UTC, whole seconds or three decimals",
        examples=["2026-11-21T10:00:00.123Z", "2026-11-01T00:00:00Z"],
    ),
]


class Output(BaseModel):
    """What all outputs share: unknown fields are ignored, and a value is frozen."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class Window(Output):
    """The half-open interval `[start, end)` that a sum or a limit belongs to."""

    kind: WindowKind
    start: Instant
    """First instant; 1970-01-01T00:00:00Z for lifetime."""
    end: Instant
    """First instant after the window; 9999-12-31T23:59:59Z for lifetime."""
    timezone: str = "UTC"
    """The time zone whose calendar cuts the windows."""


class PricedEvent(Output):
    """Value of `tollgate.priced`: one counted usage event, or one adjustment, with its cost. The key is the user."""

    event_id: str
    """The usage event's `id`; unique together with `source`."""
    source: str
    """The service that sent it."""
    time: Instant
    """When the usage happened. It decides the windows."""
    kind: EventKind
    user: str
    """The usage event's `subject`."""
    org: str = ""
    service: str = ""
    provider: str = ""
    model: str = ""
    agent: str = ""
    campaign: str = ""
    feature: str = ""
    product: str = ""
    operation: str = ""
    status: EventStatus = EventStatus.SUCCESS
    latency_ms: int | None = Field(None, ge=0, le=2**32 - 1, strict=True)
    """Duration of the call in milliseconds, when the service measured it."""
    resource_type: str = ""
    resource_id: str = ""
    request_id: str = ""
    usage: dict[str, Annotated[int, Field(ge=0, lt=10**18, strict=True)] | Amount] = {}
    """Amounts by dimension: integers, or decimal strings where there is a fraction."""
    options: dict[str, str] = {}
    """What chose among several prices of a model: size, quality, tier."""
    cost_usd: Usd
    retail_usd: Usd = "0"
    """What the user was charged for it."""
    credits: Amount = "0"
    """The product tokens that it burned: its `retail_tokens`, unless it failed and was not billed. Absent when 0."""
    price_id: str = ""
    """The price that was used; `reported` when the event gave its cost, empty for a call without a cost and a price."""
    price_status: PriceStatus
    source_partition: int = Field(ge=0, strict=True)
    """Partition of `tollgate.usage` that the event was counted from."""
    source_offset: int = Field(ge=0, strict=True)
    version: int = Field(1, ge=1, strict=True)
    """1 for a usage event; readers keep the highest of the same identity and kind."""
    metadata: dict[str, JsonValue] = {}


class SpendRecord(Output):
    """Value of `tollgate.spend`: the sum of a scope in a window. The key is `scope|window kind|start`."""

    scope: str
    window: Window
    spent_usd: Usd
    retail_usd: Usd = "0"
    usage: dict[str, Amount] = {}
    """Sums by dimension, as decimal strings."""
    events: int = Field(ge=0, strict=True)
    """How many usage events were counted."""
    reserved_usd: Usd = "0"
    """What open reservations hold of the scope, in the windows of now: 0 in others, and always of a scope without a
    user."""
    revenue_usd: Usd = "0"
    """What the scope earned in the window. This release counts no revenue: 0."""
    updated_at: Instant


class Flag(Output):
    """Value of `tollgate.flags`: the current decision for a scope. The key is the scope; no record means `ok`.

    A reader treats a flag as not blocked once its clock has passed `until`, and keeps the highest `revision`.
    """

    scope: str
    state: FlagState
    blocked: bool = Field(strict=True)
    """True when `state` is `blocked` or `stopped`."""
    action: Action | None = None
    """The strictest action that is due; absent when `state` is `ok`."""
    reason: str
    """`within_budget`, `threshold_reached`, `usage_limit_exceeded` (HTTP 429) or `spending_stopped` (HTTP 503)."""
    budget: str | None = None
    """The budget that the numbers are of."""
    window: Window | None = None
    limit: Measure | None = None
    unit: str | None = None
    """`usd`, `events` or a usage dimension."""
    spent: Measure | None = None
    percent: Percent | None = None
    since: Instant
    """When the scope entered this state."""
    until: Instant | None = None
    """End of the window or of the budget, whichever is first: the flag lapses by itself."""
    note: str | None = None
    """For people: which limit of a plan is reached and what to do about it; or, of a flag without a budget and an end,
    who stopped all spending by hand, and why."""
    reserved: Measure | None = None
    """What open reservations hold of this limit, in the flag's unit; absent when there are none, and always of a scope
    without a user."""
    can_exceed_by: Measure | None = None
    """By how much reserved calls can take the scope over its limit, in the flag's unit; absent without a bound,
    and always of a scope without a user."""
    except_: list[str] | None = Field(None, alias="except")
    """Scopes that the block leaves alone: a call that has one of them is let through. Absent when there are none."""
    incomplete: bool | None = None
    """True while the sum lacks what was spent in the window before the limit was set; absent when it is whole."""
    revision: int = Field(ge=1, strict=True)


class Decision(Output):
    """Value of `tollgate.decisions`: the answer to one reservation. The key is its `reply_to`, or its source without.

    The same reservation again, while it is open, gets the same bytes again.
    """

    reservation_id: str
    source: str
    user: str
    granted: bool = Field(strict=True)
    amount_usd: Usd
    """What is reserved, or was asked for."""
    credits: Amount
    """What is reserved, or was asked for."""
    expires_at: Instant
    """When the reservation ends by itself. Of a denied one: when it would have."""
    http_status: int | None = Field(None, strict=True)
    """What a service answers its own caller when denied: 402, 429, 503, or 409 for an id that was used before."""
    error: DecisionError | None = None
    scope: str | None = None
    """The scope of the first limit in the way."""
    budget: str | None = None
    limit: Measure | None = None
    """In the unit of the budget, as are `spent`, `reserved` and `available`. In credits where these do not suffice."""
    unit: str | None = None
    spent: Measure | None = None
    reserved: Measure | None = None
    """What other open reservations hold."""
    available: Measure | None = None
    """What could still be reserved: never below zero."""
    until: Instant | None = None
    """When the limit's window ends."""
    message: str | None = None
    """For people: what stands in the way, and what to do."""
    decided_at: Instant


class CreditBucket(Output):
    """What is left of a grant."""

    kind: CreditKind
    left: Amount
    expires_at: Instant | None = None
    """From this instant on it cannot be spent; null: never."""


class Balance(Output):
    """Value of `tollgate.balances`, by user id: granted = burned + expired + available + reserved, always."""

    user: str
    available: Amount
    """What can be reserved or burned now; below zero when usage took more than there was."""
    reserved: Amount
    granted: Amount
    """All that was ever granted, less what was taken back; with the free credits that were burned, and today's."""
    burned: Amount
    expired: Amount = "0"
    free_today: Amount = "0"
    """What is left of the free credits of the user's own day. Those of earlier days are in none of these fields."""
    free_per_day: Amount = "0"
    free_until: Instant | None = None
    """The user's next midnight, at which the free credits are whole again; null when the plan gives none."""
    buckets: list[CreditBucket] = []
    """What is left of grants, in the order in which it is burned."""
    revision: int = Field(ge=1, strict=True)
    updated_at: Instant


class Alert(Output):
    """Value of `tollgate.alerts`: one problem, rewritten under its key as it changes and when it is resolved."""

    key: str
    kind: AlertKind
    level: AlertLevel
    scope: str
    budget: str | None = None
    window: Window | None = None
    limit: Measure | None = None
    unit: str | None = None
    spent: Measure | None = None
    percent: Percent | None = None
    state: FlagState
    """The state of the scope that goes with this level."""
    action: Action | None = None
    reason: str
    """One sentence for people."""
    provider: str | None = None
    """For `unpriced` alerts."""
    model: str | None = None
    """For `unpriced` alerts."""
    dimensions: list[str] | None = None
    """For `unpriced` alerts: what the model needs a price of, at most 8."""
    options: dict[str, str] | None = None
    """For `unpriced` alerts: the options of the calls that need it, where prices depend on them."""
    peak_level: AlertLevel
    """The highest level since the alert began."""
    peak_percent: Percent | None = None
    since: Instant
    updated_at: Instant
    revision: int = Field(ge=1, strict=True)


class DeadLetterHeaders(Output):
    """Headers of a record in `tollgate.dead-letters`, whose key and value are the refused record's own bytes.

    All are UTF-8 text. The refused record's `ce_*` and `content-type` headers are carried over beside them.
    """

    reason: str
    """One of the refusal reasons, for programs."""
    error: str
    """One sentence with the field's path, for people. It never quotes the payload."""
    source_topic: str
    source_partition: int = Field(ge=0)
    source_offset: int = Field(ge=0)
    time: Instant
    """The broker's time of the refused record."""
    cut: str | None = None
    """What is missing of the record's key, headers and value, which together are over 4 MiB; absent when nothing is."""
    value_sha256: str | None = None
    """The hash of the whole value, in hexadecimal, when it was cut."""
    source_offset_first: int | None = Field(None, ge=0)
    """First offset of a compressed batch of over 128 MiB unpacked. The last is `source_offset`, the bytes the value."""
