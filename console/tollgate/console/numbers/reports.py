"""Reports over a range, grouped by time and names, or event by event: streamed, so that any size takes little
memory.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from tollgate.console.numbers.errors import BadQuestionError
from tollgate.console.numbers.questions import Questions, Row
from tollgate.console.numbers.ranges import Range
from tollgate.console.numbers.restriction import Names
from tollgate.console.numbers.sums import conditions
from tollgate.console.numbers.tables import Amount, ReportFormat, TableWriter
from tollgate.schemas.instants import format_instant
from tollgate.schemas.vocabulary import Dimension


class ReportKey(StrEnum):
    """What a report has a row for. `event` stands alone: each event is a row."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    USER = "user"
    ORG = "org"
    SERVICE = "service"
    PROVIDER = "provider"
    MODEL = "model"
    AGENT = "agent"
    CAMPAIGN = "campaign"
    FEATURE = "feature"
    PRODUCT = "product"
    OPERATION = "operation"
    STATUS = "status"
    PRICE_STATUS = "price_status"
    EVENT = "event"


KEYS_MAX: Final = 5
_TIMES: Final = {
    ReportKey.HOUR: "formatDateTime(toStartOfHour(time), '%Y-%m-%dT%H:00:00Z', 'UTC')",
    ReportKey.DAY: "toString(toDate(time))",
    ReportKey.MONTH: "formatDateTime(time, '%Y-%m', 'UTC')",
}
_USAGE: Final = ("input_tokens", "output_tokens", "images", "video_seconds", "audio_seconds", "characters")
_SUMS: Final = ("events", "cost_usd", "retail_usd", "profit_usd", *_USAGE)
_EVENT_TEXTS: Final = (
    *("event_id", "source", "kind", *Dimension, "operation", "status"),
    *("resource_type", "resource_id", "request_id", "price_id", "price_status"),
)
_EVENT_AMOUNTS: Final = ("cost_usd", "retail_usd")


@dataclass(frozen=True, slots=True)
class _Report:
    """Its columns, its question, and how many of a row's first cells are text; the others are amounts."""

    columns: tuple[str, ...]
    sql: str
    texts: int


def report_keys(names: Sequence[str]) -> list[ReportKey]:
    """The keys by these names, each once. BadQuestionError for others, more than five, and `event` beside others."""
    known = {key.value: key for key in ReportKey}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise BadQuestionError(f"by takes {', '.join(known)}.")
    keys = [known[name] for name in dict.fromkeys(names)]
    if len(keys) > KEYS_MAX or (ReportKey.EVENT in keys and len(keys) > 1):
        raise BadQuestionError(f"by takes up to {KEYS_MAX} names, or event alone.")
    return keys or [ReportKey.DAY]


