"""Usage dimensions that somebody invents: those that a scope has no room for are added up as one."""

from collections.abc import Sequence
from typing import Final

import structlog

from tollgate.domain.spend import DIMENSIONS_MAX, OTHER, ScopeSpend, Spend
from tollgate.domain.windows import WindowKey, Windows
from tollgate.ledger.counters import Counters
from tollgate.schemas.scopes import is_combination

# A warning for each scope of which somebody invents dimensions would be a flood of its own.
_FOLDING_MAX: Final = 100

log = structlog.get_logger("tollgate.ledger")


class Folding:
    """See `ScopeSpend.folded`. The first time for a scope since the process started, it is said in the log."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        # Scopes of which the log has said it.
        self._said: set[str] = set()

    def begun(self, scope: str, windows: Windows, amount: Spend) -> tuple[ScopeSpend, Sequence[WindowKey]]:
        """A new scope with its first amount, and what `ScopeSpend.add` gives for it."""
        is_base = not is_combination(scope)
        if len(amount.usage_nano) <= DIMENSIONS_MAX:
            begun = ScopeSpend.begun(windows, amount, is_base=is_base)
            if begun is not None:
                return begun, windows
        spend = ScopeSpend(windows, is_base=is_base)
        return spend, spend.add(windows, self.folded(scope, spend, amount))

    def folded(self, scope: str, spend: ScopeSpend, amount: Spend) -> Spend:
        """The amount as the scope counts it."""
        if len(amount.usage_nano) + len(spend.names) <= DIMENSIONS_MAX:
            return amount
        folded = spend.folded(amount)
        more = sum(dimension not in folded.usage_nano for dimension in amount.usage_nano)
        if more:
            self._counters.folded_dimensions += more
            if scope not in self._said and len(self._said) < _FOLDING_MAX:
                self._said.add(scope)
                log.warning(
                    f"a scope has more than {DIMENSIONS_MAX} usage dimensions: further ones are added up as {OTHER}",
                    scope=scope,
                    dimensions=more,
                )
        return folded
