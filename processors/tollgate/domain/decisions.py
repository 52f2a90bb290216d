"""From budgets and spend to flags and alerts: pure, `(standing, positions, now) -> (standing, records)`.

A scope has one flag, for the worst of its budgets, and one alert per budget and window. While all spending is stopped
by hand, the flag of `global` says so whatever its budgets say, and one more alert fires. A *standing* is the flag and
the alerts that were last written for a scope. It is stored in the state topic, so that a restart neither repeats nor
forgets any of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from tollgate.domain.budgets import Budget, Position, Threshold, earliest, position
from tollgate.domain.except_scopes import excepted_by_all
from tollgate.domain.reservations import NOTHING_RESERVED, Reserved, can_exceed_by
from tollgate.domain.spend import ScopeSpend
from tollgate.domain.stops import Stop
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import Action, AlertKind, AlertLevel, FlagState
from tollgate.schemas.outputs_codec import AlertRecord, FlagRecord
from tollgate.schemas.scopes import GLOBAL_SCOPE

# While an alert fires, its numbers are refreshed this often; a new level is told at once.
ALERT_REFRESH_MS: Final = 5_000

# While something is reserved of a scope, a flag that differs only in how much is rewritten this often: each call of a
# busy user reserves and settles. That something is reserved, or nothing any more, is told at once.
RESERVED_REFRESH_MS: Final = 5_000

# Alerts of one scope that fire at a time. Each takes at most 7 kB of the scope's row, which must fit into a record. A
# budget past these is alerted when another one's alert is resolved; its flag and its block do not wait.
FIRING_MAX: Final = 64

# The key of the stop's alert among those that fire: a budget's id is never empty.
_STOP: Final = ""

_LEVELS: Final = (AlertLevel.WARNING, AlertLevel.CRITICAL, AlertLevel.EMERGENCY)


class Firing(msgspec.Struct):
    """One alert that is not resolved: its window (zeros for the stop), the record last written, and when."""

    window_start_ms: int
    window_end_ms: int
    value: int
    record: AlertRecord
    told_ms: int


class Standing(msgspec.Struct):
    """Flag and alerts last written for a scope. A scope without a standing is `ok` and has never been anything else."""

    state: str = "ok"
    since_ms: int = 0
    until_ms: int = 0
    revision: int = 0
    alert_revision: int = 0
    said: tuple[str, str, str, int, int, int] | None = None
    firing: dict[str, Firing] = {}
    # What the flag said to be reserved, in the unit of its budget.
    reserved: int = 0
    # When the flag was written.
    flag_ms: int = 0
    # By how much open reservations could exceed the limit, as the flag said.
    can_exceed_by: int = 0


@dataclass(slots=True)
class Decision:
    """What to write now, and when to look again even if nothing is spent (None: never)."""

    standing: Standing
    changed: bool = False
    flag: FlagRecord | None = None
    alerts: list[AlertRecord] = field(default_factory=list)
    due_ms: int | None = None


def decide(
    scope: str,
    found: Sequence[Position],
    spend: ScopeSpend | None,
    standing: Standing | None,
    now_ms: int,
    stop: Stop | None = None,
    reserved: Reserved = NOTHING_RESERVED,
) -> Decision:
    """Compare the scope's present positions with the flag and alerts that were last written.

    `found` has one position per budget of the scope at `now_ms`. The flag is rewritten when its state, budget, window,
    end, limit, what is reserved or, unless it is ok, its spent value changed; alerts when their level changed or their
    numbers are 5 s old. `stop` is given for `global` alone.
    """
    decision = Decision(standing or Standing())
    _decide_flag(scope, found, stop if stop is not None and stop.stopped else None, decision, now_ms, reserved)
    _decide_stop_alert(scope, stop, decision, now_ms)
    _decide_alerts(scope, found, spend, decision, now_ms)
    return decision


def _decide_flag(
    scope: str, found: Sequence[Position], stop: Stop | None, decision: Decision, now_ms: int, reserved: Reserved
) -> None:
    standing = decision.standing
    shown = worst(found) if stop is None else None
    held = reserved.of(shown.budget.unit) if shown is not None else 0
    exceeds = can_exceed_by(shown.value, held, shown.budget.limit) if shown is not None and held else 0
    is_bound_told = exceeds == standing.can_exceed_by
    state, action = FlagState.OK, None
    if stop is not None:
        state, action = FlagState.STOPPED, Action.STOP
    elif shown is not None and shown.threshold is not None:
        top = max((p.threshold for p in found if p.threshold is not None), key=lambda t: t.severity)
        state, action = top.state, top.action
        decision.due_ms = shown.until_ms
    elif shown is not None and held:
        # What is open at the end of the window counts in the next one.
        decision.due_ms = shown.until_ms
    elif standing.state == FlagState.OK and not standing.reserved and _holds(standing, found, reserved):
        return
    left_alone = _left_alone(found, shown)
    said = _said(state, action.value if action else "", shown, left_alone, stop)
    until_ms = shown.until_ms if shown is not None and state != FlagState.OK else 0
    if said == standing.said and until_ms == standing.until_ms and is_bound_told:
        if held == standing.reserved:
            return
        again_ms = standing.flag_ms + RESERVED_REFRESH_MS
        if held and standing.reserved and now_ms < again_ms:
            decision.due_ms = earliest(decision.due_ms, again_ms)
            return
    if state != standing.state or not standing.since_ms:
        standing.state, standing.since_ms = state.value, now_ms
    standing.said, standing.until_ms = said, until_ms
    standing.reserved, standing.can_exceed_by, standing.flag_ms = held, exceeds, now_ms
    standing.revision += 1
    decision.changed = True
    decision.flag = FlagRecord(
        scope=scope,
        state=state,
        blocked=state in (FlagState.BLOCKED, FlagState.STOPPED),
        action=action,
        reason=_reason(scope, state),
        budget=shown.budget.id if shown else None,
        window=shown.window if shown else None,
        limit=shown.budget.format(shown.budget.limit) if shown else None,
        unit=shown.budget.unit if shown else None,
        spent=shown.budget.format(shown.value) if shown else None,
        percent=shown.budget.percent(shown.value) if shown else None,
        since=format_instant(standing.since_ms),
        until=format_instant(shown.until_ms) if shown else None,
        revision=standing.revision,
        note=_note(stop, shown, state),
        reserved=shown.budget.format(held) if shown and held else UNSET,
        # While what was spent before is missing from the sum, nothing can be promised.
        can_exceed_by=shown.budget.format(exceeds) if shown and held and shown.is_whole else UNSET,
        except_=left_alone or UNSET,
        incomplete=True if shown and not shown.is_whole else UNSET,
    )


def _note(stop: Stop | None, shown: Position | None, state: FlagState) -> str | UnsetType:
    """What people should know and do: who stopped everything, or which limit of their plan is in the way."""
    if stop is not None:
        return stop.sentence
    if shown is None or not shown.budget.plan or state not in (FlagState.BLOCKED, FlagState.STOPPED):
        return UNSET
    return shown.advice


def worst(found: Sequence[Position]) -> Position | None:
    """The position a flag shows: among blocking ones the one that lasts longest, so that its `until` is the scope's;
    else the one with the most severe threshold; else the one nearest to its limit. None without budgets.
    """

    def rank(p: Position) -> tuple[bool, int, int, int]:
        severity = p.threshold.severity if p.threshold is not None else -1
        return (p.blocks, p.until_ms if p.blocks else 0, severity, p.value * 10_000 // p.budget.limit)

    return max(found, key=rank, default=None)


def _left_alone(found: Sequence[Position], shown: Position | None) -> tuple[str, ...]:
    """The scopes whose calls the flag leaves alone: those that all budgets except which block, or where none does, all
    that warn.
    """
    if shown is None or shown.threshold is None:
        return shown.budget.except_ if shown is not None else ()
    return excepted_by_all(
        tuple(p.budget.except_ for p in found if p.threshold is not None and (p.blocks or not shown.blocks))
    )


def _holds(standing: Standing, found: Sequence[Position], reserved: Reserved) -> bool:
    """Whether the limit that a flag names is still in force, and nothing is reserved of it.

    Readers with an estimate go by it, also while the flag is ok.
    """
    if standing.said is None:
        return True
    _, _, told, _, limit, _ = standing.said
    named = told.partition("\n")[0]
    budgets = (p.budget for p in found)
    return not named or any(b.id == named and b.limit == limit and not reserved.of(b.unit) for b in budgets)


def _said(
    state: FlagState, action: str, shown: Position | None, left_alone: tuple[str, ...], stop: Stop | None
) -> tuple[str, str, str, int, int, int]:
    if stop is not None:
        # No window begins before 1970.
        return (state.value, action, stop.sentence, -1, 0, 0)
    if shown is None:
        return (state.value, action, "", 0, 0, 0)
    # The numbers of a flag that is ok are not worth a record each time they change.
    value = shown.value if state != FlagState.OK else 0
    # Windows in UTC are told apart by start and end.
    zoned = (shown.budget.calendar,) if "@" in shown.budget.calendar else ()
    told = "\n".join((shown.budget.id, *left_alone, *zoned, *(() if shown.is_whole else ("incomplete",))))
    return (state.value, action, told, shown.window_start_ms, shown.budget.limit, value)


def _reason(scope: str, state: FlagState) -> str:
    if state == FlagState.OK:
        return "within_budget"
    if state == FlagState.WARNING:
        return "threshold_reached"
    return "spending_stopped" if scope == GLOBAL_SCOPE else "usage_limit_exceeded"


def _decide_stop_alert(scope: str, stop: Stop | None, decision: Decision, now_ms: int) -> None:
    firing = decision.standing.firing
    told = firing.get(_STOP)
    is_stopped = stop is not None and stop.stopped
    if told is None and not is_stopped:
        return
    sentence = stop.sentence if stop is not None else "the setting was removed"
    if told is not None and is_stopped and told.record.reason == sentence:
        return
    now = format_instant(now_ms)
    record = AlertRecord(
        key=f"stop/{scope}",
        kind=AlertKind.STOP,
        level=AlertLevel.EMERGENCY if is_stopped else AlertLevel.RESOLVED,
        scope=scope,
        state=FlagState.STOPPED if is_stopped else FlagState.OK,
        action=Action.STOP if is_stopped else None,
        reason=sentence,
        peak_level=AlertLevel.EMERGENCY,
        since=told.record.since if told is not None else now,
        updated_at=now,
        revision=_next_revision(decision.standing),
    )
    if is_stopped:
        firing[_STOP] = Firing(0, 0, 0, record, now_ms)
    else:
        del firing[_STOP]
    decision.alerts.append(record)
    decision.changed = True


def _decide_alerts(
    scope: str, found: Sequence[Position], spend: ScopeSpend | None, decision: Decision, now_ms: int
) -> None:
    firing = decision.standing.firing
    current = {p.budget.id: p for p in found}
    for budget_id, alert in list(firing.items()):
        if budget_id == _STOP:
            continue
        here = current.get(budget_id)
        if here is not None and alert.record.key != _key(scope, here.budget, alert.window_start_ms):
            # Its windows are cut otherwise now: the alert of the new one has another key.
            here = None
        elif here is not None:
            if here.window_start_ms == alert.window_start_ms and here.threshold is not None:
                continue
            here = position(here.budget, spend, alert.window_start_ms)
        del firing[budget_id]
        decision.alerts.append(_resolved(alert, here, _next_revision(decision.standing), now_ms))
        decision.changed = True
    for budget_id, here in current.items():
        if here.threshold is None:
            continue
        due_ms = here.window_end_ms
        told = firing.get(budget_id)
        if told is None and len(firing) >= FIRING_MAX:
            continue
        if told is None or _is_news(told, here, here.threshold):
            _tell(scope, here, told, decision, now_ms)
        elif told.value != here.value:
            refresh_ms = told.told_ms + ALERT_REFRESH_MS
            if refresh_ms <= now_ms:
                _tell(scope, here, told, decision, now_ms)
            else:
                due_ms = min(due_ms, refresh_ms)
        decision.due_ms = due_ms if decision.due_ms is None else min(decision.due_ms, due_ms)


def _key(scope: str, budget: Budget, window_start_ms: int) -> str:
    """The key of an alert."""
    return f"budget/{budget.id}|{scope}|{budget.calendar}|{format_instant(window_start_ms)}"


def _is_news(told: Firing, here: Position, threshold: Threshold) -> bool:
    """Whether the alert is rewritten at once: its level or its limit changed."""
    return told.record.level != threshold.level or told.record.limit != here.budget.format(here.budget.limit)


def _tell(scope: str, here: Position, before: Firing | None, decision: Decision, now_ms: int) -> None:
    """Write the alert's record for a new level or for fresh numbers, and remember it."""
    budget, threshold = here.budget, here.threshold
    assert threshold is not None
    percent, limit = budget.percent(here.value), budget.format(budget.limit)
    peak_level, peak_percent, since = threshold.level, percent, format_instant(now_ms)
    if before is not None:
        last = before.record
        since = last.since
        peak_level = max(peak_level, last.peak_level, key=_LEVELS.index)
        peak_percent = max(percent, last.peak_percent or percent, key=_as_hundredths)
    record = AlertRecord(
        key=_key(scope, budget, here.window_start_ms),
        kind=AlertKind.BUDGET,
        level=threshold.level,
        scope=scope,
        budget=budget.id,
        window=here.window,
        limit=limit,
        unit=budget.unit,
        spent=budget.format(here.value),
        percent=percent,
        state=threshold.state,
        action=threshold.action,
        reason=f"{scope} has reached {percent} % of its {budget.window.value} budget of {limit} {budget.unit}",
        peak_level=peak_level,
        peak_percent=peak_percent,
        since=since,
        updated_at=format_instant(now_ms),
        revision=_next_revision(decision.standing),
    )
    decision.standing.firing[budget.id] = Firing(here.window_start_ms, here.window_end_ms, here.value, record, now_ms)
    decision.alerts.append(record)
    decision.changed = True


def _resolved(alert: Firing, here: Position | None, revision: int, now_ms: int) -> AlertRecord:
    """The alert's last record: its window ended, or its budget was raised or removed (then `here` may be None)."""
    record = alert.record
    if alert.window_end_ms <= now_ms:
        reason = "the window has ended"
    elif here is None:
        reason = "the budget was removed or replaced"
    else:
        reason = "spend is below the thresholds of the budget"
    if here is not None:
        budget = here.budget
        record = replace(
            record,
            limit=budget.format(budget.limit),
            unit=budget.unit,
            spent=budget.format(here.value),
            percent=budget.percent(here.value),
        )
    return replace(
        record,
        level=AlertLevel.RESOLVED,
        state=FlagState.OK,
        action=None,
        reason=reason,
        updated_at=format_instant(now_ms),
        revision=revision,
    )


def _next_revision(standing: Standing) -> int:
    """Alert revisions rise over a scope's whole life, so that an alert that fires again is newer than its end."""
    standing.alert_revision += 1
    return standing.alert_revision


def _as_hundredths(percent: str) -> int:
    return int(percent.replace(".", ""))
