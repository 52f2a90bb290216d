"""What a lane does between two transactions."""

import asyncio
from collections.abc import Callable

import pytest
from tests.unit.ledger.test_entries import ENTRIES, USAGE, Installation

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget
from tollgate.domain.pricing import Pricer, load_price_book
from tollgate.ledger import Policy, sweep
from tollgate.schemas.control import BudgetRecord


async def test_a_walk_that_finds_nothing_goes_on_without_a_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "ROWS_MAX", 2)
    monkeypatch.setattr(sweep, "OBJECTS_MAX", 2)
    world = Installation()
    first = await world.worker(USAGE, ENTRIES)
    for number in range(12):
        world.publish(f"e{number}", f"u{number}")
    world.count(first, USAGE)
    await world.commit(first)
    await first.close()
    pauses: list[Callable[[], None]] = []
    world.later = lambda _, call: pauses.append(call)
    engine = await world.worker(USAGE, ENTRIES)
    (lane,) = engine.recovered_lanes
    budget = BudgetRecord.model_validate(
        {"id": "b", "scope": "user/*", "limit": "1000000", "window": "month", "updated_at": "2026-11-01T00:00:00Z"}
    )
    book = load_price_book("default")
    engine.set_policy(Policy(BudgetBook([Budget.from_record(budget)]), lambda: Pricer(book)))
    lane.checkpoint()
    walked = 0
    while pauses:
        pauses.pop()()
        walked += 1
        await lane.settle()
        await asyncio.sleep(0)
    # Twelve users, two at a time, the first two at once.
    assert walked >= 5
    assert all(partition.stage.pending() == 0 for partition in engine.partitions)
