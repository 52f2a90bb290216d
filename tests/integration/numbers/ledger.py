"""A small ledger in ClickHouse: events, and the sums that a worker keeps of them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from clickhouse_connect.driver.client import Client

from tollgate.domain.windows import Horizon, window_end, window_start
from tollgate.schemas.amounts import format_amount, format_usd, parse_amount, parse_usd
from tollgate.schemas.instants import format_instant, parse_instant
from tollgate.schemas.scopes import Dimension, scope_of
from tollgate.schemas.vocabulary import BASE_WINDOWS, WindowKind


@dataclass(frozen=True)
class Event:
    """One counted event. `names` are its dimensions but for the user."""

    id: str
    time: str
    user: str
    cost: str
    retail: str = "0"
    usage: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    def row(self, offset: int) -> dict[str, Any]:
        """As the sink writes it."""
        return {
            "event_id": self.id,
            "source": "test",
            "time": self.time,
            "kind": "usage",
            "user": self.user,
            "status": "success",
            "cost_usd": self.cost,
            "retail_usd": self.retail,
            "usage": self.usage,
            "price_id": "p",
            "price_status": "priced",
            "source_offset": offset,
            "version": 1,
            "metadata": "{}",
            **self.names,
            **self.more,
        }

    def scopes(self) -> list[str]:
        """Whose spend it is."""
        named = {"user": self.user, **self.names}
        return ["global", *(scope_of(Dimension(name), value) for name, value in named.items() if value)]


def write(client: Client, events: Iterable[Event], now: str) -> None:
    """The events, each written twice as after a crash, and the sums of a worker that counted them at `now`."""
    found = list(events)
    rows = [event.row(offset) for offset, event in enumerate(found)]
    for _ in range(2):
        insert(client, "usage_events", rows)
    insert(client, "spend_records", spend_rows(found, now))


def spend_rows(events: Iterable[Event], now: str) -> list[dict[str, Any]]:
    """What a worker that counts the events at `now` writes: only windows that it holds then."""
    horizon = Horizon(parse_instant(now))
    sums: dict[tuple[str, WindowKind, int], list[Any]] = {}
    for event in events:
        at = parse_instant(event.time)
        for kind in (WindowKind.LIFETIME, *BASE_WINDOWS):
            start = window_start(kind, at)
            if not horizon.holds(kind, start):
                continue
            for scope in event.scopes():
                spend = sums.setdefault((scope, kind, start), [0, 0, 0, {}])
                spend[0] += parse_usd(event.cost)
                spend[1] += parse_usd(event.retail)
                spend[2] += 1
                for name, amount in event.usage.items():
                    spend[3][name] = spend[3].get(name, 0) + parse_amount(amount)
    return [
        {
            "scope": scope,
            "window": kind.value,
            "window_start": format_instant(start),
            "window_end": format_instant(window_end(kind, start)),
            "timezone": "UTC",
            "spent_usd": format_usd(cost),
            "retail_usd": format_usd(retail),
            "usage": {name: format_amount(amount) for name, amount in usage.items()},
            "events": count,
            "updated_at": now,
            "source_offset": number,
        }
        for number, ((scope, kind, start), (cost, retail, count, usage)) in enumerate(sums.items())
    ]


def insert(client: Client, table: str, rows: list[dict[str, Any]]) -> None:
    """Rows as JSON, as the sink writes them."""
    import json

    lines = "\n".join(json.dumps(row) for row in rows).encode()
    client.raw_insert(table, insert_block=lines, fmt="JSONEachRow", settings={"date_time_input_format": "best_effort"})
