"""What a scope has spent: from memory where it is kept, else from ClickHouse by key. A million users cost no memory."""

import asyncio
import time
from collections import OrderedDict
from typing import Final, NamedTuple

from tollgate.console.live import Live
from tollgate.console.numbers import Numbers, NumbersError
from tollgate.domain.budgets import BASE_CALENDARS
from tollgate.domain.windows import window_end
from tollgate.schemas.outputs import SpendRecord
from tollgate.schemas.scopes import is_combination

SUMS_MAX: Final = 10_000
"""Sums of ClickHouse that are remembered, those that were asked for last. Each takes some 2 kB."""

# Within this time a sum is taken as it is; afterwards it is asked for again, while the old one still answers.
FRESH_MS: Final = 1_000
# An older sum says too little; the caller waits for a new one.
OLD_MS: Final = 10_000
# Nobody waits longer than this for ClickHouse.
WAIT_SECONDS_MAX: Final = 0.25

_Key = tuple[str, str, int]
# Scope, text of the calendar, start of the window.


# Questions under way. Who asks while there are more is not told.
ASKING_MAX: Final = 500


class Known(NamedTuple):
    """A sum, and when it was known to be so. `record` is None when nothing was spent."""

    record: SpendRecord | None
    as_of_ms: int


class Sums:
    """Sums by scope and window. Those of users are as far behind as the sink is, which flags are not."""

    def __init__(self, live: Live, numbers: Numbers) -> None:
        self._live, self._numbers = live, numbers
        self._known: OrderedDict[_Key, Known] = OrderedDict()
        self._asking: dict[_Key, asyncio.Task[Known | None]] = {}

    async def get(self, scope: str, calendar: str, start_ms: int) -> Known | None:
        """The sum of a scope in a window of a calendar. None when nobody tells it within a quarter of a second."""
        if self._live.knows(scope, calendar, start_ms):
            fresh = self._live.freshness("spend")
            return Known(self._live.spend(scope, calendar, start_ms), fresh.as_of_ms) if fresh.as_of_ms else None
        key = (scope, calendar, start_ms)
        known = self._known.get(key)
        age = time.time_ns() // 1_000_000 - known.as_of_ms if known is not None else OLD_MS
        if known is not None and age < OLD_MS:
            self._known.move_to_end(key)
            if age >= FRESH_MS:
                self._ask(key)
            return known
        asking = self._ask(key)
        if asking is None:
            return None
        await asyncio.wait([asking], timeout=WAIT_SECONDS_MAX)
        return asking.result() if asking.done() else None

    async def ask(self, scope: str, calendar: str, start_ms: int) -> Known:
        """The sum by ClickHouse, for as long as that takes. What no worker counts is added up from events. Raises
        NumbersError.
        """
        asked_ms = time.time_ns() // 1_000_000
        if calendar in BASE_CALENDARS and not is_combination(scope):
            return Known(await self._numbers.spend_of(scope, calendar, start_ms), asked_ms)
        # A worker counts it from the day on which a budget needed it, and that one window as a whole.
        if asked_ms < window_end(calendar, start_ms) and calendar in self._live.book().calendars(scope):
            return Known(await self._numbers.spend_of(scope, calendar, start_ms), asked_ms)
        return Known(await self._numbers.sum_of(scope, calendar, start_ms), asked_ms)

    def _ask(self, key: _Key) -> "asyncio.Task[Known | None] | None":
        """The question that is under way for this sum, or a new one; None when there are too many."""
        asking = self._asking.get(key)
        if asking is None and len(self._asking) < ASKING_MAX:
            asking = self._asking[key] = asyncio.create_task(self._learn(key))
            asking.add_done_callback(lambda _: self._asking.pop(key, None))
        return asking

    async def _learn(self, key: _Key) -> Known | None:
        try:
            known = self._known[key] = await self.ask(*key)
        except NumbersError:
            return None
        self._known.move_to_end(key)
        while len(self._known) > SUMS_MAX:
            self._known.popitem(last=False)
        return known
