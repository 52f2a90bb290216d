"""What a formatted statement may not do; the texts are as the engine's formatter writes them."""

import pytest

from tollgate.embedded.clickhouse_guard import refuse_the_outside, verb_of
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


def test_the_verb_is_the_first_word() -> None:
    assert verb_of("insert INTO t FORMAT CSV") == "INSERT"
    assert verb_of("") == ""
