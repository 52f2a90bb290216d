"""The embedded ClickHouse server as real clients see it: clickhouse-connect, sync and async, and curl."""

import json
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from urllib.parse import urlsplit

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

pytestmark = pytest.mark.integration


@pytest.fixture
def database(clickhouse: str) -> Iterator[str]:
    """A database of the test's own."""
    name = f"d{uuid.uuid4().hex[:10]}"
    with client(clickhouse) as admin:
        admin.command(f"CREATE DATABASE {name}")
        yield name
        admin.command(f"DROP DATABASE {name}")


def client(url: str, database: str = "default", **options: object) -> Client:
    """A real client; options are those of clickhouse-connect."""
    address = urlsplit(url)
    settings: dict[str, object] = {"host": address.hostname, "port": address.port, "database": database} | options
    return clickhouse_connect.get_client(**settings)  # type: ignore[arg-type] # the library's own names


def curl(*arguments: str) -> tuple[int, dict[str, str], str]:
    """Status, headers with lower-case names, and body."""
    done = subprocess.run(["curl", "-sS", "-i", *arguments], capture_output=True, check=True)
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100"):
        head, _, body = body.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(status.split()[1]), headers, body.decode()


@pytest.mark.parametrize("compress", ["lz4", "zstd", "gzip", False])
def test_rows_come_back_as_they_were_inserted(clickhouse: str, database: str, compress: str | bool) -> None:
    rows = [
        [number, f"row {number} ' \t \\", Decimal("1.000000000001"), {"tokens": Decimal("2.5")}]
        for number in range(500)
    ]
    with client(clickhouse, database, compress=compress) as connection:
        connection.command(
            "CREATE TABLE t (a UInt64, s String, d Decimal(38, 12), m Map(String, Decimal(38, 9))) "
            "ENGINE = MergeTree ORDER BY a"
        )
        summary = connection.insert("t", rows, column_names=["a", "s", "d", "m"])
        assert summary.written_rows == 500
        assert [list(row) for row in connection.query("SELECT * FROM t ORDER BY a").result_rows] == rows


def test_json_lines_are_inserted_and_counted(clickhouse: str, database: str) -> None:
    with client(clickhouse, database) as connection:
        connection.command("CREATE TABLE t (a UInt64, d Decimal(38, 12)) ENGINE = MergeTree ORDER BY a")
        lines = b"\n".join(b'{"a":%d,"d":"0.000000000001","unknown":[1]}' % number for number in range(150_000))
        summary = connection.raw_insert(
            "t", insert_block=lines, fmt="JSONEachRow", settings={"input_format_skip_unknown_fields": 1}
        )
        assert summary.written_rows == 150_000
        assert connection.query("SELECT count(), sum(d), max(a) FROM t").result_rows == [
            (150_000, Decimal("0.000000150000"), 149_999)
        ]


def test_a_bad_row_leaves_nothing_of_its_insert(clickhouse: str, database: str) -> None:
    with client(clickhouse, database) as connection:
        connection.command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
        lines = b"\n".join([*(b'{"a":%d}' % number for number in range(1000)), b'{"a":"x"}'])
        with pytest.raises(DatabaseError, match="Cannot parse"):
            connection.raw_insert("t", insert_block=lines, fmt="JSONEachRow")
        assert connection.query("SELECT count() FROM t").result_rows == [(0,)]


def test_parameters_are_values_and_never_sql(clickhouse: str) -> None:
    value = "it's \\ 1; DROP TABLE x --\n\t"
    with client(clickhouse) as connection:
        found = connection.query(
            "SELECT {s:String}, {n:UInt8} + 1, {a:Array(String)}", parameters={"s": value, "n": 4, "a": ["x'y", "z"]}
        )
        assert found.result_rows == [(value, 5, ["x'y", "z"])]


def test_a_requests_settings_end_with_it(clickhouse: str) -> None:
    with client(clickhouse) as connection:
        sql = "SELECT getSetting('max_block_size')"
        assert connection.query(sql, settings={"max_block_size": 77}).result_rows == [(77,)]
        assert connection.query(sql).result_rows != [(77,)]


def test_a_session_keeps_its_temporary_table_and_others_do_not_see_it(clickhouse: str) -> None:
    with client(clickhouse, session_id="mine") as mine, client(clickhouse, session_id="other") as other:
        mine.command("CREATE TEMPORARY TABLE kept (a UInt8)")
        mine.command("INSERT INTO kept VALUES (7)")
        assert mine.query("SELECT a FROM kept").result_rows == [(7,)]
        with pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
            other.query("SELECT a FROM kept")


@pytest.mark.parametrize(
    ("sql", "code", "status"),
    [
        ("SELECT no_such_column", 47, 404),
        ("SELECT * FROM no_such_table", 60, 404),
        ("SELECT * FROM no_such_database.t", 81, 404),
        ("SELEC 1", 62, 400),
        ("SELECT 1; SELECT 2", 62, 400),
        ("SELECT toUInt8('x')", 6, 400),
        ("SELECT throwIf(1)", 395, 500),
        ("SELECT 1 FORMAT NoSuchFormat", 73, 404),
        ("INSERT INTO t FROM INFILE '/etc/hostname' FORMAT LineAsString", 344, 400),
        ("SELECT 1 INTO OUTFILE 'tollgate-outfile'", 344, 400),
        ("INSERT INTO t SELECT a FROM input('a Int8') FORMAT CSV\n1", 60, 404),
        ("INSERT INTO t SELECT 1; SELECT 2", 62, 400),
    ],
)
def test_a_failed_query_has_clickhouses_code_text_and_status(clickhouse: str, sql: str, code: int, status: int) -> None:
    found, headers, body = curl(clickhouse, "--data-binary", sql)
    assert (found, headers["x-clickhouse-exception-code"]) == (status, str(code))
    assert body.startswith(f"Code: {code}. DB::Exception: ")


