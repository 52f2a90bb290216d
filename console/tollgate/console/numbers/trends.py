"""What several names of a dimension cost day by day: the small lines beside the names of a list."""

from collections.abc import Sequence
from typing import Any, Final

from tollgate.console.numbers.questions import Questions, Row
from tollgate.console.numbers.ranges import Range, starts
from tollgate.console.numbers.restriction import Names
from tollgate.console.numbers.sums import conditions
from tollgate.console.scope_parts import name_in
from tollgate.schemas.scopes import Dimension, scope_of
from tollgate.schemas.vocabulary import WindowKind

NAMES_MAX: Final = 200


async def trends(
    questions: Questions, names: Names, by: Dimension, wanted: Sequence[str], within: Range
) -> dict[str, list[str]]:
    """The cost of each day that touches the range, by name; of at most 200 names. Recent days alone: the worker's sums
    count late events for 60 days.
    """
    days = starts(WindowKind.DAY, within)
    chosen = list(wanted[:NAMES_MAX])
    if not chosen:
        return {}
    whole = not names.by and not names.impossible
    rows = await (_of_worker(questions, by, chosen, days) if whole else _of_usage(questions, names, by, chosen, within))
    found = {(name, start): cost for name, start, cost in rows}
    return {name: [found.get((name, day), "0") for day in days] for name in chosen}


async def _of_worker(questions: Questions, by: Dimension, wanted: list[str], days: list[int]) -> list[Row]:
    scopes = [scope_of(by, name) for name in wanted if name]
    rows = await questions.rows(
        """
        SELECT scope, toUnixTimestamp64Milli(window_start), toString(spent_usd)
        FROM spend
        WHERE window = 'day' AND calendar = window AND scope IN {scopes:Array(String)}
            AND window_start >= fromUnixTimestamp64Milli({first:Int64}, 'UTC')
            AND window_start <= fromUnixTimestamp64Milli({last:Int64}, 'UTC')
        """,
        {"scopes": scopes, "first": days[0], "last": days[-1]},
    )
    return [[name_in(row[0]), *row[1:]] for row in rows]


async def _of_usage(questions: Questions, names: Names, by: Dimension, wanted: list[str], within: Range) -> list[Row]:
    where, parameters = conditions(names)
    asked: dict[str, Any] = {"wanted": wanted, "from_ms": within.from_ms, "to_ms": within.to_ms}
    return await questions.rows(
        f"""
        SELECT {by.value} AS name, toUnixTimestamp(toStartOfDay(time)) * 1000 AS start, toString(sum(cost_usd))
        FROM usage
        WHERE time >= fromUnixTimestamp64Milli({{from_ms:Int64}}) AND time < fromUnixTimestamp64Milli({{to_ms:Int64}})
            AND {by.value} IN {{wanted:Array(String)}} AND {where}
        GROUP BY name, start
        """,  # noqa: S608 # our own text and columns of the enumeration
        {**asked, **parameters},
    )
