"""The values in the frames of the stream."""

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from operator import itemgetter
from typing import Any

from tollgate.console.live.changes import Change
from tollgate.console.live.frames import ITEMS_MAX
from tollgate.console.live.held_alerts import HeldAlerts
from tollgate.console.live.held_flags import HeldFlags
from tollgate.console.live.held_spend import HeldSpend
from tollgate.console.live.sight import Sight
from tollgate.control import ControlStore, Held
from tollgate.domain.windows import window_start
from tollgate.schemas.control import BUDGET_KEY_PREFIX
from tollgate.schemas.outputs import FlagState, SpendRecord
from tollgate.schemas.scopes import GLOBAL_SCOPE
from tollgate.schemas.vocabulary import WindowKind

Item = dict[str, Any]


class Items:
    """Items as they are in memory now, for a caller's sight. `of` and `all` never raise."""

    def __init__(
        self,
        flags: HeldFlags,
        spend: HeldSpend,
        alerts: HeldAlerts,
        control: ControlStore,
        now_ms: Callable[[], int],
    ) -> None:
        self._flags, self._spend, self._alerts = flags, spend, alerts
        self._control, self._now_ms = control, now_ms

    def of(self, change: Change, sight: Sight) -> Item:
        """What the change is about, as it is now; what is gone says so."""
        if change.kind == "flag":
            return self._flag(change.name, sight)
        if change.kind == "spend":
            scope, calendar, start = change.name.rsplit("|", 2)
            record = self._spend.by_key(scope, calendar, start)
            gone = {"scope": scope, "window": {"kind": calendar, "start": start}, "gone": True}
            return gone if record is None else _spend_item(record)
        if change.kind == "alert":
            alert = self._alerts.get(change.name)
            gone = {"key": change.name, "level": "resolved", "gone": True}
            return gone if alert is None else alert.model_dump(mode="json", exclude_none=True)
        held = self._control.get(BUDGET_KEY_PREFIX + change.name)
        return {"id": change.name, "gone": True} if held is None else _budget_item(held)

    def all(self, kind: str, sight: Sight) -> tuple[list[Item], int]:
        """Everything of one kind, the most important first, and how many items were left out."""
        if kind == "flag":
            return self._all_flags(sight)
        if kind == "spend":
            found = self._all_spend(sight)
            return list(islice(found, ITEMS_MAX)), sum(1 for _ in found)
        if kind == "alert":
            alerts, count = self._alerts.worst(ITEMS_MAX, sight.scope)
            return [alert.model_dump(mode="json", exclude_none=True) for alert in alerts], count - len(alerts)
        budgets = map(_budget_item, self._control.records(BUDGET_KEY_PREFIX))
        seen = [budget for budget in budgets if sight.sees(budget["scope"])]
        return heapq.nsmallest(ITEMS_MAX, seen, key=itemgetter("id")), max(0, len(seen) - ITEMS_MAX)

    def _flag(self, scope: str, sight: Sight) -> Item:
        flag = self._flags.flag(scope)
        shown = None if flag is None else sight.of_flag(flag)
        if shown is None:
            return {"scope": scope, "state": FlagState.OK.value, "blocked": False}
        return shown.model_dump(mode="json", exclude_none=True, by_alias=True)

    def _all_flags(self, sight: Sight) -> tuple[list[Item], int]:
        """Shared scopes first: there are few, and each of them blocks many."""
        scopes = list(self._flags.in_force(self._now_ms()))
        if not sight.is_whole:
            scopes = [scope for scope in scopes if sight.sees(scope) or scope == GLOBAL_SCOPE]
        first = heapq.nsmallest(ITEMS_MAX, scopes, key=lambda scope: (scope.startswith("user/"), scope))
        return [self._flag(scope, sight) for scope in first], len(scopes) - len(first)

    def _all_spend(self, sight: Sight) -> Iterator[Item]:
        """Every window of `global`, and of the others this day and month."""
        now_ms = self._now_ms()
        scopes: Iterable[str] = self._spend.scopes() if sight.is_whole else filter(sight.sees, self._spend.scopes())
        for scope in sorted(scopes, key=lambda scope: (scope != GLOBAL_SCOPE, scope)):
            if scope == GLOBAL_SCOPE:
                yield from map(_spend_item, self._spend.windows(scope))
                continue
            for kind in (WindowKind.MONTH, WindowKind.DAY):
                record = self._spend.get(scope, kind, window_start(kind, now_ms))
                if record is not None:
                    yield _spend_item(record)


def _budget_item(held: Held) -> Item:
    """The budget as it is stored, under the id of its key."""
    return {**held.value, "id": held.key.removeprefix(BUDGET_KEY_PREFIX)}


def _spend_item(record: SpendRecord) -> Item:
    """The sum without its usage by dimension, which nobody watches live."""
    return record.model_dump(mode="json", exclude={"usage"})
