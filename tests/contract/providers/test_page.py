"""The examples of docs/sdk-providers.md, run in their order against a server that speaks the providers' APIs."""

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from google import genai
from google.genai import types
from openai import OpenAI
from tests.contract.providers.agreement import agree
from tests.support.provider_server import ProviderServer

from tollgate.sdk import BlockedError
from tollgate.sdk.testing import RecordingTollgate

PAGE = Path(__file__).resolve().parents[3] / "docs" / "sdk-providers.md"
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_examples_work(server: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "x")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
    monkeypatch.setenv("GOOGLE_API_KEY", "x")
    options = types.HttpOptions(base_url=server.url)
    plain: Any = genai.Client
    monkeypatch.setattr(genai, "Client", lambda: plain(http_options=options))
    made, *examples = CODE.findall(PAGE.read_text("utf-8"))
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(made, "making the client", "exec"), names)
    assert names["toll"].source == "chat-api"
    names["toll"].close()
    toll = names["toll"] = RecordingTollgate()
    assert len(examples) == 7
    for number, code in enumerate(examples, 1):
        exec(compile(code, f"example {number}", "exec"), names)
    agree(toll, server, 4)
    assert [(event.user, event.data["operation"], event.data["feature"]) for event in toll.events] == [
        ("u-42", "chat.completion", "chat"),
        ("u-42", "message", "chat"),
        ("u-42", "generate_content", "chat"),
        ("u-7", "embedding", "chat"),
    ]
    assert toll.events[3].data["agent"] == "SEO"
    check_blocked(names, toll, server)


def check_blocked(names: dict[str, Any], toll: RecordingTollgate, server: ProviderServer) -> None:
    """What the page says of blocks, with its last two clients."""
    ask: Any = {"messages": [{"role": "user", "content": "Hello"}]}
    exact: OpenAI = names["exact"]
    exact.chat.completions.create(model="o3", **ask)
    assert [asked.usd for asked in toll.reservations.values()] == ["0.50"]
    toll.deny("model/gpt-4o")
    thrifty: OpenAI = names["thrifty"]
    thrifty.chat.completions.create(model="gpt-4o", **ask)
    assert server.requests[-1][1]["model"] == "gpt-4o-mini"
    toll.deny("model/o3")
    with pytest.raises(BlockedError):
        thrifty.chat.completions.create(model="o3", **ask)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        for name in ("client", "thrifty", "exact", "local", "claude", "gemini"):
            names[name].close()
