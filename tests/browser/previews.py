"""A console whose pages show example data: real access, headers and errors, without Kafka or ClickHouse."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Final

import uvicorn
from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from tests.browser import examples
from tests.support.console import ConsoleUnderTest, make_token
from tests.waiting import wait_until

from tollgate.console import problems
from tollgate.console.access import login
from tollgate.console.access.callers import Caller, Role, allow
from tollgate.console.api import tokens
from tollgate.console.live.frames import frame
from tollgate.console.pages import api_reference, error_pages, overview, static_files
from tollgate.console.problems import Problem
from tollgate.console.room import Entry, Room
from tollgate.console.server import server_config

ALL: Final = frozenset({Role.VIEWER, Role.ANALYST, Role.ADMIN})
NAMES: Final = ("Budgets", "Users", "Campaigns", "Agents", "Alerts", "Reports", "Prices", "Settings", "Audit", "Health")
ENTRIES: Final = (
    Entry("Overview", "/", "overview", ALL),
    *(Entry(name, f"/{name.lower()}", name.lower(), ALL) for name in NAMES),
)
Viewer = Annotated[Caller, Depends(allow(Role.VIEWER))]


class Preview:
    """The console and what its stream sends."""

    def __init__(self) -> None:
        room = Room("preview", api=self._api(), pages=self._pages(), entries=ENTRIES)
        rooms = (static_files.ROOM, login.ROOM, room, tokens.ROOM, api_reference.ROOM)
        self.console = ConsoleUnderTest(rooms, console_requests_per_minute=100_000, console_port=0)
        problems.install(self.console.app, error_pages.page)
        self.data = "full"
        """The example that the overview shows, when the address names none."""
        self.still = False
        """Whether parts of a page are not sent anew, so that what the stream sends is seen alone."""
        self.streams_opened = 0
        self._listeners: list[asyncio.Queue[bytes]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def token(self, role: Role, **more: Any) -> str:
        """A new token. In a thread of its own, because Playwright's loop runs in this one."""
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, make_token(self.console.control, role, **more)).result()

    def send(self, event: Any, data: dict[str, Any]) -> None:
        """Send an event to every open stream."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._put, frame(event, data, 1).encode())

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._listeners)

    def _put(self, sent: bytes) -> None:
        for listener in self._listeners:
            listener.put_nowait(sent)

    def _pages(self) -> APIRouter:
        router = APIRouter()

        @router.get("/")
        def _overview(request: Request, caller: Viewer, data: str = "") -> HTMLResponse:
            if self.still and "hx-request" in request.headers:
                raise Problem(503, "example", "This is sent once.")
            return overview.page(request, caller, examples.DASHBOARDS[data or self.data]())

        @router.get("/broken")
        def _broken(_caller: Viewer, status: int) -> None:
            raise Problem(status, "example", "ClickHouse cannot be reached. Numbers of the past come back with it.")

        return router

    def _api(self) -> APIRouter:
        router = APIRouter()

        @router.get("/stream")
        async def _stream(_caller: Viewer) -> Response:
            self._loop = asyncio.get_running_loop()
            return StreamingResponse(self._frames(), media_type="text/event-stream")

        return router

    async def _frames(self) -> AsyncIterator[bytes]:
        mine: asyncio.Queue[bytes] = asyncio.Queue()
        self._listeners.append(mine)
        self.streams_opened += 1
        try:
            yield frame("spend", {"snapshot": True, "items": [], "more": 0}, 1).encode()
            while True:
                yield await mine.get()
        finally:
            self._listeners.remove(mine)


@contextlib.contextmanager
def serving(preview: Preview, port: int = 0) -> Iterator[str]:
    """The address at which the preview is served."""
    config = server_config(preview.console.app, preview.console.settings, port=port, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started, seconds=20)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
