"""Where a statement ends and its data begins."""

import pytest

from tollgate.embedded.clickhouse_statement import parse_statement, refuse_deduplication_token
from tollgate.embedded.errors import QueryError


@pytest.mark.parametrize(
    ("text", "sql", "data_format", "data"),
    [
        (b"INSERT INTO t FORMAT CSV\n1,2\n", "INSERT INTO t ", "CSV", b"1,2\n"),
        (b"INSERT INTO t FORMAT CSV\r\n1,2\n", "INSERT INTO t ", "CSV", b"1,2\n"),
        (b'insert into t (a, b) format JSONEachRow {"a":1}', "insert into t (a, b) ", "JSONEachRow", b'{"a":1}'),
        (b"INSERT INTO t VALUES (1, 'FORMAT x')", "INSERT INTO t ", "Values", b"(1, 'FORMAT x')"),
        (b"INSERT INTO d.format FORMAT CSV\n1", "INSERT INTO d.format ", "CSV", b"1"),
        (b"INSERT INTO t", "INSERT INTO t", "Values", b""),
        (b"INSERT INTO t FORMAT Native\n\x01\x00\xff--", "INSERT INTO t ", "Native", b"\x01\x00\xff--"),
        (b"-- why\nINSERT INTO `format` FORMAT CSV\n1", "-- why\nINSERT INTO `format` ", "CSV", b"1"),
        (b"INSERT INTO values VALUES (1)", "INSERT INTO values ", "Values", b"(1)"),
        (b"WITH (SELECT 1) AS a INSERT INTO t FORMAT CSV\n1", "WITH (SELECT 1) AS a INSERT INTO t ", "CSV", b"1"),
        (
            b"INSERT INTO FUNCTION file('a.csv', 'CSV') FORMAT TSV\n1",
            "INSERT INTO FUNCTION file('a.csv', 'CSV') ",
            "TSV",
            b"1",
        ),
    ],
)
def test_an_insert_ends_where_its_data_begins(text: bytes, sql: str, data_format: str, data: bytes) -> None:
    statement = parse_statement(text)
    assert (statement.sql, statement.data_format, statement.data) == (sql, data_format, data)
    assert not statement.has_result


@pytest.mark.parametrize(
    ("text", "sql", "settings", "data"),
    [
        (b"INSERT INTO t SETTINGS a = 'FORMAT' FORMAT TSV\n1", "INSERT INTO t ", "SETTINGS a = 'FORMAT' ", b"1"),
        (b"INSERT INTO t (a, settings) settings a=1,\nb=2 VALUES (1)", "INSERT INTO t (a, settings) ", None, b"(1)"),
        (b"INSERT INTO d.settings SETTINGS a=1 VALUES (1)", "INSERT INTO d.settings ", "SETTINGS a=1 ", b"(1)"),
        (b"INSERT INTO settings VALUES (1)", "INSERT INTO settings ", "", b"(1)"),
    ],
)
def test_an_inserts_settings_are_taken_apart(text: bytes, sql: str, settings: str | None, data: bytes) -> None:
    statement = parse_statement(text)
    expected = "settings a=1,\nb=2 " if settings is None else settings
    assert (statement.sql, statement.sql_after, statement.data) == (sql, expected, data)


@pytest.mark.parametrize(
    ("text", "sql", "data"),
    [
        (
            b"INSERT /* a /* b */ FORMAT CSV c */ INTO t FORMAT TSV\n1",
            "INSERT /* a /* b */ FORMAT CSV c */ INTO t ",
            b"1",
        ),
        (b"INSERT INTO t /* /* */ VALUES (2) */ VALUES (1)", "INSERT INTO t /* /* */ VALUES (2) */ ", b"(1)"),
        (b"INSERT INTO t /* -- */ VALUES (1)", "INSERT INTO t /* -- */ ", b"(1)"),
        (b"INSERT INTO t /* ' */ VALUES ('*/')", "INSERT INTO t /* ' */ ", b"('*/')"),
        (b"INSERT INTO t /* open VALUES (1)", "INSERT INTO t /* open VALUES (1)", b""),
    ],
)
def test_comments_are_nested(text: bytes, sql: str, data: bytes) -> None:
    statement = parse_statement(text)
    assert (statement.sql, statement.data) == (sql, data)


