"""Lists in pages: `?limit=&cursor=`. A cursor is opaque; it says after what the next page begins."""

import base64
import binascii
import json
from typing import Annotated, Any, Final, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field

from tollgate.console.problems import Problem
from tollgate.schemas.strict_json import read_json

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 1000
_CURSOR_CHARS_MAX: Final = 4096
# Changes when what is in a cursor does, so that one of an earlier release is refused and not misread.
_FORM: Final = 1

_INT_MAX: Final = 2**63 - 1

Item = TypeVar("Item")
Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="how many items at most")]
Cursor = Annotated[
    str, Query(max_length=_CURSOR_CHARS_MAX, description="`next_cursor` of the page before; empty for the first page")
]


class Page(BaseModel, Generic[Item]):
    """A page of a list."""

    items: list[Item]
    next_cursor: str | None = Field(None, description="give it as `cursor` for the next page; null on the last one")


def make_cursor(list_name: str, *after: str | int) -> str:
    """A cursor of this list that stands behind the item with these sort values."""
    text = json.dumps([_FORM, list_name, *after], ensure_ascii=True, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(cursor: str, list_name: str, *kinds: type[str] | type[int]) -> list[Any] | None:
    """The sort values in a cursor, each of its kind; None for the empty cursor.

    Raises Problem 422 when it was not made by `make_cursor` for this list. It is not signed: it holds nothing that the
    caller may not ask for anyway, and every question is confined to what they may see.
    """
    if not cursor:
        return None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _invalid() from None
    document = read_json(raw)
    if not isinstance(document, list) or len(document) != len(kinds) + 2:
        raise _invalid()
    form, name, *after = document
    whole = all(type(value) is kind and _fits(value) for value, kind in zip(after, kinds, strict=True))
    # Base64 has several texts for the same bytes; one is ours.
    if form != _FORM or name != list_name or not whole or make_cursor(list_name, *after) != cursor:
        raise _invalid()
    return after


def _fits(value: str | int) -> bool:
    """Whether a column of ClickHouse could hold it."""
    return isinstance(value, str) or -_INT_MAX <= value <= _INT_MAX


def _invalid() -> Problem:
    return Problem(422, "invalid_cursor", "cursor: this is no cursor of this list. Begin without one.")


def page_of(items: list[Item], limit: int, cursor: str, list_name: str, key: Any) -> Page[Item]:
    """A page of a list that is held in memory, sorted by `key(item)`, a text that no two items share."""
    position = read_cursor(cursor, list_name, str)
    ordered = sorted(items, key=key)
    if position is not None:
        ordered = [item for item in ordered if key(item) > position[0]]
    more = len(ordered) > limit
    shown = ordered[:limit]
    return Page(items=shown, next_cursor=make_cursor(list_name, key(shown[-1])) if more else None)
