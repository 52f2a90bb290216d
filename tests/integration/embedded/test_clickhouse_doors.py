"""What a client of the embedded ClickHouse server cannot do: reach out of the engine, in without the password, or past
the server's bounds."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from tests.waiting import wait_until

from tollgate.embedded.children import start_child, stop_child
from tollgate.embedded.ports import HOST, accepts_connections, free_ports

pytestmark = pytest.mark.integration

PASSWORD = "right: pass/word"


class Server:
    """A server of one test's own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "clickhouse"
        (self.port,) = free_ports(1)
        self.url = f"http://{HOST}:{self.port}"
        self._log = directory / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **variables: str) -> None:
        """Start it, or start it again."""
        argv = [sys.executable, "-m", "tollgate.embedded", "clickhouse", "--data-dir", str(self.directory)]
        with self._log.open("ab") as log:
            self.process = start_child([*argv, "--port", str(self.port)], log, dict(os.environ) | variables)
        wait_until(lambda: accepts_connections(self.port), 60, "the server")

    def stop(self) -> None:
        """End it, if it runs."""
        if self.process is not None:
            stop_child(self.process)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Not started yet."""
    made = Server(tmp_path)
    yield made
    made.stop()


def ask(url: str, sql: str | bytes, **headers: str) -> tuple[int, str, str]:
    """Status, ClickHouse's code and the body of an answer to a POST."""
    body = sql if isinstance(sql, bytes) else sql.encode()
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urlopen(Request(url, body, given), timeout=60) as answer:
            return answer.status, "", answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.headers.get("X-ClickHouse-Exception-Code", ""), error.read().decode()


