"""Errors: RFC 9457 `application/problem+json` from the API, a page from all else."""

import html
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from tollgate.console.addresses import API, is_api, login_path
from tollgate.console.numbers.errors import NumbersError, TooLargeError, UnavailableError
from tollgate.control import UnreachableError

log = structlog.get_logger("tollgate.console")

PROBLEM_JSON = "application/problem+json"
_DETAILS: Final = {404: "There is nothing at this address.", 405: "This address does not take this method."}

_PARAMETER: Final = re.compile(r"\{[^}]*\}")

# What an answer repeats of a request is enough to find it again.
_TEXT_CHARS_MAX: Final = 500
_FAULTS_MAX: Final = 20

ErrorPage = Callable[[Request, "Problem"], Response]


class ProblemBody(BaseModel):
    """What an error answer holds. Further members depend on `error`."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    type: str = Field("about:blank", examples=["about:blank"])
    """What kind of problem it is: `about:blank` is the one that `status` names."""
    title: str = Field(examples=["Not Found"])
    """The status in words."""
    status: int = Field(examples=[404])
    """The HTTP status."""
    error: str = Field(examples=["not_found"])
    """What went wrong, for programs."""
    detail: str = Field(examples=["There is no budget of this id."])
    """One sentence for people: what went wrong and what to do."""
    request_id: str = Field("", examples=["5f0d8c1e2f"])
    """The id of the request in the log."""


class Problem(Exception):  # noqa: N818 # the RFC's word
    """An error answer. `more` are further members of the body; `headers` are sent with it."""

    def __init__(
        self, status: int, error: str, detail: str, *, headers: dict[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.error, self.detail = status, error, detail
        self.headers, self.more = headers or {}, more


def problem_response(request: Request, problem: Problem) -> Response:
    """The answer of the API for a problem."""
    body = ProblemBody(
        title=HTTPStatus(problem.status).phrase,
        status=problem.status,
        error=problem.error,
        detail=_cut(problem.detail),
        request_id=getattr(request.state, "request_id", ""),
        **problem.more,
    )
    return JSONResponse(body.model_dump(mode="json"), problem.status, headers=problem.headers, media_type=PROBLEM_JSON)


def plain_page(_request: Request, problem: Problem) -> Response:
    """A page that needs no template and no file."""
    title = html.escape(HTTPStatus(problem.status).phrase)
    body = f"<!doctype html><html lang=en><title>{title}</title><h1>{title}</h1><p>{html.escape(problem.detail)}</p>"
    return HTMLResponse(body, problem.status)


def answer_to(request: Request, problem: Problem, page: ErrorPage = plain_page) -> Response:
    """The answer to a problem: JSON for the API, else a page, or the login page for a page that needs a caller."""
    if is_api(request.url.path):
        return problem_response(request, problem)
    if problem.status == HTTPStatus.UNAUTHORIZED and request.method in ("GET", "HEAD"):
        if "hx-request" in request.headers:
            # A part of a page: a redirect would put the login page into its place. htmx leads the whole page there.
            return Response(status_code=401, headers={"HX-Redirect": login_path(_page_around(request))})
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(login_path(wanted), HTTPStatus.SEE_OTHER)
    answer = page(request, problem)
    answer.headers.update(problem.headers)
    return answer


def _page_around(request: Request) -> str:
    """The path of the page that htmx asks for a part of."""
    shown = urlsplit(request.headers.get("hx-current-url", ""))
    return shown.path + (f"?{shown.query}" if shown.query else "")


def install(app: FastAPI, page: ErrorPage = plain_page) -> None:
    """Answer every error as a problem or with `page`."""

    @app.exception_handler(Problem)
    async def _problem(request: Request, problem: Problem) -> Response:
        return answer_to(request, problem, page)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        faults = [
            {"at": [_cut(str(part)) for part in fault["loc"]], "message": _cut(fault["msg"])}
            for fault in error.errors()[:_FAULTS_MAX]
        ]
        first = faults[0]
        detail = f"{'.'.join(first['at'])}: {first['message']}"
        return answer_to(request, Problem(422, "invalid_request", detail, faults=faults), page)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        status = error.status_code
        name = HTTPStatus(status).phrase.lower().replace(" ", "_")
        headers = dict(error.headers or {})
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(allowed(app, request.url.path))
        problem = Problem(status, name, _DETAILS.get(status, f"{error.detail}."), headers=headers)
        return answer_to(request, problem, page)

    @app.exception_handler(UnreachableError)
    async def _away(request: Request, error: UnreachableError) -> Response:
        detail = "Kafka cannot be reached, so that nothing can be changed now. Try again later."
        log.warning("a change was not made", error=str(error))
        return answer_to(request, Problem(503, "kafka_unreachable", detail, headers={"Retry-After": "5"}), page)

    @app.exception_handler(NumbersError)
    async def _unanswered(request: Request, error: NumbersError) -> Response:
        return answer_to(request, unanswered(error), page)

    @app.exception_handler(Exception)
    async def _fault(request: Request, _error: Exception) -> Response:
        return answer_to(request, internal_error(), page)


def allowed(app: FastAPI, path: str) -> list[str]:
    """The methods of an address. The route that spells out the most of it is the one that is meant.

    Starlette tells those of the first route that fits alone.
    """
    inner = path.removeprefix(API)
    found: dict[str, set[str]] = {}
    for room in app.state.rooms:
        for route in (room.pages if inner == path else room.api).routes:
            if route.path_regex.match(inner):
                found.setdefault(route.path, set()).update(route.methods)
    meant = max(found, key=lambda template: len(_PARAMETER.sub("", template)), default="")
    return sorted(found.get(meant, ()))


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT_CHARS_MAX else f"{text[:_TEXT_CHARS_MAX]}…"


def unanswered(error: NumbersError) -> Problem:
    """The answer to a question that ClickHouse did not answer. Unknown is never shown as 0."""
    if isinstance(error, UnavailableError):
        return Problem(503, "clickhouse_unavailable", str(error), headers={"Retry-After": str(error.retry_seconds)})
    if isinstance(error, TooLargeError):
        return Problem(422, "too_large", str(error))
    return Problem(422, "invalid_request", str(error))


def internal_error() -> Problem:
    """The answer to a fault of ours. The log says more, under the same request id."""
    return Problem(500, "internal_error", "Something went wrong here. The log has the details under the request id.")
