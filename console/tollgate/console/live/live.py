"""The live numbers of a console process: what rooms ask, and what streams are told."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

from tollgate.console.access.callers import Caller
from tollgate.console.live.changes import Change, Changes
from tollgate.console.live.follower import Followed, Follower
from tollgate.console.live.frames import Frame
from tollgate.console.live.freshness import Freshness
from tollgate.console.live.held_alerts import HeldAlerts, Rank
from tollgate.console.live.held_balances import HeldBalances
from tollgate.console.live.held_flags import BudgetFlags, FlagNumbers, HeldFlags
from tollgate.console.live.held_spend import HeldSpend, WindowSum
from tollgate.console.live.ignored import Ignored
from tollgate.console.live.items import Items
from tollgate.console.live.sight import Sight
from tollgate.console.live.stream import Stream
from tollgate.console.scope_parts import includes
from tollgate.control import ControlStore
from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import BASE_CALENDARS, Budget
from tollgate.domain.plans import Plans
from tollgate.runtime.settings import Settings
from tollgate.schemas.control import ASSIGNMENT_KEY_PREFIX, BUDGET_KEY_PREFIX, PLAN_KEY_PREFIX, BudgetRecord
from tollgate.schemas.outputs import Alert, Balance, Flag, SpendRecord
from tollgate.schemas.scopes import is_combination
from tollgate.schemas.topics import DELTA_PARTITIONS, Topic
from tollgate.sdk.call_scopes import singles_of
from tollgate.sdk.decision import Decision, decide

# A process answers before it has read everything, and says so.
_START_SECONDS_MAX: Final = 5.0

# Counting 100,000 flags takes 0.1 s, in which nothing else is answered.
_COUNT_MS: Final = 500

_TOPICS: Final = {
    "spend": Topic.SPEND,
    "flags": Topic.FLAGS,
    "alerts": Topic.ALERTS,
    "balances": Topic.BALANCES,
}
NAMES: Final = (*_TOPICS, "control")
"""What has a freshness of its own."""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class Live:
    """The compacted topics in memory. All but `start`, `stop` and `frames` answer at once, also while Kafka is away."""

    def __init__(self, settings: Settings, control: ControlStore, now_ms: Callable[[], int] = _now_ms) -> None:
        self._control = control
        self._now_ms = now_ms
        self.ignored = Ignored()
        self._flags = HeldFlags(self.ignored)
        self._spend = HeldSpend(self.ignored, now_ms())
        self._alerts = HeldAlerts(self.ignored)
        self._balances = HeldBalances(self.ignored)
        self._changes = Changes()
        self._book: BudgetBook | None = None
        self._plans: Plans | None = None
        self._compiled: dict[str, tuple[BudgetRecord, Budget]] = {}
        self._counted: dict[str, BudgetFlags] = {}
        self._counted_ms = 0
        self._stream = Stream(
            self._changes,
            Items(self._flags, self._spend, self._alerts, control, now_ms),
            lambda: {name: self.freshness(name) for name in NAMES},
            now_ms,
        )
        self._follower = Follower(
            settings,
            {
                Topic.FLAGS: Followed(self._take_flag, self._flags.forget),
                # Shared scopes come from the second stage of the worker, which has this many partitions.
                Topic.SPEND: Followed(self._take_spend, self._spend.forget, frozenset(range(DELTA_PARTITIONS))),
                Topic.ALERTS: Followed(self._take_alert, self._forget_alerts),
                Topic.BALANCES: Followed(self._balances.take, self._balances.forget),
            },
        )
        control.on_change(self._take_control)

    async def start(self) -> None:
        """Begin to read. Returns when the topics are read to their ends, or after 5 s: `freshness` tells which."""
        self._follower.start()
        try:
            async with asyncio.timeout(_START_SECONDS_MAX):
                await self._follower.complete.wait()
        except TimeoutError:
            pass
        # Whoever asks first does not wait for it.
        self.book()

    async def stop(self) -> None:
        """Say `bye` to the streams and stop reading. What is in memory stays readable."""
        self.end_streams()
        await self._follower.stop()

    def end_streams(self) -> None:
        """Send `bye` to every stream and end it. To be called when the process is told to stop: a server waits for its
        open connections before it stops anything else.
        """
        self._stream.end()

    def _take_flag(self, key: bytes, value: bytes | None) -> None:
        scope = self._flags.take(key, value)
        if scope is not None:
            self._changes.note(Change("flag", scope, scope))

    def _take_spend(self, key: bytes, value: bytes | None) -> None:
        self._spend.advance(self._now_ms())
        window = self._spend.take(key, value)
        # Pages show base sums as they change; a sum of another calendar has the same kind of window.
        if window is not None and window[1] in BASE_CALENDARS:
            self._changes.note(Change("spend", "|".join(window), window[0]))

    def _take_alert(self, key: bytes, value: bytes | None) -> None:
        taken = self._alerts.take(key, value)
        if taken is not None:
            self._changes.note(Change("alert", *taken))

    def _take_control(self, key: str) -> None:
        if key.startswith((PLAN_KEY_PREFIX, ASSIGNMENT_KEY_PREFIX)):
            self._book = self._plans = None
        if key.startswith(BUDGET_KEY_PREFIX):
            self._book = None
            held = self._control.get(key)
            scope = held.value["scope"] if held is not None else ""
            self._changes.note(Change("budget", key.removeprefix(BUDGET_KEY_PREFIX), scope))

    def _forget_alerts(self) -> None:
        self._alerts.forget()
        # The topics are forgotten together.
        self._changes.forget()

    @property
    def control(self) -> ControlStore:
        """The budgets and prices in force."""
        return self._control

    @property
    def is_complete(self) -> bool:
        """Whether every topic was read to its end since the start."""
        return self._follower.complete.is_set()

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return self._stream.open

    @property
    def scopes_are_complete(self) -> bool:
        """False when there are more shared scopes than are kept."""
        return not self._spend.left_out

    def freshness(self, name: str) -> Freshness:
        """Of `spend`, `flags`, `alerts` or `control`. KeyError for another name."""
        as_of_ms = self._control.as_of_ms if name == "control" else self._follower.as_of_ms(_TOPICS[name])
        return Freshness.at(as_of_ms, self._now_ms())

    def flag(self, scope: str) -> Flag | None:
        """The scope's flag as last written, also when its time is past; None when it is `ok` or there is none."""
        return self._flags.flag(scope)

    def flag_numbers(self, scope: str) -> FlagNumbers | None:
        """What the scope's flag says of its budget; for those who ask about thousands of scopes."""
        return self._flags.numbers(scope)

    def flag_in_force(self, scope: str, now_ms: int) -> Flag | None:
        """The scope's flag if it warns or blocks at this moment. Without one, the scope is below every threshold."""
        held = self._flags.get(scope)
        return held.flag if held is not None and held.in_force(now_ms) else None

    def flags_in_force(self, now_ms: int) -> list[Flag]:
        """Every flag that warns or blocks at this moment, by scope. There may be 100,000: see `flag_scopes`."""
        found = [self._flags.flag(scope) for scope in sorted(self._flags.in_force(now_ms))]
        return [flag for flag in found if flag is not None]

    def flag_scopes(self, now_ms: int) -> list[str]:
        """The scopes that are warned or blocked at this moment, in no order."""
        return list(self._flags.in_force(now_ms))

    def flags_by_budget(self, now_ms: int) -> dict[str, BudgetFlags]:
        """The flags that warn or block at this moment, or did within the last half a second, counted by the budget that
        each shows.
        """
        if not 0 <= now_ms - self._counted_ms < _COUNT_MS:
            self._counted, self._counted_ms = self._flags.by_budget(now_ms), now_ms
        return self._counted

    def blocked(self, now_ms: int) -> int:
        """How many scopes are blocked or stopped at this moment."""
        return self._flags.blocked(now_ms)

    def decide(self, dimensions: Mapping[str, str], now_ms: int) -> Decision:
        """May a call with these dimensions (`{"user": "u-42", "model": "gpt-4o"}`) go ahead? As the SDK decides it:
        `global` and combinations count too.
        """
        singles = singles_of(dimensions)
        held = (self._flags.get(scope) for scope in self._flags.shapes.scopes_of(singles))
        return decide([flag for flag in held if flag is not None], now_ms, singles.values())

    def spend(self, scope: str, calendar: str, start_ms: int) -> SpendRecord | None:
        """The sum of `global` or a shared scope in a window that is kept. None: nothing was spent, if it `knows`."""
        return self._spend.get(scope, calendar, start_ms)

    def sum(self, scope: str, calendar: str, start: str) -> WindowSum | None:
        """What a scope has spent in a window, whose start is an instant as text; None where `knows` says no. For those
        who ask about thousands of scopes.
        """
        return self._spend.sum(scope, calendar, start)

    def knows(self, scope: str, calendar: str, start_ms: int) -> bool:
        """Whether `spend` knows this sum. It does not know users, nor windows of long ago, nor what is nothing of a
        combination or in another calendar than the base ones: ClickHouse does.
        """
        self._spend.advance(self._now_ms())
        return self._spend.holds(scope, calendar, start_ms)

    def scopes(self, dimension: str) -> list[str]:
        """The shared scopes of a dimension that have spend, by name."""
        prefix = f"{dimension}/"
        return sorted(scope for scope in self._spend.scopes() if scope.startswith(prefix) and not is_combination(scope))

    def combinations(self, single: str, now_ms: int) -> list[str]:
        """The combinations with this name that are warned or blocked at this moment, by scope."""
        return sorted(scope for scope in self._flags.in_force(now_ms) if scope != single and includes(scope, single))

    def alerts(self, limit: int | None = None, scope: str | None = None) -> list[Alert]:
        """The alerts (of a scope) that are not resolved, the worst first."""
        return self._alerts.worst(len(self._alerts) if limit is None else limit, scope)[0]

    def alerts_after(self, limit: int, scope: str | None, after: tuple[Rank, str] | None) -> tuple[list[Alert], bool]:
        """A page of them, behind the one with this rank and key, and whether there are more."""
        found, count = self._alerts.worst(limit, scope, after)
        return found, count > limit

    def balance(self, user: str) -> Balance | None:
        """The user's credits; None when they have no account, if it `knows_balance`."""
        return self._balances.get(user)

    def knows_balance(self, user: str) -> bool:
        """Whether `balance` knows this user: false before the topic was read, and for some of very many."""
        return self.freshness("balances").as_of_ms > 0 and self._balances.knows(user)

    @property
    def alert_count(self) -> int:
        """How many alerts are not resolved."""
        return len(self._alerts)

    def book(self) -> BudgetBook:
        """The budgets and plans in force, and which of them apply to a scope."""
        if self._book is None:
            # To compile ten thousand takes most of a second: of a change only what changed is compiled again.
            old, new = self._compiled, {}
            for budget_id, record in self._control.budgets().items():
                held = old.get(budget_id)
                is_same = held is not None and held[0] is record
                new[budget_id] = held if held is not None and is_same else (record, Budget.from_record(record))
            self._compiled = new
            if self._plans is None:
                self._plans = Plans.from_records(self._control.plans(), self._control.assignments())
            self._book = BudgetBook((budget for _, budget in new.values()), self._plans)
        return self._book

    def frames(self, caller: Caller) -> AsyncIterator[Frame]:
        """What a caller's stream is sent: a snapshot, then changes at most twice a second, heartbeats, and at the end
        `bye`. The caller sees what their role and org allow.
        """
        return self._stream.frames(Sight.of(caller))
