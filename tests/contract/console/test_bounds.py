"""What a request may cost: sizes, times, JSON, addresses, headers; and what every answer and log line has."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import structlog
from starlette.types import ASGIApp, Message
from tests.support.console import ConsoleUnderTest, bearer, make_token
from tests.support.probe_room import probe_room

from tollgate.console import bounds
from tollgate.console.bounds import Bounds, EndedError
from tollgate.console.problems import Problem
from tollgate.console.request_log import RequestLog
from tollgate.schemas.tokens import Role

ECHO = "/api/v1/echo"
MIB = 1024 * 1024
JSON = {"Content-Type": "application/json"}


async def known(**settings: Any) -> httpx.AsyncClient:
    """A client of a console with the probe room, that shows an admin's token."""
    made = ConsoleUnderTest([probe_room()], **settings)
    return made.client(headers=bearer(await make_token(made.control, Role.ADMIN, name="probe")))


def padded(size: int) -> bytes:
    """A JSON object of this many bytes."""
    return b'{"a":"' + b"x" * (size - 8) + b'"}'


async def in_parts(body: bytes, size: int = 65536) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


# --- bodies


async def test_a_body_of_a_mebibyte_is_read_and_one_byte_more_is_not() -> None:
    client = await known()
    assert (await client.post(ECHO, content=padded(MIB), headers=JSON)).status_code == 200
    answer = await client.post(ECHO, content=padded(MIB + 1), headers=JSON)
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")


async def test_a_body_without_a_length_is_counted_while_it_is_read() -> None:
    client = await known()
    assert (await client.post(ECHO, content=in_parts(padded(MIB)), headers=JSON)).status_code == 200
    assert (await client.post(ECHO, content=in_parts(padded(MIB + 1)), headers=JSON)).status_code == 413


async def test_a_thousand_events_of_the_largest_size_are_read() -> None:
    client = await known()
    body = b"x" * (1000 * 64 * 1024)
    answer = await client.post("/api/v1/usage", content=in_parts(body))
    assert (answer.status_code, answer.json()) == (200, 65_536_000)
    answer = await client.post("/api/v1/usage", content=b"", headers={"Content-Length": "70000000"})
    assert answer.status_code == 413


async def test_a_large_body_of_nobody_is_not_read() -> None:
    made = ConsoleUnderTest([probe_room()])
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(16):
            read += 65536
            yield b"x" * 65536

    answer = await made.client().post("/api/v1/usage", content=body(), headers=bearer("tg_nonsense"))
    assert answer.status_code == 401
    assert read == 2 * 65536


async def test_all_bodies_together_are_bounded_and_given_back() -> None:
    made = ConsoleUnderTest([probe_room()])
    token = await make_token(made.control, Role.SERVICE)
    stack = Bounds(echo_length, made.settings, made.access, held_bytes_max=2 * MIB)
    go = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"x" * (2 * MIB)
        await go.wait()

    client = client_of(RequestLog(stack, made.settings), headers=bearer(token))
    first = asyncio.create_task(client.post("/api/v1/usage", content=slow()))
    await asyncio.sleep(0.05)
    answer = await client.post("/api/v1/usage", content=b"x" * MIB)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    # A small body is always read.
    assert (await client.post("/api/v1/usage", content=b"x" * 65536)).status_code == 200
    go.set()
    assert (await first).status_code == 200
    assert (await client.post("/api/v1/usage", content=b"x" * MIB)).status_code == 200


async def test_a_body_that_takes_too_long_is_given_up() -> None:
    made = ConsoleUnderTest([probe_room()])
    stack = Bounds(echo_length, made.settings, made.access, body_seconds_max=0.05)

    async def never() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    answer = await client_of(RequestLog(stack, made.settings)).post("/api/v1/x", content=never())
    assert (answer.status_code, answer.json()["error"]) == (408, "too_slow")


# --- JSON


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"a": ' + b"9" * 400 + b"}", 200),
        (b'{"a": ' + b"9" * 401 + b"}", 422),
        (b'{"a": -' + b"9" * 1_000_000 + b"}", 422),
        (b'{"a": 1e400}', 422),
        (b'{"a": [{"b": -1e999}]}', 422),
        (b'{"a": NaN}', 400),
        (b'{"a": Infinity}', 400),
        (b'{"a": -Infinity}', 400),
        (b'{"a": ' + b"[" * 31 + b"]" * 31 + b"}", 200),
        (b'{"a": ' + b"[" * 32 + b"]" * 32 + b"}", 400),
        (b"[" * 500_000, 400),
        (b'{"a": "\\ud800"}', 400),
        (b'{"\\udfff": 1}', 400),
        (b'{"a": "\\ud83d\\ude00"}', 200),
        (b'{"a": "\xff"}', 400),
        (b'\xef\xbb\xbf{"a": 1}', 400),
        (b'{"a": 1', 400),
        (b"{}{}", 400),
        (b"[]", 422),
        (b"null", 422),
        (b"", 422),
        (b'{"a": "\\u0000"}', 200),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_json_is_read_strictly_and_never_fails(body: bytes, status: int) -> None:
    client = await known()
    for kind in ("application/json", "APPLICATION/JSON; charset=utf-8", "application/problem+json"):
        answer = await client.post(ECHO, content=body, headers={"Content-Type": kind})
        assert answer.status_code == status, answer.text[:300]
        if status != 200:
            assert answer.headers["content-type"] == "application/problem+json"
            assert len(answer.content) < 2000


