"""An HTTP proxy in front of ClickHouse, which a test can close, or make drop or falsify answers."""

import http.client
import threading
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlsplit


class Way(Enum):
    """What happens to a request."""

    OPEN = "it is relayed, and so is the answer"
    SHUT = "the connection is closed before anything is relayed"
    ANSWER_LOST = "an insert is relayed, then the connection is closed without an answer"
    ANSWER_HELD = "an insert is relayed, its answer never comes"
    DISK_FULL = "an insert is answered with ClickHouse's NOT_ENOUGH_SPACE"
    NO_ANSWERS = (
        "a question about pasts of meters is answered with ClickHouse's MEMORY_LIMIT_EXCEEDED, an insert is relayed"
    )
    ODD_ABOUT_POISON = "an insert of an event with the word poison is answered with a code that nobody knows"
    ODD = "every insert is answered with a code that nobody knows"


class Door:
    """Use as a context manager; `url` is what the sink is given. Nothing listens before the block begins."""

    def __init__(self, clickhouse_url: str, port: int, way: Way = Way.OPEN) -> None:
        self.way = way
        self.url = f"http://127.0.0.1:{port}"
        # How many inserts reached ClickHouse and were answered by it, and how many were turned away.
        self.inserted = 0
        self.turned_away = 0
        self._upstream = urlsplit(clickhouse_url).netloc
        self._port = port
        self._release = threading.Event()
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        door = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """A relay has nothing to say."""

            def do_GET(self) -> None:
                door._pass(self)

            def do_POST(self) -> None:
                door._pass(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._release.set()
        self._server.shutdown()
        self._server.server_close()

    def _pass(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        is_insert = b"INSERT" in body[:100].upper()
        way = self.way
        if way is Way.SHUT:
            request.close_connection = True
            return
        if way is Way.DISK_FULL and is_insert:
            self.turned_away += 1
            text = b"Code: 243. DB::Exception: Cannot reserve 1.00 MiB, not enough space. (NOT_ENOUGH_SPACE)\n"
            self._answer(request, 500, {"X-ClickHouse-Exception-Code": "243"}, text)
            return
        if way is Way.NO_ANSWERS and "asked_offset" in request.path:
            self.turned_away += 1
            text = b"Code: 241. DB::Exception: Memory limit exceeded. (MEMORY_LIMIT_EXCEEDED)\n"
            self._answer(request, 500, {"X-ClickHouse-Exception-Code": "241"}, text)
            return
        if is_insert and (
            way is Way.ODD or (way is Way.ODD_ABOUT_POISON and b"usage_events" in body[:100] and b"poison" in body)
        ):
            self.turned_away += 1
            self._answer(request, 500, {"X-ClickHouse-Exception-Code": "4711"}, b"Code: 4711. DB::Exception: poison\n")
            return
        upstream = http.client.HTTPConnection(self._upstream, timeout=30)
        try:
            # The server answers to its own address only, so the relay names that instead of the door's.
            headers = {
                name: value for name, value in request.headers.items() if name.lower() not in ("connection", "host")
            }
            upstream.request(request.command, request.path, body, headers)
            answer = upstream.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            # ClickHouse is away: so is the door, for this request.
            request.close_connection = True
            return
        finally:
            upstream.close()
        if is_insert:
            self.inserted += 1
            if way in (Way.ANSWER_LOST, Way.ANSWER_HELD):
                if way is Way.ANSWER_HELD:
                    self._release.wait()
                request.close_connection = True
                return
        self._answer(request, answer.status, dict(answer.getheaders()), content)

    @staticmethod
    def _answer(request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], content: bytes) -> None:
        request.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("connection", "content-length", "date", "server", "transfer-encoding"):
                request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)
