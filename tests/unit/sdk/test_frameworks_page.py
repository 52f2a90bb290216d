"""The examples of docs/sdk-frameworks.md, run as they are printed, with the client of the tests where one is used."""

import asyncio
import inspect
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import RequestFactory
from fastapi.testclient import TestClient
from tests.support.django_site import configure
from tests.support.litellm_alone import litellm_without_its_weight

from tollgate.sdk.answers import answer_of
from tollgate.sdk.errors import BlockedError
from tollgate.sdk.testing import RecordingTollgate

PAGE = Path(__file__).resolve().parents[3] / "docs" / "sdk-frameworks.md"
PART = re.compile(r"^#+ (?P<title>[^\n]*)$|^```(?P<kind>python|json)\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)


def examples() -> list[tuple[str, str, str]]:
    """Title of the section, kind and code of each example."""
    found, title = [], ""
    for match in PART.finditer(PAGE.read_text("utf-8")):
        title = match["title"] or title
        if match["kind"]:
            found.append((title, match["kind"], match["code"]))
    return found


@pytest.fixture
def toll() -> RecordingTollgate:
    toll = RecordingTollgate()
    toll.deny(
        "user/u-42",
        message="user/u-42 is blocked: 104.2 of 100 usd in this month; wait until 2026-12-01T00:00:00Z, or have "
        "monthly-user raised.",
        budget="monthly-user",
        limit="100",
        spent="104.2",
        unit="usd",
        until="2026-12-01T00:00:00Z",
    )
    return toll


def run(title: str, toll: RecordingTollgate, place: int = 0, **given: Any) -> dict[str, Any]:
    """What the example of a section leaves behind."""
    code = [code for found, kind, code in examples() if found == title and kind == "python"][place]
    names: dict[str, Any] = {"toll": toll, "__name__": "example", **given}
    exec(compile(code, f"{PAGE.name}: {title}", "exec"), names)
    return names


def test_every_example_of_the_page_is_run_here() -> None:
    tested = Path(__file__).read_text("utf-8")
    assert len([kind for _, kind, _ in examples() if kind == "python"]) == 10
    assert [title for title, _, _ in examples() if f'"{title}"' not in tested] == []


def test_the_client_is_made_as_the_page_says(toll: RecordingTollgate) -> None:
    made = run("In web frameworks, tracing and LiteLLM", toll)["toll"]
    assert made.source == "chat-api"
    made.close()


def test_the_answer_is_the_one_that_is_shown(toll: RecordingTollgate) -> None:
    (shown,) = [code for _, kind, code in examples() if kind == "json"]
    title = "Block requests of users who are at their limit"
    assert [found for found, kind, _ in examples() if kind == "json"] == [title]
    answer = answer_of(toll.check(user="u-42"), request_id="req-7")
    assert json.loads(answer.body) == json.loads(shown)


def test_the_fastapi_example(toll: RecordingTollgate) -> None:
    client = TestClient(run("FastAPI, Starlette and other ASGI applications", toll)["app"])
    assert client.get("/v1/chat", headers={"x-user-id": "u-42"}).status_code == 429
    assert client.get("/v1/chat", headers={"x-user-id": "u-1"}).json() == {"answer": "hello"}
    # Not under /v1: there is no such page, and nothing is checked.
    assert client.get("/docs-of-v1", headers={"x-user-id": "u-42"}).status_code == 404


def test_the_flask_example(toll: RecordingTollgate) -> None:
    app = run("Flask and other WSGI applications", toll)["app"]

    @app.get("/raise")  # type: ignore[untyped-decorator] # of the example
    def raise_blocked() -> str:
        raise BlockedError(402, "insufficient_credits", "no credits")

    client = app.test_client()
    assert client.get("/chat", headers={"x-user-id": "u-42"}).status_code == 429
    assert client.get("/chat", headers={"x-user-id": "u-1"}).text == "hello"
    assert client.get("/raise", headers={"x-user-id": "u-1"}).status_code == 402


def test_the_django_example(toll: RecordingTollgate) -> None:
    configure()
    example = run("Django", toll)
    limits = example["limits"](lambda _: HttpResponse("hello"))

    def status(path: str, **user: Any) -> int:
        request = RequestFactory().get(path)
        request.user = SimpleNamespace(**user)
        return int(limits(request).status_code)

    assert status("/api/chat", is_authenticated=True, pk="u-42") == 429
    assert status("/api/chat", is_authenticated=True, pk=7) == 200
    assert status("/api/chat", is_authenticated=False) == 200
    assert status("/about", is_authenticated=True, pk="u-42") == 200
    assert toll.checked == [{"user": "u-42"}, {"user": "7"}, {}]
    assert example["MIDDLEWARE"][-1] == "shop.metering.limits"


def test_the_example_of_a_cheaper_model(toll: RecordingTollgate) -> None:
    client = TestClient(run("A cheaper model in place of a block", toll)["app"])
    assert client.get("/chat", headers={"x-user-id": "u-42"}).json() == {"model": "gpt-4o-mini"}
    assert client.get("/chat", headers={"x-user-id": "u-1"}).json() == {"model": "gpt-4o"}
    toll.deny("global", error="spending_stopped", message="m")
    assert client.get("/chat", headers={"x-user-id": "u-1"}).status_code == 503


def test_the_example_of_an_own_answer(toll: RecordingTollgate) -> None:
    chat = run("Answer by yourself", toll)["chat"]
    assert (chat("u-42").status_code, chat("u-1").body) == (429, b"hello")


async def test_the_examples_of_tracking(toll: RecordingTollgate) -> None:
    toll.allow("user/u-42")
    first = run("Count calls that no wrapper knows", toll)
    assert first["speak"]("hello") == b"hello"
    assert inspect.iscoroutinefunction(first["render"])
    assert await asyncio.wait_for(first["render"]("a cat"), 5) == {"seconds": "8"}
    assert run("Count calls that no wrapper knows", toll, 1, speak=first["speak"])["audio"] == b"hello"
    assert [(event.user, event.data["usage"], event.data.get("agent")) for event in toll.events] == [
        ("u-42", {"characters": 5}, None),
        ("u-42", {"video_seconds": "8"}, None),
        ("u-42", {"characters": 5}, "narrator"),
    ]
    assert (toll.events[2].data["org"], toll.events[2].data["campaign"]) == ("acme", "holiday-2024")


def test_the_example_of_opentelemetry(toll: RecordingTollgate) -> None:
    run("OpenTelemetry", toll)["provider"].shutdown()
    (event,) = toll.events
    assert (event.user, event.data["model"]) == ("u-42", "gpt-4o")
    assert event.data["usage"] == {"input_tokens": 1200, "output_tokens": 300}


def test_the_example_of_litellm(toll: RecordingTollgate, monkeypatch: pytest.MonkeyPatch) -> None:
    litellm = litellm_without_its_weight(monkeypatch)
    run("LiteLLM", toll)
    (logger,) = litellm.callbacks
    logger.log_success_event(kwargs={"standard_logging_object": {"custom_llm_provider": "openai", "model": "gpt-4o"}})
    assert toll.events[0].data["model"] == "gpt-4o"
