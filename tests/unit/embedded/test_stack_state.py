"""`stack.json`: what runs, and that a stale file is not believed."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.waiting import wait_until

from tollgate.embedded.errors import AlreadyRunningError
from tollgate.embedded.role_logs import LOG_BYTES_MAX, last_words, log_path, open_log
from tollgate.embedded.stack_state import (
    ProcessId,
    RoleState,
    StackState,
    end_leftovers,
    lock_data_dir,
    read_state,
    running_state,
    wait_until_gone,
)


def state_of(process: ProcessId, *roles: RoleState) -> StackState:
    return StackState(process.pid, process.started, {"kafka": 9092}, 1, True, list(roles))


def sleeper() -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])


def test_a_state_comes_back_as_it_was_written(tmp_path: Path) -> None:
    own = ProcessId.of(os.getpid())
    state = state_of(own, RoleState("kafka", "running", own.pid, own.started, 3), RoleState("worker-0", "restarting"))
    state.write(tmp_path)
    assert read_state(tmp_path) == state
    assert running_state(tmp_path) == state
    assert [path.name for path in tmp_path.iterdir()] == ["stack.json"]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"pid": 1}', '{"pid": 1, "processes": [{"pid": 2}]}'])
def test_a_file_that_makes_no_sense_is_no_state(tmp_path: Path, content: str) -> None:
    assert read_state(tmp_path) is None
    (tmp_path / "stack.json").write_text(content)
    assert read_state(tmp_path) is None


def test_a_file_with_fields_of_another_release_is_no_state(tmp_path: Path) -> None:
    state_of(ProcessId.of(os.getpid())).write(tmp_path)
    found = json.loads((tmp_path / "stack.json").read_text())
    (tmp_path / "stack.json").write_text(json.dumps(found | {"colour": "red"}))
    assert read_state(tmp_path) is None


def test_a_number_that_another_process_got_is_not_ours(tmp_path: Path) -> None:
    own = ProcessId.of(os.getpid())
    assert own.is_alive()
    reused = replace(own, started=own.started + "0")
    assert not reused.is_alive()
    state_of(reused).write(tmp_path)
    assert running_state(tmp_path) is None


def test_a_signal_never_reaches_a_process_that_only_has_the_number(tmp_path: Path) -> None:
    process = sleeper()
    now = ProcessId.of(process.pid)
    replace(now, started="long ago").signal(9)
    assert now.is_alive()
    now.signal(9)
    assert process.wait(10) == -9


def test_a_process_that_has_ended_is_not_alive_even_before_its_parent_looks() -> None:
    process = sleeper()
    now = ProcessId.of(process.pid)
    process.kill()
    wait_until(lambda: not now.is_alive(), what="the zombie to count as ended")
    assert wait_until_gone([now], 0)
    process.wait()
    assert not ProcessId.of(process.pid).is_alive()


def test_processes_of_a_killed_stack_are_ended_and_named(tmp_path: Path) -> None:
    process = sleeper()
    left = ProcessId.of(process.pid)
    gone = ProcessId(2**22 - 1, "never")
    state_of(gone, RoleState("kafka", "running", left.pid, left.started), RoleState("worker-0")).write(tmp_path)
    assert end_leftovers(tmp_path) == ["kafka"]
    assert process.wait(10) == -9
    assert end_leftovers(tmp_path) == []


def test_processes_of_a_running_stack_are_left_alone(tmp_path: Path) -> None:
    process = sleeper()
    role = ProcessId.of(process.pid)
    state_of(ProcessId.of(os.getpid()), RoleState("kafka", "running", role.pid, role.started)).write(tmp_path)
    assert end_leftovers(tmp_path) == []
    assert role.is_alive()
    process.kill()
    process.wait()


def test_a_directory_is_held_by_one_and_free_again_after(tmp_path: Path) -> None:
    with (
        lock_data_dir(tmp_path / "new"),
        pytest.raises(AlreadyRunningError, match="tollgate down"),
        lock_data_dir(tmp_path / "new"),
    ):
        pass
    with lock_data_dir(tmp_path / "new"):
        pass


def test_a_log_that_grew_too_long_is_set_aside_and_the_oldest_goes(tmp_path: Path) -> None:
    for content in (b"1", b"2", b"3", b"4"):
        with open_log(tmp_path, "kafka") as log:
            log.write(content * (LOG_BYTES_MAX + 1))
    open_log(tmp_path, "kafka").close()
    path = log_path(tmp_path, "kafka")
    kept = {found.name: found.read_bytes()[:1] for found in path.parent.iterdir()}
    assert kept == {"kafka.log": b"", "kafka.log.1": b"4", "kafka.log.2": b"3"}


def test_a_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    for content in (b"one\n", b"two\n"):
        with open_log(tmp_path, "kafka") as log:
            log.write(content)
    assert log_path(tmp_path, "kafka").read_bytes() == b"one\ntwo\n"
    assert last_words(tmp_path, "kafka") == "two"
    assert last_words(tmp_path, "nobody") == "nothing"


def test_the_last_words_are_the_exception_and_not_the_shutdown_after_it(tmp_path: Path) -> None:
    lines = [
        "ERROR Fatal error during broker startup. Prepare to shutdown",
        "org.apache.kafka.common.KafkaException: Socket server failed to bind to 127.0.0.1:9092: Address in use",
        "\tat kafka.network.DataPlaneAcceptor.openServerSocket(SocketServer.scala:675)",
        "WARN NetworkClient - Attempting to close NetworkClient that has already been closed.",
    ]
    with open_log(tmp_path, "kafka") as log:
        log.write("\n".join(lines).encode() + b"\n")
    assert last_words(tmp_path, "kafka") == lines[1]
    with open_log(tmp_path, "worker-0") as log:
        log.write(b"ValueError: " + b"x" * 10_000 + b"\n")
    assert last_words(tmp_path, "worker-0") == "x" * 400


def test_the_file_is_the_users_alone_and_a_state_of_an_earlier_release_has_no_password(tmp_path: Path) -> None:
    path = tmp_path / "stack.json"
    path.write_text('{"pid": 1, "started": "x", "ports": {}, "workers": 1, "ready": false, "processes": []}')
    path.chmod(0o644)
    found = read_state(tmp_path)
    assert found is not None
    assert found.clickhouse_password == ""
    found.clickhouse_password = "secret"
    found.write(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_state(tmp_path) == found
