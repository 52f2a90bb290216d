"""The console with example data: real rooms, access, headers and errors, without Kafka or ClickHouse.

`/preview/overview` and `/preview/user` show what ClickHouse would tell; budgets, flags and their pages are the real
ones. The stream sends what a test tells it to.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Final, TypeVar

import uvicorn
from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from tests.browser import examples
from tests.support.console import make_token, now_ms
from tests.support.live_console import LiveConsole
from tests.waiting import wait_until

from tollgate.console import problems
from tollgate.console.access.callers import Caller, Role, allow
from tollgate.console.api import stream
from tollgate.console.live.frames import frame
from tollgate.console.pages import error_pages, overview, users
from tollgate.console.pages.told import Told
from tollgate.console.problems import Problem
from tollgate.console.room import Room
from tollgate.console.rooms import ROOMS
from tollgate.console.server import server_config
from tollgate.schemas.plans import shipped_plans
from tollgate.schemas.vocabulary import WindowKind

Viewer = Annotated[Caller, Depends(allow(Role.VIEWER))]
T = TypeVar("T")

SPENT: Final = {
    "global": ("5000", "3912.441200000012", WindowKind.MONTH),
    "campaign/holiday-2026": ("1200", "1103.77", WindowKind.MONTH),
    "agent/SEO": ("400", "331.2", WindowKind.MONTH),
    "service/video": ("60", "31.05", WindowKind.DAY),
}
"""Budgets of shared scopes: limit, spend, window."""


def run(asked: Coroutine[Any, Any, T]) -> T:
    """Await it in a thread of its own, because Playwright's loop runs in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, asked).result()


class Preview:
    """The console and what its stream sends."""

    def __init__(self) -> None:
        kept = [room for room in ROOMS if room is not stream.ROOM]
        room = Room("preview", api=self._api(), pages=self._pages())
        self.console = LiveConsole([*kept, room], console_requests_per_minute=100_000)
        problems.install(self.console.app, error_pages.page)
        self.data = "full"
        """The example that the overview shows, when the address names none."""
        self.still = False
        """Whether parts of a page are not sent anew, so that what the stream sends is seen alone."""
        self.streams_opened = 0
        self._listeners: list[asyncio.Queue[bytes]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        run(self._fill())

    async def _fill(self) -> None:
        console, now = self.console, now_ms()
        for scope, (limit, spent, window) in SPENT.items():
            await console.budget(scope, limit, window=window)
            console.spent(scope, spent, window, now)
        await console.budget("user/*", "100", note="What everybody may spend.", owner="growth")
        console.flag("user/u-4812")
        console.flag("user/u-4790", "warning", spent="91.5", percent="91.50")
        console.flag(
            "campaign/holiday-2026",
            "warning",
            spent="1103.77",
            percent="91.98",
            limit="1200",
            budget="campaign/holiday-2026:month:usd",
        )
        console.alert("user/u-4812")
        console.has_read_to(now)

    def send(self, event: Any, data: dict[str, Any]) -> None:
        """Send an event to every open stream."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._put, frame(event, data, 1).encode())

    def token(self, role: Role, **more: Any) -> str:
        """A new token."""
        return run(make_token(self.console.control, role, **more))

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._listeners)

    def _put(self, sent: bytes) -> None:
        for listener in self._listeners:
            listener.put_nowait(sent)

    def _pages(self) -> APIRouter:
        router = APIRouter()

        @router.get("/preview/overview")
        def _overview(request: Request, caller: Viewer, data: str = "") -> HTMLResponse:
            if self.still and "hx-request" in request.headers:
                raise Problem(503, "example", "This is sent once.")
            return overview.page(request, caller, examples.DASHBOARDS[data or self.data]())

        @router.get("/preview/user")
        def _user(request: Request, caller: Viewer, name: str = "u-4812", data: str = "full") -> HTMLResponse:
            answer = examples.user(name)
            found = Told(answer) if data == "full" else Told(None, "ClickHouse does not answer.")
            return users.user_page(request, caller, name, answer.flag, found, shipped_plans().values(), own=False)

        @router.get("/preview/users")
        def _users(request: Request, caller: Viewer) -> HTMLResponse:
            return users.list_page(request, caller, examples.top_users(), examples.STATES, "")

        @router.get("/preview/broken")
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
