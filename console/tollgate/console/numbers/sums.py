"""What was spent, window by window and name by name: the worker's own sums where it has them, else from `usage`."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from tollgate.console.numbers.answers import Series, Share, Shares, Sum
from tollgate.console.numbers.questions import Questions, Row
from tollgate.console.numbers.ranges import Range, cover, held_from, starts
from tollgate.console.numbers.restriction import Names
from tollgate.console.scope_parts import JOINT, name_in
from tollgate.domain.budgets import window_json
from tollgate.domain.windows import LIFETIME_END_MS, window_end
from tollgate.schemas.amounts import PICO, format_usd
from tollgate.schemas.calendars import parse_calendar
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import SpendRecord, Window
from tollgate.schemas.scopes import GLOBAL_SCOPE, Dimension, parse_names
from tollgate.schemas.vocabulary import CUTS, WindowKind

SHARES_MAX: Final = 1000

# Decimals leave ClickHouse as text: a number of JSON would be read as a float.
_USAGE: Final = "mapApply((name, amount) -> (toString(name), toString(amount)), {}) AS amounts"
# The worker counts as credits what events burned, and not what their senders wrote under that name.
_USAGE_OF_EVENTS: Final = _USAGE.format(
    "mapFilter((unit, amount) -> unit != 'credits' OR amount != 0,"
    " mapUpdate(sumMap(usage), map('credits', sum(credits))))"
)
_IN_RANGE: Final = (
    "time >= fromUnixTimestamp64Milli({from_ms:Int64}) AND time < fromUnixTimestamp64Milli({to_ms:Int64})"
)
# With a set of pairs ClickHouse finds the rows by the table's order.
_IN_WINDOWS: Final = """
(window, window_start) IN (
    SELECT pair.1, fromUnixTimestamp64Milli(pair.2, 'UTC')
    FROM (SELECT arrayJoin(arrayZip({kinds:Array(String)}, {starts:Array(Int64)})) AS pair)
) AND calendar = window
"""
# Not a combination that begins with such a name. Few scopes hold a plus: the others are spared the search.
_SINGLE: Final = "if(position(scope, '+') = 0, 0, match(scope, {joint:String})) = 0"


def _start_of(kind: WindowKind) -> str:
    """The start of the window of this kind that contains `time`, as an expression in SQL."""
    cut = CUTS.get(kind)
    if cut is None:
        return "toDateTime(0, 'UTC')"
    if cut.length_ms is None:
        return "toDateTime(toStartOfMonth(time), 'UTC')"
    length, origin = cut.length_ms // 1000, cut.origin_ms // 1000
    return f"toDateTime(intDiv(toUnixTimestamp(time) - {origin}, {length}) * {length} + {origin}, 'UTC')"


def picousd(text: str) -> int:
    """A decimal string of a sum, of any size and sign, as 10⁻¹² USD."""
    whole, _, fraction = text.lstrip("-").partition(".")
    amount = int(whole) * PICO + int(fraction.ljust(12, "0") or 0)
    return -amount if text.startswith("-") else amount


def conditions(names: Names) -> tuple[str, dict[str, Any]]:
    """The condition on rows of `usage` with these names, and its parameters. Columns are named by the dimensions."""
    if names.impossible:
        return "false", {}
    parts = [f"{dimension.value} = {{name_{dimension.value}:String}}" for dimension in names.by]
    return " AND ".join(parts) or "true", {f"name_{dimension.value}": name for dimension, name in names.by.items()}


async def spend_of(questions: Questions, scope: str, calendar: str, start_ms: int) -> SpendRecord | None:
    """The worker's own sum of a scope in a window, as in the topic; None when nothing was spent."""
    rows = await questions.rows(
        f"""
        SELECT toString(spent_usd), toString(retail_usd), {_USAGE.format("usage")}, events,
            toUnixTimestamp64Milli(updated_at), toString(reserved_usd), toString(revenue_usd)
        FROM spend
        WHERE window = {{kind:String}} AND window_start = fromUnixTimestamp64Milli({{start:Int64}}, 'UTC')
            AND scope = {{scope:String}} AND calendar = {{calendar:String}}
        """,  # noqa: S608 # our own text alone
        {"kind": parse_calendar(calendar).kind.value, "calendar": calendar, "start": start_ms, "scope": scope},
    )
    return _record(scope, calendar, start_ms, rows[0]) if rows else None


async def sum_of(questions: Questions, scope: str, calendar: str, start_ms: int) -> SpendRecord | None:
    """As `spend_of`, added up from events: of a combination or in a calendar that no budget needs."""
    where, parameters = conditions(Names(dict(parse_names(scope))))
    rows = await questions.rows(
        f"""
        SELECT toString(sum(cost_usd)), toString(sum(retail_usd)), {_USAGE_OF_EVENTS}, count() AS calls,
            toUnixTimestamp64Milli(max(ingested_at)), '0', '0'
        FROM usage
        WHERE {_IN_RANGE} AND {where}
        HAVING calls > 0
        """,  # noqa: S608 # our own text and columns of the enumeration
        {"from_ms": start_ms, "to_ms": window_end(calendar, start_ms), **parameters},
    )
    return _record(scope, calendar, start_ms, rows[0]) if rows else None


