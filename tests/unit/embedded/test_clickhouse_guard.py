"""What a formatted statement may not do; the texts are as the engine's formatter writes them."""

from contextlib import nullcontext

import pytest

from tollgate.embedded.clickhouse_guard import only_reads, refuse_the_outside, verb_of
from tollgate.embedded.errors import QueryError


@pytest.mark.parametrize(
    "formatted",
    [
        "SELECT file('/etc/passwd')",
        "SELECT * FROM python(settings)",
        "SELECT * FROM Python(settings)",
        "DESCRIBE TABLE python(settings)",
        "SELECT * FROM executable('x', 'TSV', 'a String')",
        "SELECT * FROM eval('SELECT 1')",
        "INSERT INTO FUNCTION file('a.csv') FORMAT CSV",
        "CREATE FUNCTION f AS x -> file(x)",
        "CREATE TABLE t (`a` String DEFAULT file('/etc/passwd')) ENGINE = Memory",
        "CREATE TABLE t (`a` Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = 'web')",
        "CREATE DATABASE d ENGINE = Filesystem('/etc')",
        "CREATE DATABASE d ENGINE = MySQL('127.0.0.1:3306', 'd', 'u', 'p')",
        "CREATE TABLE t (`a` String) ENGINE = Executable('x', TSV)",
        "CREATE TABLE t (`a` Int8) ENGINE = EmbeddedRocksDB(0, '/tmp/r') PRIMARY KEY a",
        "DROP TABLE IF EXISTS q PARALLEL WITH CREATE TABLE t (`a` String) ENGINE = URL('http://127.0.0.1/')",
        "ATTACH TABLE t FROM '/tmp/t' (`a` Int8) ENGINE = MergeTree ORDER BY a",
    ],
)
def test_a_query_that_reaches_out_is_refused(formatted: str) -> None:
    with pytest.raises(QueryError) as caught:
        refuse_the_outside(formatted)
    assert caught.value.code == 497


@pytest.mark.parametrize(
    ("source", "is_taken"),
    [
        ("CLICKHOUSE(TABLE 't' DB 'd' USER 'default' PASSWORD '')", True),
        ("NULL()", True),
        ("HTTP(URL 'http://127.0.0.1/' FORMAT 'CSV')", False),
        ("FILE(PATH '/etc/passwd' FORMAT 'CSV')", False),
        ("EXECUTABLE(COMMAND 'id' FORMAT 'CSV')", False),
        ("CLICKHOUSE(HOST 'x' PORT 9000 TABLE 't')", False),
        ("CLICKHOUSE(TABLE 't' PORT tcpPort())", False),
        ("CLICKHOUSE(QUERY 'SELECT file(1)')", False),
        ("CLICKHOUSE(TABLE 't' WHERE 'file(1)')", False),
        ("CLICKHOUSE(TABLE 't' INVALIDATE_QUERY 'SELECT 1')", False),
        ("CLICKHOUSE(DB concat('a', 'b') TABLE 't')", False),
    ],
)
def test_a_dictionary_copies_a_table_of_the_engine_alone(source: str, is_taken: bool) -> None:
    formatted = f"CREATE DICTIONARY d (`a` UInt64) PRIMARY KEY a SOURCE({source}) LAYOUT(FLAT())"
    with nullcontext() if is_taken else pytest.raises(QueryError, match=r"dictionary source|function file"):
        refuse_the_outside(formatted)


@pytest.mark.parametrize(
    "formatted",
    ["SELECT 1 INTO OUTFILE '/tmp/x' FORMAT CSV", "INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV"],
)
def test_the_servers_files_are_refused(formatted: str) -> None:
    with pytest.raises(QueryError, match="files are the client's") as caught:
        refuse_the_outside(formatted)
    assert caught.value.code == 344


@pytest.mark.parametrize(
    "formatted",
    [
        "SELECT 'file(', `python`, 'INTO OUTFILE \\'x\\'' FROM infile",
        "SELECT file, files(1) FROM file",
        "CREATE TABLE file (`file` String) ENGINE = ReplacingMergeTree ORDER BY file",
        "CREATE TABLE d.python (`a` Int8) ENGINE = Null",
        "INSERT INTO file (a) FORMAT Values",
        "CREATE DATABASE d ENGINE = Atomic",
        "SELECT engine FROM system.tables WHERE engine = name",
        "",
    ],
)
def test_what_only_looks_like_it_is_taken(formatted: str) -> None:
    refuse_the_outside(formatted)


@pytest.mark.parametrize(
    ("formatted", "reads"),
    [
        ("SELECT 1", True),
        ("WITH 1 AS x SELECT x", True),
        ("SHOW TABLES", True),
        ("SET max_threads = 1", True),
        ("SELECT 1 PARALLEL WITH DROP TABLE t", False),
        ("INSERT INTO t WITH 1 AS x SELECT x", False),
        ("EXPLAIN ANALYZE INSERT INTO t SELECT 1", False),
        ("SYSTEM FLUSH LOGS", False),
        ("", False),
    ],
)
def test_reading_is_told_from_changing(formatted: str, reads: bool) -> None:
    assert only_reads(formatted) is reads


def test_the_verb_is_the_first_word() -> None:
    assert verb_of("insert INTO t FORMAT CSV") == "INSERT"
    assert verb_of("") == ""
