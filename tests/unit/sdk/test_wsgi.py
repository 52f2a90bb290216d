"""The WSGI middleware in front of a real Flask application, served by Werkzeug, and of plain WSGI."""

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref import simple_server
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import httpx
import pytest
from flask import Flask, Response, request, stream_with_context
from tests.support.web_servers import serving_wsgi
from werkzeug.test import EnvironBuilder, run_wsgi_app

from tollgate.sdk.answers import answer_of
from tollgate.sdk.context import current_names
from tollgate.sdk.errors import BlockedError
from tollgate.sdk.testing import RecordingTollgate
from tollgate.sdk.wsgi import TollgateMiddleware, user_from_header

BLOCKED = BlockedError(402, "insufficient_credits", "no credits")


def flask_application(toll: Any, **options: Any) -> Flask:
    app = Flask("shop")
    app.register_error_handler(BlockedError, answer_of)
    app.extensions["ran"] = ran = []

    @app.route("/chat", methods=["GET", "POST"])
    def chat() -> dict[str, Any]:
        ran.append("chat")
        decision = request.environ.get("tollgate.decision")
        return {"names": dict(current_names()), "allowed": decision and decision.allowed}

    @app.get("/raise")
    def raise_blocked() -> str:
        raise BLOCKED

    @app.get("/view")
    def view() -> Any:
        decision = toll.check(user=request.args["user"])
        return "done" if decision.allowed else answer_of(decision)

    @app.get("/stream")
    def stream() -> Response:
        def parts() -> Iterator[str]:
            yield current_names()["user"]
            if request.args.get("blocked"):
                raise BLOCKED
            yield current_names()["user"]

        return Response(stream_with_context(parts()))

    app.wsgi_app = TollgateMiddleware(app.wsgi_app, toll, **{"names": user_from_header("X-User"), **options})  # type: ignore[method-assign]
    return app


@pytest.fixture(scope="module")
def toll() -> RecordingTollgate:
    toll = RecordingTollgate()
    toll.deny("user/limited", message="m", budget="b", until="2099-01-01T00:00:00Z")
    toll.deny("user/poor", error="insufficient_credits", message="m")
    toll.deny("user/stopped", error="spending_stopped", message="m")
    return toll


@pytest.fixture(scope="module")
def app(toll: RecordingTollgate) -> Flask:
    return flask_application(toll)


@pytest.fixture(scope="module")
def client(app: Flask) -> Iterator[httpx.Client]:
    with serving_wsgi(app) as address, httpx.Client(base_url=address) as client:
        yield client


@pytest.mark.parametrize(
    ("user", "status", "error"),
    [
        ("limited", 429, "usage_limit_exceeded"),
        ("poor", 402, "insufficient_credits"),
        ("stopped", 503, "spending_stopped"),
    ],
)
def test_a_blocked_request_is_answered_and_does_not_reach_the_application(
    client: httpx.Client, app: Flask, user: str, status: int, error: str
) -> None:
    before = len(app.extensions["ran"])
    answer = client.get("/chat", headers={"x-user": user, "x-request-id": "req-7"})
    assert (answer.status_code, answer.json()["error"], answer.json()["request_id"]) == (status, error, "req-7")
    assert ("retry-after" in answer.headers) == (user == "limited")
    assert answer.headers["content-length"] == str(len(answer.content))
    assert len(app.extensions["ran"]) == before
    assert client.get("/chat", headers={"x-user": "u-1"}).json() == {"names": {"user": "u-1"}, "allowed": True}


def test_the_names_hold_while_a_stream_is_made(client: httpx.Client) -> None:
    assert client.get("/stream", headers={"x-user": "u-1"}).text == "u-1u-1"


def test_a_stream_that_is_blocked_in_the_middle_is_cut(client: httpx.Client) -> None:
    with client.stream("GET", "/stream?blocked=1", headers={"x-user": "u-1"}) as answer:
        parts = answer.iter_text()
        assert (answer.status_code, next(parts)) == (200, "u-1")
        with pytest.raises(httpx.RemoteProtocolError):
            next(parts)
    assert client.get("/chat", headers={"x-user": "u-1"}).status_code == 200


def test_what_a_view_raises_is_answered_by_flasks_own_handler(client: httpx.Client) -> None:
    answer = client.get("/raise", headers={"x-user": "u-1"})
    assert (answer.status_code, answer.json()["error"]) == (402, "insufficient_credits")
    assert answer.headers["content-type"] == "application/json"


def test_an_answer_can_be_returned_from_a_view(client: httpx.Client) -> None:
    answer = client.get("/view?user=limited")
    assert (answer.status_code, answer.json()["scope"]) == (429, "user/limited")
    assert client.get("/view?user=u-1").text == "done"


