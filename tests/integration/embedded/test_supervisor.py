"""The supervisor with small programs as roles: it restarts what dies and leaves nothing behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.waiting import wait_until

from tollgate.embedded.children import start_child, stop_child
from tollgate.embedded.stack_state import ProcessId, StackState, read_state, running_state

ROOT = Path(__file__).resolve().parents[3]

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a small stack in `tmp_path`; all are stopped at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(kind: str = "patient") -> "subprocess.Popen[bytes]":
        with (tmp_path / "supervisor.log").open("ab") as log:
            argv = [sys.executable, "-m", "tests.integration.embedded.small_stack", str(tmp_path), kind]
            started.append(start_child(argv, log, dict(os.environ), ROOT))
        return started[-1]

    yield begin
    for process in started:
        stop_child(process)


def ready(data_dir: Path) -> StackState:
    """The state once the stack is ready."""
    wait_until(lambda: (state := running_state(data_dir)) is not None and state.ready, what="the stack's readiness")
    state = read_state(data_dir)
    assert state is not None
    return state


def role(data_dir: Path, name: str) -> ProcessId:
    """The role's present process."""
    state = read_state(data_dir)
    assert state is not None
    process = next(found for found in state.processes if found.role == name).process
    return process or ProcessId(0, "")


def restarts(data_dir: Path, name: str) -> int:
    """How often the role was started again."""
    state = read_state(data_dir)
    assert state is not None
    return next(found for found in state.processes if found.role == name).restarts


def test_a_ready_stack_says_what_runs(start: Start, tmp_path: Path) -> None:
    supervisor = start()
    state = ready(tmp_path)
    assert state.pid == supervisor.pid
    assert state.ports == {"service": 1}
    assert [(found.role, found.state, found.restarts) for found in state.processes] == [
        ("service", "running", 0),
        ("client-0", "running", 0),
        ("client-1", "running", 0),
    ]
    assert all(found.process is not None and found.process.is_alive() for found in state.processes)
    assert (tmp_path / "prepared").exists()
    wait_until(lambda: (tmp_path / "logs" / "client-1.log").read_text() == "up\n")


@pytest.mark.parametrize("name", ["service", "client-0"])
def test_a_killed_role_is_started_again_and_counted(start: Start, tmp_path: Path, name: str) -> None:
    start()
    ready(tmp_path)
    seen = [role(tmp_path, name)]

    def replaced() -> bool:
        now = role(tmp_path, name)
        return now.is_alive() and now not in seen

    for count in (1, 2):
        seen[-1].signal(signal.SIGKILL)
        wait_until(replaced)
        seen.append(role(tmp_path, name))
        assert restarts(tmp_path, name) == count
    assert restarts(tmp_path, "client-1") == 0


def test_sigterm_stops_clients_before_services_and_leaves_no_process(start: Start, tmp_path: Path) -> None:
    supervisor = start("polite")
    processes = [found.process for found in ready(tmp_path).processes]
    # Each says `up` once its handler is set.
    names = ("service", "client-0", "client-1")
    wait_until(lambda: all((tmp_path / "logs" / f"{name}.log").read_text() == "up\n" for name in names))
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(10) == 0
    assert not any(process is not None and process.is_alive() for process in processes)
    assert running_state(tmp_path) is None
    state = read_state(tmp_path)
    assert state is not None
    assert {found.state for found in state.processes} == {"stopped"}
    ends = (tmp_path / "ends").read_text().split()
    assert sorted(ends) == ["client-0", "client-1", "service"]
    assert ends[-1] == "service"


def test_a_role_that_ignores_sigterm_is_killed_after_the_deadline(start: Start, tmp_path: Path) -> None:
    supervisor = start("stubborn")
    processes = [found.process for found in ready(tmp_path).processes]
    wait_until(lambda: (tmp_path / "logs" / "client-1.log").read_text() == "up\n")
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(15) == 0
    assert not any(process is not None and process.is_alive() for process in processes)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends children with their parent on Linux only")
def test_killing_the_supervisor_ends_the_roles_with_it(start: Start, tmp_path: Path) -> None:
    supervisor = start()
    processes = [found.process for found in ready(tmp_path).processes]
    supervisor.kill()
    supervisor.wait()
    wait_until(lambda: not any(process is not None and process.is_alive() for process in processes))
    assert running_state(tmp_path) is None, "the file that was left behind must not pass for a running stack"
    assert read_state(tmp_path) is not None


def test_a_stack_starts_where_another_was_killed(start: Start, tmp_path: Path) -> None:
    first = start()
    ready(tmp_path)
    first.kill()
    first.wait()
    second = start()
    wait_until(lambda: (state := running_state(tmp_path)) is not None and state.pid == second.pid and state.ready)


def test_two_stacks_cannot_share_a_directory(start: Start, tmp_path: Path) -> None:
    start()
    state = ready(tmp_path)
    second = start()
    assert second.wait(10) == 3
    assert "runs in" in (tmp_path / "supervisor.log").read_text()
    assert read_state(tmp_path) == state, "the second one must not touch the first one's file"


def test_a_start_that_cannot_succeed_is_given_up_and_says_why(start: Start, tmp_path: Path) -> None:
    supervisor = start("broken")
    assert supervisor.wait(15) == 3
    log = (tmp_path / "supervisor.log").read_text()
    assert "service ended 4 times while it started" in log
    assert "the disk is made of cheese" in log
    assert running_state(tmp_path) is None


def test_a_stack_can_be_stopped_while_it_starts(start: Start, tmp_path: Path) -> None:
    supervisor = start("broken")
    wait_until(lambda: read_state(tmp_path) is not None)
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(10) in (0, 3)
    assert running_state(tmp_path) is None
