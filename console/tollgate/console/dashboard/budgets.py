"""Where budgets stand, the worst first, without a question for each of a hundred thousand users.

Whoever has reached a threshold has a flag, and a flag holds its numbers. The others are looked at in memory; users
with budgets of their own are asked for only where there is room left to show them.
"""

import asyncio
from itertools import islice
from typing import Final

from tollgate.console.pages.overview_model import Standing
from tollgate.console.parts import Parts
from tollgate.domain.budgets import Budget, window_json
from tollgate.domain.standings import measured
from tollgate.domain.windows import window_start
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.outputs import Flag, FlagState, SpendRecord, Window

# Scopes that are looked at, of flags and of budgets each.
_LOOKED_AT: Final = 200


async def worst(parts: Parts, limit: int, now_ms: int) -> list[Standing]:
    """The fullest budgets of the company; those whose spend is not known come last."""
    live = parts.live
    found: dict[tuple[str, str], Standing] = {}
    for scope in islice(live.flag_scopes(now_ms), _LOOKED_AT):
        flag = live.flag(scope)
        standing = of_flag(flag, now_ms) if flag is not None else None
        if standing is not None:
            found[standing.scope, standing.budget] = standing
    scopes = list(islice(live.book().exact_scopes(), _LOOKED_AT))
    in_memory = [scope for scope in scopes if not scope.startswith("user/")]
    asked = [scope for scope in scopes if scope.startswith("user/")][: max(limit - len(found), 0)]
    for standings in await asyncio.gather(*(of_scope(parts, scope, now_ms) for scope in in_memory + asked)):
        found |= {(standing.scope, standing.budget): standing for standing in standings}
    return sorted(found.values(), key=_order)[:limit]


async def of_scope(parts: Parts, scope: str, now_ms: int) -> list[Standing]:
    """Where the budgets that apply to a scope stand, the fullest first."""
    found = []
    for budget in parts.live.book().in_force(scope, now_ms):
        start_ms = window_start(budget.calendar, now_ms)
        known = await parts.sums.get(scope, budget.calendar, start_ms)
        if known is None:
            found.append(_unknown(parts, budget, scope, start_ms, now_ms))
        else:
            found.append(of_record(budget, scope, start_ms, known.record))
    return sorted(found, key=_order)


def of_record(budget: Budget, scope: str, start_ms: int, record: SpendRecord | None) -> Standing:
    """Where a budget stands with this sum; None: nothing was spent."""
    spent = measured(budget, record)
    threshold = budget.reached(spent)
    return Standing(
        budget=budget.id,
        scope=scope,
        window=Window.model_validate(window_json(budget.calendar, start_ms)),
        unit=budget.unit,
        limit=budget.format(budget.limit),
        spent=budget.format(spent),
        percent=budget.percent(spent),
        left=budget.format(budget.limit - spent),
        state=threshold.state if threshold is not None else FlagState.OK,
        action=threshold.action if threshold is not None else None,
    )


def of_flag(flag: Flag, now_ms: int) -> Standing | None:
    """Where the budget of a flag stood when it was written; None for a flag without a budget, or of a time gone by."""
    if flag.budget is None or flag.window is None or flag.limit is None or flag.unit is None or not holds(flag, now_ms):
        return None
    return Standing(
        budget=flag.budget,
        scope=flag.scope,
        window=flag.window,
        unit=flag.unit,
        limit=flag.limit,
        spent=flag.spent,
        percent=flag.percent,
        left=None,
        state=flag.state,
        action=flag.action,
    )


def holds(flag: Flag, now_ms: int) -> bool:
    """Whether the flag's window goes on."""
    return flag.until is None or now_ms < parse_instant(flag.until)


def _unknown(parts: Parts, budget: Budget, scope: str, start_ms: int, now_ms: int) -> Standing:
    flag = parts.live.flag(scope)
    return Standing(
        budget=budget.id,
        scope=scope,
        window=Window.model_validate(window_json(budget.calendar, start_ms)),
        unit=budget.unit,
        limit=budget.format(budget.limit),
        spent=None,
        percent=None,
        left=None,
        state=flag.state if flag is not None and holds(flag, now_ms) else FlagState.OK,
    )


def _order(standing: Standing) -> tuple[int, str, str]:
    full = -1 if standing.percent is None else int(standing.percent.replace(".", ""))
    return (-full, standing.scope, standing.budget)
