"""The middleware inside a real Django, under WSGI and under ASGI."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpRequest, JsonResponse, StreamingHttpResponse
from django.test import RequestFactory
from tests.support.django_site import serve
from tests.support.web_servers import serving_asgi, serving_wsgi

from tollgate.sdk.context import current_names
from tollgate.sdk.django import limits_middleware
from tollgate.sdk.errors import BlockedError
from tollgate.sdk.testing import RecordingTollgate

# Sync streams under ASGI, and async ones under WSGI, are read whole by Django, which warns.
pytestmark = pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")

BLOCKED = BlockedError(402, "insufficient_credits", "no credits")


def told(request: HttpRequest) -> Any:
    return JsonResponse({"names": dict(current_names()), "allowed": request.tollgate.allowed})


async def told_async(request: HttpRequest) -> Any:
    await asyncio.sleep(0)
    return told(request)


def raise_blocked(request: HttpRequest) -> Any:
    raise BLOCKED


def raise_other(request: HttpRequest) -> Any:
    raise LookupError


def stream(request: HttpRequest) -> Any:
    def parts() -> Iterator[str]:
        yield current_names()["user"]
        if "blocked" in request.GET:
            raise BLOCKED
        yield current_names()["user"]

    return StreamingHttpResponse(parts())


async def stream_async(request: HttpRequest) -> Any:
    async def parts() -> AsyncIterator[str]:
        yield current_names()["user"]
        await asyncio.sleep(0)
        yield current_names()["user"]

    return StreamingHttpResponse(parts())


def file(request: HttpRequest) -> Any:
    return FileResponse(open(__file__, "rb"))  # noqa: PTH123 # Django closes it


def free(request: HttpRequest) -> Any:
    return JsonResponse({"tollgate": hasattr(request, "tollgate")})


def cheaper(request: HttpRequest, decision: Any) -> bool:
    return "x-cheaper" in request.headers and decision.error != "spending_stopped"


@pytest.fixture(scope="module")
def toll() -> RecordingTollgate:
    toll = RecordingTollgate()
    toll.deny("user/limited", message="m", until="2099-01-01T00:00:00Z")
    toll.deny("user/poor", error="insufficient_credits", message="m")
    toll.deny("user/stopped", error="spending_stopped", message="m")
    return toll


@pytest.fixture(scope="module", autouse=True)
def site(toll: RecordingTollgate) -> None:
    views = (told, told_async, raise_blocked, raise_other, stream, stream_async, file)
    limits = limits_middleware(
        toll, names=lambda request: {"user": request.headers.get("x-user")}, paths=["/chat"], on_block=cheaper
    )
    serve({f"chat/{view.__name__}": view for view in views} | {"free": free}, limits)


@pytest.fixture(scope="module", params=["wsgi", "asgi"])
def client(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    serving = serving_wsgi(get_wsgi_application()) if request.param == "wsgi" else serving_asgi(get_asgi_application())
    with serving as address, httpx.Client(base_url=address) as client:
        yield client


def get(client: httpx.Client, view: str, user: str, **headers: str) -> httpx.Response:
    return client.get(f"/chat/{view}", headers={"x-user": user, **headers})


@pytest.mark.parametrize(
    ("user", "status", "error"),
    [
        ("limited", 429, "usage_limit_exceeded"),
        ("poor", 402, "insufficient_credits"),
        ("stopped", 503, "spending_stopped"),
    ],
)
def test_a_blocked_request_is_answered(client: httpx.Client, user: str, status: int, error: str) -> None:
    answer = get(client, "told", user, **{"x-request-id": "req-7"})
    assert (answer.status_code, answer.json()["error"], answer.json()["request_id"]) == (status, error, "req-7")
    assert answer.headers["content-type"] == "application/json"
    assert ("retry-after" in answer.headers) == (user == "limited")


@pytest.mark.parametrize("view", ["told", "told_async"])
def test_the_view_has_the_decision_and_the_names(client: httpx.Client, view: str) -> None:
    assert get(client, view, "u-1").json() == {"names": {"user": "u-1"}, "allowed": True}
    assert get(client, view, "limited", **{"x-cheaper": "1"}).json()["allowed"] is False
    assert get(client, view, "stopped", **{"x-cheaper": "1"}).status_code == 503


def test_what_a_view_raises_is_answered_and_other_errors_are_the_services_own(client: httpx.Client) -> None:
    answer = get(client, "raise_blocked", "u-1", **{"x-request-id": "req-8"})
    assert answer.status_code == 402
    assert answer.json()["request_id"] == "req-8"
    assert get(client, "raise_other", "u-1").status_code == 500


@pytest.mark.parametrize("view", ["stream", "stream_async"])
def test_the_names_hold_while_a_stream_is_made(client: httpx.Client, view: str) -> None:
    assert get(client, view, "u-1").text == "u-1u-1"
    assert get(client, "file", "u-1").text.startswith('"""The middleware inside')


def test_a_stream_that_is_blocked_in_the_middle_is_cut(client: httpx.Client) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        get(client, "stream?blocked=1", "u-1")
    assert get(client, "told", "u-1").status_code == 200


def test_paths_that_are_not_named_are_not_checked(client: httpx.Client) -> None:
    assert client.get("/free", headers={"x-user": "limited"}).json() == {"tollgate": False}


def test_a_hostile_user_is_refused(client: httpx.Client) -> None:
    answer = client.get("/chat/told", headers=[(b"x-user", b"a" * 257)])
    assert (answer.status_code, json.loads(answer.content)["error"]) == (400, "invalid_name")


async def test_under_asgi_names_may_be_async_and_under_wsgi_they_fail_with_what_to_write() -> None:
    async def names(request: HttpRequest) -> str:
        return (await asyncio.sleep(0, "limited")) or ""

    toll = RecordingTollgate()
    toll.deny("user/limited", message="m")
    make = limits_middleware(toll, names=names)
    assert (await make(told_async)(RequestFactory().get("/"))).status_code == 429
    with pytest.raises(TypeError, match="give a plain function"):
        make(told)(RequestFactory().get("/"))
