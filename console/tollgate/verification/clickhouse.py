"""Reads ClickHouse: events up to a cut, sums per user and month, and the table of the worker's own sums."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from tollgate.verification.calendar import instant, text
from tollgate.verification.sums import AMOUNT_DECIMALS, USD_DECIMALS, Sum, signed

Place = tuple[int, int]

# An event's place in the usage topic lies before the cut. ClickHouse's arrays count from 1.
_IN_RANGE: Final = (
    "kind = 'usage' AND source_offset >= {begins:Array(Int64)}[source_partition + 1]"
    " AND source_offset < {cut:Array(Int64)}[source_partition + 1]"
)
_BEFORE: Final = "source_offset < {ends:Array(Int64)}[source_partition + 1]"

# The numbers of a balance.
BALANCE_NUMBERS: Final = ("available", "reserved", "granted", "burned", "expired", "free_today", "free_per_day")


class Tables:
    """Reads the tables. Blocks; raises what clickhouse-connect raises."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def usage(self, begins: Mapping[int, int], cut: Mapping[int, int]) -> tuple[int, int]:
        """Count and cost (10⁻¹² USD) of the events from `begins` to the cut, by partition."""
        query = f"SELECT count(), toString(sum(cost_usd)) FROM usage WHERE {_IN_RANGE}"  # noqa: S608 # a constant
        ((events, cost),) = self._client.query(query, parameters=_range(begins, cut)).result_rows
        return int(events), signed(cost, USD_DECIMALS)

    def audit_records(self, end: int) -> int:
        """How many records of the audit are there that lie before this offset."""
        query = "SELECT count() FROM audit WHERE source_offset < {end:Int64}"
        ((count,),) = self._client.query(query, parameters={"end": end}).result_rows
        return int(count)

    def entries(self, ends: Mapping[int, int]) -> tuple[int, int]:
        """How many entries lie before these offsets, and the credits (10⁻⁹) that they give and take together."""
        query = f"SELECT count(), toString(sum(credits)) FROM entries WHERE {_BEFORE}"  # noqa: S608 # constants
        ((count, nano),) = self._client.query(query, parameters=_ends(ends)).result_rows
        return int(count), signed(nano, AMOUNT_DECIMALS)

    def decisions(self, ends: Mapping[int, int]) -> tuple[int, int, int, int]:
        """How many decisions lie before these offsets, how many of them grant, and the amounts that they are on:
        10⁻¹² USD and 10⁻⁹ credits.
        """
        columns = "count(), countIf(granted), toString(sum(amount_usd)), toString(sum(credits))"
        query = f"SELECT {columns} FROM decisions WHERE {_BEFORE}"  # noqa: S608 # constants
        ((count, granted, usd, nano),) = self._client.query(query, parameters=_ends(ends)).result_rows
        return int(count), int(granted), signed(usd, USD_DECIMALS), signed(nano, AMOUNT_DECIMALS)

    def balances(self) -> Iterator[tuple[str, list[str], Place]]:
        """The balance of each user as in `BALANCE_NUMBERS`, and the place of the record that it is of."""
        numbers = ", ".join(f"toString({name})" for name in BALANCE_NUMBERS)
        query = f"SELECT user, [{numbers}], source_partition, source_offset FROM balances"  # noqa: S608 # constants
        for user, said, partition, offset in self._rows(query, {}):
            yield user, said, (partition, offset)

    def user_months(self, begins: Mapping[int, int], cut: Mapping[int, int]) -> Iterator[tuple[str, int, Sum]]:
        """Sums per user and month: the user, the month's first instant in milliseconds, and the sum."""
        columns = (
            "user, toUnixTimestamp(toDateTime(toStartOfMonth(time), 'UTC')), toString(sum(cost_usd)), "
            "toString(sum(retail_usd)), count(), "
            "sumMap(mapFilter((unit, amount) -> unit != 'credits' OR amount != 0, "
            "mapUpdate(usage, map('credits', credits))))"
        )
        query = f"SELECT {columns} FROM usage WHERE {_IN_RANGE} GROUP BY 1, 2"  # noqa: S608 # constants
        for user, month_s, cost, retail, events, usage in self._rows(query, _range(begins, cut)):
            amount = Sum(signed(cost, USD_DECIMALS), signed(retail, USD_DECIMALS), int(events), _amounts(usage))
            yield user, int(month_s) * 1000, amount

    def has_entries(self) -> bool:
        """Whether the tables are of a release that has entries and calendars."""
        query = "SELECT count() FROM system.columns WHERE database = currentDatabase() AND name = 'calendar'"
        ((count,),) = self._client.query(query).result_rows
        return bool(count)

    def spend(self, *, has_calendars: bool) -> Iterator[tuple[str, Sum, Place]]:
        """The worker's numbers: the key of their Kafka record, the sum, and the place of that record."""
        query = (
            f"SELECT scope, {'calendar' if has_calendars else 'window'}, "  # noqa: S608 # constants
            "toUnixTimestamp64Milli(window_start), toString(spent_usd), toString(retail_usd), "
            "events, usage, source_partition, source_offset FROM spend"
        )
        for scope, calendar, start_ms, cost, retail, events, usage, partition, offset in self._rows(query, {}):
            amount = Sum(signed(cost, USD_DECIMALS), signed(retail, USD_DECIMALS), int(events), _amounts(usage))
            yield f"{scope}|{calendar}|{text(instant(start_ms))}", amount, (partition, offset)

    def events(
        self, user: str, month_ms: int, begins: Mapping[int, int], cut: Mapping[int, int], most: int
    ) -> dict[tuple[Place, str], int]:
        """Up to `most` events of a user and month: the cost by their place in the usage topic and their id."""
        query = (
            "SELECT event_id, toString(cost_usd), source_partition, source_offset FROM usage "  # noqa: S608 # constants
            f"WHERE {_IN_RANGE} AND user = {{user:String}} "
            "AND toUnixTimestamp(toDateTime(toStartOfMonth(time), 'UTC')) = {month:Int64} "
            "ORDER BY source_partition, source_offset LIMIT {most:UInt64}"
        )
        given = _range(begins, cut) | {"user": user, "month": month_ms // 1000, "most": most}
        return {((p, at), id_): signed(cost, USD_DECIMALS) for id_, cost, p, at in self._rows(query, given)}

    def _rows(self, query: str, parameters: dict[str, Any]) -> Iterator[Any]:
        """Row by row as they arrive: there may be more than fit into memory."""
        with self._client.query_rows_stream(query, parameters=parameters) as rows:
            yield from rows


def _amounts(usage: Mapping[str, Any]) -> dict[str, int]:
    return {dimension: signed(format(Decimal(amount), "f"), AMOUNT_DECIMALS) for dimension, amount in usage.items()}


def _ends(ends: Mapping[int, int]) -> dict[str, Any]:
    return {"ends": [ends.get(p, 0) for p in range(max(ends, default=0) + 1)]}


def _range(begins: Mapping[int, int], cut: Mapping[int, int]) -> dict[str, Any]:
    partitions = range(max(cut, default=0) + 1)
    return {"begins": [begins.get(p, 0) for p in partitions], "cut": [cut.get(p, 0) for p in partitions]}
