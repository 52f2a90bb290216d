"""Errors as pages, for a browser that asked for one. Programs get `application/problem+json`."""

from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException

from tollgate.console.pages.rendering import render
from tollgate.console.problems import Problem, problem_response

TITLES: Final = {
    403: ("You may not see this", "blocked"),
    404: ("There is no such page", "search"),
    409: ("Changed meanwhile", "edit"),
    429: ("Too many requests", "clock"),
    503: ("Not available now", "away"),
}


def wants_page(request: Request) -> bool:
    """Whether a person looks at the answer: a page was asked for, and not the API."""
    return not request.url.path.startswith("/api/v1/") and "text/html" in request.headers.get("accept", "")


def answer(request: Request, problem: Problem) -> Response:
    """The problem as a page or as JSON. Who is not logged in is sent to the login, and from there back."""
    if not wants_page(request):
        return problem_response(request, problem)
    if problem.status == HTTPStatus.UNAUTHORIZED and request.method == "GET":
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(wanted, safe='/')}", HTTPStatus.SEE_OTHER)
    title, glyph = TITLES.get(problem.status, ("Something went wrong", "warning"))
    page = render(
        request,
        None,
        "error.html",
        status=problem.status,
        code=problem.status,
        title=title,
        detail=problem.detail,
        glyph=glyph,
        request_id=getattr(request.state, "request_id", ""),
    )
    page.headers.update(problem.headers)
    return page


def install(app: FastAPI) -> None:
    """Answer errors as pages where a browser asked for one. To be called after `problems.install`."""

    @app.exception_handler(Problem)
    async def _problem(request: Request, problem: Problem) -> Response:
        return answer(request, problem)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        name = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
        return answer(request, Problem(error.status_code, name, f"{error.detail}.", headers=dict(error.headers or {})))

    @app.exception_handler(Exception)
    async def _ours(request: Request, _error: Exception) -> Response:
        # The server logs the error itself; its text may hold data.
        detail = "This is a fault of Tollgate. It was logged; try again, and tell us if it stays."
        return answer(request, Problem(500, "internal_error", detail))
