"""Errors of the API as RFC 9457 `application/problem+json`."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

PROBLEM_JSON = "application/problem+json"


class ProblemBody(BaseModel):
    """What an error answer holds. Further members depend on `error`."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str
    """The status in words."""
    status: int
    error: str
    """What went wrong, for programs."""
    detail: str
    """One sentence for people: what went wrong and what to do."""
    request_id: str = ""


class Problem(Exception):  # noqa: N818 # the RFC's word
    """An error answer. `more` are further members of the body; `headers` are sent with it."""

    def __init__(
        self, status: int, error: str, detail: str, *, headers: dict[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.error, self.detail = status, error, detail
        self.headers, self.more = headers or {}, more


def problem_response(request: Request, problem: Problem) -> Response:
    """The answer for a problem."""
    body = ProblemBody(
        title=HTTPStatus(problem.status).phrase,
        status=problem.status,
        error=problem.error,
        detail=problem.detail,
        request_id=getattr(request.state, "request_id", ""),
        **problem.more,
    )
    return JSONResponse(body.model_dump(mode="json"), problem.status, headers=problem.headers, media_type=PROBLEM_JSON)


def install(app: FastAPI) -> None:
    """Answer every error of the API as a problem."""

    @app.exception_handler(Problem)
    async def _problem(request: Request, problem: Problem) -> Response:
        return problem_response(request, problem)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        faults = [{"at": [str(part) for part in fault["loc"]], "message": fault["msg"]} for fault in error.errors()]
        first = faults[0]
        detail = f"{'.'.join(first['at'])}: {first['message']}"
        return problem_response(request, Problem(422, "invalid_request", detail, faults=faults[:20]))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        name = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
        headers = dict(error.headers or {})
        return problem_response(request, Problem(error.status_code, name, f"{error.detail}.", headers=headers))
