"""What happened: revisions of flags and alerts, changes with a name on them, refused records. The newest first."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from tollgate.console.numbers.answers import Page
from tollgate.console.numbers.errors import BadQuestionError
from tollgate.console.numbers.questions import Questions
from tollgate.console.numbers.ranges import Range

PAGE_MAX: Final = 1000

# Enough to recognise a key by. Keys and errors of refused records are whatever came, also bytes that are no text.
_SHOWN_BYTES: Final = 300


@dataclass(frozen=True, slots=True)
class _List:
    """A list: its view, its columns by name, and the instant and the two numbers that order it."""

    view: str
    columns: Mapping[str, str]
    time: str
    place: tuple[str, str]


class FlagRevision(NamedTuple):
    """One revision of a scope's flag."""

    time_ms: int
    scope: str
    state: str
    action: str
    reason: str
    budget: str
    window: str
    limit: str
    unit: str
    spent: str
    percent: str | None
    until_ms: int | None
    revision: int


class AlertRevision(NamedTuple):
    """One revision of an alert."""

    time_ms: int
    key: str
    kind: str
    level: str
    peak_level: str
    scope: str
    budget: str
    reason: str
    limit: str
    unit: str
    spent: str
    percent: str | None
    since_ms: int | None
    revision: int


class LetterRow(NamedTuple):
    """One refused record, without its value. `place` is where it is in the dead-letters topic; empty when the
    ClickHouse sink refused it, which has nothing to replay.
    """

    time_ms: int
    place: str
    reason: str
    error: str
    source_topic: str
    source_partition: int
    source_offset: int
    key: str
    bytes: int


class AuditRow(NamedTuple):
    """One change of a budget, price, token or setting. `before` and `after` are the record as JSON; empty: none."""

    time_ms: int
    id: str
    actor: str
    action: str
    key: str
    kind: str
    before: str
    after: str
    reason: str
    version: int


def _ms(column: str) -> str:
    return f"toUnixTimestamp64Milli({column})"


_FLAGS: Final = _List(
    "flags",
    {
        "time_ms": _ms("ifNull(since, ingested_at)"),
        **{name: name for name in ("scope", "state", "action", "reason", "budget", "window")},
        "limit": "toString(`limit`)",
        "unit": "unit",
        "spent": "toString(spent)",
        "percent": "toString(percent)",
        "until_ms": _ms("until"),
        "revision": "revision",
    },
    "ifNull(since, ingested_at)",
    ("source_partition", "source_offset"),
)
_ALERTS: Final = _List(
    "alerts",
    {
        "time_ms": _ms("updated_at"),
        **{name: name for name in ("key", "kind", "level", "peak_level", "scope", "budget", "reason")},
        "limit": "toString(`limit`)",
        "unit": "unit",
        "spent": "toString(spent)",
        "percent": "toString(percent)",
        "since_ms": _ms("since"),
        "revision": "revision",
    },
    "updated_at",
    ("source_partition", "source_offset"),
)
_LETTERS: Final = _List(
    "dead_letters",
    {
        "time_ms": _ms("time"),
        "place": "if(dead_letter_offset < 0, '', format('{}:{}', dead_letter_partition, dead_letter_offset))",
        "reason": "reason",
        "error": f"toValidUTF8(substring(error, 1, {_SHOWN_BYTES}))",
        **{name: name for name in ("source_topic", "source_partition", "source_offset")},
        "key": f"toValidUTF8(substring(key, 1, {_SHOWN_BYTES}))",
        "bytes": "length(value)",
    },
    "time",
    ("dead_letter_partition", "dead_letter_offset"),
)


_AUDIT: Final = _List(
    "audit",
    {
        "time_ms": _ms("time"),
        **{name: name for name in ("id", "actor", "action", "key", "kind", "before", "after", "reason", "version")},
    },
    "time",
    ("source_partition", "source_offset"),
)


async def flags(questions: Questions, scope: str, within: Range | None, limit: int, cursor: str) -> Page[FlagRevision]:
    """Revisions of one scope's flag, or of all flags when it is empty."""
    page, rows = await _page(questions, _FLAGS, {"scope": scope}, within, limit, cursor)
    return Page([FlagRevision(*row) for row in rows], *page)


async def alerts(
    questions: Questions, scope: str, within: Range | None, limit: int, cursor: str, level: str = ""
) -> Page[AlertRevision]:
    """Revisions of one scope's alerts, or of all alerts when it is empty; with a level those that have it."""
    page, rows = await _page(questions, _ALERTS, {"scope": scope, "level": level}, within, limit, cursor)
    return Page([AlertRevision(*row) for row in rows], *page)


async def audit(
    questions: Questions, wanted: Mapping[str, str], within: Range | None, limit: int, cursor: str
) -> Page[AuditRow]:
    """Changes; `wanted` may name `kind`, `key` and `actor`, which are compared as they are."""
    page, rows = await _page(questions, _AUDIT, wanted, within, limit, cursor)
    return Page([AuditRow(*row) for row in rows], *page)


async def letters(questions: Questions, reason: str, within: Range | None, limit: int, cursor: str) -> Page[LetterRow]:
    """Refused records, of one reason or of all."""
    page, rows = await _page(questions, _LETTERS, {"reason": reason}, within, limit, cursor)
    return Page([LetterRow(*row) for row in rows], *page)


async def _page(
    questions: Questions, what: _List, equal: Mapping[str, str], within: Range | None, limit: int, cursor: str
) -> tuple[tuple[str, int], list[list[Any]]]:
    """The next page's cursor and when it was asked, and the rows. The place of a row never changes."""
    if not 1 <= limit <= PAGE_MAX:
        raise BadQuestionError(f"limit is from 1 to {PAGE_MAX}.")
    asked_at = questions.now_ms()
    parameters: dict[str, Any] = {name: value for name, value in equal.items() if value}
    parts = [f"{name} = {{{name}:String}}" for name in parameters]
    parameters["limit"] = limit + 1
    if within is not None:
        parts.append(f"{what.time} >= fromUnixTimestamp64Milli({{from_ms:Int64}})")
        parts.append(f"{what.time} < fromUnixTimestamp64Milli({{to_ms:Int64}})")
        parameters |= {"from_ms": within.from_ms, "to_ms": within.to_ms}
    place = f"({_ms(what.time)}, {what.place[0]}, {what.place[1]})"
    if cursor:
        parts.append(f"{place} < ({{a:Int64}}, {{b:Int64}}, {{c:Int64}})")
        parameters |= dict(zip("abc", _parse_cursor(cursor), strict=True))
    columns = ", ".join([*what.columns.values(), *what.place])
    rows = await questions.rows(
        f"SELECT {columns} FROM {what.view} WHERE {' AND '.join(parts) or 'true'}"  # noqa: S608 # our own text
        f" ORDER BY {place} DESC LIMIT {{limit:UInt32}}",
        parameters,
    )
    items = rows[:limit]
    more = _cursor(items[-1][0], *items[-1][-2:]) if len(rows) > limit else ""
    return (more, asked_at), [row[:-2] for row in items]


def _cursor(*place: int) -> str:
    return base64.urlsafe_b64encode(":".join(map(str, place)).encode()).rstrip(b"=").decode()


def _parse_cursor(cursor: str) -> list[int]:
    try:
        if len(cursor) > 100:
            raise ValueError
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        parts = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii").split(":")
        if len(parts) != 3 or not all(part.removeprefix("-").isdigit() and len(part) < 19 for part in parts):
            raise ValueError
    except (ValueError, binascii.Error):
        raise BadQuestionError("The cursor is not of this list: begin without one.") from None
    return [int(part) for part in parts]
