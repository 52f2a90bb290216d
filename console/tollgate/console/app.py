"""The application: its rooms, and what holds for every request."""

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from tollgate.console import problems
from tollgate.console.access.callers import Allow, Anyone
from tollgate.console.parts import Parts
from tollgate.console.room import Room

API = "/api/v1"


def create_app(parts: Parts, rooms: Sequence[Room]) -> FastAPI:
    """The application of these rooms. AssertionError when a route of them has no access rule."""
    app = FastAPI(
        title="Tollgate",
        summary="Usage and cost control: spend, budgets, decisions.",
        version="1",
        openapi_url=f"{API}/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.parts = parts
    app.state.rooms = rooms
    problems.install(app)
    api = APIRouter(prefix=API)
    for room in rooms:
        api.include_router(room.api, tags=[room.name])
        app.include_router(room.pages, include_in_schema=False)
    app.include_router(api)
    for route in app.routes:
        if isinstance(route, APIRoute):
            assert has_rule(route), f"{route.path} has no access rule"
    return app


def has_rule(route: APIRoute) -> bool:
    """Whether the route says who may call it."""
    return any(isinstance(dependency.call, (Allow, Anyone)) for dependency in route.dependant.dependencies)