def get(url: str, sql: str, more: str = "") -> tuple[int, str, str]:
    """The same of a GET."""
    try:
        with urlopen(f"{url}/?query={quote(sql)}{more}", timeout=60) as answer:
            return answer.status, "", answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.headers.get("X-ClickHouse-Exception-Code", ""), error.read().decode()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM file('/etc/hostname', 'LineAsString')",
        "SELECT file('/etc/hostname')",
        "SELECT `fil\\x65`('/etc/hostname')",
        "WITH x AS (SELECT file('/etc/hostname') AS a) SELECT a FROM x",
        "SELECT * FROM `/etc/hostname`",
        "SELECT * FROM default.`/etc/hostname`",
        "DESCRIBE TABLE file('/etc/hostname')",
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
        "SELECT * FROM s3('http://127.0.0.1:1/bucket/key', 'LineAsString')",
        "SELECT * FROM remote('127.0.0.1:1', system.one)",
        "SELECT * FROM mysql('127.0.0.1:1', 'd', 't', 'u', 'p')",
        "SELECT * FROM sqlite('/tmp/x.db', 't')",
        "SELECT * FROM executable('x', 'TSV', 'a String')",
        "SELECT * FROM Python(settings)",
        "SELECT * FROM `Pyth\\x6fn`(settings)",
        "SELECT * FROM eval('SELECT file(''/etc/hostname'')') SETTINGS allow_experimental_eval_table_function = 1",
        "SELECT 1 INTO OUTFILE '{path}'",
        "SELECT 1 /* /* */ FORMAT CSV */ INTO OUTFILE '{path}'",
        "SELECT 1 INTO/**/OUTFILE '{path}' APPEND FORMAT CSV",
        "EXPLAIN SELECT 1 INTO OUTFILE '{path}'",
        "SHOW TABLES INTO OUTFILE '{path}'",
        "INSERT INTO FUNCTION file('{path}', 'CSV', 'a Int8') VALUES (1)",
        "INSERT INTO FUNCTION file('{path}', 'CSV', 'a Int8') SELECT 1",
        "INSERT INTO within FROM INFILE '/etc/hostname' FORMAT LineAsString",
        "INSERT INTO within /* /* */ FORMAT CSV */ FROM INFILE '/etc/hostname' FORMAT LineAsString",
        "INSERT INTO within SELECT a FROM input('a String') WHERE file('/etc/hostname') != '' FORMAT CSV\nx",
        "INSERT INTO within SELECT a FROM input('a String DEFAULT file(''/etc/hostname'')') FORMAT CSV\nx",
        "CREATE TABLE u (a String) ENGINE = File(CSV, '{path}')",
        "CREATE TABLE u (a String) ENGINE = URL('http://127.0.0.1:1/', CSV)",
        "CREATE TABLE u (a String) ENGINE = Executable('x', TSV)",
        "CREATE TABLE u (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = local, path = '{path}/')",
        "CREATE TABLE u (a String DEFAULT file('/etc/hostname')) ENGINE = Memory",
        "CREATE FUNCTION f AS x -> file(x)",
        "CREATE VIEW v AS SELECT file('/etc/hostname')",
        "CREATE DATABASE d ENGINE = Filesystem('/etc')",
        "CREATE DATABASE d ENGINE = SQLite('{path}')",
        "CREATE DATABASE d ENGINE = MySQL('127.0.0.1:1', 'd', 'u', 'p')",
        "CREATE DICTIONARY d (a UInt64) PRIMARY KEY a SOURCE(HTTP(url 'http://127.0.0.1:1/')) LAYOUT(FLAT())",
        "CREATE NAMED COLLECTION c AS url = 'http://127.0.0.1:1/'",
        "ATTACH TABLE u FROM '{path}' (a Int8) ENGINE = MergeTree ORDER BY a",
        "DROP TABLE IF EXISTS u PARALLEL WITH CREATE TABLE u (a String) ENGINE = Executable('x', TSV)",
        "BACKUP TABLE within TO File('{path}')",
        "SELECT 1 AS a FORMAT Template SETTINGS format_template_resultset = '/etc/hostname'",
        "SELECT 1 AS a FORMAT Template SETTINGS format_template_row = '/etc/hostname'",
        "SELECT 1 AS a FORMAT Protobuf SETTINGS output_format_schema = '{path}.proto'",
        "SELECT 1 AS a FORMAT Protobuf SETTINGS format_schema_source = 'file', format_schema = '/etc/hostname:M'",
        "INSERT INTO within SETTINGS input_format_record_errors_file_path = '{path}' FORMAT CSV\nx",
        "SELECT * FROM format(AvroConfluent, 'x') SETTINGS format_avro_schema_registry_url = 'http://127.0.0.1:1'",
        "SYSTEM SHUTDOWN",
        "SET dialect = 'prql'",
    ],
)
def test_a_query_reaches_nothing_but_the_engines_own_data(clickhouse: str, tmp_path: Path, sql: str) -> None:
    path = tmp_path / "reached"
    host = Path("/etc/hostname").read_text(encoding="utf-8").strip()
    ask(clickhouse, "CREATE TABLE IF NOT EXISTS within (a String) ENGINE = Memory")
    status, code, body = ask(clickhouse, sql.replace("{path}", str(path)))
    assert status >= 400
    # Refused, or not there at all: never tried.
    assert code in ("1", "36", "46", "60", "62", "344", "452", "497"), body
    assert host not in body.replace(sql, "")
    assert list(tmp_path.iterdir()) == []
    assert ask(clickhouse, "SELECT count() FROM within") == (200, "", "0\n")


@pytest.mark.long
def test_the_default_database_stays_as_it_was_over_restarts(server: Server) -> None:
    # Empty, with a table, and empty again.
    server.start()
    server.stop()
    server.start()
    assert ask(server.url, "CREATE TABLE kept (a Int8) ENGINE = MergeTree ORDER BY a")[0] == 200
    assert ask(server.url, "INSERT INTO kept VALUES (7)")[0] == 200
    server.stop()
    server.start()
    assert ask(server.url, "SELECT a FROM kept") == (200, "", "7\n")
    assert ask(server.url, "DROP TABLE kept SYNC")[0] == 200
    for _ in range(2):
        server.stop()
        server.start()
    assert ask(server.url, "SHOW TABLES FROM default") == (200, "", "")


def test_tables_that_an_earlier_release_made_in_the_default_database_stay(server: Server) -> None:
    # As an earlier release did it: chDB's own default database.
    program = (
        "import chdb, os, sys\n"
        "connection = chdb.connect(sys.argv[1])\n"
        "connection.query('CREATE TABLE old (a Int8) ENGINE = MergeTree ORDER BY a')\n"
        "connection.query('INSERT INTO old VALUES (5)')\n"
        "connection.close()\n"
        "os._exit(0)\n"
    )
    data = server.directory / "data"
    data.mkdir(parents=True)
    subprocess.run([sys.executable, "-c", program, str(data)], check=True)
    for _ in range(2):
        server.start()
        assert ask(server.url, "SELECT a FROM old") == (200, "", "5\n")
        server.stop()


