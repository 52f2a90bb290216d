"""The ClickHouse engine of `chdb` behind a request's shape: one connection per request, or per named session.

A fresh connection costs under a millisecond and shares nothing with others but the data, so a request's settings,
parameters and database cannot leak into the next.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tollgate.embedded.clickhouse_inbox import Inbox
from tollgate.embedded.clickhouse_statement import Statement, refuse_deduplication_token
from tollgate.embedded.clickhouse_writes import FailedWrites
from tollgate.embedded.errors import QueryError

# ClickHouse's own: 60 s for a session, at most an hour, and 100 queries at a time.
SESSION_SECONDS = 60
SESSION_SECONDS_MAX = 3600
QUERIES_AT_ONCE_MAX = 100

UNKNOWN_EXCEPTION = 1002
UNKNOWN_FORMAT = 73
SESSION_NOT_FOUND = 372
SESSION_IS_LOCKED = 373

_CONFIGURATION = Path(__file__).with_name("clickhouse.xml")

_CODE = re.compile(r"Code: (\d+)\.")
# The engine repeats this prefix when it reads a file.
_TWICE = re.compile(r"^(Code: \d+\. DB::Exception: )\1")
# Formats of the Python library alone, which answer with an object instead of bytes.
_PYTHON_FORMATS = frozenset({"arrowtable", "dataframe", "datastore"})


@dataclass(frozen=True, slots=True)
class Query:
    """One statement and what surrounds it in a request."""

    statement: Statement
    output_format: str = "TabSeparated"
    database: str | None = None
    settings: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    session: str | None = None
    session_seconds: int = SESSION_SECONDS
    session_must_exist: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A result in the query's format, with ClickHouse's counters of the work."""

    body: bytes
    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    elapsed_ns: int = 0


@dataclass(slots=True)
class _Session:
    connection: Any
    lock: threading.Lock
    seconds: int
    expires_at: float


