"""What a change of a budget would do to flags, before it is made: by the rules that the worker decides with. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget, Position
from tollgate.domain.decisions import decide, worst
from tollgate.domain.stops import Stop
from tollgate.domain.windows import window_end, window_start
from tollgate.schemas.amounts import NANO
from tollgate.schemas.outputs import FlagState

_STRICTNESS: Final = {FlagState.OK: 0, FlagState.WARNING: 1, FlagState.BLOCKED: 2, FlagState.STOPPED: 3}

Span = tuple[int, int | None]
"""Values from the first one on and below the second one; None has no end."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a scope's flag says, and the budget that it shows; None without budgets or while all is stopped by hand."""

    state: FlagState
    shown: Position | None

    @property
    def blocks(self) -> bool:
        """Whether services refuse calls."""
        return self.state in (FlagState.BLOCKED, FlagState.STOPPED)


@dataclass(frozen=True, slots=True)
class Effect:
    """A scope's flag before a change and after it."""

    scope: str
    before: Verdict
    after: Verdict

    @property
    def is_change(self) -> bool:
        """Whether the flag would have another state."""
        return self.before.state is not self.after.state

    @property
    def is_stricter(self) -> bool:
        """Whether the flag would have a stricter state."""
        return _STRICTNESS[self.after.state] > _STRICTNESS[self.before.state]


def effect(
    scope: str,
    before: BudgetBook,
    after: BudgetBook,
    value_of: Callable[[Budget, int], int],
    now_ms: int,
    stop: Stop | None = None,
) -> Effect:
    """The scope's flag with the budgets `before` and with those `after`.

    `value_of(budget, window_start_ms)` is what the scope has spent, in the budget's unit. `stop` is given for `global`
    alone.
    """
    found = [_positions(book.in_force(scope, now_ms), value_of, now_ms) for book in (before, after)]
    return Effect(scope, *(_verdict(scope, positions, now_ms, stop) for positions in found))


def _positions(budgets: Sequence[Budget], value_of: Callable[[Budget, int], int], now_ms: int) -> list[Position]:
    found = []
    for budget in budgets:
        start_ms = window_start(budget.calendar, now_ms)
        value = value_of(budget, start_ms)
        found.append(Position(budget, start_ms, window_end(budget.calendar, start_ms), value, budget.reached(value)))
    return found


def _verdict(scope: str, found: Sequence[Position], now_ms: int, stop: Stop | None) -> Verdict:
    flag = decide(scope, found, None, None, now_ms, stop).flag
    if flag is None:
        return Verdict(FlagState.OK, worst(found))
    return Verdict(flag.state, worst(found) if flag.budget is not None else None)


def differing_spans(before: Budget | None, after: Budget | None) -> list[Span]:
    """The values for which the two say different states, upwards. They limit the same unit in the same window.

    From a limit of 100 to one of 150, both with a warning at 80 % and a block at 100 %: one span, [80, 150). At 80 the
    first one warns already, and from 150 on both block.
    """
    given = [budget for budget in (before, after) if budget is not None]
    edges = sorted({0, *(_reached_at(b, t.percent_nano) for b in given for t in b.thresholds)})
    spans: list[Span] = []
    for edge, following in zip(edges, [*edges[1:], None], strict=True):
        if _state(before, edge) is _state(after, edge):
            continue
        if spans and spans[-1][1] == edge:
            spans[-1] = (spans[-1][0], following)
        else:
            spans.append((edge, following))
    return spans


def _reached_at(budget: Budget, percent_nano: int) -> int:
    """The lowest value at which `Budget.reached` says that a threshold is reached."""
    return -(-percent_nano * budget.limit // (100 * NANO))


def _state(budget: Budget | None, value: int) -> FlagState:
    threshold = budget.reached(value) if budget is not None else None
    return threshold.state if threshold is not None else FlagState.OK
