"""The embedded ClickHouse server: ClickHouse's HTTP interface over the engine in `chdb`, on 127.0.0.1.

`python -m tollgate.embedded clickhouse --data-dir D --port N`. This folder's README lists what it does not have.
"""

import argparse
import fcntl
import os
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import urlsplit

import structlog

from tollgate.embedded.clickhouse_answers import exception_block, result_headers, status_of
from tollgate.embedded.clickhouse_engine import Engine
from tollgate.embedded.clickhouse_inbox import Inbox
from tollgate.embedded.clickhouse_password import check_credentials, credentials_of
from tollgate.embedded.clickhouse_request import build_query, form_parts, request_parameters
from tollgate.embedded.clickhouse_results import Result
from tollgate.embedded.errors import QueryError
from tollgate.embedded.http_bodies import BadBodyError, BodyTooLargeError, Packer, decompress, packer, read_body
from tollgate.embedded.http_bounds import (
    BODY_SECONDS_MAX,
    HEAD_SECONDS_MAX,
    IDLE_SECONDS_MAX,
    SEND_SECONDS_MAX,
    BoundedServer,
)
from tollgate.embedded.http_origin import ANSWER_HEADERS, refuse_web_page
from tollgate.embedded.ports import HOST
from tollgate.embedded.stop_signals import catch_stop_signals
from tollgate.runtime.logs import configure_logs
from tollgate.runtime.settings import load_settings

logger = structlog.get_logger(__name__)

# The body, its rows and their copy for the engine are in memory together, so one insert may cost three times this.
BODY_BYTES_MAX = 256 * 1024 * 1024
# A body that is longer than this, or does not tell its length before it is read and unpacked, is large.
SMALL_BODY_BYTES_MAX = 1024 * 1024
# So many large bodies at a time; the others wait before they are read.
LARGE_BODIES_MAX = 4
LARGE_BODY_WAIT_SECONDS_MAX = 60
# How long running queries may take after SIGTERM.
DRAIN_SECONDS_MAX = 10
# How much of a refused request's body is read, and for how long, so that its sender sees the answer.
LINGER_BYTES_MAX = 16 * 1024 * 1024
LINGER_SECONDS_MAX = 2

TOO_MANY_BYTES = 307
TOO_MANY_QUERIES = 202
CANNOT_DECOMPRESS = 271
UNKNOWN_EXCEPTION = 1002


class ClickHouseServer(BoundedServer):
    """The engine behind HTTP on one port."""

    def __init__(self, engine: Engine, port: int, password: str) -> None:
        super().__init__((HOST, port), Handler)
        self.engine = engine
        self.password = password
        self.display_name = socket.gethostname()
        self._large_bodies = threading.BoundedSemaphore(LARGE_BODIES_MAX)

    @contextmanager
    def large_body(self) -> Iterator[None]:
        """A place for one large body, from before it is read until its query is done. Raises QueryError."""
        if not self._large_bodies.acquire(timeout=LARGE_BODY_WAIT_SECONDS_MAX):
            raise QueryError(
                TOO_MANY_QUERIES,
                f"Code: 202. DB::Exception: {LARGE_BODIES_MAX} large inserts are under way: try again later. "
                "(TOO_MANY_SIMULTANEOUS_QUERIES)",
            )
        try:
            yield
        finally:
            self._large_bodies.release()


