"""Answers of any length in bounded memory, and the bounds of what a client may hold or send."""

import gzip
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import StreamFailureError
from clickhouse_connect.driver.external import ExternalData
from tests.waiting import wait_until

from tollgate.embedded.children import start_child, stop_child
from tollgate.embedded.http_bounds import CONNECTIONS_MAX, HEAD_SECONDS_MAX
from tollgate.embedded.ports import HOST, accepts_connections, free_ports

pytestmark = pytest.mark.integration

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Server:
    """A running server of one test's own."""

    url: str
    port: int
    pid: int

    def memory_peak_bytes(self) -> int:
        """The most memory that it has held so far."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own."""
    (port,) = free_ports(1)
    argv = [sys.executable, "-m", "tollgate.embedded", "clickhouse", "--data-dir", str(tmp_path / "data")]
    with (tmp_path / "log").open("wb") as log:
        process = start_child([*argv, "--port", str(port)], log, dict(os.environ))
    try:
        wait_until(lambda: accepts_connections(port), 60, "the server")
        yield Server(f"http://{HOST}:{port}", port, process.pid)
    finally:
        stop_child(process)


@pytest.fixture
def client(clickhouse: str) -> Iterator[Client]:
    """A real client of the shared server."""
    address = urlsplit(clickhouse)
    with clickhouse_connect.get_client(host=address.hostname, port=address.port or 0) as made:
        yield made


def ask(url: str, sql: str | bytes) -> bytes:
    """The body of an answer."""
    with urlopen(Request(url, sql if isinstance(sql, bytes) else sql.encode()), timeout=60) as answer:
        return bytes(answer.read())


def test_twenty_million_rows_take_no_more_memory_than_a_few(server: Server) -> None:
    assert ask(server.url, "SELECT number FROM numbers(3000)").endswith(b"\n2999\n")
    before = server.memory_peak_bytes()
    last, size = b"", 0
    with urlopen(Request(server.url, b"SELECT number FROM numbers(20000000)"), timeout=60) as answer:
        while part := answer.read(MEBIBYTE):
            last, size = part, size + len(part)
    # The digits of 0 … 19,999,999 and a line end each: 10×2 + 90×3 + 900×4 + … + 9×10^6×8 + 10^7×9.
    assert size == 168_888_890
    assert last.endswith(b"\n19999999\n")
    assert server.memory_peak_bytes() - before < 100 * MEBIBYTE


@pytest.mark.parametrize("packed", [b"", b"gzip", b"zstd"])
def test_a_long_answer_is_one_document_in_its_format(clickhouse: str, packed: bytes) -> None:
    sql = "SELECT number AS n FROM numbers(200000) FORMAT JSON"
    options = ["-H", f"Accept-Encoding: {packed.decode()}", "--compressed"] if packed else []
    url = f"{clickhouse}/?enable_http_compression={int(bool(packed))}"
    if packed == b"zstd":
        # Not every curl unpacks it, but our own client does.
        address = urlsplit(clickhouse)
        with clickhouse_connect.get_client(host=address.hostname, port=address.port or 0, compress="zstd") as client:
            assert client.query("SELECT sum(number), count() FROM (SELECT number FROM numbers(200000))").result_rows
            rows = client.query("SELECT number FROM numbers(400000)").result_rows
        assert rows[-1] == (399_999,)
        return
    done = subprocess.run(["curl", "-sS", *options, url, "--data-binary", sql], capture_output=True, check=True)
    found = json.loads(done.stdout)
    assert found["rows"] == 200_000
    assert [row["n"] for row in found["data"]][::100_000] == [0, 100_000]
    assert found["statistics"]["rows_read"] == 200_000


def test_names_stand_once_and_totals_are_kept(clickhouse: str) -> None:
    found = ask(clickhouse, "SELECT number AS n FROM numbers(400000) FORMAT CSVWithNames")
    assert found.count(b'"n"') == 1
    assert found.endswith(b"399999\n")
    assert ask(clickhouse, "SELECT 1 AS a WHERE 0 FORMAT CSVWithNames") == b'"a"\n'
    totals = "SELECT number % 2 AS k, count() FROM numbers(10) GROUP BY k WITH TOTALS ORDER BY k FORMAT CSV"
    assert ask(clickhouse, totals) == b"0,5\n1,5\n\n0,10\n"


def test_an_error_in_the_midst_of_an_answer_is_told_at_its_end(clickhouse: str, client: Client) -> None:
    sql = "SELECT number, throwIf(number = 3000000) FROM numbers(5000000)"
    with pytest.raises(StreamFailureError, match="Value passed to 'throwIf' function is non-zero"):
        assert client.query(sql).result_rows
    slow = "SELECT sleepEachRow(0.01), throwIf(number = 100) FROM numbers(200)"
    with pytest.raises(StreamFailureError, match="Value passed to 'throwIf' function is non-zero"):
        assert client.query(slow, settings={"max_block_size": 1, "wait_end_of_query": 0}).result_rows
    with urlopen(Request(clickhouse, sql.encode()), timeout=60) as answer:
        tag = answer.headers["X-ClickHouse-Exception-Tag"].encode()
        assert answer.read().endswith(b" " + tag + b"\r\n__exception__\r\n")
    assert client.query("SELECT 1").result_rows == [(1,)]