def test_a_configuration_in_the_directory_of_the_start_is_not_taken(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "cloned"
    elsewhere.mkdir()
    (elsewhere / "config.xml").write_text("<clickhouse><users_config>/nowhere.xml</users_config></clickhouse>")
    monkeypatch.chdir(elsewhere)
    server.start()
    assert ask(server.url, "SELECT 1") == (200, "", "1\n")


def test_the_data_directory_is_the_users_alone(server: Server) -> None:
    server.directory.mkdir(mode=0o755)
    server.start()
    assert stat.S_IMODE(server.directory.stat().st_mode) == 0o700


def test_without_the_password_there_is_a_health_check_and_nothing_else(server: Server) -> None:
    server.start(TOLLGATE_CLICKHOUSE_PASSWORD=PASSWORD)
    with urlopen(f"{server.url}/ping", timeout=10) as answer:
        assert answer.read() == b"Ok.\n"
    assert ask(server.url, "SELECT 1")[:2] == (401, "194")
    assert ask(server.url, "SELECT 1", X_ClickHouse_Key="wrong")[:2] == (403, "516")
    assert ask(f"{server.url}/?password=wrong", "SELECT 1")[:2] == (403, "516")
    # Far more than fits into the buffers between the two: the answer comes although nobody reads it.
    assert ask(server.url, b"INSERT INTO t VALUES " + bytes(8_000_000))[:2] == (401, "194")
    assert ask(server.url, "SELECT 1", X_ClickHouse_Key=PASSWORD) == (200, "", "1\n")
    assert ask(f"{server.url}/?user=default&password={quote(PASSWORD)}", "SELECT 1") == (200, "", "1\n")
    with clickhouse_connect.get_client(host=HOST, port=server.port, password=PASSWORD) as client:
        assert client.query("SELECT 1").result_rows == [(1,)]
    with pytest.raises(DatabaseError, match="AUTHENTICATION_FAILED"):
        clickhouse_connect.get_client(host=HOST, port=server.port, password="wrong")


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE g (a Int8) ENGINE = Memory",
        "INSERT INTO only_read VALUES ('x')",
        "INSERT INTO only_read SELECT 'x'",
        "WITH 'x' AS a INSERT INTO only_read SELECT a",
        "/* SELECT */ DROP TABLE only_read",
        "(SELECT 1) PARALLEL WITH DROP TABLE only_read",
        "SYSTEM FLUSH LOGS",
        "KILL QUERY WHERE 1",
    ],
)
@pytest.mark.parametrize("session", ["", "&session_id=only_read"])
def test_get_only_reads_in_the_engine(clickhouse: str, sql: str, session: str) -> None:
    ask(clickhouse, "CREATE TABLE IF NOT EXISTS only_read (a String) ENGINE = Memory")
    status, code, body = get(clickhouse, sql, session)
    assert status >= 400, body
    assert code in ("62", "80", "164", "497")
    assert ask(clickhouse, "SELECT count() FROM only_read") == (200, "", "0\n")


def test_get_cannot_leave_the_engines_mode_of_reading(clickhouse: str) -> None:
    assert get(clickhouse, "SELECT getSetting('readonly')") == (200, "", "2\n")
    assert get(clickhouse, "SELECT 1 SETTINGS readonly = 0")[:2] == (500, "164")
    assert get(clickhouse, "SELECT 1", "&readonly=0&max_threads=1") == (200, "", "1\n")
    assert get(clickhouse, "SET readonly = 0")[:2] == (500, "164")


def test_head_runs_nothing(clickhouse: str) -> None:
    ask(clickhouse, "CREATE TABLE IF NOT EXISTS head (a String) ENGINE = Memory")
    request = Request(f"{clickhouse}/?query={quote('DROP TABLE head')}&session_id=head", method="HEAD")
    with urlopen(request, timeout=10) as answer:
        assert (answer.status, answer.read()) == (200, b"")
    assert ask(clickhouse, "SELECT count() FROM head") == (200, "", "0\n")
    assert ask(f"{clickhouse}/?session_id=head&session_check=1", "SELECT 1")[1] == "372"
