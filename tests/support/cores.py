"""Both cores side by side: what one counts, the other must count, to the byte."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from decimal import Decimal
from typing import Any

from aiokafka import ConsumerRecord

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.pricing import PriceBook, Pricer
from tollgate.ledger import ANY_AGE_MS, Counters, Policy
from tollgate.ledger.core import Core, choose_core
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.user_stage import UserStage
from tollgate.schemas.topics import Topic

# The usage dimensions that the compiled core tells apart in a batch: `native/src/sums.rs`.
DIMENSIONS_OF_CORE = 64

# Where there is no compiler, the Python core is all there is to test.
CORES: tuple[Core, ...] = ("python", "compiled") if choose_core() == "compiled" else ("python",)


NO_BUDGETS = BudgetBook()


def policy_of(book: PriceBook, event_age_ms_max: int = ANY_AGE_MS, budgets: BudgetBook = NO_BUDGETS) -> Policy:
    """These prices and budgets."""
    return Policy(budgets, lambda: Pricer(book), event_age_ms_max)


class BothCores:
    """One stage of each core, fed alike. `partition` is theirs."""

    def __init__(self, book: PriceBook, partition: int = 0, event_age_ms_max: int = ANY_AGE_MS) -> None:
        self.counters = {core: Counters() for core in CORES}
        self._was_wide = False
        self._policy = policy = policy_of(book, event_age_ms_max)
        self.stages = {core: UserStage(partition, policy, self.counters[core], core=core) for core in CORES}

    def apply(self, records: list[ConsumerRecord]) -> None:
        """Count the records with each core; their counters agree, but for what is counted with look-ups of prices."""
        for stage in self.stages.values():
            stage.apply(records)
        self._agree({core: asdict(counters) | {"options_ignored": 0} for core, counters in self.counters.items()})

    def apply_entries(self, records: list[ConsumerRecord]) -> None:
        """The same for records of the entries topic."""
        for stage in self.stages.values():
            stage.apply_entries(records)

    def tick(self, now_ms: int) -> None:
        """Let time pass for each core."""
        for stage in self.stages.values():
            stage.tick(now_ms)

    def set_prices(self, book: PriceBook) -> None:
        """Replace the prices of each core."""
        self._set(replace(self._policy, new_pricer=lambda: Pricer(book)))

    def set_budgets(self, budgets: BudgetBook) -> None:
        """Replace the budgets of each core."""
        self._set(replace(self._policy, budgets=budgets))

    def _set(self, policy: Policy) -> None:
        self._policy = policy
        for stage in self.stages.values():
            stage.set_policy(policy)

    def write(self, now_ms: int) -> Outbox:
        """What both write, which is the same: every record of every topic, and the numbers of the offset row.

        A batch with more usage dimensions than the compiled core knows is summed in two parts. Then deltas are divided
        otherwise, and other dimensions of a full scope may be those that keep their names; all sums are the same.
        """
        written: dict[Core, Any] = {}
        for core, stage in self.stages.items():
            outbox = Outbox()
            numbers = stage.write(outbox, now_ms)
            written[core] = outbox, numbers
        # Scopes keep the order of their dimensions.
        self._was_wide = self._was_wide or _is_wide(written["python"][0])
        form = _sums if self._was_wide else _records
        self._agree({core: (form(outbox), numbers) for core, (outbox, numbers) in written.items()})
        outbox = written["python"][0]
        assert isinstance(outbox, Outbox)
        return outbox

    @staticmethod
    def _agree(found: dict[Core, Any]) -> None:
        for core, value in found.items():
            assert value == found["python"], core


def _records(outbox: Outbox) -> Any:
    # The compiled core gives the records as a sequence of its own.
    return {place: list(records) for place, records in outbox.records.items()}


def _deltas(outbox: Outbox) -> Iterator[list[Any]]:
    for (topic, _), records in outbox.records.items():
        if topic is Topic.DELTAS:
            for _, value, _ in records:
                yield from json.loads(value or b"")[1]


def _is_wide(outbox: Outbox) -> bool:
    dimensions = {dimension for delta in _deltas(outbox) for dimension in delta[6]}
    return len(dimensions) > DIMENSIONS_OF_CORE


def _sums(outbox: Outbox) -> Any:
    """The records with usage as its total, and deltas added up."""
    added: dict[tuple[Any, ...], Counter[str]] = {}
    for scope, hour, held, cost, retail, events, usage, after, calendars in _deltas(outbox):
        total = added.setdefault((scope, hour, held, after, tuple(calendars)), Counter())
        total.update({"": events, "cost": cost, "retail": retail, **{f"usage {name}": n for name, n in usage.items()}})
    # Scopes come in another order, too; what is written of one key keeps its order.
    others = {
        place: sorted(
            ((key, _without_names(value), headers) for key, value, headers in records), key=lambda one: one[0] or b""
        )
        for place, records in outbox.records.items()
        if place[0] is not Topic.DELTAS
    }
    return added, others


def _without_names(value: bytes | None) -> Any:
    try:
        return _totals(json.loads(value or b""))
    except ValueError:
        return value


def _totals(node: Any) -> Any:
    if isinstance(node, list):
        return [_totals(child) for child in node]
    if isinstance(node, dict) and "other" in node:
        return sum(Decimal(amount) for amount in node.values())
    if isinstance(node, dict):
        return {name: _totals(child) for name, child in node.items()}
    return node
