"""What questions about numbers have in common: who may ask, scopes, and ranges of time."""

import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

from fastapi import Depends, Query

from tollgate.console.access.callers import Caller, Role, allow
from tollgate.console.numbers import BadQuestionError, Range
from tollgate.console.numbers.ranges import parse_moment
from tollgate.console.problems import Problem, ProblemBody
from tollgate.domain.windows import DAY_MS, day_start, month_start, months_later

ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    401: {"model": ProblemBody, "description": "No valid token."},
    403: {"model": ProblemBody, "description": "This caller may not see it."},
    422: {"model": ProblemBody, "description": "What was asked for makes no sense, or is too much at once."},
    429: {"model": ProblemBody, "description": "Too many requests."},
    503: {"model": ProblemBody, "description": "ClickHouse cannot answer now."},
}
"""Error answers of every route that asks ClickHouse."""

Reader = Annotated[Caller, Depends(allow(Role.USER, Role.VIEWER))]
"""Whoever may see sums: a user their own, an org's people the org's."""
Viewer = Annotated[Caller, Depends(allow(Role.VIEWER))]
"""Whoever may see what is the whole company's or their org's."""
Analyst = Annotated[Caller, Depends(allow(Role.ANALYST))]
Admin = Annotated[Caller, Depends(allow(Role.ADMIN))]

# Three times a dimension, a slash, and a name of 256 characters.
SCOPE_CHARS_MAX: Final = 850
ScopeQuery = Annotated[
    str,
    Query(
        max_length=SCOPE_CHARS_MAX,
        description="`global`, a dimension and a name, or two or three joined by `+`; narrowed down to what the caller "
        "may see",
        examples=["model/gpt-4o"],
    ),
]
_INSTANT: Final = "a date (its first instant in UTC) or an instant, RFC 3339"
_INSTANT_CHARS_MAX: Final = 64
From = Annotated[
    str | None,
    Query(
        alias="from",
        max_length=_INSTANT_CHARS_MAX,
        description=f"the first instant of the range: {_INSTANT}",
        examples=["2026-11-01"],
    ),
]
To = Annotated[
    str | None,
    Query(
        alias="to",
        max_length=_INSTANT_CHARS_MAX,
        description=f"the first instant after the range: {_INSTANT}",
        examples=["2026-12-01"],
    ),
]


def now_ms() -> int:
    """This machine's time."""
    return time.time_ns() // 1_000_000


def instant_of(name: str, text: str) -> int:
    """Milliseconds of a date or an instant. Raises Problem 422."""
    try:
        return parse_moment(text)
    except ValueError as error:
        raise Problem(422, "invalid_request", f"{name}: {error}.") from None


def _between(default: Callable[[int], Range]) -> Callable[[str | None, str | None], Awaitable[Range]]:
    async def between(from_: From = None, to: To = None) -> Range:
        usual = default(now_ms())
        begin = usual.from_ms if from_ is None else instant_of("from", from_)
        end = max(usual.to_ms, begin + DAY_MS) if to is None else instant_of("to", to)
        try:
            return Range(begin, end)
        except BadQuestionError as error:
            raise Problem(422, "invalid_request", str(error)) from None

    return between


def this_month(at_ms: int) -> Range:
    """The month so far and the whole of today."""
    return Range(month_start(at_ms), day_start(at_ms) + DAY_MS)


def thirty_days(at_ms: int) -> Range:
    """Today and the 29 days before it."""
    return Range(day_start(at_ms) - 29 * DAY_MS, day_start(at_ms) + DAY_MS)


def twelve_months(at_ms: int) -> Range:
    """This month and the eleven before it."""
    month = month_start(at_ms)
    return Range(months_later(month, -11), months_later(month, 1))


ThisMonth = Annotated[Range, Depends(_between(this_month))]
ThirtyDays = Annotated[Range, Depends(_between(thirty_days))]
TwelveMonths = Annotated[Range, Depends(_between(twelve_months))]


async def optional_range(from_: From = None, to: To = None) -> Range | None:
    """The range that is asked for; None for all of time."""
    if from_ is None and to is None:
        return None
    return await _between(lambda at_ms: Range(0, day_start(at_ms) + 2 * DAY_MS))(from_, to)


MaybeRange = Annotated[Range | None, Depends(optional_range)]
