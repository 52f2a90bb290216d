"""The pages of prices: what things cost, a new price, and how an event would be priced."""

import json
import re
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from tollgate.console.access.callers import Role
from tollgate.console.api.asking import Viewer, now_ms
from tollgate.console.api.prices import ExplanationShown, Layer, PriceFilter, explained_event, price_page
from tollgate.console.pages.rendering import render
from tollgate.console.paging import Cursor
from tollgate.console.parts import TheParts
from tollgate.console.room import Entry, Room
from tollgate.schemas.instants import format_instant
from tollgate.schemas.refusals import Refusal
from tollgate.schemas.text_rules import NAME_CHARS_MAX
from tollgate.schemas.usage_limits import COMMON_DIMENSIONS

_SHOWN: Final = 25
_RATES: Final = 4
_EVENT_CHARS_MAX: Final = 8_000
_PAIR: Final = re.compile(r"\s*([^\s=,;]+)\s*=\s*([^\s,;]+)\s*(?:[,;]|\s|$)")
_ROLES: Final = frozenset({Role.VIEWER, Role.ANALYST, Role.ADMIN})

Text = Annotated[str, Query(max_length=NAME_CHARS_MAX)]

router = APIRouter()


@router.get("/prices")
async def show_prices(
    request: Request, parts: TheParts, caller: Viewer, q: Text = "", layer: str = "", cursor: Cursor = ""
) -> HTMLResponse:
    """Prices in force now, with a search."""
    of = _LAYERS.get(layer)
    found = await price_page(parts, PriceFilter(q=q, layer=of), now_ms(), _SHOWN, cursor)
    return render(
        request,
        caller,
        "prices.html",
        found=found,
        q=q,
        layer=of or "",
        is_first=not cursor,
        may_change=caller.role is Role.ADMIN and not caller.org,
        now=format_instant(now_ms() // 1000 * 1000),
        dimensions=sorted(COMMON_DIMENSIONS),
        rates=range(_RATES),
        book=parts.settings.price_book,
    )


@router.get("/prices/explain")
async def explain_price(
    request: Request,
    parts: TheParts,
    caller: Viewer,
    provider: Text = "",
    model: Text = "",
    agent: Text = "",
    usage: Annotated[str, Query(max_length=_EVENT_CHARS_MAX)] = "",
    options: Annotated[str, Query(max_length=_EVENT_CHARS_MAX)] = "",
    event: Annotated[str, Query(max_length=_EVENT_CHARS_MAX)] = "",
) -> HTMLResponse:
    """How a usage event would be priced, line by line."""
    found: ExplanationShown | None = None
    errors: list[str] = []
    if provider or model or agent or event:
        content = event
        if not event:
            pairs, wrong = _pairs(usage)
            chosen, odd = _pairs(options)
            errors = [f"{text!r} is no NAME=VALUE." for text in (*wrong, *odd)]
            named = {"provider": provider, "model": model, "agent": agent}
            given = {name: value.strip() for name, value in named.items() if value.strip()}
            content = json.dumps(given | {"usage": pairs} | ({"options": chosen} if chosen else {}))
        if not errors:
            answer = await explained_event(parts, content.encode("utf-8", "replace"))
            if isinstance(answer, Refusal):
                errors = [f"{answer.error}."]
            else:
                found = answer
    return render(
        request,
        caller,
        "price_explain.html",
        found=found,
        errors=errors,
        asked={
            "provider": provider,
            "model": model,
            "agent": agent,
            "usage": usage,
            "options": options,
            "event": event,
        },
    )


def _pairs(text: str) -> tuple[dict[str, str], list[str]]:
    """`input_tokens=1200, output_tokens=300` as a mapping, and what is none of it."""
    found = {match[1]: match[2] for match in _PAIR.finditer(text)}
    return found, [word for word in _PAIR.sub(" ", text).split() if word]


_LAYERS: Final[dict[str, Layer]] = {"runtime": "runtime", "book": "book", "list": "list"}

ROOM: Final = Room("price pages", pages=router, entries=(Entry("Prices", "/prices", "prices", _ROLES),))
