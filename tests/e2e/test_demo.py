"""`tollgate demo` as a user runs it: what it prints, its exit status, and that it leaves no process behind."""

import re
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import psutil
import pytest
from tests.support.tollgate_cli import Tollgate
from tests.waiting import wait_until

from tollgate.embedded import running_state

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

# 200 calls of the shape of the Azure trace: 400,990 × 0.0000025 + 40,198 × 0.00001 = 1.404455 USD.
SAMPLE = Path(__file__).with_name("trace_sample.csv")


class Watched:
    """The demo in a directory of its own; whatever it starts carries a mark in its environment."""

    def __init__(self, directory: Path) -> None:
        self._mark = uuid.uuid4().hex
        self.data_dir = directory / "data"
        self.tollgate = Tollgate({"TOLLGATE_DEMO_MARK": self._mark}, directory)

    def left(self) -> list[str]:
        """The command lines of the processes that still run."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("TOLLGATE_DEMO_MARK") == self._mark:
                    found.append(" ".join(process.cmdline())[:200])
            except psutil.Error:
                # It ended meanwhile, or is not ours.
                continue
        return found


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_a_month_is_counted_a_user_is_blocked_and_nothing_is_left_running(watched: Watched) -> None:
    ran = watched.tollgate.ok("demo", "--seconds", "5", "--data-dir", str(watched.data_dir))
    # Four weeks of 2,800 events, and two days of 480 (from Monday to Friday), 220 (Saturday) or 180 (Sunday).
    assert re.search(r"ClickHouse says {2}(12,160|11,900|11,860|11,600) events .* USD, equal", ran.out), ran.out
    assert re.search(r"u-4812 .* WARNING .* of \$5\b", ran.out), ran.out
    assert re.search(r"u-4812 {2}100\.00 % {2}BLOCKED {2}\$5 of \$5 {2}[0-9]+ ms after", ran.out), ran.out
    assert "u-4812 calls again and gets 429 usage_limit_exceeded" in ran.out
    assert "trial-1 makes 10 videos" in ran.out
    assert "trial-1 asks for video 11 and gets 429 usage_limit_exceeded" in ran.out
    assert "10 of 10 video events of the month are used, the limit of plan Free: change to a larger plan" in ran.out
    # 300 bought and 10 free; ten videos of 25 credits each.
    assert "trial-1 was granted 310 credits, has burned 250 and has 60 left" in ran.out
    assert "trial-1 asks for 500 credits and gets 402 insufficient_credits" in ran.out
    # $1.00 is ten times $0.10; each call then costs $0.05.
    assert "makes 20 calls at once, each sets $0.10 aside: 10 granted, 10 denied" in ran.out
    assert "user/agent-1 has 0 of 1 USD left (0 spent, 1 reserved; 0.1 asked for)" in ran.out
    assert "agent-1 has spent $0.50" in ran.out
    assert "Slack     (preview;" in ran.out
    assert "CRITICAL · day budget at 100 % · user/u-4812" in ran.out
    assert f"why user/u-4812 --data-dir {watched.data_dir}" in ran.out
    assert "\x1b" not in ran.out
    assert "Traceback" not in ran.err
    assert watched.left() == []


def test_a_trace_costs_what_its_tokens_cost_and_is_verified(watched: Watched) -> None:
    ran = watched.tollgate.ok("demo", "--trace", str(SAMPLE), "--data-dir", str(watched.data_dir))
    assert "200 events published" in ran.out
    assert "Kafka says       200 events  1.404455 USD" in ran.out
    assert "ClickHouse says  200 events  1.404455 USD, equal" in ran.out
    assert "none: user/trace is free" in ran.out
    assert "Everything is equal: 200 events, 1.404455 USD." in ran.out
    assert watched.left() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_stack_starts_leaves_nothing_running(watched: Watched, number: signal.Signals) -> None:
    argv = [str(Path(sys.executable).with_name("tollgate")), "demo", "--data-dir", str(watched.data_dir)]
    process = subprocess.Popen(
        argv, env=watched.tollgate.environment(), cwd=watched.tollgate.directory, stdout=subprocess.PIPE, text=True
    )
    wait_until(lambda: len(watched.left()) >= 3, 60, "the start of the stack")
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped; the data stays in data" in out
    assert watched.left() == []


@pytest.mark.long
def test_a_demo_whose_stack_was_killed_does_not_stop_the_one_started_after_it(watched: Watched) -> None:
    argv = [str(Path(sys.executable).with_name("tollgate")), "demo", "--data-dir", str(watched.data_dir)]
    output = watched.tollgate.directory / "demo.out"
    with output.open("wb") as written:
        demo = subprocess.Popen(
            argv,
            env=watched.tollgate.environment(),
            cwd=watched.tollgate.directory,
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: b"history" in output.read_bytes(), 120, "the demo's history")
        stack = running_state(watched.data_dir)
        assert stack is not None
        stack.supervisor.signal(signal.SIGKILL)
        watched.tollgate.ok("up", "--detach", "--data-dir", str(watched.data_dir))
        assert demo.wait(60) in (1, 3)
        later = running_state(watched.data_dir)
        assert later is not None
        assert later.pid != stack.pid
    finally:
        demo.kill()
        demo.wait()
        watched.tollgate.ok("down", "--data-dir", str(watched.data_dir))
    assert watched.left() == []