async def report(
    questions: Questions, names: Names, by: Sequence[ReportKey], within: Range, form: ReportFormat
) -> AsyncIterator[bytes]:
    """The document in parts. Raises UnavailableError and TooLargeError, also in its midst."""
    made = _events() if list(by) == [ReportKey.EVENT] else _grouped(by)
    where, parameters = conditions(names)
    parameters |= {"from_ms": within.from_ms, "to_ms": within.to_ms}
    writer = TableWriter(form, made.columns)
    rows = questions.stream(made.sql.replace("{where}", where), parameters)
    head = writer.head()
    async for part in rows:
        yield head + writer.rows([_cells(row, made.texts) for row in part])
        head = b""
    yield head + writer.end()


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One row: its name by each key, and its sums."""

    names: tuple[str, ...]
    events: int
    cost_usd: str
    retail_usd: str
    profit_usd: str


@dataclass(frozen=True, slots=True)
class ReportStart:
    """The first rows of a report, and the sums of all of them. `rows_total` is how many rows the report has."""

    rows: list[ReportRow]
    rows_total: int
    total: ReportRow
    as_of_ms: int


async def report_start(
    questions: Questions, names: Names, by: Sequence[ReportKey], within: Range, limit: int
) -> ReportStart:
    """What a page shows of a report: in the order of time where that comes first, else the highest costs first."""
    asked_at = questions.now_ms()
    where, parameters = conditions(names)
    keys = ", ".join(f"toString({_TIMES.get(key, key.value)})" for key in by)
    order = "names[1], cost DESC, names" if by[0] in _TIMES else "cost DESC, names"
    found = await questions.rows(
        f"""
        SELECT names, calls, toString(cost), toString(retail), toString(retail - cost), count() OVER (),
            sum(calls) OVER (), toString(sum(cost) OVER ()), toString(sum(retail) OVER ()),
            toString(sum(retail - cost) OVER ())
        FROM (
            SELECT [{keys}] AS names, count() AS calls, sum(cost_usd) AS cost, sum(retail_usd) AS retail
            FROM usage WHERE {_WHERE.replace("{where}", where)}
            GROUP BY names
        )
        ORDER BY {order}
        LIMIT {{limit:UInt32}}
        """,  # noqa: S608 # our own text and columns of the enumeration
        {"from_ms": within.from_ms, "to_ms": within.to_ms, "limit": limit, **parameters},
    )
    rows = [ReportRow(tuple(row[0]), *row[1:5]) for row in found]
    total = ReportRow((), *found[0][6:10]) if found else ReportRow((), 0, "0", "0", "0")
    return ReportStart(rows, found[0][5] if found else 0, total, asked_at)


def _cells(row: Row, texts: int) -> list[Any]:
    return [
        *row[:texts],
        *(value if isinstance(value, (int, dict)) or value is None else Amount(value) for value in row[texts:]),
    ]


def _grouped(by: Sequence[ReportKey]) -> _Report:
    keys = [f"{_TIMES.get(key, key.value)} AS key_{number}" for number, key in enumerate(by)]
    order = ", ".join(f"key_{number}" for number in range(len(by)))
    sums = [
        "count()",
        "toString(sum(cost_usd))",
        "toString(sum(retail_usd))",
        "toString(sum(retail_usd) - sum(cost_usd))",
    ]
    sums += [f"toString(sum({name}))" for name in _USAGE]
    sql = f"SELECT {', '.join([*keys, *sums])} FROM usage WHERE {_WHERE} GROUP BY {order} ORDER BY {order}"  # noqa: S608 # our own text
    return _Report((*(key.value for key in by), *_SUMS), sql, len(by))


_WHERE: Final = (
    "time >= fromUnixTimestamp64Milli({from_ms:Int64}) AND time < fromUnixTimestamp64Milli({to_ms:Int64}) AND {where}"
)


def _events() -> _Report:
    time = (
        "formatDateTime(time, '%Y-%m-%dT%H:%i:%S', 'UTC')"
        " || '.' || leftPad(toString(toUnixTimestamp64Milli(time) % 1000), 3, '0') || 'Z'"
    )
    texts = ", ".join(_EVENT_TEXTS)
    sql = (
        f"SELECT {time}, {texts}, toString(cost_usd), toString(retail_usd), latency_ms,"  # noqa: S608 # our own text
        " mapApply((name, amount) -> (toString(name), toString(amount)), usage), source_partition, source_offset"
        # Partition by partition and in the order of the table, so that nothing is sorted.
        f" FROM usage WHERE {_WHERE} ORDER BY toDate(time), user, event_id"
    )
    columns = ("time", *_EVENT_TEXTS, *_EVENT_AMOUNTS, "latency_ms", "usage", "source_partition", "source_offset")
    return _Report(columns, sql, 1 + len(_EVENT_TEXTS))


def file_name(by: Sequence[ReportKey], within: Range, form: ReportFormat) -> str:
    """A name of letters, digits, dots and dashes: `tollgate-2026-11-01-2026-12-01-by-day-model.csv`."""
    days = "-".join(format_instant(at)[:10] for at in (within.from_ms, within.to_ms))
    return f"tollgate-{days}-by-{'-'.join(key.value for key in by)}.{form.value}"
