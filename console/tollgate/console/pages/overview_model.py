"""What the overview shows, and what `GET /api/v1/dashboard` answers.

A part that cannot be told now is null, and `unavailable` says why, by the name of the part. Nothing unknown is zero.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tollgate.schemas.outputs import (
    Action,
    Alert,
    EventStatus,
    FlagState,
    Instant,
    Measure,
    Percent,
    PriceStatus,
    Usd,
    Window,
)

SignedUsd = Annotated[str, Field(description="US dollars as a decimal string, negative for a loss", examples=["-3.5"])]
Points = Annotated[str, Field(description="Percent as a decimal string, may be negative", examples=["23.4"])]


class DashboardPart(BaseModel):
    """What all parts share."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Month(DashboardPart):
    """The calendar month so far."""

    window: Window
    cost_usd: Usd
    retail_usd: Usd
    profit_usd: SignedUsd
    """Retail less cost."""
    margin_percent: Points | None
    """Profit in percent of retail; null when there was no retail."""
    events: int


class Standing(DashboardPart):
    """Where a budget stands in its present window."""

    budget: str
    scope: str
    window: Window
    unit: str
    limit: Measure
    spent: Measure | None
    percent: Percent | None
    left: Annotated[str | None, Field(description="Limit less spent in the budget's unit; negative when over")]
    state: FlagState
    action: Action | None = None


class Projection(DashboardPart):
    """What the month will have cost at its end."""

    usd: Usd
    low_usd: Usd
    high_usd: Usd
    method: str
    """`weekday_profile`: by the profile of the last weeks' days; `run_rate`: the pace so far."""
    note: str
    """How it was made and how sure it is, in one sentence."""
    exceeds_at: Instant | None = None
    """When the company's budget is reached at this rate; null when it is not within the month."""


class Point(DashboardPart):
    """What was spent in one hour or day."""

    start: Instant
    cost_usd: Usd
    retail_usd: Usd
    events: int


class Projected(DashboardPart):
    """What a day to come is thought to cost."""

    start: Instant
    cost_usd: Usd
    low_usd: Usd
    high_usd: Usd


class Share(DashboardPart):
    """What one name has of a whole. An empty name: events without one."""

    name: str
    cost_usd: Usd
    retail_usd: Usd
    events: int
    percent: Percent
    state: FlagState = FlagState.OK
    budget_percent: Percent | None = None
    """Of the scope's own monthly budget, where it has one."""


class Shares(DashboardPart):
    """The largest names of a dimension this month, the largest first."""

    items: list[Share]
    rest: Share | None
    """All others together; null when there are none."""


class Call(DashboardPart):
    """One of the latest calls."""

    time: Instant
    event_id: str
    user: str
    service: str
    model: str
    agent: str
    operation: str
    status: EventStatus
    cost_usd: Usd
    price_status: PriceStatus


class Block(DashboardPart):
    """A scope that is blocked or stopped now, and why."""

    scope: str
    state: FlagState
    why: str
    """One sentence for people."""
    budget: str | None
    limit: Measure | None
    unit: str | None
    spent: Measure | None
    percent: Percent | None
    since: Instant
    until: Instant | None


class Stop(DashboardPart):
    """The company-wide stop: every service answers 503."""

    since: Instant
    until: Instant | None
    reason: str
    actor: str
    """Who stopped by hand; empty when a budget did."""


class Age(DashboardPart):
    """When a part was last known to be complete."""

    as_of: Instant | None
    stale: bool


class Dashboard(DashboardPart):
    """The first page."""

    as_of: Instant
    stop: Stop | None
    month: Month | None
    budget: Standing | None
    """The company's monthly budget in dollars; null when there is none, or `unavailable` names it."""
    projection: Projection | None
    hours: list[Point] | None
    """Today, by the hour."""
    days: list[Point] | None
    """The last 30 days and today."""
    projected: list[Projected] | None
    """Tomorrow to the end of the month."""
    budgets: list[Standing] | None
    """The worst first, at most 8."""
    budgets_total: int
    shares: dict[str, Shares] | None
    """By `service`, `model`, `agent` and `campaign`."""
    users: Shares | None
    calls: list[Call] | None
    alerts: list[Alert] | None
    """Open ones, the worst first, at most 8."""
    alerts_total: int
    blocked: list[Block] | None
    """At most 8."""
    blocked_total: int
    ages: dict[str, Age]
    """Of `spend`, `flags`, `alerts`, `control` and `history` (ClickHouse)."""
    unavailable: dict[str, str]
    """Why a part is null: a sentence for people, by the part's name."""
