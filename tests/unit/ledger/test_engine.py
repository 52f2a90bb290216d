"""When an engine says that it counts all it should."""

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.pricing import Pricer, load_price_book
from tollgate.ledger import Engine, KafkaLog, Lane, Link, Policy


async def test_an_engine_that_was_assigned_nothing_is_ready_and_one_that_waits_is_not() -> None:
    link = Link(KafkaLog({}), str, "test", lambda: 0)
    engine = Engine(link, Policy(BudgetBook(), lambda: Pricer(load_price_book("default"))))
    assert not engine.ready

    async def never(_: Lane) -> None:
        raise AssertionError("there is no lane")

    assert not engine.assigned
    await engine.acquire([], never)
    assert engine.assigned
    assert engine.ready
    await engine.park([])
    assert not engine.ready
