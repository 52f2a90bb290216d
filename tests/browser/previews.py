"""An application that shows the pages with example data, to look at and to test without Kafka or ClickHouse."""

from collections.abc import Awaitable, Callable, Iterator
from types import SimpleNamespace

from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from tests.browser import examples

from tollgate.console import problems
from tollgate.console.access.callers import Caller, Role
from tollgate.console.pages import error_pages, overview, static_files
from tollgate.console.pages.rendering import render
from tollgate.console.room import Entry, Room

# The strictest that the pages must work under; the console sends the same.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
ALL = frozenset({Role.VIEWER, Role.ANALYST, Role.ADMIN})
NAMES = (
    "Overview",
    "Budgets",
    "Users",
    "Campaigns",
    "Agents",
    "Alerts",
    "Reports",
    "Prices",
    "Settings",
    "Audit",
    "Health",
)
ENTRIES = tuple(Entry(name, "/" if name == "Overview" else f"/{name.lower()}", name.lower(), ALL) for name in NAMES)
ANN = Caller("ann@example.com", Role.ADMIN)


def create_preview() -> FastAPI:
    """The pages with example data: `/?data=new` and so on."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.state.rooms = (Room("preview", entries=ENTRIES),)
    app.state.parts = SimpleNamespace()
    problems.install(app, error_pages.page)
    app.include_router(static_files.router)

    @app.middleware("http")
    async def _headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        answer = await call_next(request)
        answer.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return answer

    @app.get("/")
    def _overview(request: Request, data: str = "full") -> Response:
        return overview.page(request, ANN, examples.DASHBOARDS[data]())

    @app.get("/login")
    def _login(request: Request, error: str = "") -> Response:
        return render(request, None, "login.html", error=error, next="/")

    @app.get("/broken")
    def _broken(status: int) -> Response:
        raise problems.Problem(
            status, "example", "ClickHouse cannot be reached. Numbers of the past come back with it."
        )

    @app.get("/api/v1/stream")
    def _stream() -> Response:
        def frames() -> Iterator[bytes]:
            yield b'event: heartbeat\ndata: {"as_of": {}}\n\n'
            yield b"event: bye\ndata: {}\n\n"

        return StreamingResponse(frames(), media_type="text/event-stream")

    return app