def test_the_client_raises_the_servers_exception(clickhouse: str) -> None:
    with client(clickhouse) as connection, pytest.raises(DatabaseError, match="UNKNOWN_IDENTIFIER"):
        connection.query("SELECT nothing_of_that_name")


def test_curl_reads_and_writes(clickhouse: str, database: str) -> None:
    url = f"{clickhouse}/?database={database}"
    assert curl(f"{clickhouse}/ping")[0::2] == (200, "Ok.\n")
    assert curl(f"{clickhouse}/nowhere")[0] == 404
    assert curl(url, "--data-binary", "CREATE TABLE t (a UInt8, s String) ENGINE = MergeTree ORDER BY a")[0] == 200
    status, headers, _ = curl(f"{url}&query=INSERT+INTO+t+FORMAT+CSV", "--data-binary", "1,x\n2,y\n")
    assert status == 200
    assert json.loads(headers["x-clickhouse-summary"])["written_rows"] == "2"
    assert curl(url, "--data-binary", "INSERT INTO t VALUES (3, 'FORMAT z;')")[0] == 200
    status, headers, body = curl(f"{url}&query=SELECT+*+FROM+t+ORDER+BY+a+FORMAT+JSONEachRow&query_id=mine")
    assert [json.loads(line) for line in body.splitlines()] == [
        {"a": 1, "s": "x"},
        {"a": 2, "s": "y"},
        {"a": 3, "s": "FORMAT z;"},
    ]
    assert headers["x-clickhouse-query-id"] == "mine"
    assert headers["x-clickhouse-format"] == "JSONEachRow"
    assert headers["x-clickhouse-timezone"] == "UTC"
    assert "x-clickhouse-server-display-name" in headers


def test_get_only_reads(clickhouse: str, database: str) -> None:
    status, headers, _ = curl(f"{clickhouse}/?query=DROP+DATABASE+{database}")
    assert (status, headers["x-clickhouse-exception-code"]) == (500, "164")


def test_a_form_brings_parameters(clickhouse: str) -> None:
    form = ("-F", "query=SELECT {x:UInt8} + {y:UInt8}", "-F", "param_x=7")
    assert curl(f"{clickhouse}/?param_y=1", *form)[0::2] == (200, "8\n")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_an_answer_is_packed_when_asked_for(clickhouse: str, encoding: str) -> None:
    url = f"{clickhouse}/?enable_http_compression=1&query=SELECT+repeat('a',100000)"
    if encoding == "zstd":
        _, headers, _ = _raw_headers(url, encoding)
    else:
        _, headers, body = curl(url, "-H", f"Accept-Encoding: {encoding}", "--compressed")
        assert body == "a" * 100_000 + "\n"
    assert headers["content-encoding"] == encoding
    assert int(headers["content-length"]) < 2000


def _raw_headers(url: str, encoding: str) -> tuple[int, dict[str, str], str]:
    return curl("-o", "/dev/null", "-D", "-", "-H", f"Accept-Encoding: {encoding}", url)


def test_without_asking_an_answer_is_plain(clickhouse: str) -> None:
    _, headers, body = curl(f"{clickhouse}/?query=SELECT+1", "-H", "Accept-Encoding: gzip")
    assert "content-encoding" not in headers
    assert body == "1\n"


def test_a_body_in_chunks_is_whole(clickhouse: str) -> None:
    chunked = ("-H", "Transfer-Encoding: chunked", "--data-binary", f"SELECT length('{'x' * 100_000}')")
    assert curl(clickhouse, *chunked)[0::2] == (200, "100000\n")


@pytest.mark.parametrize("header", ["Origin: https://example.com", "Host: example.com"])
def test_a_web_page_cannot_send_queries(clickhouse: str, header: str) -> None:
    assert curl(clickhouse, "-H", header, "--data-binary", "SELECT 1")[0] == 403


def test_a_deduplication_token_is_refused(clickhouse: str) -> None:
    status, headers, body = curl(f"{clickhouse}/?insert_deduplication_token=x", "--data-binary", "SELECT 1")
    assert (status, headers["x-clickhouse-exception-code"]) == (400, "344")
    assert "lose rows" in body


def test_a_name_that_is_no_setting_cannot_become_sql(clickhouse: str) -> None:
    status, headers, _ = curl(f"{clickhouse}/?max_threads%3D1,+readonly=1&query=SELECT+1")
    assert (status, headers["x-clickhouse-exception-code"]) == (400, "408")


async def test_the_async_client_works_and_its_queries_run_together(clickhouse: str) -> None:
    address = urlsplit(clickhouse)
    connection = await clickhouse_connect.get_async_client(
        host=address.hostname or "", port=address.port or 0, autogenerate_session_id=False
    )
    try:
        found = await connection.query("SELECT number FROM numbers(3)")
        assert list(found.result_rows) == [(0,), (1,), (2,)]
    finally:
        await connection.close()


def test_queries_run_in_parallel(clickhouse: str) -> None:
    began = time.monotonic()
    together = threading.Barrier(6)

    def slow(_number: int) -> str:
        together.wait()
        return curl(clickhouse, "--data-binary", "SELECT sleep(1)")[2]

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(slow, range(6))) == ["0\n"] * 6
    # One after the other they would take six seconds.
    assert time.monotonic() - began < 4
