"""What the worker tells Prometheus."""

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.pricing import Pricer, load_price_book
from tollgate.ledger import Engine, KafkaLog, Link, Policy
from tollgate.worker.metrics import render


def test_options_that_change_no_price_are_a_metric() -> None:
    link = Link(KafkaLog({}), str, "test", lambda: 0)
    engine = Engine(link, Policy(BudgetBook(), lambda: Pricer(load_price_book("default"))))
    engine.counters.options_ignored = 7
    assert b"\ntollgate_price_options_ignored_total 7.0\n" in render(engine, {})
