"""The ClickHouse engine of `chdb` behind a request's shape."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from tollgate.embedded.clickhouse_guard import only_reads, refuse_the_outside, verb_of
from tollgate.embedded.clickhouse_inbox import Inbox
from tollgate.embedded.clickhouse_results import PipedQuery, Result, counters_of
from tollgate.embedded.clickhouse_sessions import SessionChoice, Sessions
from tollgate.embedded.clickhouse_statement import Statement, refuse_deduplication_token
from tollgate.embedded.clickhouse_writes import FailedWrites
from tollgate.embedded.errors import QueryError

# ClickHouse's own.
QUERIES_AT_ONCE_MAX = 100

UNKNOWN_EXCEPTION = 1002
UNKNOWN_FORMAT = 73
READONLY = 164

_CONFIGURATION = Path(__file__).with_name("clickhouse.xml")

_CODE = re.compile(r"Code: (\d+)\.")
# The engine repeats this prefix when it reads a file.
_TWICE = re.compile(r"^(Code: \d+\. DB::Exception: )\1")
# What the formatter adds to the text of a syntax error is its own statement.
_FORMATTER = re.compile(r": (?:while executing|In scope) .*formatQuerySingleLine.*?(?= \([A-Z_]+\))", re.DOTALL)
# Formats of the Python library alone, which answer with an object instead of bytes.
_PYTHON_FORMATS = frozenset({"arrowtable", "dataframe", "datastore"})
# The formatter must take whatever a body can hold; the engine then has the user's own limit.
_FORMATTER_QUERY_BYTES_MAX = 1 << 30


@dataclass(frozen=True, slots=True)
class ExternalTable:
    """Rows that came with a query, for that query alone; `structure` is a list of columns as in CREATE TABLE."""

    name: str
    structure: str
    data_format: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Query:
    """One statement and what surrounds it in a request.

    `reads_only`: it may change nothing. `begins_early`: a slow answer begins before there is anything of it.
    """

    statement: Statement
    output_format: str = "TabSeparated"
    database: str | None = None
    settings: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    tables: tuple[ExternalTable, ...] = ()
    session: SessionChoice | None = None
    reads_only: bool = False
    begins_early: bool = False


class Engine:
    """All queries of one data directory. Thread-safe; queries of different connections run in parallel."""

    def __init__(self, data_dir: Path, inbox: Inbox) -> None:
        import chdb

        self._inbox = inbox
        self._connect: Callable[[], Any] = partial(chdb.connect, f"{data_dir}?config-file={_CONFIGURATION}")
        # Holds the engine open: without any connection it would shut down after every request.
        self._root = self._connect()
        _take_files_out_of_the_default_database(self._root, data_dir)
        self._formatter = self._connect()
        self._formatter.query(f"SET max_query_size = {_FORMATTER_QUERY_BYTES_MAX}")
        self._formatter_lock = threading.Lock()
        self._failed_writes = FailedWrites(self._connect())
        self._running = threading.BoundedSemaphore(QUERIES_AT_ONCE_MAX)
        self._sessions = Sessions(self._connect)
        self.version, self.timezone = (
            self._root.query("SELECT version(), timezone()", "TabSeparated").bytes().decode().split()
        )

    @contextmanager
    def run(self, query: Query) -> Iterator[Result]:
        """Execute one query; its result must be read inside of the block, and leaving it ends the query.

        Raises QueryError. The process ends instead when the engine could not write, for this query or for another.
        """
        if query.output_format.lower() in _PYTHON_FORMATS:
            raise QueryError(
                UNKNOWN_FORMAT, f"Code: 73. DB::Exception: Unknown format {query.output_format}. (UNKNOWN_FORMAT)"
            )
        refuse_deduplication_token(query.settings)
        formatted = self._format(query.statement)
        refuse_the_outside(formatted)
        # Only without a session the engine's own mode of reading holds too, and lets nothing be run by EXPLAIN.
        may_read = only_reads(formatted) or (query.session is None and verb_of(formatted) == "EXPLAIN")
        if query.reads_only and not may_read:
            raise QueryError(
                READONLY,
                "Code: 164. DB::Exception: Cannot execute query in readonly mode. For queries over HTTP, method GET "
                "implies readonly. You should use method POST for modifying queries. (READONLY)",
            )
        streams = verb_of(formatted) in ("SELECT", "WITH")
        with self._running, self._sessions.connection(query.session) as connection:
            try:
                self._prepare(connection, query)
                if streams:
                    with self._piped(connection, query) as piped:
                        yield piped.result(early=query.begins_early)
                else:
                    result = self._whole(connection, query)
                    self._failed_writes.end_if_any()
                    # It is acknowledged inside of the block.
                    yield result
            finally:
                self._leave_session(connection, query)
                # Errors are held back too: one caused by damaged data would look like the client's mistake.
                self._failed_writes.end_if_any()

    def close(self) -> None:
        """Close every connection; the engine then writes what it holds and stops."""
        self._sessions.close()
        self._failed_writes.close()
        self._formatter.close()
        self._root.close()

    def _format(self, statement: Statement) -> str:
        """The statement as the engine's own formatter writes it, without data. Raises QueryError for bad syntax."""
        text = statement.sql
        if statement.structure is not None:
            text += f"input({statement.structure})"
        text += statement.sql_after if statement.data is not None else ""
        if statement.data is not None:
            text += f"\nFORMAT {statement.data_format}"
        elif statement.output_format is not None:
            text += f"\nFORMAT {statement.output_format}\n{statement.sql_after}"
        with self._formatter_lock:
            result = self._ask(self._formatter, f"SELECT formatQuerySingleLine({_quote(text)})", "TabSeparatedRaw")
        formatted: str = result.bytes().decode("utf-8", "replace")
        return formatted

    def _prepare(self, connection: Any, query: Query) -> None:
        """Database, settings, parameters and external tables of one request."""
        if query.database:
            self._ask(connection, "USE " + _quote(query.database, "`"))
        for table in query.tables:
            self._create(connection, table.name, table.structure)
            with self._inbox.keep(table.data) as path:
                insert = f"INSERT INTO TABLE {_quote(table.name, '`')} FROM INFILE {_quote(path)} COMPRESSION 'none'"
                self._set(connection, query.settings)
                self._ask(connection, f"{insert} FORMAT {table.data_format}")
        parameters = {f"param_{name}": value for name, value in query.parameters.items()}
        self._set(connection, query.settings | parameters)
        if query.reads_only and query.session is None:
            # A session could never leave this mode again; there the statement's kind alone is what is checked.
            self._ask(connection, "SET readonly = 2")

    def _set(self, connection: Any, values: dict[str, str]) -> None:
        if values:
            self._ask(connection, "SET " + ", ".join(f"{name} = {_quote(value)}" for name, value in values.items()))

    def _create(self, connection: Any, name: str, structure: str) -> None:
        """A table of this connection alone. The structure is the client's text, so it passes the guard."""
        text = f"CREATE TEMPORARY TABLE {_quote(name, '`')} ({structure}) ENGINE = Memory"
        refuse_the_outside(self._format(Statement(text, "CREATE")))
        self._ask(connection, text)

    def _leave_session(self, connection: Any, query: Query) -> None:
        """A request's settings and tables are its own; those that the session's own statements made stay."""
        if query.session is None:
            return
        try:
            for table in query.tables:
                self._ask(connection, f"DROP TEMPORARY TABLE IF EXISTS {_quote(table.name, '`')}")
            if query.settings:
                self._ask(connection, "SET " + ", ".join(f"{name} = DEFAULT" for name in query.settings))
        except QueryError:
            # It cannot be made as it was, for example after readonly=1, so it is no session any more.
            self._sessions.forget(query.session.name)

    def _piped(self, connection: Any, query: Query) -> PipedQuery:
        statement = query.statement

        def run(path: str) -> Any:
            outfile = f"INTO OUTFILE {_quote(path)} APPEND"
            text = f"{statement.sql}\n{outfile}\nFORMAT {query.output_format}\n{statement.sql_after}"
            return self._ask(connection, text, query.output_format)

        return PipedQuery(run, self._cancel)

    def _cancel(self, path: str) -> None:
        """End the query that writes to the pipe; nothing happens when it has ended, or has not begun yet."""
        connection = self._connect()
        try:
            clause = _quote(f"\nINTO OUTFILE {_quote(path)} APPEND\n")
            self._ask(connection, f"KILL QUERY WHERE position(query, {clause}) > 0 ASYNC")
        finally:
            connection.close()

    def _whole(self, connection: Any, query: Query) -> Result:
        """A statement that reads no table, or answers with nothing, at once."""
        statement = query.statement
        if statement.data is not None:
            return self._insert(connection, statement, statement.data)
        text = statement.sql
        if statement.output_format is not None:
            text += f"\nFORMAT {statement.output_format}\n{statement.sql_after}"
        result = self._ask(connection, text, query.output_format)
        return Result(result.bytes() or b"", counters_of(result))

    def _insert(self, connection: Any, statement: Statement, data: bytes) -> Result:
        """Insert rows that came with their statement.

        From a file, because chDB's own streaming insert reports success when rows could be read but not written:
        measured on a full disk, 120,000 rows were acknowledged and 44,000 were there. Rows in the statement's text are
        no way either: the engine ends them at the first empty line, in binary data too.
        """
        with self._inbox.keep(data) as path:
            infile = f"\nFROM INFILE {_quote(path)} COMPRESSION 'none'\n"
            if statement.structure is None:
                text = f"{statement.sql}{infile}{statement.sql_after}\nFORMAT {statement.data_format}"
                return Result(b"", counters_of(self._ask(connection, text)))
            # The engine reads `input()` from nothing but its own stream, so the rows rest in a table on their way.
            name = f"_input_{uuid4().hex}"
            structure = self._ask(self._root, f"SELECT {statement.structure}", "TabSeparatedRaw").bytes().decode()
            self._create(connection, name, structure)
            try:
                self._ask(connection, f"INSERT INTO {name} {infile} FORMAT {statement.data_format}")
                result = self._ask(connection, f"{statement.sql}{name}{statement.sql_after}")
            finally:
                self._ask(connection, f"DROP TEMPORARY TABLE {name}")
        return Result(b"", counters_of(result))

    def _ask(self, connection: Any, sql: str, output_format: str = "TabSeparated") -> Any:
        """The engine's result object. Raises QueryError."""
        try:
            # Binary text of the client is in lone surrogates, which the library takes as the bytes they stand for.
            text = sql if sql.isascii() else sql.encode("utf-8", "surrogateescape")
            return connection.query(text, output_format)
        except Exception as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> QueryError:
        text = _FORMATTER.sub("", _TWICE.sub(r"\1", str(error).strip()))
        code = _CODE.search(text)
        if "(version " not in text:
            text += f" (version {self.version} (embedded))"
        return QueryError(int(code.group(1)) if code else UNKNOWN_EXCEPTION, text)


def _take_files_out_of_the_default_database(root: Any, data_dir: Path) -> None:
    """Make `default` a database as in a ClickHouse server: chDB's own takes a table's name for a file's.

    Its tables stay, those of an earlier release too: they are found by the directory that `metadata/default` leads to.
    """
    definition = data_dir / "metadata" / "default.sql"
    tables = data_dir / "metadata" / "default"
    root.query("USE system")
    root.query("DETACH DATABASE default")
    if not tables.is_symlink():
        # No table was made yet, and the engine has forgotten the identity that an empty database had.
        definition.unlink(missing_ok=True)
        root.query("CREATE DATABASE default ENGINE = Atomic")
    else:
        # CREATE DATABASE refuses a directory with tables in it, so this is what it would have written.
        staged = definition.with_suffix(".new")
        staged.write_text(f"ATTACH DATABASE _ UUID '{tables.readlink().name}'\nENGINE = Atomic\n", encoding="ascii")
        staged.replace(definition)
        root.query("ATTACH DATABASE default")
    root.query("USE default")


def _quote(value: str, mark: str = "'") -> str:
    return mark + value.replace("\\", "\\\\").replace(mark, "\\" + mark) + mark
