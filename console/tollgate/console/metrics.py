"""Figures of a console process for Prometheus."""

import time
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tollgate.console.addresses import API, is_api
from tollgate.console.live import Live
from tollgate.console.live.live import NAMES
from tollgate.console.problems import Problem

# From what memory answers to what a report takes.
_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
# Further methods are nobody's of ours, and anybody may send any.
_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class Metrics:
    """One registry for a process. Paths are counted by their template, so that ids make no labels of their own."""

    content_type: Final = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "tollgate_console_requests",
            "Requests answered, by route.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "tollgate_console_request_seconds",
            "Time until an answer begins, by route.",
            ("method", "route"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._age = Gauge(
            "tollgate_console_live_age_seconds",
            "How old the knowledge of a topic is; -1 while nothing is known.",
            ("topic",),
            registry=self._registry,
        )
        self._streams = Gauge("tollgate_console_streams", "Open streams.", registry=self._registry)
        self._skipped = Gauge(
            "tollgate_console_skipped_records",
            "Records that could not be read since the start.",
            ("topic",),
            registry=self._registry,
        )

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def text(self, live: Live) -> bytes:
        """All figures in Prometheus' text format."""
        now_ms = time.time_ns() // 1_000_000
        for name in NAMES:
            as_of_ms = live.freshness(name).as_of_ms
            self._age.labels(name).set((now_ms - as_of_ms) / 1000 if as_of_ms else -1)
        self._streams.set(live.streams)
        for topic, count in live.ignored.by_topic.items():
            self._skipped.labels(topic.value).set(count)
        return generate_latest(self._registry)


class RequestMetrics:
    """ASGI middleware: counts each request when its answer begins, so that a stream is no slow request."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, told = time.perf_counter(), False

        def tell(status: int) -> None:
            nonlocal told
            if not told:
                told = True
                self._metrics.answered(scope["method"], _template(scope), status, time.perf_counter() - began)

        async def told_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                tell(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, told_send)
        except Problem as problem:
            tell(problem.status)
            raise
        except Exception:
            tell(500)
            raise


def _template(scope: Scope) -> str:
    """The path of the route that answered, as it was written; `unmatched` when there is none."""
    path = getattr(scope.get("route"), "path_format", None)
    if not isinstance(path, str):
        return "unmatched"
    # A room's route does not know what it was mounted under.
    return API + path if is_api(scope["path"]) else path
