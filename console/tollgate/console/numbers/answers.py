"""Answers of the numbers. Money and usage are exact decimal strings in shortest form, instants are milliseconds.

Single events are what `GET /events` answers, with their time in RFC 3339.

`as_of_ms` is when ClickHouse was asked: it says nothing of how far the sink has come, which `Numbers.written_to` does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, NamedTuple, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import Amount, EventKind, Instant, PriceStatus

Item = TypeVar("Item")

SignedUsd = Annotated[str, Field(description="US dollars as a decimal string; may be negative", examples=["-3.5"])]


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


class CountedEvent(BaseModel):
    """One counted event, with what it cost. Names that were not given are empty."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    time: Instant
    event_id: str
    source: str
    kind: EventKind
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
    usage: dict[str, Amount]
    options: dict[str, str]
    cost_usd: SignedUsd
    retail_usd: SignedUsd
    price_id: str
    price_status: PriceStatus
    source_partition: int
    """Its place in the usage topic."""
    source_offset: int
    metadata: Annotated[str, Field(description="free data of the event, JSON as text")]

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> Self:
        """From the columns in the order of the fields, with the time in milliseconds."""
        time_ms, *others = row
        return cls(**dict(zip(cls.model_fields, (format_instant(time_ms), *others), strict=True)))


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
    last_calls: list[CountedEvent]
    as_of_ms: int
    orgs: list[str] = field(default_factory=list)
    """The orgs of their last calls."""
