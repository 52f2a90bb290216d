"""The examples of the pages about budgets, plans, credits and reservations work as they are printed.

Each page is played from top to bottom on one stack: `$ ` begins a command, and what stands below is what it prints.
Times, and who made a change, are whatever they are. The pages share the stack, in this order.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.tollgate_cli import Tollgate
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

DOCS = Path(__file__).resolve().parents[2] / "docs"
KAFKA = "127.0.0.1:9092"

BLOCK = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
CHANGED_BY = re.compile(r"by cli:\S+")

# What the worker has not counted yet is asked for again.
READING = ("credits show",)
COUNTED_SECONDS_MAX = 30


def examples(text: str) -> list[tuple[str, str]]:
    """Each command of a page, and what it prints."""
    found = []
    for block in BLOCK.findall(text):
        for part in block.removeprefix("$ ").split("\n$ "):
            command, _, printed = part.partition("\n")
            found.append((command, printed.strip()))
    return found


def plain(text: str) -> str:
    """Without what differs from run to run. Ends that are written down in the page stay: they are years away."""
    text = TIME.sub(lambda found: found[0] if found[0] > "2090" else "<time>", text)
    return CHANGED_BY.sub("by <actor>", text).strip()


class Player:
    """Runs the commands of a page."""

    def __init__(self, tollgate: Tollgate) -> None:
        self.tollgate = tollgate

    def output(self, command: str) -> str:
        """What the command prints, on both streams."""
        given, _, piped = command.rpartition(" | ")
        stdin = " ".join(shlex.split(given)[1:]) + "\n" if given else None
        program, *words = shlex.split(piped)
        assert program == "tollgate", command
        ran = self.tollgate.run(*words, stdin=stdin)
        return plain(ran.out + ran.err)

    def play(self, command: str, printed: str) -> None:
        """AssertionError when it prints something else."""
        if any(f"tollgate {words}" in command for words in READING):
            wait_until(lambda: self.output(command) == plain(printed), COUNTED_SECONDS_MAX, command)
        else:
            assert self.output(command) == plain(printed), command


@pytest.fixture(scope="module")
def player(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Player, str]]:
    """A stack that nothing was published to, and the address of its Kafka."""
    directory = tmp_path_factory.mktemp("docs")
    tollgate = Tollgate({"TOLLGATE_DATA_DIR": str(directory / "data")}, directory)
    try:
        ports = tollgate.ok("up", "--detach", "--json").json()["ports"]
        yield Player(tollgate), f"127.0.0.1:{ports['kafka']}"
    finally:
        tollgate.run("down")


@pytest.mark.parametrize(("page", "commands"), [("credits-and-reservations.md", 11), ("budgets.md", 9)])
def test_a_page_prints_what_it_says(player: tuple[Player, str], page: str, commands: int) -> None:
    found = examples((DOCS / page).read_text(encoding="utf-8"))
    assert len(found) == commands
    for command, printed in found:
        player[0].play(command, printed)


def test_the_reservation_in_python_is_granted_and_then_denied(player: tuple[Player, str]) -> None:
    tollgate, (code,) = player[0].tollgate, PYTHON.findall((DOCS / "credits-and-reservations.md").read_text("utf-8"))
    assert KAFKA in code
    code = code.replace(KAFKA, player[1]).replace("cleo", "dora")

    def run() -> str:
        argv = [sys.executable, "-"]
        done = subprocess.run(argv, input=code, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    def spent() -> str:
        return str(tollgate.ok("spend", "user/dora", "--json").json()["spent_usd"])

    assert run() == ""
    # 1,200 × 0.0000025 + 300 × 0.00001
    wait_until(lambda: spent() == "0.006", COUNTED_SECONDS_MAX, "the spend of dora")
    tollgate.ok("budget", "set", "user/dora", "--limit", "0.1")
    wait_until(lambda: run() == "answer 429 usage_limit_exceeded\n", COUNTED_SECONDS_MAX, "a denied reservation")


def test_examples_are_found_with_what_they_print() -> None:
    text = "```console\n$ tollgate a\none\ntwo\n$ tollgate b\n```\n\n```console\n$ echo '{}' | tollgate c\nthree\n```\n"
    assert examples(text) == [("tollgate a", "one\ntwo"), ("tollgate b", ""), ("echo '{}' | tollgate c", "three")]
    assert plain("until 2026-11-30T00:00:00Z, 2099-01-01T00:00:00Z, by cli:ada") == (
        "until <time>, 2099-01-01T00:00:00Z, by <actor>"
    )
