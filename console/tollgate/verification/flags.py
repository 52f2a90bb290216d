"""The flags topic against the budgets, evaluated on the recomputed spend as of now."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from tollgate.schemas.control import BudgetRecord
from tollgate.verification.calendar import end_of, instant, milliseconds, start_of, text
from tollgate.verification.report import Check
from tollgate.verification.spend import Recounted
from tollgate.verification.sums import AMOUNT_DECIMALS, USD_DECIMALS, Sum, plain, scaled

Flag = dict[str, Any]

_STATES: Final = ("ok", "warning", "blocked", "stopped")
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
    """The budgets of a scope: its own, and those for every name that none of its own replaces."""
    own = [budget for budget in budgets if budget.scope == scope]
    replaced = {(budget.window, budget.unit) for budget in own}
    pattern = scope.partition("/")[0] + "/*"
    return own + [b for b in budgets if b.scope == pattern and (b.window, b.unit) not in replaced]


def stand(budget: BudgetRecord, scope: str, windows: dict[str, Sum], now: datetime) -> Standing:
    """Where the scope stands against the budget now. At exactly 80 % of the limit, a threshold of 80 % is reached."""
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
    """What the scope's flag must say; several when budgets are equally bad and any of them may be shown."""
    standings = [stand(budget, scope, windows, now) for budget in applying(budgets, scope)]
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


def compare_flags(
    budgets: list[BudgetRecord], recounted: Recounted, found: dict[str, Flag], unreadable: list[str], now_ms: int
) -> Check:
    """Every scope with a budget or a flag says what its budgets demand. A scope without a flag says ok."""
    check = Check("flags")
    for problem in unreadable:
        check.differs("flag", "a readable one", problem)
    now = instant(now_ms)
    scopes = {key.partition("|")[0] if "|" not in key else key.rsplit("|", 2)[0] for key in recounted.high}
    patterns = {budget.scope for budget in budgets}
    watched = {s for s in scopes if s in patterns or s.partition("/")[0] + "/*" in patterns} | found.keys()
    raised = agreed = 0
    for scope in sorted(watched):
        said = in_force(found.get(scope), now_ms)
        expected = expected_flags(scope, budgets, recounted.low, now)
        later = expected_flags(scope, budgets, recounted.high, now)
        if expected[0]["state"] != "ok":
            raised += 1
        if any(_agree(said, flag) for flag in (*expected, *later)) or _between(said, expected[0], later[0], recounted):
            agreed += expected[0]["state"] != "ok"
        else:
            check.differs(f"flag of {scope}", _shown(expected[0]), _shown(said))
    return check.shows(f"{raised} raised", f"{agreed} raised" if check.ok else f"{check.differences} wrong")


def _agree(said: Flag, expected: Flag) -> bool:
    return all(said.get(name) == value for name, value in expected.items())


def _between(said: Flag, low: Flag, high: Flag, recounted: Recounted) -> bool:
    """Whether a flag that events are moving may be right: its state lies between those of the two recounts."""
    if low == high and not recounted.open_ended:
        return False
    at = _STATES.index(said["state"])
    return _STATES.index(low["state"]) <= at <= _STATES.index(high["state"])


def _shown(flag: Flag) -> str:
    if flag["state"] == "ok":
        return "ok"
    numbers = f"{flag.get('spent')} of {flag.get('limit')} {flag.get('unit')} ({flag.get('percent')} %)"
    return f"{flag['state']} by {flag.get('budget')}: {numbers}, action {flag.get('action')}, until {flag.get('until')}"