def test_the_place_of_input_and_its_structure_are_found_and_data_is_no_sql() -> None:
    statement = parse_statement(
        b"INSERT INTO t (a) SELECT (a + 1) FROM input ('a Int8, b DateTime64(3, \\'UTC\\')') AS i WHERE a > (0)"
        b" SETTINGS max_threads = 1 FORMAT RowBinary\n\x01;\x02)"
    )
    assert statement.sql == "INSERT INTO t (a) SELECT (a + 1) FROM "
    assert statement.structure == "'a Int8, b DateTime64(3, \\'UTC\\')'"
    assert statement.sql_after == " AS i WHERE a > (0) SETTINGS max_threads = 1 "
    assert (statement.data_format, statement.data) == ("RowBinary", b"\x01;\x02)")
    assert parse_statement(b"INSERT INTO t SELECT input FROM u").data is None
    with_first = parse_statement(b"WITH 1 AS x INSERT INTO t SELECT a + x FROM input('a Int8') FORMAT CSV\n1")
    assert (with_first.sql, with_first.data) == ("WITH 1 AS x INSERT INTO t SELECT a + x FROM ", b"1")
    assert parse_statement(b"WITH 1 AS insert SELECT insert, 'INSERT INTO t VALUES (1)'").data is None


@pytest.mark.parametrize("rest", [b")", b")\nFORMAT", b" FORMAT CSV\n1", b") SELECT (1 FORMAT CSV\n1)"])
def test_input_without_its_end_or_a_format_is_a_syntax_error(rest: bytes) -> None:
    with pytest.raises(QueryError, match=r"FORMAT must be specified for function input\(\)") as caught:
        parse_statement(b"INSERT INTO t SELECT a FROM input('a Int8'" + rest)
    assert caught.value.code == 62


@pytest.mark.parametrize(
    "text",
    [
        b"INSERT INTO t SELECT 1; DROP TABLE t",
        b"INSERT INTO t; DROP TABLE t",
        b"INSERT INTO t; DROP TABLE u FORMAT CSV",
    ],
)
def test_an_insert_begins_no_second_statement(text: bytes) -> None:
    with pytest.raises(QueryError, match="Multi-statements are not allowed"):
        parse_statement(text)


def test_an_insert_from_a_query_brings_no_data() -> None:
    statement = parse_statement(b"INSERT INTO t SELECT 1 AS values, 'VALUES (2)'")
    assert statement.data is None
    assert statement.sql == "INSERT INTO t SELECT 1 AS values, 'VALUES (2)'"


@pytest.mark.parametrize(
    ("text", "has_result", "output_format"),
    [
        (b"SELECT 1", True, None),
        (b"select 1 format JSON settings max_threads = 1", True, "JSON"),
        (b"(SELECT 1) UNION ALL (SELECT 2 FORMAT CSV)", True, None),
        (b"SELECT /* /* */ 1 FORMAT CSV */ 2", True, None),
        (b"SELECT format FROM t", True, None),
        (b"SELECT t.format x FROM t FORMAT `TSV` SETTINGS a = 1, b = 2", True, "TSV"),
        (b"/* FORMAT a */ WITH 1 AS x SELECT x, 'FORMAT b' FORMAT CSV;  -- end", True, "CSV"),
        (b"CREATE TABLE t (a Int8) ENGINE = Memory", False, None),
        (b"SHOW TABLES", True, None),
        (b"ALTER TABLE t DELETE WHERE 1", False, None),
    ],
)
def test_a_result_is_told_from_a_deed_and_its_format_found(
    text: bytes, has_result: bool, output_format: str | None
) -> None:
    statement = parse_statement(text)
    assert (statement.has_result, statement.output_format) == (has_result, output_format)


@pytest.mark.parametrize("text", [b"SELECT 1; DROP TABLE t", b"SELECT ';'; SELECT 2", b"", b"  -- nothing\n", b";"])
def test_anything_but_one_statement_is_a_syntax_error(text: bytes) -> None:
    with pytest.raises(QueryError) as caught:
        parse_statement(text)
    assert caught.value.code == 62


def test_a_semicolon_in_quotes_or_at_the_end_is_no_second_statement() -> None:
    assert parse_statement(b"SELECT ';', `a;b`, $$;$$ ; ").sql == "SELECT ';', `a;b`, $$;$$ "


@pytest.mark.parametrize("text", [b"INSERT INTO t SETTINGS insert_deduplication_token = 'x' VALUES (1)"])
def test_a_deduplication_token_is_refused_wherever_it_stands(text: bytes) -> None:
    with pytest.raises(QueryError, match="lose rows"):
        parse_statement(text)
    with pytest.raises(QueryError, match="lose rows"):
        refuse_deduplication_token({"insert_deduplication_token": "x"})
    refuse_deduplication_token({"insert_deduplication_token": "", "max_threads": "1"})
