"""The embedded ClickHouse server: ClickHouse's HTTP interface over the engine in `chdb`, on 127.0.0.1.

`python -m tollgate.embedded clickhouse --data-dir D --port N`. This folder's README lists what it does not have.
"""

import argparse
import fcntl
import json
import os
import signal
import socket
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import urlsplit

import structlog

from tollgate.embedded.clickhouse_engine import Answer, Engine, Query
from tollgate.embedded.clickhouse_inbox import Inbox
from tollgate.embedded.clickhouse_request import build_query, form_parameters, request_parameters
from tollgate.embedded.errors import QueryError
from tollgate.embedded.http_bodies import BadBodyError, BodyTooLargeError, compress, decompress, read_body
from tollgate.embedded.ports import HOST
from tollgate.runtime.logs import configure_logs
from tollgate.runtime.settings import load_settings

logger = structlog.get_logger(__name__)

# The body, its rows and their copy for the engine are in memory together, so one insert may cost three times this.
BODY_BYTES_MAX = 256 * 1024 * 1024
# How long a connection may stand still, and how long running queries may take after SIGTERM.
IDLE_SECONDS_MAX = 600
DRAIN_SECONDS_MAX = 10
# Below this head and body leave in one piece; above it a copy would cost more than a second call.
ONE_PIECE_BYTES_MAX = 1024 * 1024

TOO_MANY_BYTES = 307
CANNOT_DECOMPRESS = 271
UNKNOWN_EXCEPTION = 1002

# ClickHouse's table from exception code to HTTP status (exceptionCodeToHTTPStatus.cpp); everything else is 500.
_STATUS_BY_CODE = {
    194: 401,  # REQUIRED_PASSWORD
    **dict.fromkeys((192, 193, 497, 516), 403),  # users, passwords, access
    # Arguments, things that cannot be parsed, syntax, types and values.
    **dict.fromkeys((6, 15, 16, 25, 26, 27, 36, 37, 38, 41, 44, 53, 62, 72, 117, 123, 167, 168, 223, 321, 376), 400),
    **dict.fromkeys((408, 427, 441, 456, 457, 675, 676), 400),
    **dict.fromkeys((46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 372), 404),  # unknown names
    159: 408,  # TIMEOUT_EXCEEDED
    229: 413,  # QUERY_IS_TOO_LARGE
    307: 413,  # TOO_MANY_BYTES, here: the body
    271: 400,  # CANNOT_DECOMPRESS, here: the body
    344: 400,  # SUPPORT_IS_DISABLED, here: what this server does not take
    48: 501,  # NOT_IMPLEMENTED
    **dict.fromkeys((76, 209, 439), 503),
}

_CONTENT_TYPES = {
    "csv": "text/csv; charset=UTF-8; header=absent",
    "csvwithnames": "text/csv; charset=UTF-8; header=present",
    "csvwithnamesandtypes": "text/csv; charset=UTF-8; header=present",
    "json": "application/json; charset=UTF-8",
    "jsoncompact": "application/json; charset=UTF-8",
    "jsonstrings": "application/json; charset=UTF-8",
    "jsoneachrow": "application/x-ndjson; charset=UTF-8",
    "tabseparated": "text/tab-separated-values; charset=UTF-8",
    "tabseparatedwithnames": "text/tab-separated-values; charset=UTF-8",
    "tabseparatedwithnamesandtypes": "text/tab-separated-values; charset=UTF-8",
    "tsv": "text/tab-separated-values; charset=UTF-8",
    "tsvwithnames": "text/tab-separated-values; charset=UTF-8",
    "xml": "application/xml; charset=UTF-8",
    "native": "application/octet-stream",
    "rowbinary": "application/octet-stream",
    "parquet": "application/octet-stream",
    "arrow": "application/octet-stream",
    "arrowstream": "application/octet-stream",
}