@pytest.mark.parametrize("value", [b"\xff\xfe", b"a" * 257, "é".encode("latin-1"), b"a\x1bb", b"a\xc2\x85b"])
def test_a_hostile_user_is_refused(client: httpx.Client, app: Flask, value: bytes) -> None:
    before = len(app.extensions["ran"])
    with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=5) as raw:
        raw.sendall(b"GET /chat HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-user: " + value + b"\r\n\r\n")
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.split(b" ", 2)[1] == b"400"
    assert len(app.extensions["ran"]) == before


def test_a_user_of_other_letters_is_a_user(client: httpx.Client) -> None:
    answer = client.get("/chat", headers=[(b"x-user", "üser-✓".encode())])
    assert answer.json()["names"] == {"user": "üser-✓"}


def test_on_block_lets_a_request_through_with_its_decision(toll: RecordingTollgate) -> None:
    app = flask_application(toll, on_block=lambda _, decision: decision.error != "spending_stopped", paths=["/chat"])
    client = app.test_client()
    assert client.get("/chat", headers={"x-user": "limited"}).get_json()["allowed"] is False
    assert client.get("/chat", headers={"x-user": "stopped"}).status_code == 503
    assert client.get("/view?user=u-1", headers={"x-user": "stopped"}).status_code == 200


# Plain WSGI: what the application does, and what is answered. wsgiref's validator refuses whatever PEP 3333 forbids.
def answered(app: Callable[..., Any]) -> tuple[int, bytes]:
    middleware = TollgateMiddleware(validator(app), RecordingTollgate(), names=lambda _: "u-1")
    with simple_server.make_server("127.0.0.1", 0, validator(middleware)) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        answer = httpx.get(f"http://127.0.0.1:{server.server_port}")
        thread.join(5)
    return answer.status_code, answer.content


def test_an_application_that_raises_at_once_is_answered() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        raise BLOCKED

    status, body = answered(app)
    assert (status, json.loads(body)["error"]) == (402, "insufficient_credits")


def test_an_application_that_raises_before_its_first_bytes_is_answered() -> None:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
        if current_names():
            raise BLOCKED
        yield b"hello"

    status, body = answered(app)
    assert (status, json.loads(body)["error"]) == (402, "insufficient_credits")


def test_an_application_that_raises_after_its_first_bytes_is_cut() -> None:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"one"
        raise BLOCKED

    middleware = TollgateMiddleware(app, RecordingTollgate(), names=lambda _: "u-1")
    with serving_wsgi(middleware) as address, pytest.raises(httpx.HTTPError), httpx.stream("GET", address) as answer:
        answer.read()


@pytest.mark.parametrize("ends", ["whole", "early"])
def test_the_body_is_closed_once_and_the_names_end_with_it(ends: str) -> None:
    seen: list[str] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            seen.append(current_names()["user"])
            yield b"one"
            seen.append(current_names()["user"])
            yield b"two"

        def close(self) -> None:
            seen.append("closed")

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Body()

    middleware = TollgateMiddleware(app, RecordingTollgate(), names=lambda _: "u-1")
    body: Any = middleware(EnvironBuilder().get_environ(), lambda *_: lambda _: None)
    assert next(body) == b"one"
    if ends == "whole":
        assert list(body) == [b"two"]
    assert current_names() == {}
    body.close()
    assert seen == (["u-1", "u-1", "closed"] if ends == "whole" else ["u-1", "closed"])


def test_a_file_is_left_to_the_server() -> None:
    file = FileWrapper(open(__file__, "rb"))  # noqa: PTH123, SIM115 # the wrapper closes it

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return file

    middleware = TollgateMiddleware(app, RecordingTollgate(), names=lambda _: "u-1")
    environ = EnvironBuilder().get_environ() | {"wsgi.file_wrapper": FileWrapper}
    assert middleware(environ, lambda *_: lambda _: None) is file
    file.close()


def test_names_that_are_none_fail_with_what_to_give() -> None:
    middleware = TollgateMiddleware(lambda *_: [], RecordingTollgate(), names=lambda _: 42)  # type: ignore[arg-type, return-value]
    with pytest.raises(TypeError, match="names must give the user's id, or names by dimension, not int"):
        middleware(EnvironBuilder().get_environ(), lambda *_: lambda _: None)


def test_a_mounted_application_is_checked_by_the_whole_path() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b""]

    toll = RecordingTollgate()
    toll.deny("user/u", message="m")
    middleware = TollgateMiddleware(app, toll, names=lambda _: "u", paths=["/api/v1"])
    statuses = [
        run_wsgi_app(middleware, EnvironBuilder(path).get_environ() | {"SCRIPT_NAME": script})[1]
        for script, path in [("/api", "/v1/chat"), ("", "/api/v1"), ("", "/v1"), ("/api", "/v2")]
    ]
    assert statuses == ["429 Too Many Requests", "429 Too Many Requests", "200 OK", "200 OK"]
