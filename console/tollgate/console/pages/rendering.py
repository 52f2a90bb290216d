"""How a page is rendered: one template, autoescaped, with the values it names and no others."""

from functools import cache
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tollgate.console.access.callers import Caller
from tollgate.console.pages import shown, static_files
from tollgate.console.room import Entry

TEMPLATES: Final = Path(__file__).with_name("templates")


@cache
def environment() -> Environment:
    """The templates. A name that a template uses and nobody passed is an error, not an empty text."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        # What is Markup already is exempt: so `{{ value|e }}` in a form's field keeps every character.
        finalize=shown.seen,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(shown.FILTERS)
    made.globals.update(static=static_files.address)
    return made


def compile_all() -> None:
    """Compile every template now, so that nobody's first page waits for it."""
    for name in environment().list_templates():
        environment().get_template(name)


def entries_for(request: Request, caller: Caller | None) -> list[Entry]:
    """The navigation of a caller: the rooms' entries that their role may see."""
    if caller is None:
        return []
    return [entry for room in request.app.state.rooms for entry in room.entries if caller.role in entry.roles]


def render(request: Request, caller: Caller | None, name: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """The page of a template. In it `me` is the caller, `entries` the navigation, `path` the page's own path."""
    path = request.url.path
    text = environment().get_template(name).render(me=caller, entries=entries_for(request, caller), path=path, **values)
    return HTMLResponse(text, status, headers={"Cache-Control": "no-store"})
