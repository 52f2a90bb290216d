"""The budgets that let nothing through while nothing is known: `fail: closed`."""

import logging
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from tollgate.schemas.event_time import parse_event_time
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.scopes import GLOBAL_SCOPE
from tollgate.sdk.call_scopes import names_in

log = logging.getLogger("tollgate.sdk")

_KEY_PREFIX: Final = "budget/"


class _Budget(msgspec.Struct, gc=False):
    """Of a budget's record what a reader needs who knows nothing else."""

    scope: str
    fail: Literal["open", "closed"] = "open"
    valid_from: str | None = None
    valid_to: str | None = None


class _Closed(msgspec.Struct, frozen=True, gc=False):
    names: tuple[str, ...]
    from_ms: int
    to_ms: float


_decode: Final = msgspec.json.Decoder(_Budget).decode


class ClosedBudgets:
    """Kept from the records of `tollgate.control`. Everything else in that topic is passed over unread."""

    def __init__(self) -> None:
        self._budgets: dict[str, _Closed] = {}

    def take(self, key: str, value: bytes | None) -> None:
        """Take in one record of the topic: null removes the budget."""
        if not key.startswith(_KEY_PREFIX):
            return
        # Most budgets are open, and a company may have 100,000.
        if value is None or b'"closed"' not in value:
            self._budgets.pop(key, None)
            return
        try:
            closed = read_record(_read, value)
        except UnreadableError as error:
            # As the worker does, which goes on with the budget as it was.
            log.warning("ignored a record of the control topic that is no budget: %s", error)
            return
        if closed is None:
            self._budgets.pop(key, None)
        else:
            self._budgets[key] = closed

    def covering(self, singles: Mapping[str, str], now_ms: int) -> str | None:
        """The scope or pattern of a closed budget that covers a call with these single scopes by dimension."""
        for budget in self._budgets.values():
            if budget.from_ms <= now_ms < budget.to_ms and all(_matches(name, singles) for name in budget.names):
                return "+".join(budget.names)
        return None


def _read(value: bytes) -> _Closed | None:
    budget = _decode(value)
    if budget.fail == "open":
        return None
    from_ms = parse_event_time(budget.valid_from) if budget.valid_from else 0
    to_ms = parse_event_time(budget.valid_to) if budget.valid_to else float("inf")
    return _Closed(names_in(budget.scope), from_ms, to_ms)


def _matches(name: str, singles: Mapping[str, str]) -> bool:
    if name == GLOBAL_SCOPE:
        return True
    dimension, _, text = name.partition("/")
    single = singles.get(dimension)
    return single is not None and (text == "*" or single == name)