def test_a_query_ends_when_its_client_has_gone(clickhouse: str, client: Client) -> None:
    with urlopen(Request(clickhouse, b"SELECT number FROM numbers(100000000000)"), timeout=60) as answer:
        assert answer.read(10) == b"0\n1\n2\n3\n4\n"

    def running() -> int:
        sql = "SELECT count() FROM system.processes WHERE query LIKE '%numbers(100000000000)%'"
        return int(client.query(sql).result_rows[0][0])

    # The question itself contains the words.
    wait_until(lambda: running() == 1, 30, "the query's end")


def test_a_slow_head_is_cut(server: Server) -> None:
    with socket.create_connection((HOST, server.port), timeout=5) as connection:
        connection.sendall(b"GET /ping HTTP/1.1\r\n")
        began = time.monotonic()
        connection.settimeout(0.5)
        while time.monotonic() < began + 3 * HEAD_SECONDS_MAX:
            try:
                connection.sendall(b"X: y\r\n")
                if connection.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
    assert HEAD_SECONDS_MAX - 1 < time.monotonic() - began < 2 * HEAD_SECONDS_MAX


def test_a_connection_too_many_is_turned_away(server: Server) -> None:
    with ExitStack() as held:
        for _ in range(CONNECTIONS_MAX):
            held.enter_context(socket.create_connection((HOST, server.port), timeout=5))

        def turned_away() -> bool:
            with socket.create_connection((HOST, server.port), timeout=1) as one_more:
                try:
                    return one_more.recv(12) == b"HTTP/1.1 503"
                except TimeoutError:
                    return False

        wait_until(turned_away, 20, "the answer to one connection too many")
    wait_until(lambda: ask(server.url, "SELECT 1") == b"1\n", 20, "a place")


def test_a_small_body_that_unpacks_to_a_large_one_is_refused(server: Server) -> None:
    bomb = gzip.compress(bytes(1024 * MEBIBYTE), 1)
    assert len(bomb) < 8 * MEBIBYTE
    before = server.memory_peak_bytes()
    with pytest.raises(HTTPError) as caught:
        urlopen(Request(server.url, bomb, {"Content-Encoding": "gzip"}), timeout=60)
    assert (caught.value.code, caught.value.headers["X-ClickHouse-Exception-Code"]) == (413, "307")
    caught.value.close()
    assert server.memory_peak_bytes() - before < 700 * MEBIBYTE


def test_rows_may_come_with_a_query_as_a_table_of_its_own(client: Client) -> None:
    data = ExternalData(
        file_name="films.csv", data=b"A,1999\nB,2001\n", fmt="CSV", structure="name String, year UInt16"
    )
    data.add_file(file_name="two.tsv", data=b"7\n8\n", types="UInt8")
    sql = "SELECT name, _1 FROM films, two WHERE year > {year:UInt16} ORDER BY _1"
    assert client.query(sql, parameters={"year": 2000}, external_data=data).result_rows == [("B", 7), ("B", 8)]
    outside = ExternalData(file_name="x.csv", data=b"1\n", structure="a String DEFAULT file('/etc/hostname')")
    with pytest.raises(Exception, match="ACCESS_DENIED"):
        client.query("SELECT * FROM x", external_data=outside)


def test_parameters_may_have_a_dollar_and_queries_bytes_that_are_no_text(clickhouse: str) -> None:
    assert ask(f"{clickhouse}/?param_$x=7", "SELECT {$x:UInt8}") == b"7\n"
    assert ask(clickhouse, b"SELECT hex('\xff\xfea')") == b"FFFE61\n"
    assert ask(clickhouse, b"SELECT 1 AS `\xc3\xa4` FORMAT CSVWithNames") == '"ä"\n1\n'.encode()


def test_rows_may_follow_a_with_and_a_dictionary_may_copy_a_table(clickhouse: str) -> None:
    ask(clickhouse, "CREATE DATABASE IF NOT EXISTS dictionaries")
    url = f"{clickhouse}/?database=dictionaries"
    ask(url, "CREATE TABLE names (id UInt64, name String) ENGINE = MergeTree ORDER BY id")
    ask(
        url,
        "WITH 10 AS more INSERT INTO names SELECT id + more, name FROM input('id UInt64, name String') FORMAT CSV\n1,a",
    )
    source = "SOURCE(CLICKHOUSE(TABLE 'names' DB 'dictionaries'))"
    ask(url, f"CREATE DICTIONARY known (id UInt64, name String) PRIMARY KEY id {source} LAYOUT(FLAT()) LIFETIME(0)")
    assert ask(url, "SELECT dictGet('known', 'name', toUInt64(11))") == b"a\n"
