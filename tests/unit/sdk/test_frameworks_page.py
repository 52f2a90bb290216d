"""The examples of docs/sdk-frameworks.md, run as they are printed, with the client of the tests in place of the real one."""

import asyncio
import json
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import RequestFactory
from fastapi.testclient import TestClient
from tests.support.django_site import configure

from tollgate.sdk.answers import answer_of
from tollgate.sdk.testing import RecordingTollgate

PAGE = Path(__file__).resolve().parents[3] / "docs" / "sdk-frameworks.md"
EXAMPLE = re.compile(r"^### (?P<title>.*)$|^## (?P<chapter>.*)$|^```(?P<kind>python|json)\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)
CLIENT = 'Tollgate(kafka="127.0.0.1:9092", source="chat-api")'


def examples() -> list[tuple[str, str, str]]:
    """Title of the section, kind and code of each example."""
    found, title = [], ""
    for match in EXAMPLE.finditer(PAGE.read_text("utf-8")):
        title = match["title"] or match["chapter"] or title
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
    titles = {title for title, kind, _ in examples() if kind == "python"}
    assert len(titles) == 10
    assert [title for title in titles if f'"{title}"' not in tested] == []


def test_the_client_is_made_as_the_page_says(toll: RecordingTollgate) -> None:
    made = run("In web frameworks, tracing and LiteLLM", toll)["toll"]
    assert made.source == "chat-api"