def _record(scope: str, calendar: str, start_ms: int, row: Row) -> SpendRecord:
    spent, retail, usage, events, updated_ms, reserved, revenue = row
    return SpendRecord(
        scope=scope,
        window=Window.model_validate(window_json(calendar, start_ms)),
        spent_usd=spent,
        retail_usd=retail,
        usage=usage,
        events=events,
        reserved_usd=reserved,
        revenue_usd=revenue,
        updated_at=format_instant(updated_ms),
    )


async def month_and_lifetime(questions: Questions, names: Names, month: Range) -> tuple[Sum, Sum]:
    """The sums of a month and of all time, in one question where the worker has both."""
    start = month.from_ms
    scope = None if names.impossible else names.scope
    if scope is None or start < held_from(WindowKind.MONTH, questions.now_ms()):
        months, all_time = await asyncio.gather(
            series(questions, names, WindowKind.MONTH, month),
            series(questions, names, WindowKind.LIFETIME, Range(0, LIFETIME_END_MS)),
        )
        return months.items[0], all_time.items[0]
    rows = await questions.rows(
        f"""
        SELECT toString(window), toUnixTimestamp64Milli(window_start), toString(spent_usd), toString(retail_usd),
            events, {_USAGE.format("usage")}
        FROM spend
        WHERE {_IN_WINDOWS} AND scope = {{scope:String}}
        """,  # noqa: S608 # our own text alone
        {"kinds": [WindowKind.MONTH.value, WindowKind.LIFETIME.value], "starts": [start, 0], "scope": scope},
    )
    found = {row[0]: Sum(*row[1:]) for row in rows}
    nothing = Sum(0, "0", "0", 0, {})
    of_month = found.get(WindowKind.MONTH.value, nothing._replace(start_ms=start))
    return of_month, found.get(WindowKind.LIFETIME.value, nothing)


async def series(questions: Questions, names: Names, kind: WindowKind, within: Range) -> Series:
    """The sum of each window that touches the range, of the part of it that is within the range."""
    asked_at = questions.now_ms()
    all_starts = starts(kind, within)
    scope = None if names.impossible else names.scope
    held = max(held_from(kind, asked_at), within.from_ms)
    whole = (
        [at for at in all_starts if at >= held and window_end(kind, at) <= within.to_ms] if scope is not None else []
    )
    asked = []
    rest = [(within.from_ms, within.to_ms)]
    if whole:
        assert scope is not None
        asked.append(_worker_series(questions, scope, kind, whole))
        # What is older than the worker holds, and what the range cuts off a window.
        rest = [(within.from_ms, whole[0]), (window_end(kind, whole[-1]), within.to_ms)]
    asked += [_usage_series(questions, names, kind, Range(begin, end)) for begin, end in rest if begin < end]
    found = {row[0]: Sum(*row) for rows in await asyncio.gather(*asked) for row in rows}
    return Series([found.get(at) or Sum(at, "0", "0", 0, {}) for at in all_starts], asked_at)


async def _worker_series(questions: Questions, scope: str, kind: WindowKind, wanted: list[int]) -> list[Row]:
    return await questions.rows(
        f"""
        SELECT toUnixTimestamp64Milli(window_start), toString(spent_usd), toString(retail_usd), events,
            {_USAGE.format("usage")}
        FROM spend
        WHERE window = {{kind:String}} AND calendar = window AND scope = {{scope:String}}
            AND window_start >= fromUnixTimestamp64Milli({{first:Int64}}, 'UTC')
            AND window_start <= fromUnixTimestamp64Milli({{last:Int64}}, 'UTC')
        """,  # noqa: S608 # our own text alone
        {"kind": kind.value, "first": wanted[0], "last": wanted[-1], "scope": scope},
    )


async def _usage_series(questions: Questions, names: Names, kind: WindowKind, within: Range) -> list[Row]:
    where, parameters = conditions(names)
    return await questions.rows(
        f"""
        SELECT toUnixTimestamp({_start_of(kind)}) * 1000 AS start, toString(sum(cost_usd)), toString(sum(retail_usd)),
            count(), {_USAGE_OF_EVENTS}
        FROM usage
        WHERE {_IN_RANGE} AND {where}
        GROUP BY start
        """,  # noqa: S608 # our own text and columns of the enumeration
        {"from_ms": within.from_ms, "to_ms": within.to_ms, **parameters},
    )


async def shares(questions: Questions, names: Names, by: Dimension, within: Range, limit: int) -> Shares:
    """The names of a dimension with the highest costs in the range, and all the others together."""
    asked_at = questions.now_ms()
    windows = cover(within, asked_at) if not names.by and not names.impossible else None
    if windows is None:
        rows = await _usage_shares(questions, names, by, within, limit)
        total = rows[0][4:7] if rows else ["0", "0", 0]
    else:
        rows, total = await asyncio.gather(
            _worker_shares(questions, by, windows, limit), _worker_total(questions, GLOBAL_SCOPE, windows)
        )
        named: Row = rows[0][4:7] if rows else ["0", "0", 0]
        rows = _with_nameless([row[:4] for row in rows], named, total)[:limit]
    return _shares([row[:4] for row in rows], total, asked_at)


