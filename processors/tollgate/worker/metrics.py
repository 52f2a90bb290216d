"""The worker's Prometheus metrics, read from the ledger's counters when they are scraped."""

from collections.abc import Iterator, Mapping

from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tollgate.ledger import Engine


class LedgerCollector(Collector):
    """Reads plain numbers at scrape time, so that counting an event costs no metric call."""

    def __init__(self, engine: Engine, waiting: Mapping[TopicPartition, int]) -> None:
        self._engine = engine
        self._waiting = waiting

    def collect(self) -> Iterator[Metric]:
        c = self._engine.counters
        for name, text, value in (
            ("tollgate_usage_records_applied", "Records of the usage topic that were handled", c.applied),
            ("tollgate_entries_applied", "Records of the entries topic that were handled", c.applied_entries),
            ("tollgate_events_counted", "Usage events that were priced and counted", c.counted),
            ("tollgate_events_duplicate", "Usage events whose identity was counted before", c.duplicates),
            ("tollgate_events_forwarded", "Usage events that were sent on to their user's partition", c.forwarded),
            ("tollgate_events_late", "Counted events for an hour that is no longer held", c.late),
            (
                "tollgate_usage_dimensions_folded",
                "Times that usage of a dimension was added up as `other`, because its scope has too many",
                c.folded_dimensions,
            ),
            (
                "tollgate_price_options_ignored",
                "Options of usage events that changed no price, counted when a price is looked up",
                c.options_ignored,
            ),
            ("tollgate_transactions", "Kafka transactions committed", c.transactions),
            ("tollgate_transaction_seconds", "Time spent in committed transactions", c.transaction_seconds),
            ("tollgate_records_written", "Records written in committed transactions", c.records_written),
        ):
            yield CounterMetricFamily(name, text, value=value)
        refused = CounterMetricFamily("tollgate_events_refused", "Dead letters written, by reason", labels=["reason"])
        for reason, count in c.refused.items():
            refused.add_metric([reason.value], count)
        yield refused
        yield GaugeMetricFamily(
            "tollgate_partitions_owned", "Partitions that this process counts", value=len(self._engine.partitions)
        )
        offsets = GaugeMetricFamily(
            "tollgate_committed_offset", "Offset a successor would go on from", labels=["topic", "partition"]
        )
        for tp, offset in self._engine.committed_offsets().items():
            offsets.add_metric([tp.topic, str(tp.partition)], offset)
        yield offsets
        waiting = GaugeMetricFamily(
            "tollgate_offsets_waiting",
            "Offsets that cannot be read before an open transaction ends",
            labels=["topic", "partition"],
        )
        for tp, count in self._waiting.items():
            waiting.add_metric([tp.topic, str(tp.partition)], count)
        yield waiting


def render(engine: Engine, waiting: Mapping[TopicPartition, int]) -> bytes:
    """The metrics in Prometheus' text format. `waiting` has the offsets behind the last stable one, by partition."""
    registry = CollectorRegistry()
    registry.register(LedgerCollector(engine, waiting))
    return generate_latest(registry)
