"""The sink's Prometheus metrics; served only when the settings give a port."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server


class SinkMetrics:
    """The sink's metrics, in a separate registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.rows = Counter(
            "tollgate_sink_clickhouse_rows", "Rows inserted, repeats included", ["table"], registry=self.registry
        )
        self.rejected = Counter(
            "tollgate_sink_clickhouse_rejected", "Records put into dead_letters", ["topic"], registry=self.registry
        )
        self.failures = Counter(
            "tollgate_sink_clickhouse_failures",
            "Inserts that failed and are retried",
            ["table"],
            registry=self.registry,
        )
        self.retrying = Gauge(
            "tollgate_sink_clickhouse_retrying", "1 while ClickHouse does not take rows", registry=self.registry
        )
        self.pasts = Counter(
            "tollgate_sink_clickhouse_pasts",
            "Answers to the worker of what was spent before a meter was counted, repeats included",
            registry=self.registry,
        )
        self.pasts_waiting = Gauge(
            "tollgate_sink_clickhouse_pasts_waiting", "Such questions that have no answer yet", registry=self.registry
        )
        self.flush_seconds = Histogram(
            "tollgate_sink_clickhouse_flush_seconds",
            "From the start of a batch's inserts to its commit",
            registry=self.registry,
        )

    def serve(self, host: str, port: int) -> None:
        """Answer /metrics on the port, in a separate thread."""
        start_http_server(port, host, registry=self.registry)
