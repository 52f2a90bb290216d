"""What people set at run time: budgets, and the stop by hand. Each worker hears of it some time later."""

import dataclasses
from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Final

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget
from tollgate.domain.pricing import Pricer, load_price_book
from tollgate.domain.stops import Stop
from tollgate.ledger.policy import Policy
from tollgate.schemas.control import BudgetRecord

# Monthly budgets in 10⁻¹² USD.
LIMITS: Final = {"user/*": Decimal("0.05") * 10**12, "global": Decimal("0.2") * 10**12}


def _policy() -> Policy:
    budgets = (
        BudgetRecord.model_validate(
            {"scope": scope, "limit": str(limit / 10**12), "window": "month", "updated_at": "2026-11-01T00:00:00Z"}
        )
        for scope, limit in LIMITS.items()
    )
    pricer = Pricer(load_price_book("default"))
    return Policy(BudgetBook(map(Budget.from_record, budgets)), lambda: pricer)


POLICY: Final = _policy()


class People:
    """`policy` is what the control topic says now. `did` hears of each change."""

    def __init__(self, did: Callable[[str], None]) -> None:
        self._did = did
        self._changes = 0
        self.policy = POLICY

    @property
    def stopped(self) -> str | None:
        """Why all spending is stopped by hand; None when it is not."""
        stop = self.policy.stop
        return stop.reason if stop is not None and stop.stopped else None

    def stop_or_resume(self, random: Random) -> None:
        """Stop all spending, let it go on, or remove the setting, each time for another reason."""
        self._did("stop")
        self._changes += 1
        reason = f"reason {self._changes}"
        if self.stopped is None or random.randrange(5) == 0:
            stop: Stop | None = Stop(True, "ada", reason)
        else:
            stop = Stop(False, "bob", reason) if random.randrange(3) else None
        self.policy = dataclasses.replace(self.policy, stop=stop)
