"""What a service knows of budgets: which let nothing through while nothing is known, and where each blocks."""

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from tollgate.schemas.amounts import NANO, parse_amount
from tollgate.schemas.event_time import parse_event_time
from tollgate.schemas.output_words import Action
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.scopes import GLOBAL_SCOPE
from tollgate.sdk.call_scopes import excepted_calls, is_excepted, names_in

log = logging.getLogger("tollgate.sdk")

_KEY_PREFIX: Final = "budget/"
_FULL: Final = 100 * NANO


class _Threshold(msgspec.Struct, gc=False):
    percent: str
    action: Action


class _Thresholds(msgspec.Struct, gc=False):
    warning: _Threshold | None = None
    critical: _Threshold | None = None
    emergency: _Threshold | None = None


class _Budget(msgspec.Struct, gc=False):
    """Of a budget's record what a reader needs."""

    scope: str
    fail: Literal["open", "closed"] = "open"
    valid_from: str | None = None
    valid_to: str | None = None
    thresholds: _Thresholds | None = None
    except_: tuple[str, ...] | None = msgspec.field(default=None, name="except")


class _Closed(msgspec.Struct, frozen=True, gc=False):
    pattern: str
    from_ms: int
    to_ms: float
    excepts: tuple[frozenset[str], ...]


_Form = tuple[tuple[str, bool], ...]

_decode: Final = msgspec.json.Decoder(_Budget).decode


class KnownBudgets:
    """Kept from the records of `tollgate.control`. Everything else in that topic is passed over unread.

    Written by one thread, and read by any.
    """

    def __init__(self) -> None:
        self._closed: dict[str, _Closed] = {}
        self._of_pattern: dict[str, dict[str, _Closed]] = {}
        # The forms of the closed budgets' scopes: their dimensions, each with whether any name matches. A call of nine
        # names could match a thousand patterns, and a company uses a handful of forms.
        self._form_counts: Counter[_Form] = Counter()
        self._forms: tuple[_Form, ...] = ()
        # Only those that do not block at 100 % of their limit; None: at nothing.
        self._blocks_at: dict[str, int | None] = {}

    def take(self, key: str, value: bytes | None) -> None:
        """Take in one record of the topic: null removes the budget."""
        if not key.startswith(_KEY_PREFIX):
            return
        budget: _Budget | None = None
        closed: _Closed | None = None
        if value is not None:
            try:
                budget, closed = read_record(_read, value)
            except UnreadableError as error:
                # As the worker does, which goes on with the budget as it was.
                log.warning("ignored a record of the control topic that is no budget: %s", error)
                return
        self._set_closed(key, closed)
        budget_id = key.removeprefix(_KEY_PREFIX)
        blocks_at = _FULL if budget is None else _blocks_at(budget)
        if blocks_at == _FULL:
            self._blocks_at.pop(budget_id, None)
        else:
            self._blocks_at[budget_id] = blocks_at

    def covering(self, singles: Mapping[str, str], now_ms: int) -> str | None:
        """The scope or pattern of a closed budget that covers a call with these single scopes by dimension.

        A call that a block of the budget would leave alone is not covered.
        """
        for form in self._forms:
            names = [f"{name}/*" if is_any else singles.get(name) for name, is_any in form if name in singles]
            if len(names) < len(form):
                continue
            pattern = "+".join(filter(None, names)) or GLOBAL_SCOPE
            for budget in tuple(self._of_pattern.get(pattern, {}).values()):
                if budget.from_ms <= now_ms < budget.to_ms and not (
                    budget.excepts and is_excepted(budget.excepts, frozenset(singles.values()))
                ):
                    return pattern
        return None

    def blocks_at(self, budget_id: str) -> int | None:
        """At which percent of its limit the budget blocks or stops, in 10⁻⁹; None when it only warns.

        A budget that is not known, such as a limit of a plan, blocks at its limit.
        """
        return self._blocks_at.get(budget_id, _FULL)

    def _set_closed(self, key: str, closed: _Closed | None) -> None:
        held = self._closed.pop(key, None)
        if held is not None:
            same = self._of_pattern[held.pattern]
            del same[key]
            if not same:
                del self._of_pattern[held.pattern]
            self._count(held.pattern, -1)
        if closed is not None:
            self._closed[key] = closed
            self._of_pattern.setdefault(closed.pattern, {})[key] = closed
            self._count(closed.pattern, 1)

    def _count(self, pattern: str, more: int) -> None:
        form = _form_of(pattern)
        before = self._form_counts[form]
        self._form_counts[form] += more
        if not self._form_counts[form]:
            del self._form_counts[form]
        if bool(before) != (form in self._form_counts):
            self._forms = tuple(self._form_counts)


def _read(value: bytes) -> tuple[_Budget, _Closed | None]:
    budget = _decode(value)
    if budget.thresholds is not None:
        for threshold in _given(budget.thresholds):
            parse_amount(threshold.percent)
    if budget.fail == "open":
        return budget, None
    from_ms = parse_event_time(budget.valid_from) if budget.valid_from else 0
    to_ms = parse_event_time(budget.valid_to) if budget.valid_to else float("inf")
    pattern = "+".join(names_in(budget.scope)) or GLOBAL_SCOPE
    return budget, _Closed(pattern, from_ms, to_ms, excepted_calls(budget.except_ or ()))


def _given(thresholds: _Thresholds) -> list[_Threshold]:
    return [t for t in (thresholds.warning, thresholds.critical, thresholds.emergency) if t is not None]


def _blocks_at(budget: _Budget) -> int | None:
    if budget.thresholds is None:
        return _FULL
    blocking = [t for t in _given(budget.thresholds) if t.action in (Action.BLOCK, Action.STOP)]
    return min((parse_amount(t.percent) for t in blocking), default=None)


def _form_of(pattern: str) -> _Form:
    singles = (single.partition("/") for single in names_in(pattern))
    return tuple((dimension, name == "*") for dimension, _, name in singles)
