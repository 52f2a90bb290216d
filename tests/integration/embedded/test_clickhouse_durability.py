"""What the embedded ClickHouse server has acknowledged is there after any end of it."""

import ctypes
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.httpclient import HttpClient
from tests.waiting import wait_until

from tollgate.embedded.children import start_child, stop_child
from tollgate.embedded.ports import HOST, accepts_connections, free_ports

pytestmark = pytest.mark.integration

Serve = Callable[[], tuple["subprocess.Popen[bytes]", Client]]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start a server over one directory, again and again."""
    started: list[subprocess.Popen[bytes]] = []

    def begin() -> tuple["subprocess.Popen[bytes]", Client]:
        (port,) = free_ports(1)
        argv = [sys.executable, "-m", "tollgate.embedded", "clickhouse", "--data-dir", str(tmp_path / "data")]
        with (tmp_path / "log").open("ab") as log:
            process = start_child([*argv, "--port", str(port)], log)
        started.append(process)
        wait_until(lambda: accepts_connections(port), what="the server")
        return process, clickhouse_connect.get_client(host=HOST, port=port)

    yield begin
    for process in started:
        stop_child(process)


def url_of(client: Client) -> str:
    """Where the client sends its queries."""
    assert isinstance(client, HttpClient)
    return client.url


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_an_acknowledged_insert_survives_the_end_of_the_server(serve: Serve, end: signal.Signals) -> None:
    process, client = serve()
    client.command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    for number in range(5):
        client.raw_insert("t", insert_block=b'{"a":%d}' % number, fmt="JSONEachRow")
        if number == 4:
            process.send_signal(end)
    assert process.wait(15) == (0 if end is signal.SIGTERM else -signal.SIGKILL)
    _, client = serve()
    assert client.query("SELECT count(), sum(a) FROM t").result_rows == [(5, 10)]


def test_sigterm_lets_a_running_query_finish(serve: Serve) -> None:
    process, client = serve()
    slow = subprocess.Popen(
        ["curl", "-sS", url_of(client), "--data-binary", "SELECT sleep(2), 'done'"], stdout=subprocess.PIPE, text=True
    )
    wait_until(
        lambda: (
            client.query("SELECT count() FROM system.processes WHERE query LIKE 'SELECT sleep%'").result_rows == [(1,)]
        )
    )
    process.terminate()
    assert slow.communicate(timeout=15)[0] == "0\tdone\n"
    assert process.wait(15) == 0


def test_a_signal_that_a_thread_of_the_engine_receives_stops_the_server(serve: Serve) -> None:
    """The kernel picks any thread that does not block the signal; about once in a hundred it is not the main one."""
    process, client = serve()
    client.command("SELECT 1")
    threads = [int(entry.name) for entry in Path(f"/proc/{process.pid}/task").iterdir()]
    receiver = max(thread for thread in threads if thread != process.pid and not _blocks(process.pid, thread))
    assert ctypes.CDLL(None).tgkill(process.pid, receiver, signal.SIGTERM.value) == 0
    assert process.wait(15) == 0


def _blocks(pid: int, thread: int) -> bool:
    """Whether the thread lets SIGTERM pass to others."""
    status = Path(f"/proc/{pid}/task/{thread}/status").read_text("ascii")
    (blocked,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigBlk:"))
    return bool(int(blocked, 16) >> (signal.SIGTERM - 1) & 1)


def test_a_second_server_cannot_open_the_same_directory(serve: Serve, tmp_path: Path) -> None:
    serve()
    (port,) = free_ports(1)
    argv = [sys.executable, "-m", "tollgate.embedded", "clickhouse", "--data-dir", str(tmp_path / "data")]
    second = subprocess.run([*argv, "--port", str(port)], capture_output=True, text=True, timeout=30, check=False)
    assert second.returncode == 3
    assert "in use" in second.stderr
