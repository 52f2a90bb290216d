"""The budgets and prices in force. They are replaced as a whole when the control topic changes."""

from collections.abc import Callable
from dataclasses import dataclass

from tollgate.domain.budgets import BudgetBook
from tollgate.domain.pricing import Pricer


@dataclass(frozen=True)
class Policy:
    """Budgets and prices as of one moment. `new_pricer` gives each lane its own, because a pricer keeps a cache."""

    budgets: BudgetBook
    new_pricer: Callable[[], Pricer]
