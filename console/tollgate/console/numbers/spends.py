"""The worker's own sums of many scopes at a time, and which scopes have spent about so much."""

import asyncio
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from tollgate.console.numbers.questions import Questions
from tollgate.console.numbers.sums import picousd
from tollgate.console.scope_parts import JOINT, expression_of
from tollgate.domain.spend import Spend
from tollgate.schemas.amounts import format_amount, format_usd
from tollgate.schemas.calendars import parse_calendar

SCOPES_MAX: Final = 20_000
"""More scopes are not asked about at a time."""

# Parameters are in the address of the request. ClickHouse takes 1 MB of it.
_ADDRESS_BYTES_MAX: Final = 200_000
_SCOPES_AT_ONCE_MAX: Final = 4_000
# Questions that one caller has under way.
_AT_ONCE_MAX: Final = 3
# Few scopes hold a plus: the others are spared the search for joints.
MATCHES: Final = """
match(scope, {expression:String})
    AND if(position(scope, '+') = 0, 0, length(extractAll(scope, {joint:String}))) = {joints:UInt8}
"""
# Whole part and fraction of Decimal(38, 12) and of Decimal(38, 9).
_DECIMAL_MAX: Final = 10**38 - 1


class SpendKey(NamedTuple):
    """A scope's sum in one window."""

    scope: str
    calendar: str
    start_ms: int


@dataclass(frozen=True, slots=True)
class Near:
    """Scopes whose sum is within spans, those with the highest sums; `total` is how many there are in all."""

    scopes: list[str]
    total: int


async def spends(questions: Questions, keys: Collection[SpendKey], units: Collection[str]) -> dict[SpendKey, Spend]:
    """The sums of these scopes in these windows, with the usage of these units alone. What is missing spent nothing.

    ValueError when there are more than 20,000 scopes.
    """
    windows = sorted({(key.calendar, key.start_ms) for key in keys})
    scopes = sorted({key.scope for key in keys})
    if len(scopes) > SCOPES_MAX:
        raise ValueError(f"at most {SCOPES_MAX} scopes at a time")
    asked = [(part, calendar, start_ms) for part in _parts(scopes) for calendar, start_ms in windows]
    found: dict[SpendKey, Spend] = {}
    # One waits for ClickHouse while another is read; all at once would leave no turn for others.
    for at in range(0, len(asked), _AT_ONCE_MAX):
        for sums in await asyncio.gather(*(_of(questions, *one, units) for one in asked[at : at + _AT_ONCE_MAX])):
            found |= sums
    return found


async def _of(
    questions: Questions, scopes: list[str], calendar: str, start_ms: int, units: Collection[str]
) -> dict[SpendKey, Spend]:
    """The sums of these scopes in one window."""
    rows = await questions.rows(
        """
        SELECT scope, toString(spent_usd), toString(retail_usd), events, arrayMap(
            pair -> (toString(pair.1), toString(pair.2)),
            CAST(mapFilter((name, amount) -> has({units:Array(String)}, name), usage),
                'Array(Tuple(String, Decimal(38, 9)))')
        )
        FROM spend
        WHERE window = {kind:String} AND window_start = fromUnixTimestamp64Milli({start:Int64}, 'UTC')
            AND scope IN {scopes:Array(String)} AND calendar = {calendar:String}
        """,
        {
            "kind": parse_calendar(calendar).kind.value,
            "calendar": calendar,
            "start": start_ms,
            "scopes": scopes,
            "units": sorted(units),
        },
    )
    return {
        SpendKey(scope, calendar, start_ms): Spend(
            picousd(spent), picousd(retail), events, {unit: nano(amount) for unit, amount in usage}
        )
        for scope, spent, retail, events, usage in rows
    }


def _parts(scopes: Iterable[str]) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for scope in scopes:
        length = len(quote(scope, safe="")) + 9
        if part and (size + length > _ADDRESS_BYTES_MAX or len(part) >= _SCOPES_AT_ONCE_MAX):
            yield part
            part, size = [], 0
        part.append(scope)
        size += length
    if part:
        yield part


async def near(
    questions: Questions,
    pattern: str,
    calendar: str,
    start_ms: int,
    unit: str,
    spans: Sequence[tuple[int, int | None]],
    limit: int,
) -> Near:
    """The scopes of a pattern (`user/*`) whose sum in the calendar's window is within one of the half-open spans.

    `unit` and the spans are those of a budget: 10⁻¹² USD for `usd`, else 10⁻⁹ of the unit.
    """
    value, number, write = _VALUES.get(unit, _USAGE_VALUE)
    expression, joints = expression_of(pattern)
    parameters: dict[str, Any] = {
        "prefix": pattern.partition("*")[0],
        "expression": expression,
        "joint": JOINT,
        "joints": joints,
        "kind": parse_calendar(calendar).kind.value,
        "calendar": calendar,
        "start": start_ms,
        "unit": unit,
        "limit": limit,
    }
    parts = []
    for at, (low, high) in enumerate(spans):
        if low > _DECIMAL_MAX:
            continue
        condition = f"{value} >= {{low_{at}:{number}}}"
        parameters[f"low_{at}"] = write(low)
        if high is not None and high <= _DECIMAL_MAX:
            condition += f" AND {value} < {{high_{at}:{number}}}"
            parameters[f"high_{at}"] = write(high)
        parts.append(f"({condition})")
    if not parts:
        return Near([], 0)
    rows = await questions.rows(
        f"""
        SELECT scope, count() OVER ()
        FROM spend
        WHERE window = {{kind:String}} AND window_start = fromUnixTimestamp64Milli({{start:Int64}}, 'UTC')
            AND startsWith(scope, {{prefix:String}}) AND calendar = {{calendar:String}} AND ({" OR ".join(parts)})
            AND {MATCHES}
        ORDER BY {value} DESC, scope
        LIMIT {{limit:UInt32}}
        """,  # noqa: S608 # our own text alone
        parameters,
    )
    return Near([scope for scope, _ in rows], rows[0][1] if rows else 0)


def nano(text: str) -> int:
    """A decimal string of an amount, of any size and sign, as 10⁻⁹ of its unit."""
    return picousd(text) // 1000


# What a budget limits, as a column; the type of its bounds, and how they are written.
_VALUES: Final = {
    "usd": ("spent_usd", "Decimal(38, 12)", format_usd),
    "events": ("toDecimal128(events, 9)", "Decimal(38, 9)", format_amount),
}
_USAGE_VALUE: Final = ("usage[{unit:String}]", "Decimal(38, 9)", format_amount)