async def test_a_refusal_does_not_repeat_a_large_value() -> None:
    client = await known()
    answer = await client.post(ECHO, content=b'"' + b"x" * 100_000 + b'"', headers=JSON)
    assert answer.status_code == 422
    assert len(answer.content) < 1000


# --- addresses and headers


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/query?q=%00", 400),
        ("/api/v1/query?%00=1", 400),
        ("/api/v1/%00", 400),
        ("/page%00", 400),
        ("/api/v1/query?q=%ff%fe", 200),
        ("/api/v1/query?q=%ed%a0%80", 200),
        ("/api/v1/query?q=" + "x" * 16_000, 200),
        ("/api/v1/query?q=" + "x" * 17_000, 414),
        ("/api/v1/" + "x" * 17_000, 414),
        ("/api/v1/%ff", 404),
        ("/api/v1/..%2f..%2fetc", 404),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_odd_addresses_are_answered(path: str, status: int) -> None:
    answer = await (await known()).get(path)
    assert answer.status_code == status
    answer.content.decode("utf-8")


async def test_a_hundred_headers_are_read_and_more_are_not() -> None:
    client = await known()
    own = len(client.headers) + 1
    for number, status in ((100 - own, 200), (101 - own, 431), (10_000, 431)):
        headers = [(f"x-{i}", "1") for i in range(number)]
        answer = await client.get("/api/v1/who", headers=headers)
        assert answer.status_code == status, number
    assert (await client.get("/api/v1/who", headers={"x": "y" * 33_000})).status_code == 431


# --- time


async def test_a_handler_that_does_not_answer_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    made = ConsoleUnderTest([probe_room()])
    ended = asyncio.Event()

    async def hangs(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    stack = Bounds(hangs, made.settings, made.access, answer_seconds_max=0.05)
    answer = await client_of(RequestLog(stack, made.settings)).get("/api/v1/x")
    assert (answer.status_code, answer.json()["error"]) == (503, "too_slow")
    assert ended.is_set()


async def test_a_reader_that_takes_nothing_ends_the_answer() -> None:
    made = ConsoleUnderTest([probe_room()])

    async def answers(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})

    async def stuck(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    stack = Bounds(answers, made.settings, made.access, write_seconds_max=0.05)
    scope = {**SCOPE, "state": {}}
    with pytest.raises(EndedError):
        await stack(scope, no_body(), stuck)


async def test_an_answer_that_lasts_ends_when_its_caller_has_logged_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "LASTING_SECONDS", 0)
    made = ConsoleUnderTest([probe_room()])
    token = await make_token(made.control, Role.VIEWER)
    parts: list[bytes] = []
    some = asyncio.Event()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            parts.append(message["body"])
            some.set()

    scope = {**SCOPE, "path": "/api/v1/endless", "headers": [*SCOPE["headers"], authorization(token)]}
    asked = asyncio.create_task(made.app(scope, no_body(), send))
    await asyncio.wait_for(some.wait(), 5)
    assert not asked.done()
    await made.control.change(f"token/{token[3:19]}", None, actor="test")
    await asyncio.wait_for(asked, 5)
    assert made.access.streams._open.total() == 0


async def test_streams_of_a_caller_are_bounded_and_others_are_served() -> None:
    stop = asyncio.Event()
    made = ConsoleUnderTest([probe_room(stop)])
    tokens = [await make_token(made.control, Role.VIEWER) for _ in range(2)]
    began = asyncio.Semaphore(0)

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            began.release()

    def open_one(token: str) -> "asyncio.Task[None]":
        headers = [*SCOPE["headers"], authorization(token)]
        return asyncio.create_task(made.app({**SCOPE, "path": "/api/v1/endless", "headers": headers}, no_body(), send))

    asked = [open_one(tokens[0]) for _ in range(12)]
    for _ in asked:
        await asyncio.wait_for(began.acquire(), 5)
    answer = await made.client().get("/api/v1/endless", headers=bearer(tokens[0]))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert (await made.client().get("/api/v1/who", headers=bearer(tokens[0]))).status_code == 200
    other = open_one(tokens[1])
    await asyncio.wait_for(began.acquire(), 5)
    stop.set()
    await asyncio.wait_for(asyncio.gather(*asked, other), 5)
    assert made.access.streams._open.total() == 0