class Engine:
    """All queries of one data directory. Thread-safe; queries of different connections run in parallel."""

    def __init__(self, data_dir: Path, inbox: Inbox) -> None:
        import chdb

        self._inbox = inbox
        self._connect: Callable[[], Any] = partial(chdb.connect, f"{data_dir}?config-file={_CONFIGURATION}")
        # Holds the engine open: without any connection it would shut down after every request.
        self._root = self._connect()
        self._failed_writes = FailedWrites(self._connect())
        self._running = threading.BoundedSemaphore(QUERIES_AT_ONCE_MAX)
        self._sessions: dict[str, _Session] = {}
        self._sessions_lock = threading.Lock()
        self.version, self.timezone = (
            self._root.query("SELECT version(), timezone()", "TabSeparated").bytes().decode().split()
        )

    def run(self, query: Query) -> Answer:
        """Execute one query; blocks until its whole result is there. Raises QueryError.

        The process ends instead when the engine could not write, for this query or for another.
        """
        if query.output_format.lower() in _PYTHON_FORMATS:
            raise QueryError(
                UNKNOWN_FORMAT, f"Code: 73. DB::Exception: Unknown format {query.output_format}. (UNKNOWN_FORMAT)"
            )
        refuse_deduplication_token(query.settings)
        with self._running, self._connection(query) as connection:
            try:
                return self._execute(connection, query)
            except Exception as error:
                raise self._error(error) from error
            finally:
                # Errors are held back too: one caused by damaged data would look like the client's mistake.
                self._failed_writes.end_if_any()

    def close(self) -> None:
        """Close every connection; the engine then writes what it holds and stops."""
        with self._sessions_lock:
            for session in self._sessions.values():
                session.connection.close()
            self._sessions.clear()
        self._failed_writes.close()
        self._root.close()

    def _execute(self, connection: Any, query: Query) -> Answer:
        statement = query.statement
        if query.database:
            connection.query("USE " + _quote(query.database, "`"))
        assignments = [f"{name} = {_quote(value)}" for name, value in query.settings.items()]
        assignments += [f"param_{name} = {_quote(value)}" for name, value in query.parameters.items()]
        try:
            if assignments:
                connection.query("SET " + ", ".join(assignments))
            if statement.data is not None:
                return self._insert(connection, statement, statement.data)
            result = connection.query(statement.sql, query.output_format)
            return Answer(
                result.bytes() or b"",
                read_rows=result.storage_rows_read(),
                read_bytes=result.storage_bytes_read(),
                written_rows=result.rows_written(),
                written_bytes=result.bytes_written(),
                result_rows=result.rows_read(),
                elapsed_ns=round(result.elapsed() * 1e9),
            )
        finally:
            if query.session and query.settings:
                # A request's settings are its own; those that the session's own SET statements made stay.
                connection.query("SET " + ", ".join(f"{name} = DEFAULT" for name in query.settings))

    def _insert(self, connection: Any, statement: Statement, data: bytes) -> Answer:
        """Insert rows that came with their statement.

        From a file, because chDB's own streaming insert reports success when rows could be read but not written:
        measured on a full disk, 120,000 rows were acknowledged and 44,000 were there. Rows in the statement's text are
        no way either: the engine ends them at the first empty line, in binary data too.
        """
        row_format = statement.data_format
        with self._inbox.keep(data) as path:
            if statement.structure is None:
                source = f"\nFROM INFILE {_quote(path)} COMPRESSION 'none'\n"
                result = connection.query(f"{statement.sql}{source}{statement.sql_after}\nFORMAT {row_format}")
            else:
                # Files of different inserts have the same name, and the engine would remember how many rows it had.
                connection.query("SET use_cache_for_count_from_files = 0")
                source = f"file({_quote(path)}, '{row_format}', {statement.structure}, 'none')"
                result = connection.query(f"{statement.sql}{source}{statement.sql_after}")
        return Answer(
            b"",
            written_rows=result.rows_written(),
            written_bytes=result.bytes_written(),
            elapsed_ns=round(result.elapsed() * 1e9),
        )

    @contextmanager
    def _connection(self, query: Query) -> Iterator[Any]:
        if query.session is None:
            connection = self._connect()
            try:
                yield connection
            finally:
                connection.close()
            return
        session = self._acquire_session(query.session, query)
        try:
            yield session.connection
        finally:
            session.expires_at = time.monotonic() + session.seconds
            session.lock.release()

    def _acquire_session(self, name: str, query: Query) -> _Session:
        now = time.monotonic()
        with self._sessions_lock:
            for old in [key for key, held in self._sessions.items() if held.expires_at < now]:
                if self._sessions[old].lock.acquire(blocking=False):
                    self._sessions.pop(old).connection.close()
            session = self._sessions.get(name)
            if session is None:
                if query.session_must_exist:
                    raise QueryError(
                        SESSION_NOT_FOUND, "Code: 372. DB::Exception: Session is not found. (SESSION_NOT_FOUND)"
                    )
                session = _Session(self._connect(), threading.Lock(), query.session_seconds, now)
                self._sessions[name] = session
            if not session.lock.acquire(blocking=False):
                raise QueryError(
                    SESSION_IS_LOCKED,
                    "Code: 373. DB::Exception: Session is locked by a concurrent client. (SESSION_IS_LOCKED)",
                )
            session.seconds = query.session_seconds
            return session

    def _error(self, error: Exception) -> QueryError:
        if isinstance(error, QueryError):
            return error
        text = _TWICE.sub(r"\1", str(error).strip())
        code = _CODE.search(text)
        if "(version " not in text:
            text += f" (version {self.version} (embedded))"
        return QueryError(int(code.group(1)) if code else UNKNOWN_EXCEPTION, text)


def _quote(value: str, mark: str = "'") -> str:
    return mark + value.replace("\\", "\\\\").replace(mark, "\\" + mark) + mark
