"""Both cores side by side: what one counts, the other must count, to the byte."""

from dataclasses import asdict
from typing import Any

from aiokafka import ConsumerRecord

from tollgate.domain.budgets import BudgetBook
from tollgate.domain.pricing import PriceBook, Pricer
from tollgate.ledger import ANY_AGE_MS, Counters, Policy
from tollgate.ledger.core import Core, choose_core
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.users import UserStage

# Where there is no compiler, the Python core is all there is to test.
CORES: tuple[Core, ...] = ("python", "compiled") if choose_core() == "compiled" else ("python",)


def policy_of(book: PriceBook, event_age_ms_max: int = ANY_AGE_MS) -> Policy:
    """These prices and no budgets."""
    return Policy(BudgetBook(), lambda: Pricer(book), event_age_ms_max)


class BothCores:
    """One stage of each core, fed alike. `partition` is theirs."""

    def __init__(self, book: PriceBook, partition: int = 0, event_age_ms_max: int = ANY_AGE_MS) -> None:
        self.counters = {core: Counters() for core in CORES}
        policy = policy_of(book, event_age_ms_max)
        self.stages = {core: UserStage(partition, policy, self.counters[core], core=core) for core in CORES}

    def apply(self, records: list[ConsumerRecord]) -> None:
        """Count the records with each core; their counters agree, but for what is counted with look-ups of prices."""
        for stage in self.stages.values():
            stage.apply(records)
        self._agree({core: asdict(counters) | {"options_ignored": 0} for core, counters in self.counters.items()})

    def set_prices(self, book: PriceBook) -> None:
        """Replace the prices of each core."""
        for stage in self.stages.values():
            stage.set_policy(policy_of(book))

    def write(self, now_ms: int) -> Outbox:
        """What both write, which is the same: every record of every topic, and the numbers of the offset row."""
        written: dict[Core, Any] = {}
        for core, stage in self.stages.items():
            outbox = Outbox()
            numbers = stage.write(outbox, now_ms)
            written[core] = outbox, numbers
        # The compiled core gives the records as a sequence of its own.
        self._agree(
            {
                core: ({place: list(records) for place, records in outbox.records.items()}, numbers)
                for core, (outbox, numbers) in written.items()
            }
        )
        outbox = written["python"][0]
        assert isinstance(outbox, Outbox)
        return outbox

    @staticmethod
    def _agree(found: dict[Core, Any]) -> None:
        for core, value in found.items():
            assert value == found["python"], core
