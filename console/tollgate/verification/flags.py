"""Checks the flags topic: each flag must follow from the budgets, the stop, and the spend in the worker's state."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from tollgate.schemas.control import BudgetRecord
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.scopes import GLOBAL_SCOPE
from tollgate.verification.calendar import end_of, instant, milliseconds, start_of, text
from tollgate.verification.report import Check
from tollgate.verification.stop import flag_of_stop
from tollgate.verification.sums import AMOUNT_DECIMALS, USD_DECIMALS, Sum, plain, scaled
from tollgate.verification.view import View

Flag = dict[str, Any]

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode
# The state that an action means for services, and how strict it is.
_STATE_OF: Final = {"alert": "warning", "downgrade": "warning", "block": "blocked", "stop": "stopped"}
_STRICTNESS: Final = ("alert", "downgrade", "block", "stop")


@dataclass(frozen=True, slots=True)
class Standing:
    """One budget of a scope: how much of it is used in the window of the moment, and which action is due, if any."""

    budget: BudgetRecord
    window: tuple[datetime, datetime]
    used: int
    limit: int
    action: str | None

    @property
    def blocks(self) -> bool:
        return self.action in ("block", "stop")


def applying(budgets: Iterable[BudgetRecord], scope: str) -> list[BudgetRecord]:
    """The budgets of a scope: its own ones, and pattern budgets (`user/*`) that none of its own ones replaces."""
    own = [budget for budget in budgets if budget.scope == scope]
    replaced = {(budget.window, budget.unit) for budget in own}
    pattern = scope.partition("/")[0] + "/*"
    return own + [b for b in budgets if b.scope == pattern and (b.window, b.unit) not in replaced]


def stand(budget: BudgetRecord, scope: str, windows: dict[str, Sum], now: datetime) -> Standing:
    """How much of the budget is spent now. At exactly 80 % of the limit, a threshold of 80 % is reached."""
    kind = budget.window.value
    start = start_of(kind, now)
    spent = windows.get(f"{scope}|{kind}|{text(start)}", Sum())
    decimals = USD_DECIMALS if budget.unit == "usd" else AMOUNT_DECIMALS
    if budget.unit == "usd":
        used = spent.cost_picousd
    elif budget.unit == "events":
        used = spent.events * 10**AMOUNT_DECIMALS
    else:
        used = spent.usage_nano.get(budget.unit, 0)
    limit = scaled(budget.limit, decimals)
    action = None
    levels = budget.thresholds
    for threshold in (levels.emergency, levels.critical, levels.warning):
        if threshold is not None and used * 100 * 10**9 >= scaled(threshold.percent, 9) * limit:
            action = threshold.action.value
            break
    return Standing(budget, (start, end_of(kind, start)), used, limit, action)


def expected_flags(scope: str, budgets: Iterable[BudgetRecord], windows: dict[str, Sum], now: datetime) -> list[Flag]:
    """What the scope's flag must say by the budgets that apply to it; several when budgets are equally bad and any of
    them may be shown.
    """
    standings = [stand(budget, scope, windows, now) for budget in budgets]
    due = [s.action for s in standings if s.action is not None]
    if not due:
        return [{"state": "ok", "blocked": False}]
    action = max(due, key=_STRICTNESS.index)
    state = _STATE_OF[action]
    worst = max(map(_rank, standings))
    return [
        {"state": state, "blocked": state in ("blocked", "stopped"), "action": action} | _numbers(s)
        for s in standings
        if _rank(s) == worst
    ]


def _rank(s: Standing) -> tuple[bool, int, int, int]:
    """What a flag shows: of blocking budgets the one that lasts longest, else the strictest, else the fullest."""
    until = milliseconds(s.window[1]) if s.blocks else 0
    return s.blocks, until, _STRICTNESS.index(s.action) if s.action else -1, s.used * 10_000 // s.limit


def _numbers(s: Standing) -> Flag:
    start, end = s.window
    decimals = USD_DECIMALS if s.budget.unit == "usd" else AMOUNT_DECIMALS
    hundredths = s.used * 10_000 // s.limit
    return {
        "budget": s.budget.id,
        "window": {"kind": s.budget.window.value, "start": text(start), "end": text(end), "timezone": "UTC"},
        "limit": plain(s.limit, decimals),
        "unit": s.budget.unit,
        "spent": plain(s.used, decimals),
        "percent": f"{hundredths // 100}.{hundredths % 100:02d}",
        "until": text(end),
    }


def in_force(flag: Flag | None, now_ms: int) -> Flag:
    """The flag as a service reads it: none, or one past its `until`, is ok."""
    if flag is None or flag["state"] == "ok":
        return {"state": "ok", "blocked": bool(flag and flag["blocked"])}
    until = flag.get("until")
    if until is not None and milliseconds(datetime.fromisoformat(until)) <= now_ms:
        return {"state": "ok", "blocked": False}
    return flag


def said_by(value: bytes | None, now_ms: int) -> Flag:
    """A record of the flags topic as a service reads it now; None is no flag. UnreadableError."""
    return (
        read_record(lambda given: in_force(_decode(given), now_ms), value) if value is not None else in_force(None, 0)
    )


class FlagsCheck(Check):
    """Every scope with a budget or a flag says what its budgets demand. A scope without a flag says ok.

    `stopped`: the sentence that `global` must say instead, while all spending is stopped by hand.
    """

    def __init__(self, budgets: list[BudgetRecord], stopped: str | None = None) -> None:
        super().__init__("flags")
        self._budgets = budgets
        self._stopped = stopped
        # Nobody may have spent anything, and no flag been written.
        self._missing: set[str] = {GLOBAL_SCOPE} if stopped is not None else set()
        self._scopes = {budget.scope for budget in budgets}
        self._raised = 0
        self._agreed = 0

    def compare(self, view: View, now_ms: int) -> None:
        """Look at a bucket of scopes. A scope that was spent in since the cut may say what holds after any of that."""
        windows: dict[str, list[str]] = {}
        for key in view.state.keys() | view.moved.keys():
            windows.setdefault(key.rsplit("|", 2)[0], []).append(key)
        for scope in windows.keys() | view.flags.keys():
            if scope in view.flags or scope in self._scopes or scope.partition("/")[0] + "/*" in self._scopes:
                self._look(scope, view, windows.get(scope, []), now_ms)

    def finish(self) -> Check:
        """All scopes were shown."""
        for scope in self._missing:
            self._raised += 1
            self.differs(f"flag of {scope}", _shown(flag_of_stop(self._stopped or "")), "none")
        return self.shows(
            f"{self._raised} raised", f"{self._agreed} raised" if self.ok else f"{self.differences} wrong"
        )

    def _look(self, scope: str, view: View, windows: list[str], now_ms: int) -> None:
        self._missing.discard(scope)
        try:
            said = said_by(view.flags.get(scope), now_ms)
        except UnreadableError as error:
            self.differs(f"flag of {scope}", "a readable one", str(error))
            return
        now = instant(now_ms)
        budgets = applying(self._budgets, scope)
        first: Flag | None = None
        for version in view.versions(scope, windows):
            demanded = self._demanded(scope, budgets, version, now)
            if any(_agree(said, flag) for flag in demanded):
                self._raised += said["state"] != "ok"
                self._agreed += said["state"] != "ok"
                return
            first = first or demanded[0]
        assert first is not None, "there is always the version of the cut"
        self._raised += first["state"] != "ok"
        self.differs(f"flag of {scope}", _shown(first), _shown(said))

    def _demanded(self, scope: str, budgets: list[BudgetRecord], windows: dict[str, Sum], now: datetime) -> list[Flag]:
        if scope == GLOBAL_SCOPE and self._stopped is not None:
            return [flag_of_stop(self._stopped)]
        return expected_flags(scope, budgets, windows, now)


def _agree(said: Flag, expected: Flag) -> bool:
    return all(said.get(name) == value for name, value in expected.items())


def _shown(flag: Flag) -> str:
    if flag["state"] == "ok":
        return "ok"
    if flag.get("note") is not None:
        return f"{flag['state']} by hand: {flag['note']}"
    numbers = f"{flag.get('spent')} of {flag.get('limit')} {flag.get('unit')} ({flag.get('percent')} %)"
    return f"{flag['state']} by {flag.get('budget')}: {numbers}, action {flag.get('action')}, until {flag.get('until')}"
