"""A whole stack with a console, and a company's spend in it: what a person sees here has gone through Kafka."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from tests.support.tollgate_cli import Tollgate
from tests.waiting import wait_until

from tollgate.embedded import stack_settings
from tollgate.embedded.ports import free_ports
from tollgate.runtime.settings import Settings, load_settings

HOSTILE: Final = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "=cmd|'/c calc'!A1",
    "a\"b'c\\d",
    "../..",
    "user/x|y",
    "\u202egnp.exe",
    "x" * 256,
    "{{ 7*7 }}",
)
"""Each is the user, org, service, agent and campaign of an event that costs a cent."""
CENT: Final = Decimal("0.01")


@dataclass
class RealStack:
    """A running stack: its command line, its console, and a token for each role."""

    tollgate: Tollgate
    settings: Settings
    port: int
    tokens: dict[str, str] = field(default_factory=dict)
    added: Decimal = Decimal(0)
    """What tests have published beside the history, all of it of the service chat-api."""

    @property
    def address(self) -> str:
        """Where the console is."""
        return f"http://127.0.0.1:{self.port}"

    def api(self, path: str, role: str = "admin", **query: str) -> Any:
        """The API's answer."""
        headers = {"Authorization": f"Bearer {self.tokens[role]}"}
        answer = httpx.get(f"{self.address}/api/v1{path}", headers=headers, params=query, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def publish(self, *events: dict[str, Any]) -> None:
        """Publish usage events and wait until they are counted and ClickHouse has them."""
        before = self.counted()
        text = "".join(json.dumps(event) + "\n" for event in events)
        self.tollgate.ok("publish", "-", stdin=text)
        wait_until(lambda: self.counted() == before + len(events), 60, "the events in ClickHouse")
        self.added += sum(Decimal(event["data"]["cost_usd"]) for event in events)

    def counted(self) -> int:
        """How many events ClickHouse has this month."""
        return int(self.api("/breakdown", by="service")["total"]["events"])


def event(cost: str, user: str, *, retail_tokens: str = "0", **names: str) -> dict[str, Any]:
    """A usage event of now with its own cost. A user pays half a cent for a product token."""
    return {
        "specversion": "1.0",
        "type": "tollgate.usage.v1",
        "source": "browser-tests",
        "subject": user,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "data": {
            "provider": "openai",
            "model": "gpt-4o",
            "service": "chat-api",
            **names,
            "usage": {"input_tokens": 1200, "output_tokens": 300},
            "cost_usd": cost,
            "retail_tokens": retail_tokens,
        },
    }


def history() -> list[dict[str, Any]]:
    """What was spent just now: the tests run at any time of a month, and its sums must be the same."""
    made = [event(str(CENT), name, org=name, service=name, agent=name, campaign=name) for name in HOSTILE]
    rows = (
        ("42.5", "u-1", "12000", {"campaign": "spring-launch", "agent": "SEO", "feature": "content"}),
        ("17.25", "u-2", "4000", {"campaign": "holiday-2026", "model": "claude-sonnet-4", "provider": "anthropic"}),
        ("8", "u-3", "2400", {"campaign": "holiday-2026", "service": "image-studio", "model": "dall-e-3"}),
        ("3.125", "u-4", "1000", {"agent": "CONTENT", "service": "content-agents"}),
        ("1.000000000001", "u-5", "0", {"service": "video-agent", "model": "gen-3-alpha-turbo", "provider": "runway"}),
    )
    made += [event(cost, user, retail_tokens=sold, **names) for cost, user, sold, names in rows]
    return made


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealStack]:
    """`tollgate up` in an empty directory, and a month of a small company; `tollgate down` at the end."""
    directory = tmp_path_factory.mktemp("console-stack")
    variables = {"TOLLGATE_DATA_DIR": str(directory / "data"), "TOLLGATE_CONSOLE_REQUESTS_PER_MINUTE": "100000"}
    tollgate = Tollgate(variables, directory)
    try:
        # Not the usual one, which another stack that starts at the same time would take as well.
        (port,) = free_ports(1)
        ports = tollgate.ok("up", "--detach", "--json", "--console-port", str(port)).json()["ports"]
        made = RealStack(tollgate, load_settings(**stack_settings(directory / "data")), ports["console"])
        for role in ("admin", "analyst", "viewer", "user"):
            user = ("--user", "u-3") if role == "user" else ()
            told = tollgate.ok("token", "create", "--role", role, *user, "--name", f"{role}@example.com", "--json")
            made.tokens[role] = told.json()["token"]
        _fill(made)
        yield made
    finally:
        tollgate.run("down")


def _fill(stack: RealStack) -> None:
    for scope, limit, reason in (
        ("global", "100", "what the year's plan allows"),
        ("user/*", "50", ""),
        ("campaign/holiday-2026", "30", "two weeks only"),
        ("agent/CONTENT", "3", ""),
        ("campaign/*", "500", ""),
    ):
        stack.tollgate.ok("budget", "set", scope, "--limit", limit, "--reason", reason)
    stack.tollgate.ok("budget", "set", "global", "--limit", "90", "--reason", "less than planned")
    stack.publish(*history())
    stack.added = Decimal(0)
    stack.tollgate.run("publish", "-", stdin="no event\n")
    stack.tollgate.ok("verify", "--record", "--json")
    wait_until(lambda: {"user/u-1", "agent/CONTENT"} <= {one["scope"] for one in stack.api("/flags")["items"]}, 30)


class Line:
    """A line to the console that can be cut and mended, on a port of its own."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._is_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """Where the console is behind this line."""
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Break every connection, and let no new one through."""
        self._is_cut = True
        for one in list(self._open):
            # Another thread waits in `recv`, which closing alone does not end.
            _shut(one)

    def mend(self) -> None:
        """Let connections through again."""
        self._is_cut = False

    def close(self) -> None:
        """End it."""
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._is_cut:
                _shut(near)
                continue
            far = socket.create_connection(("127.0.0.1", self._target))
            self._open |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for one in (source, sink):
            _shut(one)
            self._open.discard(one)


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


SHOTS: Final = Path(__file__).resolve().parents[2] / "build" / "screenshots"
