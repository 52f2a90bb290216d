"""What is written about scopes that reach the same limit in one transaction: `decide` is asked once, with blanks.

A budget on a pattern may be reached by each of a million users at once. What is written about them differs in their
name and in how much they have spent, so these are filled into what was decided about none of them in particular. Only
first decisions about scopes of one name are made so; every other one is left to `decide`.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from itertools import repeat
from operator import itemgetter
from typing import Any, Final, NamedTuple

import msgspec

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import BASE_CALENDARS, Budget, Position, Threshold, next_change_ms
from tollgate.domain.decisions import decide
from tollgate.domain.windows import window_end, window_start
from tollgate.ledger.outbox import NO_HEADERS, Outbox
from tollgate.ledger.scope_table import ScopeTable
from tollgate.schemas.scopes import GLOBAL_SCOPE, is_combination
from tollgate.schemas.topics import Topic

_encode = msgspec.json.Encoder().encode

# Blanks. No name and no id has a control character, and JSON writes these as they are: an escape such as `\u0001` also
# stands in the text of a name that has a backslash.
_NAME: Final = "\x7f"
_SPENT: Final = "\x80"
_PERCENT: Final = "\x81"
# To make a form takes as long as to decide about so many scopes: with fewer that are alike, none is made.
ALIKE_MIN: Final = 4

# The blank of the value is this number or one above it.
_VALUE_MIN: Final = 10**39

_Fill = Callable[[Sequence[bytes]], bytes]


class _Blank(Budget):
    """A budget that leaves blanks where it would write a value of `_VALUE_MIN` or more."""

    __slots__ = ()

    def format(self, value: int) -> str:
        return super().format(value) if value < _VALUE_MIN else _SPENT

    def percent(self, value: int) -> str:
        return super().percent(value) if value < _VALUE_MIN else _PERCENT


class Form:
    """What `decide` says at this instant about a scope that has reached this limit and no other.

    The scope has no flag and no alert, nothing of it is reserved, and its sum is whole. The value of `reached` is of no
    account. `due_ms` is as in a decision.
    """

    __slots__ = ("_blanks", "_budget", "due_ms")

    def __init__(self, reached: Position, now_ms: int) -> None:
        budget = self._budget = reached.budget
        value = _VALUE_MIN
        while str(value) in repr(budget):
            value += 1
        blank = _Blank(**{field.name: getattr(budget, field.name) for field in fields(budget)})
        found = Position(blank, reached.window_start_ms, reached.window_end_ms, value, reached.threshold)
        decision = decide(_NAME, [found], None, None, now_ms)
        (alert,) = decision.alerts
        self.due_ms = decision.due_ms
        texts = (_encode(decision.standing), _encode(decision.flag), _encode(alert))
        marks = (_inner(_NAME), b"%d" % value, _inner(_SPENT), _inner(_PERCENT))
        # The key is no JSON.
        key = _with_blanks(alert.key.encode(), (_NAME.encode(),))
        self._blanks = (*(_with_blanks(text, marks) for text in texts), key)

    def fill(self, scopes: Sequence[str], values: Sequence[int]) -> "Filled":
        """What is written about these scopes, which have spent `values`, in the unit of the limit."""
        budget = self._budget
        row, flag, alert, key = self._blanks
        names = [scope.encode() for scope in scopes]
        given = [
            (_inner(scope), b"%d" % value, budget.format(value).encode(), budget.percent(value).encode())
            for scope, value in zip(scopes, values, strict=True)
        ]
        return Filled(
            names, [*map(row, given)], [*map(flag, given)], [*map(key, zip(names, strict=True))], [*map(alert, given)]
        )


class Filled(NamedTuple):
    """Of each scope its name, row of state, flag, and key and value of its alert."""

    names: list[bytes]
    rows: list[bytes]
    flags: list[bytes]
    alert_keys: list[bytes]
    alerts: list[bytes]


def _inner(text: str) -> bytes:
    """The text as it stands within a string of JSON."""
    return _encode(text)[1:-1]


def _with_blanks(text: bytes, marks: Sequence[bytes]) -> _Fill:
    """A function that puts others in the place of these marks."""
    parts = re.split(b"(" + b"|".join(map(re.escape, marks)) + b")", text)
    template = b"%b".join(part.replace(b"%", b"%%") for part in parts[::2])
    places = [marks.index(mark) for mark in parts[1::2]]
    # Of one place it makes no tuple, and needs none.
    order: Callable[[Sequence[bytes]], Any] = itemgetter(*places)
    return lambda given: template % order(given)


class _Limits:
    """The budgets in force of scopes that are limited alike, with the starts of their windows."""

    __slots__ = ("budgets", "present")

    def __init__(self, budgets: Sequence[Budget], now_ms: int) -> None:
        # Held, so that its identity stays its own.
        self.budgets = budgets
        # None when the budgets change by themselves, or limit other sums than the base ones.
        self.present: list[tuple[Budget, int]] | None = None
        if next_change_ms(budgets, now_ms) is None and all(b.calendar in BASE_CALENDARS for b in budgets):
            in_force = (budget for budget in budgets if budget.is_valid_at(now_ms))
            self.present = [(budget, window_start(budget.calendar, now_ms)) for budget in in_force]


class First(NamedTuple):
    """First decisions about scopes that have reached the same limit: their rows of state, and when to look again."""

    scopes: list[str]
    rows: list[bytes]
    due_ms: int | None


class Forms:
    """Writes first decisions in one partition. `state` is the topic of its rows."""

    def __init__(self, partition: int, state: Topic, spend: ScopeTable) -> None:
        self._partition = partition
        self._state = state
        self._spend = spend

    def write(
        self, scopes: Iterable[str], budgets: BudgetBook, now_ms: int, outbox: Outbox
    ) -> tuple[list[First], list[str]]:
        """Write what is decided now about these scopes. Each is there once, without a flag and an alert, and nothing of
        it is reserved.

        Returned with it are the scopes for which there is no form, because there may be more to say or few are alike.
        Nothing is written about these.
        """
        limits_of: dict[int, _Limits] = {}
        alike: dict[tuple[int, int], tuple[Position, list[str], list[int]]] = {}
        left = []
        for scope in scopes:
            held = budgets.limiting(scope)
            limits = limits_of.get(id(held))
            if limits is None:
                limits = limits_of[id(held)] = _Limits(held, now_ms)
            if limits.present is None or is_combination(scope) or scope == GLOBAL_SCOPE:
                left.append(scope)
                continue
            reached = self._reached(scope, limits.present)
            if len(reached) > 1:
                # The flag shows the worse one, and each has an alert.
                left.append(scope)
            elif reached:
                budget, start_ms, value, threshold = reached[0]
                found = alike.get((id(budget), id(threshold)))
                if found is None:
                    example = Position(budget, start_ms, window_end(budget.calendar, start_ms), value, threshold)
                    found = alike[id(budget), id(threshold)] = (example, [], [])
                found[1].append(scope)
                found[2].append(value)
        decided = []
        for example, names, values in alike.values():
            if len(names) < ALIKE_MIN:
                left += names
            else:
                decided.append(self._put(Form(example, now_ms), names, values, outbox))
        return decided, left

    def _reached(self, scope: str, present: Sequence[tuple[Budget, int]]) -> list[tuple[Budget, int, int, Threshold]]:
        """Of the budgets and starts of windows those that the scope has reached, with value and threshold."""
        reached = []
        for budget, start_ms in present:
            spend = self._spend.base_sum(scope, budget.calendar, start_ms)
            value = budget.measure(spend) if spend is not None else 0
            threshold = budget.reached(value)
            if threshold is not None:
                reached.append((budget, start_ms, value, threshold))
        return reached

    def _put(self, form: Form, scopes: list[str], values: list[int], outbox: Outbox) -> First:
        filled = form.fill(scopes, values)
        to, partition = outbox.to, self._partition
        to(self._state, partition).extend(
            (b"d|" + name, row, NO_HEADERS) for name, row in zip(filled.names, filled.rows, strict=True)
        )
        to(Topic.FLAGS, partition).extend(zip(filled.names, filled.flags, repeat(NO_HEADERS)))
        # No alert of a scope without a row was ever resolved.
        to(Topic.ALERTS, 0).extend(zip(filled.alert_keys, filled.alerts, repeat(NO_HEADERS)))
        return First(scopes, filled.rows, form.due_ms)