class Handler(BaseHTTPRequestHandler):
    """One connection's requests, one after the other."""

    protocol_version = "HTTP/1.1"
    server_version = "tollgate-embedded-clickhouse"
    sys_version = ""
    # With Nagle's algorithm an answer in two pieces waits 40 ms for the client's delayed acknowledgement.
    disable_nagle_algorithm = True
    timeout = SEND_SECONDS_MAX
    server: ClickHouseServer
    _head_end: AbstractContextManager[None] | None = None
    _is_begun = False

    def handle_one_request(self) -> None:
        """Wait for a request's first byte, then for its head."""
        self._is_begun = False
        try:
            with self.server.within(self.connection, IDLE_SECONDS_MAX):
                begun = self.rfile.peek(1)  # type: ignore[attr-defined] # http.server makes a buffered reader
            if not begun:
                self.close_connection = True
                return
            end: AbstractContextManager[None] = self.server.within(self.connection, HEAD_SECONDS_MAX)
            end.__enter__()
            self._head_end = end
            super().handle_one_request()
        except (OSError, ValueError):
            # The connection was cut, or closed under the reader.
            self.close_connection = True
        finally:
            self._head_arrived()

    def do_GET(self) -> None:
        """A query that only reads, or a health check."""
        self._serve()

    def do_POST(self) -> None:
        """Any query."""
        self._serve()

    def do_HEAD(self) -> None:
        """A health check without an answer's body; never a query."""
        self._serve()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 # http.server's signature
        """Say what is wrong with a request that is no HTTP, in plain text: http.server's own would be a page."""
        self._head_arrived()
        self.close_connection = True
        self._send(int(code), b"The request is not understood.\n", {})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the name is http.server's
        """Keep http.server's own lines out of the log: they hold the URL, and that holds the query."""

    def _head_arrived(self) -> None:
        """End the time of the head, once."""
        end, self._head_end = self._head_end, None
        if end is not None:
            end.__exit__(None, None, None)

    def _serve(self) -> None:
        self._head_arrived()
        with self.server.request():
            try:
                self._answer()
            except (ConnectionError, TimeoutError):
                self.close_connection = True

    def _answer(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        refusal = refuse_web_page(headers, self.server.server_port)
        if refusal:
            self._refuse(403, refusal)
            return
        try:
            url = urlsplit(self.path)
        except ValueError:
            self._refuse(400, "The address is not understood.\n")
            return
        if url.path in ("/ping", "/replicas_status") or (url.path == "/" and self.command == "HEAD"):
            self._refuse(200, "Ok.\n")
        elif url.path != "/":
            self._refuse(404, f"There is no handle {url.path}\nUse / or /ping for health checks.\n")
        else:
            self._answer_query(request_parameters(url.query), headers)

    def _answer_query(self, parameters: dict[str, str], headers: dict[str, str]) -> None:
        query_id = parameters.get("query_id") or str(uuid.uuid4())
        try:
            check_credentials(credentials_of(headers, parameters), self.server.password)
        except QueryError as error:
            self._send_error(error, query_id, body_unread=True)
            return
        try:
            with self._body(headers) as body:
                self._run(parameters, headers, body, query_id)
        except (ConnectionError, TimeoutError):
            raise
        except QueryError as error:
            if self._is_begun:
                # Its end is not what its head promised, and that is all that can still be told.
                raise ConnectionError from error
            self._send_error(error, query_id)
        except Exception as error:
            # Our own bug must answer the client and stand in the log.
            logger.exception("request failed", query_id=query_id)
            if self._is_begun:
                raise ConnectionError from error
            text = f"Code: 1002. DB::Exception: {type(error).__name__} in the embedded server. (UNKNOWN_EXCEPTION)"
            self._send_error(QueryError(UNKNOWN_EXCEPTION, text), query_id)

    @contextmanager
    def _body(self, headers: dict[str, str]) -> Iterator[bytes]:
        """The request's body, unpacked. Large ones wait for a place before their first byte is read."""
        length = headers.get("content-length", "0")
        is_small = length.isdigit() and int(length) <= SMALL_BODY_BYTES_MAX and "transfer-encoding" not in headers
        if is_small and "content-encoding" not in headers:
            yield self._read_body(headers)
            return
        with self.server.large_body():
            yield self._read_body(headers)

    def _read_body(self, headers: dict[str, str]) -> bytes:
        try:
            with self.server.within(self.connection, BODY_SECONDS_MAX):
                raw = read_body(
                    cast("BinaryIO", self.rfile),
                    headers.get("content-length"),
                    headers.get("transfer-encoding"),
                    BODY_BYTES_MAX,
                )
            return decompress(raw, headers.get("content-encoding"), BODY_BYTES_MAX)
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

    def _run(self, parameters: dict[str, str], headers: dict[str, str], body: bytes, query_id: str) -> None:
        content_type = headers.get("content-type", "")
        files: dict[str, bytes] = {}
        if content_type.lower().startswith("multipart/form-data"):
            in_form, files = form_parts(content_type, body)
            parameters = parameters | in_form
            body = b""
        query = build_query(parameters, headers, body, files, reads_only=self.command == "GET")
        if query is None:
            self._send(200, b"Ok.\n", {})
            return
        pack: Packer | None = None
        encoding: str | None = None
        if parameters.get("enable_http_compression", "0") not in ("", "0", "false"):
            level = _level(parameters.get("http_zlib_compression_level"))
            pack, encoding = packer(headers.get("accept-encoding"), level)
        with self.server.engine.run(query) as result:
            answer_headers = self._clickhouse_headers(query_id) | result_headers(query, result)
            if encoding:
                answer_headers["Content-Encoding"] = encoding
            if result.rest is None:
                body = pack.compress(result.first) + pack.flush() if pack else result.first
                self._send(200, body, answer_headers)
            else:
                self._stream(result, answer_headers, pack)

    def _stream(self, result: Result, headers: dict[str, str], pack: Packer | None) -> None:
        """Send an answer piece by piece. An error in its midst is told as ClickHouse tells it, at the answer's end."""
        assert result.rest is not None
        tag = secrets.token_hex(8)
        chunked = self.request_version != "HTTP/1.0"
        self.close_connection = self.close_connection or not chunked
        framing = {"Transfer-Encoding": "chunked"} if chunked else {}
        self.wfile.write(self._head(200, headers | framing | {"X-ClickHouse-Exception-Tag": tag}))

        def send(piece: bytes) -> None:
            if piece:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)

        def write(part: bytes) -> None:
            send(pack.compress(part) if pack else part)

        write(result.first)
        try:
            for part in result.rest:
                write(part)
        except QueryError as error:
            logger.warning("query failed in the midst of its answer", code=error.code)
            write(exception_block(error, tag))
            self.close_connection = True
        send(pack.flush() if pack else b"")
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _clickhouse_headers(self, query_id: str) -> dict[str, str]:
        return {
            "X-ClickHouse-Server-Display-Name": self.server.display_name,
            "X-ClickHouse-Query-Id": "".join(c for c in query_id if c.isprintable() and c.isascii()),
            "X-ClickHouse-Timezone": self.server.engine.timezone,
        }

    def _send_error(self, error: QueryError, query_id: str, *, body_unread: bool = False) -> None:
        # The text may quote the user's data, so the log has the number alone.
        logger.warning("query failed", code=error.code, query_id=query_id)
        headers = self._clickhouse_headers(query_id) | {"X-ClickHouse-Exception-Code": str(error.code)}
        text = f"{error}\n"
        status = status_of(error)
        if body_unread:
            self._refuse(status, text, headers)
        else:
            self._send(status, text.encode("utf-8", "replace"), headers)

    def _refuse(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        """Answer without a look at the request's body; then the connection ends, if there is one."""
        has_body = self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers
        self.close_connection = self.close_connection or has_body
        self._send(status, text.encode("utf-8", "replace"), headers or {})
        if has_body:
            # Closed at once, the answer would be lost with the bytes that nobody read.
            self.connection.shutdown(socket.SHUT_WR)
            with self.server.within(self.connection, LINGER_SECONDS_MAX):
                left = LINGER_BYTES_MAX
                while left > 0 and (part := self.rfile.read1(65536)):
                    left -= len(part)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        head = self._head(status, headers | {"Content-Length": str(len(body))})
        # In one piece: it is at most a little over a mebibyte.
        self.wfile.write(head if self.command == "HEAD" else head + body)

    def _head(self, status: int, headers: dict[str, str]) -> bytes:
        self._is_begun = True
        lines = [f"{self.protocol_version} {status} {self.responses.get(status, ('',))[0]}"]
        given = {"Date": self.date_time_string(), "Content-Type": "text/plain; charset=UTF-8"} | ANSWER_HEADERS
        given |= headers | {"Connection": "close" if self.close_connection else "keep-alive"}
        lines += [f"{name}: {value}" for name, value in given.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def _level(given: str | None) -> int:
    return int(given) if given and given.isdigit() and 1 <= int(given) <= 9 else 3


def serve(data_dir: Path, port: int, password: str) -> int:
    """Serve until SIGTERM or SIGINT, finish what is under way, close the engine, and return 0.

    Returns 3 when the data directory is in use by another process or the port is taken.
    """
    # ClickHouse takes the time zone of the process for types without one; everything of ours is in UTC.
    os.environ["TZ"] = "UTC"
    time.tzset()
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    # One that is there already may be an earlier release's.
    data_dir.chmod(0o700)
    # The engine takes a `config.xml` of the directory in which it is loaded for its own.
    os.chdir(data_dir)
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
            server = ClickHouseServer(engine, port, password)
        except OSError as error:
            logger.error("cannot listen", port=port, reason=error.strerror)
            return 3
        serving = threading.Thread(target=server.serve_forever, name="accept", kwargs={"poll_interval": 0.1})
        wait_for_stop = catch_stop_signals()
        serving.start()
        logger.info("listening", address=f"http://{HOST}:{server.server_port}", version=engine.version)
        wait_for_stop()
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
    password = settings.clickhouse_password.get_secret_value()
    return serve(given.data_dir.absolute(), given.port, password)
