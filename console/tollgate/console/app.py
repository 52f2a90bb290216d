"""The application: its rooms, and what holds for every request."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from tollgate.console import problems
from tollgate.console.access.callers import Allow, Anyone
from tollgate.console.access.network import words
from tollgate.console.addresses import API
from tollgate.console.bounds import Bounds
from tollgate.console.metrics import Metrics, RequestMetrics
from tollgate.console.openapi import completed
from tollgate.console.parts import Parts
from tollgate.console.request_log import RequestLog
from tollgate.console.room import Room

# `{scope:path}` of a route is `{scope}` in the description.
_CONVERTOR = re.compile(r":[a-z]+\}")
_CORS_METHODS = ("GET", "POST", "PUT", "DELETE")
_CORS_HEADERS = ("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "X-Request-Id")
_CORS_EXPOSED = ("ETag", "RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-Id")


class Console(FastAPI):
    """FastAPI within our own bounds, which hold for its own answers and for its failures as well."""

    def build_middleware_stack(self) -> ASGIApp:
        """From the outside: log and headers, CORS, bounds, FastAPI."""
        parts: Parts = self.state.parts
        stack: ASGIApp = Bounds(super().build_middleware_stack(), parts.settings, parts.access)
        origins = words(parts.settings.console_cors_origins)
        if origins:
            # Without credentials: a script of another site calls with a token of its own, never with a session.
            stack = CORSMiddleware(
                stack,
                allow_origins=origins,
                allow_methods=_CORS_METHODS,
                allow_headers=_CORS_HEADERS,
                expose_headers=_CORS_EXPOSED,
            )
        return RequestLog(RequestMetrics(stack, self.state.metrics), parts.settings)

    def openapi(self) -> dict[str, Any]:
        """The API's description, made once."""
        if self.openapi_schema is None:
            found = {
                _CONVERTOR.sub("}", path): rule
                for room in self.state.rooms
                for path, rule in rules(room)
                if isinstance(rule, Allow)
            }
            schemas = {name: schema for room in self.state.rooms for name, schema in room.schemas.items()}
            self.openapi_schema = completed(super().openapi(), found, schemas)
        return self.openapi_schema


def create_app(parts: Parts, rooms: Sequence[Room], error_page: problems.ErrorPage = problems.plain_page) -> FastAPI:
    """The application of these rooms. AssertionError when a route of them has no access rule."""
    app = Console(
        title="Tollgate",
        summary="Usage and cost control: spend, budgets, decisions.",
        version="1",
        openapi_url=f"{API}/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.parts = parts
    app.state.rooms = rooms
    app.state.metrics = Metrics()
    problems.install(app, error_page)
    api = APIRouter(prefix=API)
    for room in rooms:
        for path, rule in rules(room):
            assert rule is not None, f"{path} has no access rule"
        api.include_router(room.api, tags=[room.name])
        app.include_router(room.pages, include_in_schema=False)
    app.include_router(api)
    return app


def rules(room: Room) -> Iterator[tuple[str, Allow | Anyone | None]]:
    """Every route of a room as `GET /api/v1/budgets`, and who may call it; None where nothing says so.

    A room's routers hold routes alone: what is mounted or included in them would not be seen here.
    """
    for prefix, router in ((API, room.api), ("", room.pages)):
        for route in router.routes:
            assert isinstance(route, APIRoute), f"{room.name}: {route!r} is no route"
            for method in sorted(route.methods or ()):
                yield f"{method} {prefix}{route.path}", rule_of(route)


def rule_of(route: APIRoute) -> Allow | Anyone | None:
    """The access rule of a route."""
    calls: list[Callable[..., object] | None] = [dependency.call for dependency in route.dependant.dependencies]
    return next((call for call in calls if isinstance(call, (Allow, Anyone))), None)
