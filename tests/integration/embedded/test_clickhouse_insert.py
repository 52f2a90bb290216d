"""An insert into the embedded ClickHouse server is acknowledged when its rows are in the table, and only then."""

import json
import random
import shlex
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from tests.waiting import wait_until

from tollgate.embedded.children import start_child, stop_child
from tollgate.embedded.ports import HOST, accepts_connections, free_ports

pytestmark = pytest.mark.integration

# In a mount namespace of its own the server has a small disk that is gone with it; as another user than root it needs
# a user namespace for that, which some systems forbid.
_OWN_MOUNTS = ("unshare", "--map-root-user", "--mount")
_SMALL_DISK = "mount -t tmpfs -o size=24m none "


@pytest.fixture
def connection(clickhouse: str) -> Iterator[Client]:
    """A client in a database of the test's own."""
    address = urlsplit(clickhouse)
    name = f"d{uuid.uuid4().hex[:10]}"
    with clickhouse_connect.get_client(host=address.hostname, port=address.port or 0) as client:
        client.command(f"CREATE DATABASE {name}")
        client.database = name
        yield client
        client.command(f"DROP DATABASE {name}")


@pytest.fixture
def on_small_disk(tmp_path: Path) -> Iterator[Client]:
    """A client of a server whose data directory is on a disk of 24 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = _SMALL_DISK + shlex.quote(str(disk))
    try:
        tried = subprocess.run([*_OWN_MOUNTS, "sh", "-c", mount], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("a small disk needs the command unshare")
    if tried.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {tried.stderr.strip()}")
    (port,) = free_ports(1)
    server = [sys.executable, "-m", "tollgate.embedded", "clickhouse", "--data-dir", str(disk), "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        process = start_child([*_OWN_MOUNTS, "sh", "-c", f"{mount} && exec {shlex.join(server)}"], log)
    try:
        wait_until(lambda: accepts_connections(port), what="the server")
        with clickhouse_connect.get_client(host=HOST, port=port) as client:
            yield client
    finally:
        stop_child(process)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO t FORMAT JSONEachRow",
        "INSERT INTO t SELECT a, s FROM input('a UInt64, s String') FORMAT JSONEachRow",
    ],
    ids=["rows", "input"],
)
def test_on_a_full_disk_what_was_acknowledged_is_there_and_the_rest_is_an_error(
    on_small_disk: Client, statement: str
) -> None:
    on_small_disk.command("CREATE TABLE t (a UInt64, s String) ENGINE = MergeTree ORDER BY a")
    on_small_disk.command("CREATE TABLE later (a UInt64) ENGINE = MergeTree ORDER BY a")
    chance = random.Random(1)
    acknowledged = 0
    # 60 MB that cannot be packed.
    for _ in range(30):
        rows = b"".join(b'{"a":%d,"s":"%s"}\n' % (n, chance.randbytes(500).hex().encode()) for n in range(4000))
        try:
            acknowledged += on_small_disk.raw_insert("", insert_block=f"{statement}\n".encode() + rows).written_rows
        except DatabaseError as error:
            failure = str(error)
            break
    else:
        pytest.fail(f"{acknowledged} rows were acknowledged")
    assert "Code: 243." in failure
    assert "NOT_ENOUGH_SPACE" in failure
    assert acknowledged > 0
    assert on_small_disk.query("SELECT count() FROM t").result_rows == [(acknowledged,)]
    on_small_disk.command("DROP TABLE t SYNC")

    def fits_again() -> bool:
        try:
            return on_small_disk.raw_insert("later", insert_block=b'{"a":1}', fmt="JSONEachRow").written_rows == 1
        except DatabaseError:
            return False

    wait_until(fits_again, what="room for a row")
    assert on_small_disk.query("SELECT count() FROM later").result_rows == [(1,)]


def test_a_violated_constraint_is_an_error_and_nothing_of_its_insert_is_there(connection: Client) -> None:
    connection.command("CREATE TABLE t (a UInt64, CONSTRAINT small CHECK a < 3) ENGINE = MergeTree ORDER BY a")
    with pytest.raises(DatabaseError, match=r"Code: 469\. DB::Exception: Constraint `small`.*VIOLATED_CONSTRAINT"):
        connection.raw_insert("t", insert_block=b"1\n2\n3\n", fmt="CSV")
    assert connection.raw_insert("t", insert_block=b"1\n2\n", fmt="CSV").written_rows == 2
    assert connection.query("SELECT a FROM t ORDER BY a").result_rows == [(1,), (2,)]


def test_a_view_that_fails_fails_the_insert(connection: Client) -> None:
    connection.command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    connection.command(
        "CREATE MATERIALIZED VIEW v ENGINE = MergeTree ORDER BY b AS SELECT throwIf(a = 3, 'no threes') AS b FROM t"
    )
    with pytest.raises(DatabaseError, match=r"Code: 395\. .*no threes"):
        connection.raw_insert("t", insert_block=b"3\n", fmt="CSV")


def test_settings_in_the_statement_hold_for_its_rows(connection: Client) -> None:
    connection.command("CREATE TABLE t (a UInt64, at DateTime('UTC')) ENGINE = MergeTree ORDER BY a")
    connection.raw_query(
        "INSERT INTO t (a, at) SETTINGS date_time_input_format = 'best_effort', input_format_skip_unknown_fields = 1 "
        '-- why\nFORMAT JSONEachRow\n{"a":1,"at":"2026-11-21T10:00:00Z","unknown":2}'
    )
    assert connection.query("SELECT a, toUnixTimestamp(at) FROM t").result_rows == [(1, 1_795_255_200)]


def test_rows_through_input_are_converted_counted_and_refused_like_others(connection: Client) -> None:
    connection.command("CREATE TABLE t (a UInt64, s LowCardinality(String)) ENGINE = MergeTree ORDER BY a")
    head = b"INSERT INTO t (a, s) SELECT a + 1, upper(s) FROM input('a UInt64, s String') WHERE a != 2"
    head += b" FORMAT JSONEachRow\n"
    rows = b'{"a":1,"s":"x;"}\n{"a":2,"s":"y"}\n{"a":3,"s":"\\u0000)"}'
    assert connection.raw_insert("", insert_block=head + rows).written_rows == 2
    with pytest.raises(DatabaseError, match=r"Code: 27\."):
        connection.raw_insert("", insert_block=head + b'{"a":7,"s":"x"}\n{"a":"seven"}')
    assert connection.query("SELECT a, s FROM t ORDER BY a").result_rows == [(2, "X;"), (4, "\0)")]


def test_the_rows_of_each_insert_are_counted_anew(connection: Client) -> None:
    connection.command("CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n")
    head = b"INSERT INTO t SELECT count() FROM input('a UInt8') FORMAT CSV\n"
    for rows in (b"1\n2\n", b"1\n2\n3\n", b"1\n"):
        connection.raw_insert("", insert_block=head + rows)
    assert connection.query("SELECT n FROM t ORDER BY n").result_rows == [(1,), (2,), (3,)]


def test_values_are_expressions_and_take_parameters(connection: Client) -> None:
    connection.command("CREATE TABLE t (a UInt64, s String) ENGINE = MergeTree ORDER BY a")
    connection.command("INSERT INTO t VALUES (1 + 1, upper({p:String})), (3, ';');", parameters={"p": "it's"})
    assert connection.query("SELECT * FROM t ORDER BY a").result_rows == [(2, "IT'S"), (3, ";")]


@pytest.mark.parametrize("name", ["RowBinary", "Native", "Parquet", "Arrow", "TabSeparated", "CSVWithNames"])
def test_what_was_read_in_a_format_can_be_inserted_in_it(connection: Client, name: str) -> None:
    connection.command("CREATE TABLE t (a UInt64, s String) ENGINE = MergeTree ORDER BY a")
    # Among these are empty lines, quotes, and bytes that are no UTF-8.
    rows = "SELECT number AS a, concat('\\n\\n', char(number % 256), '''\";') AS s FROM numbers(1000)"
    data = connection.raw_query(rows, fmt=name, settings={"output_format_arrow_string_as_string": 0})
    assert connection.raw_insert("t", insert_block=data, fmt=name).written_rows == 1000
    equal = connection.query(f"SELECT count() FROM t WHERE (a, s) IN ({rows})")
    assert equal.result_rows == [(1000,)]


def test_an_insert_of_nothing_is_no_error(connection: Client) -> None:
    connection.command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    assert connection.raw_insert("t", insert_block=b"", fmt="JSONEachRow").written_rows == 0


def test_without_files_in_memory_rows_go_through_the_inbox(tmp_path: Path) -> None:
    # The engine can be opened once per process, so this is another one.
    program = """
import json, sys
from pathlib import Path
from tollgate.embedded.clickhouse_engine import Engine, Query
from tollgate.embedded.clickhouse_inbox import Inbox
from tollgate.embedded.clickhouse_statement import parse_statement

place = Path(sys.argv[1])
engine = Engine(place / "data", Inbox(place / "inbox", in_memory=False))
def run(text):
    with engine.run(Query(parse_statement(text))) as result:
        return result
run(b"CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
answer = run(b"INSERT INTO t FORMAT CSV\\n1\\n2\\n")
count = run(b"SELECT count() FROM t").first.decode()
engine.close()
print(json.dumps([answer.counters.written_rows, count, [path.name for path in (place / "inbox").iterdir()]]))
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [2, "2\n", []]
