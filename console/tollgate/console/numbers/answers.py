"""Answers of the numbers. Money and usage are exact decimal strings in shortest form, instants are milliseconds.

`as_of_ms` is when ClickHouse was asked: it says nothing of how far the sink has come, which `Numbers.written_to` does.
"""

from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item")


class Sum(NamedTuple):
    """What was spent in one window, which starts at `start_ms`."""

    start_ms: int
    cost_usd: str
    retail_usd: str
    events: int
    usage: dict[str, str]


class Share(NamedTuple):
    """What one name of a dimension has of a whole. An empty name: events without one. `percent` of the whole's cost,
    rounded down to two decimals.
    """

    name: str
    cost_usd: str
    retail_usd: str
    events: int
    percent: str


@dataclass(frozen=True, slots=True)
class Series:
    """One sum for every window of a range, also for those in which nothing was spent."""

    items: list[Sum]
    as_of_ms: int


@dataclass(frozen=True, slots=True)
class Shares:
    """The largest shares of a whole, the largest first; `rest` is all the others together, None when there are none."""

    items: list[Share]
    rest: Share | None
    total: Share
    as_of_ms: int


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A part of a list. `cursor` asks for the next one; empty on the last."""

    items: list[Item]
    cursor: str
    as_of_ms: int


class EventRow(NamedTuple):
    """One counted event, with what it cost."""

    time_ms: int
    event_id: str
    source: str
    kind: str
    user: str
    org: str
    service: str
    provider: str
    model: str
    agent: str
    campaign: str
    feature: str
    product: str
    operation: str
    status: str
    latency_ms: int | None
    resource_type: str
    resource_id: str
    request_id: str
    usage: dict[str, str]
    options: dict[str, str]
    cost_usd: str
    retail_usd: str
    price_id: str
    price_status: str
    source_partition: int
    source_offset: int
    metadata: str


class Card(NamedTuple):
    """One of a user's four usage cards: how many calls, what came of them, and what they cost."""

    name: str
    events: int
    amount: str
    unit: str
    cost_usd: str
    retail_usd: str


@dataclass(frozen=True, slots=True)
class UserNumbers:
    """What one user has done and spent."""

    user: str
    month: Sum
    lifetime: Sum
    cards: list[Card]
    last_calls: list[EventRow]
    as_of_ms: int
    orgs: list[str] = field(default_factory=list)
    """The orgs of their last calls."""