def shares_of(rows: list[Row], total: Row, limit: int, as_of_ms: int) -> Shares:
    """The shares of sums that are known already, `[name, cost, retail value, events]` of each name; `total` is of all
    events, also of those without a name.
    """
    cost, retail = (sum(picousd(row[column]) for row in rows) for column in (1, 2))
    named: Row = [format_usd(cost), format_usd(retail), sum(row[3] for row in rows)]
    ordered = sorted(rows, key=lambda row: (-picousd(row[1]), row[0]))
    return _shares(_with_nameless(ordered, named, total)[:limit], total, as_of_ms)


async def _worker_shares(
    questions: Questions, by: Dimension, windows: Iterable[tuple[WindowKind, int]], limit: int
) -> list[Row]:
    """Rows of name, cost, retail value, events, and after them the sums of these over all names."""
    kinds, firsts = zip(*windows, strict=True)
    rows = await questions.rows(
        f"""
        SELECT scope, toString(sum(spent_usd) AS cost),
            toString(sum(retail_usd) AS retail), sum(events) AS calls,
            toString(sum(cost) OVER ()), toString(sum(retail) OVER ()), sum(calls) OVER ()
        FROM spend
        WHERE {_IN_WINDOWS} AND startsWith(scope, {{prefix:String}}) AND {_SINGLE}
        GROUP BY scope
        ORDER BY cost DESC, scope
        LIMIT {{limit:UInt32}}
        """,  # noqa: S608 # our own text alone
        {
            "kinds": [kind.value for kind in kinds],
            "starts": list(firsts),
            "prefix": f"{by.value}/",
            "joint": JOINT,
            "limit": limit,
        },
    )
    return [[name_in(row[0]), *row[1:]] for row in rows]


async def _worker_total(questions: Questions, scope: str, windows: Iterable[tuple[WindowKind, int]]) -> Row:
    kinds, firsts = zip(*windows, strict=True)
    rows = await questions.rows(
        f"SELECT toString(sum(spent_usd)), toString(sum(retail_usd)), sum(events) FROM spend"  # noqa: S608 # our own text
        f" WHERE {_IN_WINDOWS} AND scope = {{scope:String}}",
        {"kinds": [kind.value for kind in kinds], "starts": list(firsts), "scope": scope},
    )
    return rows[0]


def _with_nameless(rows: list[Row], named: Row, total: Row) -> list[Row]:
    """The worker keeps no sum of events without a name: they are what the whole has more than all that are named."""
    calls = total[2] - named[2]
    if calls <= 0:
        # The two are written one after the other: while events arrive, the whole may be behind its parts.
        return rows
    cost = picousd(total[0]) - picousd(named[0])
    nameless: Row = ["", format_usd(cost), format_usd(picousd(total[1]) - picousd(named[1])), calls]
    return sorted([*rows, nameless], key=lambda row: -picousd(row[1]))


async def _usage_shares(questions: Questions, names: Names, by: Dimension, within: Range, limit: int) -> list[Row]:
    where, parameters = conditions(names)
    return await questions.rows(
        f"""
        SELECT {by.value} AS name, toString(sum(cost_usd) AS cost), toString(sum(retail_usd) AS retail),
            count() AS calls, toString(sum(cost) OVER ()), toString(sum(retail) OVER ()), sum(calls) OVER ()
        FROM usage
        WHERE {_IN_RANGE} AND {where}
        GROUP BY name
        ORDER BY cost DESC, name
        LIMIT {{limit:UInt32}}
        """,  # noqa: S608 # our own text and columns of the enumeration
        {"from_ms": within.from_ms, "to_ms": within.to_ms, "limit": limit, **parameters},
    )


def _shares(rows: list[Row], total: Row, as_of_ms: int) -> Shares:
    whole = picousd(total[0])
    items = [Share(name, cost, retail, calls, percent(picousd(cost), whole)) for name, cost, retail, calls in rows]
    calls_left = total[2] - sum(item.events for item in items)
    rest = None
    if calls_left > 0:
        cost_left = whole - sum(picousd(item.cost_usd) for item in items)
        retail_left = picousd(total[1]) - sum(picousd(item.retail_usd) for item in items)
        rest = Share("", format_usd(cost_left), format_usd(retail_left), calls_left, percent(cost_left, whole))
    return Shares(items, rest, Share("", total[0], total[1], total[2], percent(whole, whole)), as_of_ms)


def percent(part_picousd: int, whole_picousd: int) -> str:
    """`percent(1, 3)` is "33.33", rounded down; "0.00" of nothing."""
    hundredths = part_picousd * 10_000 // whole_picousd if whole_picousd > 0 else 0
    return f"{hundredths // 100}.{hundredths % 100:02d}"
