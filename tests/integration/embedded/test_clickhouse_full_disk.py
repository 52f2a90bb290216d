"""A write that is refused destroys nothing in the embedded ClickHouse server, and nothing that failed is acknowledged.

The kernel refuses writes past the largest size it allows this process's files (RLIMIT_FSIZE) as it refuses those on a
full disk, and that limit can be set from outside, at any moment and without mounting anything.
"""

import resource
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from http.client import RemoteDisconnected
from pathlib import Path

import pytest
from tests.waiting import wait_until

from tollgate.embedded.children import start_child, stop_child
from tollgate.embedded.ports import HOST, accepts_connections, free_ports

pytestmark = pytest.mark.integration

# More than 10,000 rows of `t` take, and less than 60,000 do.
FILE_BYTES_MAX = 3_000_000
# sysexits.h: an error occurred while doing I/O on some file.
EX_IOERR = 74


class Server:
    """The server over one directory, started again and again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def start(self) -> int:
        """Start it, and return its process id."""
        (self._port,) = free_ports(1)
        argv = [sys.executable, "-m", "tollgate.embedded", "clickhouse", "--data-dir", str(self._directory / "data")]
        with (self._directory / "log").open("ab") as log:
            self.process = start_child([*argv, "--port", str(self._port)], log)
        wait_until(lambda: accepts_connections(self._port), what="the server")
        return self.process.pid

    def ask(self, query: str) -> str:
        """The answer in TabSeparated. URLError or RemoteDisconnected when there is none."""
        with urllib.request.urlopen(f"http://{HOST}:{self._port}/", query.encode(), timeout=30) as answer:
            return str(answer.read().decode())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    assert server.process is not None
    stop_child(server.process)


def refuse_large_files(pid: int) -> None:
    """From now on no file of the process grows past FILE_BYTES_MAX."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (FILE_BYTES_MAX, FILE_BYTES_MAX))


def test_a_merge_that_cannot_write_leaves_every_row_where_it_was(server: Server) -> None:
    pid = server.start()
    server.ask("CREATE TABLE t (a UInt64, s String) ENGINE = MergeTree ORDER BY a")
    server.ask("SYSTEM STOP MERGES t")
    for number in range(6):
        server.ask(f"INSERT INTO t SELECT number + {number}0000, randomString(100) FROM numbers(10000)")
    server.ask("SYSTEM START MERGES t")
    refuse_large_files(pid)
    with pytest.raises((RemoteDisconnected, ConnectionResetError)):
        server.ask("OPTIMIZE TABLE t FINAL")
    assert server.process is not None
    assert server.process.wait(15) == EX_IOERR

    server.start()
    # 0 + 1 + … + 59,999, and 60,000 strings of 100.
    assert server.ask("SELECT count(), sum(a), sum(length(s)) FROM t") == "60000\t1799970000\t6000000\n"
    assert server.ask("SELECT count() FROM system.detached_parts WHERE reason = 'broken-on-start'") == "1\n"
    server.ask("OPTIMIZE TABLE t FINAL")
    assert server.ask("SELECT count(), sum(a), sum(length(s)) FROM t") == "60000\t1799970000\t6000000\n"


def test_a_merge_in_the_background_that_cannot_write_ends_the_server_too(server: Server) -> None:
    pid = server.start()
    server.ask("CREATE TABLE t (a UInt64, s String) ENGINE = MergeTree ORDER BY a")
    server.ask("SYSTEM STOP MERGES t")
    for number in range(6):
        server.ask(f"INSERT INTO t SELECT number + {number}0000, randomString(100) FROM numbers(10000)")
    refuse_large_files(pid)
    server.ask("ALTER TABLE t MODIFY SETTING min_age_to_force_merge_seconds = 1")
    # The merge may be faster than the answer.
    with suppress(RemoteDisconnected, ConnectionResetError):
        server.ask("SYSTEM START MERGES t")
    assert server.process is not None
    assert server.process.wait(30) == EX_IOERR

    server.start()
    assert server.ask("SELECT count(), sum(a), sum(length(s)) FROM t") == "60000\t1799970000\t6000000\n"


def test_an_insert_that_cannot_be_written_is_not_acknowledged(server: Server) -> None:
    pid = server.start()
    server.ask("CREATE TABLE t (a UInt64, s String) ENGINE = MergeTree ORDER BY a")
    server.ask("INSERT INTO t SELECT number, randomString(100) FROM numbers(10000)")
    refuse_large_files(pid)
    with pytest.raises((RemoteDisconnected, ConnectionResetError)):
        server.ask("INSERT INTO t SELECT number, randomString(100) FROM numbers(60000)")
    assert server.process is not None
    assert server.process.wait(15) == EX_IOERR

    server.start()
    assert server.ask("SELECT count(), sum(a), sum(length(s)) FROM t") == "10000\t49995000\t1000000\n"


def test_it_starts_however_large_the_damage_is(server: Server) -> None:
    server.start()
    names = "'max_suspicious_broken_parts', 'max_suspicious_broken_parts_bytes'"
    found = server.ask(f"SELECT value FROM system.merge_tree_settings WHERE name IN ({names}) ORDER BY name")
    assert found == "1000000\n1000000000000000\n"
