"""What the sink reads of each record: the fields that have a column. Others are ignored.

A field that a later release may leave out has a default here, so that its rows are still written.
"""

from typing import Any, Final

import msgspec

EMPTY_USAGE: Final = msgspec.Raw(b"{}")
EPOCH: Final = "1970-01-01T00:00:00Z"


class Record(msgspec.Struct, gc=False):
    """Base of wire records and rows; fields that this release does not know are ignored."""


class Window(Record):
    kind: str = ""
    start: str | None = None
    end: str | None = None
    timezone: str = ""


NO_WINDOW: Final = Window()


class SpendRecord(Record):
    scope: str
    window: Window
    spent_usd: str
    events: int
    retail_usd: str = "0"
    usage: msgspec.Raw = EMPTY_USAGE
    reserved_usd: str = "0"
    revenue_usd: str = "0"
    updated_at: str = EPOCH


class SpendRow(Record):
    scope: str
    window: str
    window_start: str | None
    window_end: str | None
    timezone: str
    spent_usd: str
    retail_usd: str
    usage: msgspec.Raw
    events: int
    reserved_usd: str
    revenue_usd: str
    calendar: str
    updated_at: str
    source_partition: int
    source_offset: int


class FlagRecord(Record):
    scope: str
    state: str
    blocked: bool = False
    action: str | None = ""
    reason: str | None = ""
    budget: str | None = ""
    window: Window | None = None
    limit: str | None = "0"
    unit: str | None = ""
    spent: str | None = "0"
    percent: str | None = None
    since: str | None = None
    until: str | None = None
    note: str | None = ""
    reserved: str | None = "0"
    can_exceed_by: str | None = None
    except_: list[str] | None = msgspec.field(default=None, name="except")
    incomplete: bool | None = False
    revision: int = 0


class AlertRecord(Record):
    key: str
    kind: str
    level: str
    scope: str | None = ""
    budget: str | None = ""
    window: Window | None = None
    limit: str | None = "0"
    unit: str | None = ""
    spent: str | None = "0"
    percent: str | None = None
    state: str | None = ""
    action: str | None = ""
    reason: str | None = ""
    provider: str | None = ""
    model: str | None = ""
    peak_level: str | None = ""
    peak_percent: str | None = None
    since: str | None = None
    updated_at: str = EPOCH
    revision: int = 0


class Threshold(Record):
    percent: str
    action: str = "alert"


class ControlRecord(Record):
    """What every change sets."""

    actor: str | None = ""
    reason: str | None = ""
    version: int = 1
    updated_at: str | None = None


class BudgetRecord(ControlRecord, kw_only=True):
    scope: str
    limit: str
    unit: str = "usd"
    window: str = "month"
    timezone: str = "UTC"
    week_starts_on: str = "monday"
    month_starts_on: int = 1
    thresholds: dict[str, Threshold | None] = msgspec.field(default_factory=dict)
    valid_from: str | None = None
    valid_to: str | None = None
    fail: str = "open"
    except_: list[str] | None = msgspec.field(default=None, name="except")
    owner: str | None = ""
    note: str | None = ""


class Rate(Record):
    dimension: str
    usd: str
    per: str = "1"


class PriceRecord(ControlRecord, kw_only=True):
    provider: str | None = ""
    model: str | None = ""
    agent: str | None = ""
    options: dict[str, str] | None = None
    rates: list[Rate] = msgspec.field(default_factory=list)
    effective_from: str | None = None
    effective_to: str | None = None
    source: str | None = ""


class PlanLimit(Record):
    limit: str
    feature: str = ""
    unit: str = "events"
    window: str = "month"


class PlanRecord(ControlRecord, kw_only=True):
    name: str
    description: str | None = ""
    price_usd: str = "0"
    limits: list[PlanLimit] = msgspec.field(default_factory=list)
    credits_per_day: str = "0"
    ends_after: str | None = ""
    notice: str | None = ""


class AssignmentRecord(ControlRecord, kw_only=True):
    plan: str
    since: str | None = None
    timezone: str = "UTC"
    month_starts_on: int = 1


class DecisionRecord(Record):
    reservation_id: str
    source: str
    user: str
    granted: bool
    decided_at: str
    amount_usd: str = "0"
    credits: str = "0"
    expires_at: str | None = None
    http_status: int | None = 0
    error: str | None = ""
    scope: str | None = ""
    budget: str | None = ""
    limit: str | None = None
    unit: str | None = ""
    spent: str | None = None
    reserved: str | None = None
    available: str | None = None
    until: str | None = None
    message: str | None = ""


class Bucket(Record):
    kind: str
    left: str
    expires_at: str | None = None


class BalanceRecord(Record):
    user: str
    available: str
    reserved: str = "0"
    granted: str = "0"
    burned: str = "0"
    expired: str = "0"
    free_today: str = "0"
    free_per_day: str = "0"
    free_until: str | None = None
    buckets: list[Bucket] = msgspec.field(default_factory=list)
    revision: int = 0
    updated_at: str = EPOCH


class AuditRecord(Record):
    id: str
    time: str
    actor: str
    action: str
    key: str
    kind: str
    version: int
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    reason: str | None = ""
