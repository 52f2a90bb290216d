"""What decides: budgets, prices and the stop as the control topic has them, and a setting."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.pricing import Pricer
from tollgate.domain.reservations import Blocked
from tollgate.domain.stops import Stop

# No event is this old: 36 million years. An instant less this still fits into 64 bits, as the compiled core needs it.
ANY_AGE_MS: Final = 1 << 60


def none_blocked(_scope: str) -> None:
    """No shared scope is blocked."""


@dataclass(frozen=True)
class Policy:
    """Budgets and prices as of one moment.

    `new_pricer` gives each partition a pricer of its own, because it remembers the prices that it has looked up. As
    long as prices stay, a policy has the same `new_pricer` as the one before, and as long as budgets stay, the same
    `budgets`: a partition keeps what it remembers of either.

    `event_age_ms_max`: an event of exactly this age when the broker stamps it is counted, an older one is refused.
    `stop`: the stop by hand or its end, None when there never was one. `shared_flags` tells what the latest known flag
    of a scope says that no user is in, where it is blocked or stopped. Only reservations ask; it changes by itself.
    """

    budgets: BudgetBook
    new_pricer: Callable[[], Pricer]
    event_age_ms_max: int = ANY_AGE_MS
    stop: Stop | None = None
    shared_flags: Callable[[str], Blocked | None] = none_blocked
