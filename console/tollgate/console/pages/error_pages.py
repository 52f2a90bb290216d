"""Errors as pages: a title, what went wrong, and the request id under which the log has more."""

from typing import Final

from fastapi import Request
from fastapi.responses import Response

from tollgate.console.pages.rendering import render
from tollgate.console.problems import Problem

_OURS: Final = ("Something went wrong", "warning")
TITLES: Final = {
    401: ("You are not logged in", "logout"),
    403: ("You may not see this", "blocked"),
    404: ("There is no such page", "search"),
    409: ("Changed meanwhile", "edit"),
    412: ("Changed meanwhile", "edit"),
    422: ("This address makes no sense", "unknown"),
    429: ("Too many requests", "clock"),
    503: ("Not available now", "away"),
}


def page(request: Request, problem: Problem) -> Response:
    """The problem as a page; see `problems.install`."""
    title, glyph = TITLES.get(problem.status, _OURS)
    return render(
        request,
        None,
        "error.html",
        status=problem.status,
        code=problem.status,
        title=title,
        detail=problem.detail,
        glyph=glyph,
        # As it was asked for: decoded, a name with slashes would lead elsewhere.
        again=request.scope.get("raw_path", b"/").decode("latin-1"),
        request_id=getattr(request.state, "request_id", ""),
    )
