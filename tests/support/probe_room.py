"""A room for tests: it tells who called, and does what a test needs a handler for."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse

from tollgate.console.access.callers import Caller, Role, allow
from tollgate.console.parts import TheParts
from tollgate.console.room import Room

Everybody = Annotated[Caller, Depends(allow(Role.USER, Role.VIEWER, Role.SERVICE))]
Admin = Annotated[Caller, Depends(allow(Role.ADMIN))]


def probe_room(stop: asyncio.Event | None = None) -> Room:
    """The room. Its `/endless` goes on until `stop` is set."""
    api = APIRouter()

    @api.get("/who")
    async def who(caller: Everybody) -> dict[str, Any]:
        return told(caller)

    @api.post("/echo")
    async def echo(_caller: Everybody, body: dict[str, Any]) -> dict[str, Any]:
        return body

    @api.post("/usage")
    async def usage(_caller: Everybody, request: Request) -> int:
        return len(await request.body())

    @api.get("/query")
    async def query(_caller: Everybody, q: str = "") -> str:
        return q

    @api.put("/admin")
    async def admin(caller: Admin) -> dict[str, Any]:
        return told(caller)

    @api.get("/fails")
    async def fails(_caller: Everybody) -> None:
        raise RuntimeError("the secret reason")

    @api.get("/hangs")
    async def hangs(_caller: Everybody) -> None:
        await asyncio.Event().wait()

    @api.get("/endless")
    async def endless(caller: Everybody, request: Request, parts: TheParts) -> StreamingResponse:
        parts.access.streams.take(request, caller)

        async def lines() -> AsyncIterator[bytes]:
            while stop is None or not stop.is_set():
                yield b": still here\n\n"
                await asyncio.sleep(0.02)

        return StreamingResponse(lines(), media_type="text/event-stream")

    return Room("probe", api, _pages())


def _pages() -> APIRouter:
    pages = APIRouter()

    @pages.get("/page")
    async def page(caller: Everybody) -> str:
        return caller.name

    @pages.get("/me")
    async def me(caller: Everybody) -> dict[str, Any]:
        return told(caller)

    return pages


def told(caller: Caller) -> dict[str, Any]:
    """What a test wants to know of a caller."""
    return {
        "name": caller.name,
        "role": caller.role.value,
        "user": caller.user,
        "org": caller.org,
        "session": caller.session,
        "embedded": caller.embedded,
    }