# --- what every answer has


PATHS = [("/api/v1/who", 200), ("/page", 200), ("/api/v1/none", 404), ("/none", 404), ("/api/v1/fails", 500)]


@pytest.mark.parametrize(("path", "status"), PATHS)
async def test_every_answer_has_the_headers_that_bind_a_browser(path: str, status: int) -> None:
    answer = await (await known()).get(path)
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert "camera=()" in answer.headers["permissions-policy"]
    assert answer.headers["cache-control"] == "no-store"
    policy = answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'" if path.startswith("/api/") else "default-src 'self'")
    assert answer.headers["content-type"].startswith(
        "application/" if path.startswith("/api/") or status == 200 else "text/html"
    )


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("abc-1.2_3", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("a b", False),
        ("a\tb", False),
        ("ü", False),
        ("", False),
    ],
)
async def test_a_sane_request_id_is_kept_and_any_other_replaced(given: str, kept: bool) -> None:
    answer = await (await known()).get("/api/v1/none", headers=[(b"X-Request-Id", given.encode())])
    told = answer.headers["x-request-id"]
    assert (told == given) is kept
    assert 1 <= len(told) <= 64
    assert answer.json()["request_id"] == told


async def test_a_fault_of_ours_is_told_without_its_reason() -> None:
    client = await known()
    with structlog.testing.capture_logs() as lines:
        answer = await client.get("/api/v1/fails", headers={"X-Request-Id": "r-1"})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json()["request_id"] == "r-1"
    assert [line["event"] for line in lines] == ["a request failed", "request"]


async def test_the_log_has_no_query_no_body_and_no_token() -> None:
    made = ConsoleUnderTest([probe_room()])
    token = await make_token(made.control, Role.ADMIN, name="ops")
    client = made.client(headers=bearer(token), address="192.0.2.9")
    with structlog.testing.capture_logs() as lines:
        await client.post(f"{ECHO}?q=q-secret", json={"b": "b-secret"}, headers={"Cookie": "c=c-secret"})
    (line,) = lines
    assert "secret" not in json.dumps(line, default=repr)
    assert token[20:] not in json.dumps(line, default=repr)
    assert {name: line[name] for name in ("method", "path", "status", "caller", "address")} == {
        "method": "POST",
        "path": ECHO,
        "status": 200,
        "caller": "token:ops",
        "address": "192.0.2.9",
    }


async def test_the_address_in_the_log_is_what_a_trusted_proxy_says_it_is() -> None:
    table = [
        ("", "10.0.0.1", "198.51.100.7", "10.0.0.1"),
        ("10.0.0.0/8", "10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.0/8", "10.0.0.1", "203.0.113.9, 198.51.100.7", "198.51.100.7"),
        ("10.0.0.0/8", "10.0.0.1", "203.0.113.9, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
        ("10.0.0.0/8", "192.0.2.1", "198.51.100.7", "192.0.2.1"),
        ("10.0.0.0/8", "10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.0/8", "10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.0/8", "10.0.0.1", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("10.0.0.0/8", "10.0.0.1", "::ffff:198.51.100.7", "198.51.100.7"),
    ]
    for proxies, peer, told, expected in table:
        made = ConsoleUnderTest([probe_room()], console_trusted_proxies=proxies)
        with structlog.testing.capture_logs() as lines:
            await made.client(address=peer).get("/none", headers={"X-Forwarded-For": told})
        assert lines[0]["address"] == expected, (proxies, peer, told)


async def test_no_value_of_ours_can_split_headers() -> None:
    made = ConsoleUnderTest([probe_room()])

    async def answers(scope: Any, receive: Any, send: Any) -> None:
        raise Problem(409, "x", "x", headers={"ETag": '"1"'})

    stack = RequestLog(Bounds(answers, made.settings, made.access), made.settings)
    answer = await client_of(stack).get("/api/v1/x", headers={"X-Request-Id": "a\\r\\nX-Evil: 1"})
    assert "x-evil" not in answer.headers
    assert answer.headers["etag"] == '"1"'


# --- pieces


SCOPE: dict[str, Any] = {
    "type": "http",
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/api/v1/x",
    "raw_path": b"/api/v1/x",
    "query_string": b"",
    "root_path": "",
    "headers": [(b"host", b"127.0.0.1:8080")],
    "client": ("127.0.0.1", 4711),
    "server": ("127.0.0.1", 8080),
}


def authorization(token: str) -> tuple[bytes, bytes]:
    return b"authorization", f"Bearer {token}".encode()


async def echo_length(scope: Any, receive: Any, send: Any) -> None:
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(len(message["body"])).encode()})


def no_body() -> Any:
    """A `receive` of a request without a body, whose client stays."""
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            await asyncio.Event().wait()
        sent = True
        return {"type": "http.request", "body": b"", "more_body": False}

    return receive


def client_of(app: ASGIApp, **options: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080", **options)
