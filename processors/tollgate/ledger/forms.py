"""What is written about scopes that reach the same limit in one transaction: `decide` is asked once, with blanks.

A budget on a pattern may be reached by each of a million users at once. What is written about them differs in their
name and in how much they have spent, so these are filled into what was decided about none of them in particular. Only
first decisions about scopes of one name are made so; every other one is left to `decide`.

Blanks are filled in by the compiled core where it was built; Python is the reference.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import fields
from itertools import repeat
from typing import Final, NamedTuple

import msgspec

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import BASE_CALENDARS, Budget, Position, next_change_ms
from tollgate.domain.decisions import decide
from tollgate.domain.windows import window_end, window_start
from tollgate.ledger.outbox import NO_HEADERS, Outbox
from tollgate.ledger.scope_table import ScopeTable
from tollgate.schemas.scopes import GLOBAL_SCOPE, is_combination
from tollgate.schemas.topics import Topic

try:
    from tollgate.ledger._native import Blanks
except ImportError:
    Blanks = None  # type: ignore[assignment, misc] # not built

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

# The core takes values below this.
_CORE_MAX: Final = 1 << 63


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

    __slots__ = ("_budget", "_core", "_texts", "due_ms")

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
        texts = (_encode(decision.standing), _encode(decision.flag), alert.key.encode(), _encode(alert))
        # The core knows the blanks by their place here.
        marks = (_NAME.encode(), b"%d" % value, _SPENT.encode(), _PERCENT.encode())
        self._texts = [_Text.of(text, marks) for text in texts]
        self._core = Blanks(self._texts, budget.unit == "usd", budget.limit) if Blanks is not None else None

    def fill(self, scopes: Sequence[str], values: Sequence[int]) -> "Filled":
        """What is written about these scopes, which have spent `values`, in the unit of the limit."""
        names = [scope.encode() for scope in scopes]
        all_names = "".join(scopes)
        is_plain = '"' not in all_names and "\\" not in all_names
        if self._core is not None and is_plain and min(values) >= 0 and max(values) < _CORE_MAX:
            return Filled(names, *self._core.fill(names, values))
        return Filled(names, *self._filled_by_python(scopes, names, values))

    def _filled_by_python(
        self, scopes: Sequence[str], names: Sequence[bytes], values: Sequence[int]
    ) -> list[list[bytes]]:
        """The reference."""
        budget = self._budget
        given = [
            (_inner(scope), b"%d" % value, budget.format(value).encode(), budget.percent(value).encode())
            for scope, value in zip(scopes, values, strict=True)
        ]
        row, flag, key, alert = self._texts
        # The key is no JSON.
        keys = [key.filled((name,)) for name in names]
        return [[*map(row.filled, given)], [*map(flag.filled, given)], keys, [*map(alert.filled, given)]]


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


class _Text(NamedTuple):
    """A text with blanks: its parts, and which blank stands between them."""

    parts: list[bytes]
    blanks: list[int]

    @classmethod
    def of(cls, text: bytes, marks: Sequence[bytes]) -> "_Text":
        """The text with blanks in the place of these marks."""
        parts = re.split(b"(" + b"|".join(map(re.escape, marks)) + b")", text)
        return cls(parts[::2], [marks.index(mark) for mark in parts[1::2]])

    def filled(self, given: Sequence[bytes]) -> bytes:
        """The text with these in its blanks."""
        first, *rest = self.parts
        return first + b"".join(given[blank] + part for blank, part in zip(self.blanks, rest, strict=True))


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
        limited: dict[int, tuple[_Limits, list[str]]] = {}
        for scope in scopes:
            held = budgets.limiting(scope)
            found = limited.get(id(held))
            if found is None:
                found = limited[id(held)] = (_Limits(held, now_ms), [])
            found[1].append(scope)
        decided: list[First] = []
        left: list[str] = []
        for limits, names in limited.values():
            if not limits.budgets:
                continue
            # Combinations are never limited as other scopes are.
            if limits.present is None or is_combination(names[0]) or names[0] == GLOBAL_SCOPE:
                left += names
                continue
            for example, alike, values in self._reached(limits.present, names, left):
                if len(alike) < ALIKE_MIN:
                    left += alike
                else:
                    decided.append(self._put(Form(example, now_ms), alike, values, outbox))
        return decided, left

    def _reached(
        self, present: Sequence[tuple[Budget, int]], scopes: Sequence[str], left: list[str]
    ) -> Iterable[tuple[Position, list[str], list[int]]]:
        """Of each limit and threshold that some of the scopes have reached: an example, and all of these with their
        values. `present` are the limits of all these scopes, with the starts of their windows.
        """
        alike: dict[tuple[int, int], tuple[Position, list[str], list[int]]] = {}
        columns = [self._spend.values(scopes, budget, start_ms) for budget, start_ms in present]
        # Without limits there are no columns, and nothing is reached.
        for scope, values in zip(scopes, zip(*columns, strict=True), strict=False):
            reached = [
                (at, value, threshold)
                for at, value in enumerate(values)
                if (threshold := present[at][0].reached(value)) is not None
            ]
            if len(reached) > 1:
                # The flag shows the worse one, and each has an alert.
                left.append(scope)
            elif reached:
                at, value, threshold = reached[0]
                found = alike.get((at, id(threshold)))
                if found is None:
                    budget, start_ms = present[at]
                    example = Position(budget, start_ms, window_end(budget.calendar, start_ms), value, threshold)
                    found = alike[at, id(threshold)] = (example, [], [])
                found[1].append(scope)
                found[2].append(value)
        return alike.values()

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
