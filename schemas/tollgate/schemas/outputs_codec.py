"""The fast way to write outputs. The models of `outputs` say what the fields mean.

The fields are in the order of the JSON, and one that is unset is left out of it. The caller answers for the content:
instants are RFC 3339 in UTC, money and amounts are decimal strings. Nothing is checked here.
"""

from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from tollgate.schemas.outputs import Action, AlertKind, AlertLevel, DecisionError, FlagState
from tollgate.schemas.vocabulary import WindowKind

Scalar = str | int | float | bool | None


class PricedRecord(msgspec.Struct, omit_defaults=True, gc=False):
    """One record of `tollgate.priced`: `outputs.PricedEvent`. Fields that have their default are left out of the JSON.

    `usage` holds integers or decimal strings.
    """

    event_id: str
    source: str
    time: str
    kind: str
    user: str
    cost_usd: str
    retail_usd: str
    price_id: str
    price_status: str
    source_partition: int
    source_offset: int
    version: int
    usage: dict[str, int | str]
    status: str
    org: str = ""
    service: str = ""
    provider: str = ""
    model: str = ""
    agent: str = ""
    campaign: str = ""
    feature: str = ""
    product: str = ""
    operation: str = ""
    latency_ms: int | None = None
    resource_type: str = ""
    resource_id: str = ""
    request_id: str = ""
    options: dict[str, str] = {}
    metadata: dict[str, Scalar] = {}
    credits: str = "0"


_ENCODER: Final = msgspec.json.Encoder()


def encode_priced(record: PricedRecord) -> bytes:
    """The record as the UTF-8 JSON that goes to Kafka."""
    return _ENCODER.encode(record)


class WindowRecord(msgspec.Struct, frozen=True, gc=False):
    """`outputs.Window`."""

    kind: WindowKind
    start: str
    end: str
    timezone: str = "UTC"


class SpendValue(msgspec.Struct, gc=False):
    """`outputs.SpendRecord`. The window is ready as JSON: the same few are written for every scope."""

    scope: str
    window: msgspec.Raw
    spent_usd: str
    retail_usd: str
    usage: dict[str, str]
    events: int
    reserved_usd: str
    revenue_usd: str
    updated_at: str


class FlagRecord(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """`outputs.Flag`."""

    scope: str
    state: FlagState
    blocked: bool
    action: Action | None = None
    reason: str
    budget: str | None = None
    window: WindowRecord | None = None
    limit: str | None = None
    unit: str | None = None
    spent: str | None = None
    percent: str | None = None
    since: str
    until: str | None = None
    revision: int
    note: str | UnsetType = UNSET
    reserved: str | UnsetType = UNSET
    can_exceed_by: str | UnsetType = UNSET
    except_: tuple[str, ...] | UnsetType = msgspec.field(default=UNSET, name="except")
    incomplete: bool | UnsetType = UNSET


class DecisionRecord(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """`outputs.Decision`. What stands in the way is unset when the reservation was granted."""

    reservation_id: str
    source: str
    user: str
    granted: bool
    amount_usd: str
    credits: str
    expires_at: str
    http_status: int | UnsetType = UNSET
    error: DecisionError | UnsetType = UNSET
    scope: str | UnsetType = UNSET
    budget: str | UnsetType = UNSET
    limit: str | UnsetType = UNSET
    unit: str | UnsetType = UNSET
    spent: str | UnsetType = UNSET
    reserved: str | UnsetType = UNSET
    available: str | UnsetType = UNSET
    until: str | UnsetType = UNSET
    message: str | UnsetType = UNSET
    decided_at: str


class BucketRecord(msgspec.Struct, frozen=True, gc=False):
    """`outputs.CreditBucket`."""

    kind: str
    left: str
    expires_at: str | None


class BalanceRecord(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """`outputs.Balance`."""

    user: str
    available: str
    reserved: str
    granted: str
    burned: str
    expired: str
    free_today: str
    free_per_day: str
    free_until: str | None
    buckets: tuple[BucketRecord, ...]
    revision: int
    updated_at: str


class AlertRecord(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """`outputs.Alert`. Alerts of each kind have fields of their own; the others are unset."""

    key: str
    kind: AlertKind
    level: AlertLevel
    scope: str
    budget: str | UnsetType = UNSET
    window: WindowRecord | UnsetType = UNSET
    limit: str | UnsetType = UNSET
    unit: str | UnsetType = UNSET
    spent: str | UnsetType = UNSET
    percent: str | UnsetType = UNSET
    state: FlagState
    action: Action | None
    reason: str
    provider: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    dimensions: tuple[str, ...] | UnsetType | None = UNSET
    options: dict[str, str] | UnsetType | None = UNSET
    peak_level: AlertLevel
    peak_percent: str | UnsetType = UNSET
    since: str
    updated_at: str
    revision: int
