"""How percentages, times and other text read on a page. What is unknown is shown as such, never as zero."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import ROUND_FLOOR, Decimal
from typing import Any, Final
from urllib.parse import quote

from markupsafe import Markup
from pydantic import BaseModel

from tollgate.console.amounts import DIGITS, MINUS, count, decimal, exact, money, price
from tollgate.console.scope_parts import name_in
from tollgate.schemas.scopes import is_combination
from tollgate.schemas.shown_text import safe

WARN_PERCENT: Final = 80
OVER_PERCENT: Final = 100
GAP: Final = "\u00a0"
_ESCAPED: Final = {ord(c): f"\\u{ord(c):04x}" for c in "<>&"}


def percent(value: Any) -> str:
    """A percentage, rounded down so that a limit shows as reached only when it is: 99.97 reads `99 %`."""
    number = decimal(value)
    if number is None:
        return ""
    if 0 < number < 1:
        return f"<1{GAP}%"
    return f"{number.to_integral_value(ROUND_FLOOR):,f}{GAP}%".replace("-", MINUS)


def level(value: Any) -> str:
    """The colour of a share of a limit: `ok`, `warn` from 80 %, `over` from 100 %, `unknown`."""
    number = decimal(value)
    if number is None:
        return "unknown"
    return "over" if number >= OVER_PERCENT else "warn" if number >= WARN_PERCENT else "ok"


def fill(value: Any, whole: Any = 100) -> str:
    """How much of a bar is filled, 0 to 100, at most two decimals. More than the whole stops at 100."""
    number = DIGITS.divide((decimal(value) or Decimal(0)) * 100, decimal(whole) or Decimal(100))
    return exact(min(max(number, Decimal(0)), Decimal(100)).quantize(Decimal("0.01")))


def instant(value: Any) -> datetime | None:
    """An instant in UTC from a datetime with a zone, RFC 3339 text or milliseconds; None when there is none."""
    if value is None or value == "" or isinstance(value, bool):
        return None
    if isinstance(value, int):
        return datetime.fromtimestamp(value / 1000, UTC) if 0 <= value < 253_402_300_800_000 else None
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def rfc3339(value: Any) -> str:
    """The instant for `<time datetime>`: `2026-11-29T04:38:00Z`."""
    moment = instant(value)
    return (
        moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds").replace("+00:00", "Z")
        if moment
        else ""
    )


def utc(value: Any, form: str = "datetime") -> str:
    """The instant in UTC as it reads until a script has put it into the reader's zone."""
    moment = instant(value)
    if moment is None:
        return ""
    forms = {"time": "%H:%M:%S UTC", "minute": "%H:%M UTC", "date": "%d %b %Y", "day": "%d %b"}
    return moment.strftime(forms.get(form, "%d %b %Y, %H:%M UTC")).lstrip("0")


def plain(value: Any) -> Any:
    """The value as JSON types; amounts and instants become text."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, Decimal):
        return exact(value)
    return rfc3339(value) if isinstance(value, datetime) else value


def data(value: Any) -> Markup:
    """JSON for `<script type="application/json">`: nothing in it can end the element or start another."""
    text = json.dumps(plain(value), ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return Markup(text.translate(_ESCAPED))  # noqa: S704 # every character that HTML knows is escaped above


def seen(value: Any) -> Any:
    """Text with every unseen character written out, `\\u202e`, so that no name reads like another. Others stay."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "\n".join(map(safe, value.split("\n")))


def share_of(part: Any, whole: Any) -> Decimal | None:
    """`part` in percent of `whole`, rounded down to two decimals; None of nothing."""
    one, all_of_it = decimal(part), decimal(whole)
    if one is None or not all_of_it:
        return None
    return DIGITS.divide(one * 100, all_of_it).quantize(Decimal("0.01"), ROUND_FLOOR, DIGITS)


def path_part(text: Any) -> str:
    """A name as one part of a path: a slash in it is `%2F`, and a part of dots alone names no folder above."""
    quoted = quote(str(text), safe="")
    return quoted.replace(".", "%2E") if quoted.strip(".") == "" else quoted


def scope_href(scope: str) -> str:
    """The page of a scope: a user has one of their own."""
    is_user = scope.startswith("user/") and len(scope) > len("user/") and not is_combination(scope)
    return f"/users/{path_part(name_in(scope))}" if is_user else f"/scopes/{path_part(scope)}"


def url_path(path: str) -> str:
    """The path of a request, which is decoded, as an address again: what is no plain character is percent-encoded."""
    return quote(path, safe="/")


def highest(values: Any) -> str:
    """The largest of several amounts."""
    return exact(max((decimal(value) or Decimal(0) for value in values), default=Decimal(0)))


def spark(values: Any) -> str:
    """The points of a line through these amounts in a field of 100 by 28, the highest at 2 and zero at 26."""
    amounts = [max(decimal(value) or Decimal(0), Decimal(0)) for value in values]
    top = max(amounts, default=Decimal(0)) or Decimal(1)
    step = Decimal(100) / max(len(amounts) - 1, 1)
    return " ".join(f"{at * step:.1f},{26 - 24 * amount / top:.1f}" for at, amount in enumerate(amounts))


FILTERS: Final = {
    "exact": exact, "money": money, "price": price, "count": count, "percent": percent, "level": level, "fill": fill,
    "rfc3339": rfc3339, "utc": utc, "data": data, "path_part": path_part, "share_of": share_of,
    "scope_href": scope_href, "url_path": url_path, "highest": highest, "spark": spark,
}  # fmt: skip