class ClickHouseServer(ThreadingHTTPServer):
    """One thread per connection; counts the requests under way so that a stop can wait for them."""

    daemon_threads = True
    request_queue_size = 256
    allow_reuse_address = True

    def __init__(self, engine: Engine, port: int) -> None:
        super().__init__((HOST, port), Handler)
        self.engine = engine
        self.display_name = socket.gethostname()
        self._active = 0
        self._changed = threading.Condition()

    def enter(self) -> None:
        """A request began."""
        with self._changed:
            self._active += 1

    def leave(self) -> None:
        """A request was answered."""
        with self._changed:
            self._active -= 1
            self._changed.notify_all()

    def drain(self, seconds_max: float) -> bool:
        """Wait until no request is under way; whether that was reached in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._active == 0, seconds_max)


class Handler(BaseHTTPRequestHandler):
    """One connection's requests, one after the other."""

    protocol_version = "HTTP/1.1"
    server_version = "tollgate-embedded-clickhouse"
    sys_version = ""
    # With Nagle's algorithm an answer in two pieces waits 40 ms for the client's delayed acknowledgement.
    disable_nagle_algorithm = True
    timeout = IDLE_SECONDS_MAX
    server: ClickHouseServer

    def do_GET(self) -> None:
        """A query that only reads, or a health check."""
        self._serve()

    def do_POST(self) -> None:
        """Any query."""
        self._serve()

    def do_HEAD(self) -> None:
        """A health check without an answer's body."""
        self._serve()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the name is http.server's
        """Keep http.server's own lines out of the log: they hold the URL, and that holds the query."""

    def _serve(self) -> None:
        self.server.enter()
        try:
            self._answer()
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        finally:
            self.server.leave()

    def _answer(self) -> None:
        url = urlsplit(self.path)
        parameters = request_parameters(url.query)
        query_id = parameters.get("query_id") or str(uuid.uuid4())
        try:
            body = self._body()
            refusal = self._refuse_other_sites()
            if refusal:
                self._send(403, refusal.encode(), {})
            elif url.path in ("/ping", "/replicas_status"):
                self._send(200, b"Ok.\n", {})
            elif url.path != "/":
                self._send(404, f"There is no handle {url.path}\nUse / or /ping for health checks.\n".encode(), {})
            else:
                self._run(parameters, body, query_id)
        except QueryError as error:
            self._send_error(error, query_id)
        except Exception as error:
            # Our own bug must answer the client and stand in the log.
            logger.exception("request failed", query_id=query_id)
            text = f"Code: 1002. DB::Exception: {type(error).__name__} in the embedded server. (UNKNOWN_EXCEPTION)"
            self._send_error(QueryError(UNKNOWN_EXCEPTION, text), query_id)

    def _body(self) -> bytes:
        try:
            raw = read_body(
                cast("BinaryIO", self.rfile),
                self.headers["Content-Length"],
                self.headers["Transfer-Encoding"],
                BODY_BYTES_MAX,
            )
            return decompress(raw, self.headers["Content-Encoding"], BODY_BYTES_MAX)
        except BodyTooLargeError as error:
            # What is left of the body cannot be told from a next request.
            self.close_connection = True
            raise QueryError(
                TOO_MANY_BYTES,
                f"Code: 307. DB::Exception: The embedded server takes bodies of {BODY_BYTES_MAX} bytes at most: insert "
                "in smaller batches. (TOO_MANY_BYTES)",
            ) from error
        except BadBodyError as error:
            self.close_connection = True
            raise QueryError(
                CANNOT_DECOMPRESS, f"Code: 271. DB::Exception: Cannot read the request: {error}. (CANNOT_DECOMPRESS)"
            ) from error

    def _refuse_other_sites(self) -> str | None:
        """Why the request is refused, or None.

        There are no passwords here, so a web page open in the user's browser must not be able to send queries: neither
        directly (browsers then send its `Origin`) nor under a name that it points to 127.0.0.1.
        """
        host = urlsplit(f"//{self.headers['Host'] or HOST}").hostname
        if host not in (HOST, "localhost", "::1"):
            return "The embedded server answers to 127.0.0.1 and localhost only.\n"
        origin = self.headers["Origin"]
        if origin is not None and urlsplit(origin).netloc != self.headers["Host"]:
            return "The embedded server takes no requests from web pages.\n"
        return None

    def _run(self, parameters: dict[str, str], body: bytes, query_id: str) -> None:
        content_type = self.headers["Content-Type"] or ""
        if content_type.lower().startswith("multipart/form-data"):
            parameters = parameters | form_parameters(content_type, body)
            body = b""
        query = build_query(
            self.command, parameters, {name.lower(): value for name, value in self.headers.items()}, body
        )
        if query is None:
            self._send(200, b"Ok.\n", {})
            return
        answer = self.server.engine.run(query)
        headers = self._clickhouse_headers(query_id) | _result_headers(query, answer)
        out = answer.body
        if parameters.get("enable_http_compression", "0") not in ("", "0", "false"):
            out, encoding = compress(
                out, self.headers["Accept-Encoding"], _level(parameters.get("http_zlib_compression_level"))
            )
            if encoding:
                headers["Content-Encoding"] = encoding
        self._send(200, out, headers)

    def _clickhouse_headers(self, query_id: str) -> dict[str, str]:
        return {
            "X-ClickHouse-Server-Display-Name": self.server.display_name,
            "X-ClickHouse-Query-Id": "".join(c for c in query_id if c.isprintable() and c.isascii()),
            "X-ClickHouse-Timezone": self.server.engine.timezone,
        }

    def _send_error(self, error: QueryError, query_id: str) -> None:
        # The text may quote the user's data, so the log has the number alone.
        logger.warning("query failed", code=error.code, query_id=query_id)
        headers = self._clickhouse_headers(query_id) | {"X-ClickHouse-Exception-Code": str(error.code)}
        self._send(_STATUS_BY_CODE.get(error.code, 500), f"{error}\n".encode(), headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        head = [f"{self.protocol_version} {status} {self.responses.get(status, ('',))[0]}"]
        given = {"Date": self.date_time_string(), "Content-Type": "text/plain; charset=UTF-8"} | headers
        given["Connection"] = "close" if self.close_connection else "keep-alive"
        given["Content-Length"] = str(len(body))
        head += [f"{name}: {value}" for name, value in given.items()]
        packed = ("\r\n".join(head) + "\r\n\r\n").encode("latin-1", "replace")
        if self.command == "HEAD":
            body = b""
        if len(body) <= ONE_PIECE_BYTES_MAX:
            self.wfile.write(packed + body)
        else:
            self.wfile.write(packed)
            self.wfile.write(body)


def _result_headers(query: Query, answer: Answer) -> dict[str, str]:
    summary = {
        "read_rows": answer.read_rows,
        "read_bytes": answer.read_bytes,
        "written_rows": answer.written_rows,
        "written_bytes": answer.written_bytes,
        "total_rows_to_read": answer.read_rows,
        "result_rows": answer.result_rows or answer.written_rows,
        "result_bytes": len(answer.body) or answer.written_bytes,
        "elapsed_ns": answer.elapsed_ns,
    }
    headers = {"X-ClickHouse-Summary": json.dumps({name: str(value) for name, value in summary.items()})}
    if query.statement.has_result:
        # Clients tell by this header that a statement has a result, be it empty.
        headers["X-ClickHouse-Format"] = query.output_format
        headers["Content-Type"] = _CONTENT_TYPES.get(query.output_format.lower(), "text/plain; charset=UTF-8")
    return headers


def _level(given: str | None) -> int:
    return int(given) if given and given.isdigit() and 1 <= int(given) <= 9 else 3


def serve(data_dir: Path, port: int) -> int:
    """Serve until SIGTERM or SIGINT, finish what is under way, close the engine, and return 0.

    Returns 3 when the data directory is in use by another process or the port is taken.
    """
    # ClickHouse takes the time zone of the process for types without one; everything of ours is in UTC.
    os.environ["TZ"] = "UTC"
    time.tzset()
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "server.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            logger.error("data directory is in use by another server", data_dir=str(data_dir))
            return 3
        # The engine reads a path as an address, in which `?` and others mean something; a directory of the user's may
        # have any name.
        os.chdir(data_dir)
        engine = Engine(Path("data"), Inbox(data_dir / "inbox"))
        try:
            server = ClickHouseServer(engine, port)
        except OSError as error:
            logger.error("cannot listen", port=port, reason=error.strerror)
            return 3
        serving = threading.Thread(target=server.serve_forever, name="accept", kwargs={"poll_interval": 0.1})
        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        serving.start()
        logger.info("listening", address=f"http://{HOST}:{server.server_port}", version=engine.version)
        stopping.wait()
        server.shutdown()
        server.server_close()
        if not server.drain(DRAIN_SECONDS_MAX):
            logger.warning("queries still run and are given up", after_seconds=DRAIN_SECONDS_MAX)
        engine.close()
        logger.info("stopped")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the server from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tollgate.embedded clickhouse", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args(arguments)
    settings = load_settings()
    configure_logs(settings.log_level, settings.log_format)
    return serve(given.data_dir.absolute(), given.port)
