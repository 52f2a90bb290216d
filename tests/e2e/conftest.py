"""One stack for all end-to-end tests, started and stopped by the commands that a user has."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from tests.support.slack_server import CHANNEL, TOKEN
from tests.support.tollgate_cli import Tollgate

from tollgate.embedded import stack_settings
from tollgate.embedded.children import start_child, stop_child
from tollgate.runtime.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Stack:
    """A running stack: its command line, and settings that lead to it."""

    tollgate: Tollgate
    settings: Settings
    slack: "SlackProcess"


class SlackProcess:
    """The Slack-compatible server in a process of its own."""

    def __init__(self, log: Path, port: int = 0) -> None:
        with log.open("wb") as output:
            argv = [sys.executable, "-m", "tests.support.slack_server", "--port", str(port)]
            self._process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=output)
        assert self._process.stdout is not None
        self.api_url = str(json.loads(self._process.stdout.readline())["api_url"])

    def messages(self) -> list[dict[str, Any]]:
        """Every message of the channel as it is now, with all bodies it had in `edits`."""
        with urlopen(self.api_url.replace("/api/", "/_messages"), timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)["messages"]
        return found

    def about(self, scope: str) -> list[dict[str, Any]]:
        """The messages about one scope's budgets."""
        return [m for m in self.messages() if f"|{scope}|" in alert_of(m["body"])["alert_key"]]

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


def alert_of(body: dict[str, Any]) -> dict[str, Any]:
    """What a message's metadata says of its alert: `alert_key`, `level`, `revision`."""
    payload: dict[str, Any] = body["metadata"]["event_payload"]
    return payload


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """`tollgate up` in an empty directory, with a Slack of its own; `tollgate down` at the end."""
    directory = tmp_path_factory.mktemp("stack")
    slack = SlackProcess(directory / "slack.log")
    variables = {
        "TOLLGATE_DATA_DIR": str(directory / "data"),
        "TOLLGATE_SLACK_BOT_TOKEN": TOKEN,
        "TOLLGATE_SLACK_CHANNEL": CHANNEL,
        "TOLLGATE_SLACK_API_URL": slack.api_url,
        # A test that waits for an answer asks more often than a program.
        "TOLLGATE_CONSOLE_REQUESTS_PER_MINUTE": "10000",
    }
    tollgate = Tollgate(variables, directory)
    try:
        ready = tollgate.ok("up", "--detach", "--json").json()
        ports = ready["ports"]
        assert set(ports) >= {"kafka", "clickhouse"}
        settings = load_settings(**stack_settings(directory / "data"))
        yield Stack(tollgate, settings, slack)
    finally:
        tollgate.run("down")
        slack.stop()


__all__ = ["SlackProcess", "Stack", "alert_of", "stack", "start_child", "stop_child"]
