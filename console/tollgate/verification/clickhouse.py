"""ClickHouse against the recount and against Kafka: events, sums per user and month, and the worker's own numbers."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from tollgate.verification.calendar import instant, text
from tollgate.verification.recount import Totals
from tollgate.verification.report import Check
from tollgate.verification.spend import Recounted, Spent
from tollgate.verification.sums import AMOUNT_DECIMALS, USD_DECIMALS, Sum, plain, scaled

Place = tuple[int, int]

# An event's place in the usage topic lies before the cut. ClickHouse's arrays count from 1.
_IN_RANGE: Final = (
    "kind = 'usage' AND source_offset >= {begins:Array(Int64)}[source_partition + 1]"
    " AND source_offset < {cut:Array(Int64)}[source_partition + 1]"
)


class Tables:
    """Reads the tables. Blocks; raises what clickhouse-connect raises."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def usage(self, begins: Mapping[int, int], cut: Mapping[int, int]) -> tuple[int, int]:
        """Count and cost (10⁻¹² USD) of the events from `begins` to the cut, by partition."""
        query = f"SELECT count(), toString(sum(cost_usd)) FROM usage WHERE {_IN_RANGE}"  # noqa: S608 # a constant
        ((events, cost),) = self._client.query(query, parameters=_range(begins, cut)).result_rows
        return int(events), scaled(cost, USD_DECIMALS)

    def user_months(self, begins: Mapping[int, int], cut: Mapping[int, int]) -> dict[tuple[str, int], Sum]:
        """Sums per user and month, by user and the month's first instant."""
        columns = (
            "user, toUnixTimestamp(toDateTime(toStartOfMonth(time), 'UTC')), toString(sum(cost_usd)), "
            "toString(sum(retail_usd)), count(), sumMap(usage)"
        )
        query = f"SELECT {columns} FROM usage WHERE {_IN_RANGE} GROUP BY 1, 2"  # noqa: S608 # constants
        found: dict[tuple[str, int], Sum] = {}
        rows = self._client.query(query, parameters=_range(begins, cut)).result_rows
        for user, month_s, cost, retail, events, usage in rows:
            amount = Sum(scaled(cost, USD_DECIMALS), scaled(retail, USD_DECIMALS), int(events), _amounts(usage))
            found[user, int(month_s) * 1000] = amount
        return found

    def spend(self) -> dict[str, tuple[Sum, Place]]:
        """The worker's numbers by the key of their Kafka record, and the place of that record."""
        query = (
            "SELECT scope, window, toUnixTimestamp64Milli(window_start), toString(spent_usd), toString(retail_usd), "
            "events, usage, source_partition, source_offset FROM spend"
        )
        found: dict[str, tuple[Sum, Place]] = {}
        for scope, kind, start_ms, cost, retail, events, usage, partition, offset in self._client.query(
            query
        ).result_rows:
            amount = Sum(scaled(cost, USD_DECIMALS), scaled(retail, USD_DECIMALS), int(events), _amounts(usage))
            found[f"{scope}|{kind}|{text(instant(start_ms))}"] = (amount, (partition, offset))
        return found


def _amounts(usage: Mapping[str, Any]) -> dict[str, int]:
    return {dimension: scaled(format(Decimal(amount), "f"), AMOUNT_DECIMALS) for dimension, amount in usage.items()}


def _range(begins: Mapping[int, int], cut: Mapping[int, int]) -> dict[str, list[int]]:
    partitions = range(max(cut, default=0) + 1)
    return {"begins": [begins.get(p, 0) for p in partitions], "cut": [cut.get(p, 0) for p in partitions]}


def compare_usage(totals: Totals, found: tuple[int, int]) -> Check:
    """The number of events and their cost."""
    return Check("ClickHouse usage").shows(
        f"{totals.all.events} events, {plain(totals.all.cost_picousd, USD_DECIMALS)} USD",
        f"{found[0]} events, {plain(found[1], USD_DECIMALS)} USD",
    )


def compare_user_months(totals: Totals, found: dict[tuple[str, int], Sum]) -> Check:
    """Every user's months, in both directions."""
    check = Check("ClickHouse user months")
    for user, month_ms in sorted(totals.user_months.keys() | found.keys()):
        expected, said = totals.user_months.get((user, month_ms)), found.get((user, month_ms))
        if expected != said:
            what = f"user {user} in {text(instant(month_ms))[:7]}"
            check.differs(what, expected or "nothing", said or "nothing")
    return check.shows(len(totals.user_months), len(found))


def compare_spend_table(
    recounted: Recounted,
    before: dict[str, Place],
    after: tuple[dict[str, Spent], dict[str, Place]],
    found: dict[str, tuple[Sum, Place]],
) -> Check:
    """The table against the topic, which was read before and after the table.

    A window whose record stayed the same must have that record; another one must lie between the recounts.
    """
    check = Check("ClickHouse spend")
    values, places = after
    for key in sorted(before.keys() | found.keys()):
        row = found.get(key)
        if row is None:
            check.differs(f"spend {key}", values[key].sum if key in values else "a row", "no row")
        elif key not in values:
            check.differs(f"spend {key}", "no row", row[0])
        elif before.get(key) != places[key]:
            if not recounted.moved(key) or not recounted.admits(key, row[0]):
                check.differs(f"spend {key}", values[key].sum, row[0])
        elif row != (values[key].sum, places[key]):
            check.differs(f"spend {key}", f"{values[key].sum} from {places[key]}", f"{row[0]} from {row[1]}")
    return check.shows(f"{len(before)} windows", f"{len(before.keys() & found.keys())} windows")
