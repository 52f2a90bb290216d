"""The ASGI middleware in front of real FastAPI and Starlette applications, served by uvicorn."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect
from tests.support.web_servers import serving_asgi

from tollgate.sdk.answers import answer_of
from tollgate.sdk.asgi import TollgateMiddleware, user_from_header
from tollgate.sdk.context import current_names
from tollgate.sdk.errors import BlockedError
from tollgate.sdk.testing import AsyncRecordingTollgate, RecordingTollgate

BLOCKED = BlockedError(402, "insufficient_credits", "no credits")


router = APIRouter()


@router.api_route("/chat", methods=["GET", "POST", "HEAD", "OPTIONS"])
async def chat(request: Request) -> dict[str, Any]:
    request.app.state.ran.append("chat")
    decision = request.scope.get("tollgate")
    allowed = decision and decision.allowed
    return {"names": dict(current_names()), "allowed": allowed, "began": request.app.state.began}


@router.get("/sync")
def plain() -> dict[str, str]:
    return dict(current_names())


@router.get("/raise/async")
async def raise_async() -> None:
    raise BLOCKED


@router.get("/raise/sync")
def raise_sync() -> None:
    raise BLOCKED


@router.get("/raise/other")
def raise_other() -> None:
    raise LookupError


@router.get("/stream")
async def stream(blocked: bool = False) -> StreamingResponse:
    async def parts() -> AsyncIterator[str]:
        yield json.dumps(dict(current_names()))
        if blocked:
            raise BLOCKED
        yield "."

    return StreamingResponse(parts())


@router.get("/stream/sync")
def stream_sync() -> StreamingResponse:
    return StreamingResponse(current_names()["user"] for _ in range(2))


@router.websocket("/ws")
async def ws(socket: WebSocket, blocked: str = "") -> None:
    socket.app.state.ran.append("ws")
    if blocked == "early":
        raise BLOCKED
    await socket.accept()
    await socket.send_json(dict(current_names()))
    if blocked == "late":
        raise BLOCKED
    await socket.close()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.began = True
    yield


def application(toll: Any, **options: Any) -> FastAPI:
    app = FastAPI(lifespan=lifespan)
    app.state.ran = []
    app.add_middleware(TollgateMiddleware, toll=toll, **{"names": user_from_header("X-User"), **options})
    app.include_router(router)
    return app


def nobody(_scope: Any) -> None:
    return None


def somebody(_scope: Any) -> str:
    return "u"


def unless_stopped(_scope: Any, decision: Any) -> bool:
    return bool(decision.error != "spending_stopped")


async def unless_stopped_async(scope: Any, decision: Any) -> bool:
    return unless_stopped(scope, decision)


@pytest.fixture(scope="module")
def toll() -> RecordingTollgate:
    toll = RecordingTollgate()
    toll.deny("user/limited", message="m", budget="b", limit="1", spent="2", unit="usd", until="2099-01-01T00:00:00Z")
    toll.deny("user/poor", error="insufficient_credits", message="m")
    toll.deny("user/stopped", error="spending_stopped", message="m")
    return toll


@pytest.fixture(scope="module")
def app(toll: RecordingTollgate) -> FastAPI:
    return application(toll)


@pytest.fixture(scope="module")
def client(app: FastAPI) -> Iterator[httpx.Client]:
    with serving_asgi(app) as address, httpx.Client(base_url=address) as client:
        yield client


def get(client: httpx.Client, path: str, user: str, **headers: str) -> httpx.Response:
    return client.get(path, headers={"x-user": user, **headers})


@pytest.mark.parametrize(
    ("user", "status", "error"),
    [
        ("limited", 429, "usage_limit_exceeded"),
        ("poor", 402, "insufficient_credits"),
        ("stopped", 503, "spending_stopped"),
    ],
)
def test_a_blocked_request_is_answered_and_does_not_reach_the_application(
    client: httpx.Client, app: FastAPI, user: str, status: int, error: str
) -> None:
    before = len(app.state.ran)
    answer = get(client, "/chat", user, **{"x-request-id": "req-7"})
    assert (answer.status_code, answer.json()["error"], answer.json()["request_id"]) == (status, error, "req-7")
    assert answer.headers["content-type"] == "application/json"
    assert ("retry-after" in answer.headers) == (user == "limited")
    assert len(app.state.ran) == before
    # The connection is as usable as before.
    assert get(client, "/chat", "u-42").json() == {"names": {"user": "u-42"}, "allowed": True, "began": True}


def test_a_blocked_upload_is_answered_without_its_body_being_read(client: httpx.Client) -> None:
    answer = client.post("/chat", content=b"x" * 5_000_000, headers={"x-user": "limited"})
    assert answer.status_code == 429


def test_head_has_no_body_and_options_is_not_checked(client: httpx.Client) -> None:
    answer = client.head("/chat", headers={"x-user": "limited"})
    assert (answer.status_code, answer.content) == (429, b"")
    assert client.options("/chat", headers={"x-user": "limited"}).status_code == 200


def test_the_names_hold_in_sync_endpoints_and_in_streams(client: httpx.Client) -> None:
    assert get(client, "/sync", "u-1").json() == {"user": "u-1"}
    assert get(client, "/stream", "u-1").text == '{"user": "u-1"}.'
    assert get(client, "/stream/sync", "u-1").text == "u-1u-1"


@pytest.mark.parametrize("path", ["/raise/async", "/raise/sync"])
def test_what_the_application_raises_is_answered(client: httpx.Client, path: str) -> None:
    answer = get(client, path, "u-42")
    assert (answer.status_code, answer.json()["error"]) == (402, "insufficient_credits")
    assert answer.json()["message"] == "no credits"


def test_another_error_is_the_services_own(client: httpx.Client) -> None:
    assert get(client, "/raise/other", "u-42").status_code == 500


def test_a_stream_that_is_blocked_in_the_middle_is_cut(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    with client.stream("GET", "/stream?blocked=1", headers={"x-user": "u-1"}) as answer:
        parts = answer.iter_text()
        assert (answer.status_code, next(parts)) == (200, '{"user": "u-1"}')
        with pytest.raises(httpx.RemoteProtocolError):
            next(parts)
    assert "a call was blocked (insufficient_credits) after the answer had begun" in caplog.text
    assert get(client, "/chat", "u-42").status_code == 200


@pytest.mark.parametrize(
    "value", [b"\xff\xfe", b"a" * 257, "é".encode("latin-1"), b"u-1\r\nx-user: u-2", b"a\xc2\x85b", b"\xed\xa0\x80"]
)
def test_a_hostile_user_is_refused(client: httpx.Client, app: FastAPI, value: bytes) -> None:
    before = len(app.state.ran)
    with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=5) as raw:
        raw.sendall(b"GET /chat HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-user: " + value + b"\r\n\r\n")
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"invalid_name" in answer
    assert len(app.state.ran) == before


def test_a_user_of_other_letters_is_a_user(client: httpx.Client, toll: RecordingTollgate) -> None:
    answer = client.get("/chat", headers=[(b"x-user", "üser-✓".encode())])
    assert answer.json()["names"] == {"user": "üser-✓"}
    assert toll.checked[-1] == {"user": "üser-✓"}


@pytest.mark.parametrize("given", [b"\xff", b"a" * 257, b""])
def test_a_hostile_request_id_is_replaced(client: httpx.Client, given: bytes) -> None:
    answer = client.get("/chat", headers=[(b"x-user", b"limited"), (b"x-request-id", given)])
    assert len(answer.json()["request_id"]) == 32


def test_nobody_is_held_to_the_companys_limits_alone() -> None:
    toll = AsyncRecordingTollgate()
    client = TestClient(application(toll, names=nobody))
    with client:
        assert client.get("/chat").json()["names"] == {}
        toll.deny("global", error="spending_stopped", message="m")
        assert client.get("/chat").status_code == 503
    # The first when the application began, so that limits are known when the first request comes.
    assert toll.checked == [{}, {}, {}]


def test_names_may_be_awaited_and_are_written_as_text() -> None:
    async def names(scope: Any) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"user": 42, "org": "acme", "feature": None, "request_id": "r-9"}

    toll = RecordingTollgate()
    with TestClient(application(toll, names=names)) as client:
        assert client.get("/chat").json()["names"] == {"user": "42", "org": "acme", "request_id": "r-9"}
        # An id of a request is no dimension that limits could be set for.
        assert toll.checked[1:] == [{"user": "42", "org": "acme"}]
        toll.deny("org/acme", message="m")
        assert client.get("/chat").json()["request_id"] == "r-9"


def test_a_name_that_no_event_has_is_told_at_once() -> None:
    with (
        TestClient(application(RecordingTollgate(), names=lambda _: {"usr": "u"})) as client,
        pytest.raises(TypeError, match="'usr' is no name of a call: give user, org"),
    ):
        client.get("/chat")


@pytest.mark.parametrize("on_block", [unless_stopped, unless_stopped_async])
def test_on_block_lets_a_request_through_with_its_decision(toll: RecordingTollgate, on_block: Any) -> None:
    with TestClient(application(toll, on_block=on_block)) as client:
        assert client.get("/chat", headers={"x-user": "limited"}).json()["allowed"] is False
        assert client.get("/chat", headers={"x-user": "stopped"}).status_code == 503


@pytest.mark.parametrize(
    ("paths", "checked"),
    [
        (["/v1", "/chat/"], ["/v1", "/v1/", "/v1/chat", "//v1/chat", "/chat"]),
        (lambda path: path.endswith("chat"), ["/v1/chat", "//v1/chat", "/chat"]),
        ([], []),
    ],
)
def test_only_the_paths_that_are_named_are_checked(paths: Any, checked: list[str]) -> None:
    async def ok(request: Any) -> PlainTextResponse:
        return PlainTextResponse("ok")

    toll = RecordingTollgate()
    toll.deny("user/u", message="m")
    middleware = Middleware(TollgateMiddleware, toll=toll, names=somebody, paths=paths)
    app = Starlette(routes=[Route("/{path:path}", ok)], middleware=[middleware])
    with TestClient(app) as client:
        asked = ["/", "/v1", "/v1/", "/v10", "/v1/chat", "//v1/chat", "/chat", "/chats"]
        assert [path for path in asked if client.get(f"http://testserver{path}").status_code == 429] == checked


def test_paths_that_would_be_misread_fail_at_once() -> None:
    with pytest.raises(TypeError, match=r"write paths=\['/v1'\]"):
        TollgateMiddleware(FastAPI(), RecordingTollgate(), names=nobody, paths="/v1")
    with pytest.raises(TypeError, match="begins with a slash"):
        TollgateMiddleware(FastAPI(), RecordingTollgate(), names=nobody, paths=["v1"])


def test_it_answers_what_other_middleware_passes_on() -> None:
    async def raising(request: Request) -> None:
        raise BLOCKED

    async def through(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    app = Starlette(
        routes=[Route("/", raising)],
        middleware=[
            Middleware(TollgateMiddleware, toll=RecordingTollgate(), names=somebody),
            Middleware(BaseHTTPMiddleware, dispatch=through),
        ],
    )
    assert TestClient(app).get("/").json()["error"] == "insufficient_credits"


async def test_what_a_task_group_raises_is_answered() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())

    async def fail() -> None:
        raise BLOCKED

    transport = httpx.ASGITransport(TollgateMiddleware(app, RecordingTollgate(), names=somebody))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        assert (await client.get("/")).status_code == 402


def test_a_websocket_of_a_blocked_user_is_refused_before_it_opens(app: FastAPI, toll: RecordingTollgate) -> None:
    before = app.state.ran.count("ws")
    with TestClient(app) as client:
        with (
            pytest.raises(WebSocketDenialResponse) as refused,
            client.websocket_connect("/ws", headers={"x-user": "limited"}),
        ):
            pass
        assert refused.value.status_code == 429
        assert refused.value.json()["error"] == "usage_limit_exceeded"
        assert app.state.ran.count("ws") == before
        with client.websocket_connect("/ws", headers={"x-user": "u-1"}) as open_socket:
            assert open_socket.receive_json() == {"user": "u-1"}


def test_a_websocket_is_closed_when_a_call_in_it_is_blocked(app: FastAPI) -> None:
    with TestClient(app) as client:
        with client.websocket_connect("/ws?blocked=late", headers={"x-user": "u-1"}) as open_socket:
            open_socket.receive_json()
            with pytest.raises(WebSocketDisconnect) as closed:
                open_socket.receive_json()
        assert (closed.value.code, closed.value.reason) == (1008, "insufficient_credits")
        with (
            pytest.raises(WebSocketDenialResponse) as refused,
            client.websocket_connect("/ws?blocked=early", headers={"x-user": "u-1"}),
        ):
            pass
        assert refused.value.status_code == 402


async def test_a_server_that_cannot_answer_a_websocket_closes_it(toll: RecordingTollgate) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        sent.append("asked to connect")
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/ws", "headers": [(b"x-user", b"stopped")]}
    await application(toll)(scope, receive, send)
    assert sent == ["asked to connect", {"type": "websocket.close", "code": 1013, "reason": "spending_stopped"}]


def test_an_answer_is_what_a_response_is_made_of() -> None:
    response = Response(*answer_of(BLOCKED))
    assert (response.status_code, response.headers["content-type"]) == (402, "application/json")
