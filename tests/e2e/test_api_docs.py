"""Every request that the pages about HTTP print is sent to a whole stack, and answered as printed below it."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from tests.e2e.conftest import Stack
from tests.waiting import wait_until

from tollgate.console.openapi import TAGS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

DOCS = Path(__file__).resolve().parents[2] / "docs"
BLOCK = re.compile(r"^```sh\n(.*?)^```(?:\n\n```(json|text)\n(.*?)^```)?", re.DOTALL | re.MULTILINE)
# Stands for any value, and as a name for any further fields.
ANY: Final = "…"
# What the worker and the sink have yet to do when an example is sent.
SECONDS_MAX: Final = 60


def examples(page: str) -> list[tuple[str, str, str]]:
    """The command, and the kind and text of the answer that is printed."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [(command, kind, answer) for command, kind, answer in BLOCK.findall(text)]


def is_like(found: Any, printed: Any) -> bool:
    """Whether an answer is the printed one, but for what that leaves open."""
    if printed == ANY:
        return True
    if isinstance(printed, dict) and isinstance(found, dict):
        named = {name: value for name, value in printed.items() if name != ANY}
        complete = ANY in printed or found.keys() == named.keys()
        return complete and all(name in found and is_like(found[name], value) for name, value in named.items())
    if isinstance(printed, list) and isinstance(found, list):
        return len(printed) == len(found) and all(map(is_like, found, printed))
    return bool(found == printed)


def run(command: str, variables: dict[str, str], directory: Path) -> str:
    done = subprocess.run(
        ["sh", "-c", command],
        env=os.environ | variables,
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize(("page", "count"), [("api.md", len(TAGS)), ("integrate.md", 5)])
def test_the_examples_are_answered_as_printed(stack: Stack, tmp_path: Path, page: str, count: int) -> None:
    if shutil.which("curl") is None:
        assert "CI" not in os.environ, "CI has curl"
        pytest.skip("curl is missing: apt-get install curl")
    token = stack.tollgate.ok("token", "create", "--role", "admin", "--name", "docs", "--json").json()["token"]
    port = stack.tollgate.ok("status", "--json").json()["ports"]["console"]
    variables = {"TOKEN": token, "API": f"http://127.0.0.1:{port}/api/v1"}
    found = examples(page)
    assert len(found) >= count
    for command, kind, printed in found:
        last = ""

        def is_answered(command: str = command, kind: str = kind, printed: str = printed) -> bool:
            nonlocal last
            last = run(command, variables, tmp_path)
            return not kind or (last == printed if kind == "text" else is_like(json.loads(last), json.loads(printed)))

        # A write is sent once.
        if re.search(r" -X | -d ", command):
            assert is_answered(), f"{command}\nprinted: {printed}\nanswered: {last}"
            continue
        try:
            wait_until(is_answered, SECONDS_MAX, "the printed answer")
        except AssertionError:
            pytest.fail(f"{command}\nprinted: {printed}\nanswered: {last}")
    if page == "api.md":
        report = json.loads((tmp_path / "report.json").read_text())
        assert any(row["user"] == "u-7" and row["cost_usd"] == "0.006" for row in report)


def test_every_group_of_paths_has_an_example() -> None:
    """The first word of a path is its group."""
    asked = " ".join(command for command, _, _ in examples("api.md"))
    words = set(re.findall(r"\$API/([a-z-]+)", asked))
    groups = {"me", "users", "spend", "breakdown", "events", "budgets", "flags", "why", "prices", "alerts", "reports"}
    assert words >= groups | {"stream", "status", "settings", "tokens", "audit", "dead-letters", "usage", "check"}


def test_what_is_printed_is_compared() -> None:
    assert is_like({"a": "1", "b": 2}, {"a": "1", "…": "…"})
    assert not is_like({"a": "1", "b": 2}, {"a": "1"})
    assert not is_like({"a": "2"}, {"a": "1", "…": "…"})
    assert not is_like({}, {"a": "…"})
    assert is_like([{"a": 1}], ["…"])
    assert not is_like([], ["…"])
