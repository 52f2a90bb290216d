"""A door of the console's `POST /api/v1/usage`: keeps the events that it takes, and answers as it is told to."""

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], Any]


class UsageDoor:
    """`events` are those taken, in order. `answers` are given first, one to each request; then `judges` may answer for
    a whole request, and `refuses` for one event, with why.
    """

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.answers: deque[Answer] = deque()
        self.judges: Callable[[list[dict[str, Any]]], Answer | None] = lambda _events: None
        self.refuses: Callable[[dict[str, Any]], str | None] = lambda _event: None
        self.url = ""

    def ids(self) -> list[str]:
        return [event["id"] for event in self.events]


@contextmanager
def usage_door() -> Iterator[UsageDoor]:
    """Open for as long as the block lasts."""
    door = UsageDoor()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            door.requests.append((self.path, dict(self.headers)))
            events = json.loads(body)
            given = door.answers.popleft() if door.answers else door.judges(events)
            status, headers, document = given or _taken(door, events)
            answer = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            for name, text in headers.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    door.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield door
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _taken(door: UsageDoor, events: list[dict[str, Any]]) -> Answer:
    refused = []
    for index, event in enumerate(events):
        fault = door.refuses(event)
        if fault is None:
            door.events.append(event)
        else:
            refused.append({"index": index, "reason": "invalid", "error": fault})
    return 202, {}, {"accepted": len(events) - len(refused), "refused": refused}
